"""Two real Ray workers give what this process gives, even if one is killed."""

import os
import signal
from itertools import combinations

import numpy as np
import pytest
import torch

from decision_phases.engine import evaluate, workers
from decision_phases.engine.workers import Worker, WorkersError, current_pool, sent
from decision_phases.errors import InputError, MissingPackageError
from decision_phases.interventions import skip
from decision_phases.models import load, tiny_hf, tiny_tokenizer
from decision_phases.pruning.search import greedy
from decision_phases.readout import DecisionObserver, ask
from decision_phases.readout.observe import FinalObserver
from decision_phases.store import ResultStore
from decision_phases.tasks import questions

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
CUTS = [skip(*cut) for size in (1, 2) for cut in combinations(range(6), size)]
LOOK = [DecisionObserver(), FinalObserver()]


@pytest.fixture(scope="module")
def model():
    return load("tiny-llama", quiet=True)


@pytest.fixture(scope="module")
def encoded(model):
    return ask(model, questions("facts", limit=16))


@pytest.fixture(scope="module")
def pool(model, alone):
    before = {name: os.environ.get(name) for name in ("RAY_AUTH_MODE",)}
    os.environ["RAY_AUTH_MODE"] = "disabled"
    with workers(model, 2, threads=1) as pool:
        yield pool
    for name, value in before.items():
        if value is None:
            del os.environ[name]


@pytest.fixture(scope="module")
def alone(model, encoded):
    pool = current_pool(model)
    assert pool is None
    return list(evaluate(model, encoded, CUTS, LOOK))


def equal(a, b) -> None:
    for one, other in zip(a, b, strict=True):
        assert one.variant == other.variant
        for name, field in (("final", "scores"), ("final", "margin"), ("decisions", "margin")):
            np.testing.assert_allclose(
                getattr(one[name], field), getattr(other[name], field), atol=1e-5, rtol=0
            )
        np.testing.assert_array_equal(one["final"].choice, other["final"].choice)


def test_workers_give_the_same_numbers_and_keep_them_in_the_store(alone, pool, model, encoded, tmp_path):
    assert len({pool.ray.get(actor.process.remote()) for actor in pool.actors} | {os.getpid()}) == 3
    found = list(evaluate(model, encoded, CUTS, LOOK, store=tmp_path))
    equal(found, alone)
    assert len(ResultStore(tmp_path)) == 2 * len(CUTS)


def test_a_killed_worker_is_replaced_and_its_variants_are_done_again(
    alone, pool, model, encoded, tmp_path, monkeypatch
):
    store = ResultStore(tmp_path)
    put, victims = ResultStore.put, [pool.ray.get(pool.actors[0].process.remote())]

    def kill_once(self, *args, **kwargs):
        if victims and self is store:
            os.kill(victims.pop(), signal.SIGKILL)
        put(self, *args, **kwargs)

    monkeypatch.setattr(ResultStore, "put", kill_once)
    equal(evaluate(model, encoded, CUTS, LOOK, store=store), alone)
    assert not victims
    assert len(store) == 2 * len(CUTS)
    assert not store.to_pandas().duplicated(["study", "variant"]).any()


def test_searches_inside_the_block_are_spread(pool, model, encoded, monkeypatch):
    settings = {"objective": "margin", "candidates": range(1, 5), "steps": 2}
    spread = greedy(model, encoded, **settings)
    with monkeypatch.context() as here:
        here.setattr(type(pool), "evaluate", None)
        with pytest.raises(TypeError):
            greedy(model, encoded, **settings)
    other = load("tiny-llama", quiet=True)  # which the workers do not hold
    assert [step.removed for step in spread] == [s.removed for s in greedy(other, encoded, **settings)]


def test_errors_of_workers_arrive_as_they_are(pool, model, encoded):
    class Bad(FinalObserver):
        def pack(self, result):
            raise InputError("not to be packed")

    with pytest.raises(InputError, match="not to be packed"):
        list(evaluate(model, encoded, CUTS[:4], [Bad()]))


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_models_given_as_objects_are_sent_along(encoded, alone, threads):
    given = load(tiny_hf("llama"), tokenizer=tiny_tokenizer(), quiet=True)
    assert given.origin is None
    worker = Worker(*sent(given, lambda hf: hf, 1))
    job = {"inputs": encoded, "variants": tuple(CUTS), "observe": tuple(LOOK)}
    (packed,) = worker.run(1, job, [7])
    np.testing.assert_array_equal(packed["final"].arrays["scores"], alone[7]["final"].scores)


def test_weights_changed_after_loading_are_not_mistaken(threads):
    changed = load("tiny-llama", quiet=True)
    with torch.no_grad():
        next(iter(changed.parameters(2).values())).add_(1.0)
    with pytest.raises(WorkersError, match="its weights were changed after loading"):
        Worker(*sent(changed, lambda hf: hf, 1))


def test_workers_that_would_wait_for_ever_are_refused(pool):
    match = "3 workers of 1 threads were asked for, but Ray has 0 of 2 processors free"
    with pytest.raises(InputError, match=match), workers(load("tiny-gpt2", quiet=True), 3):
        pass


def test_bad_numbers_and_a_missing_package(model, monkeypatch):
    with pytest.raises(InputError, match="0 workers of 1 threads"), workers(model, 0):
        pass
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingPackageError, match=r"decision-phases\[ray\]"), workers(model, 2):
        pass
