"""Evaluating into a store: nothing is lost, nothing counted twice, and bits are the same after a kill."""

import os
import signal
import subprocess
import sys
import time
from itertools import combinations

import numpy as np
import pytest
import torch

from decision_phases.engine import evaluate
from decision_phases.engine.capture import CaptureObserver
from decision_phases.engine.local import plan_for
from decision_phases.errors import InputError
from decision_phases.interventions import noise, skip
from decision_phases.models import load
from decision_phases.readout import DecisionObserver, StateObserver, ask
from decision_phases.readout.observe import FinalObserver
from decision_phases.store import DamagedResultWarning, ResultStore
from decision_phases.tasks import questions

CUTS = [skip(*pair) for pair in combinations(range(1, 6), 2)]
LOOK = [FinalObserver(), StateObserver(), DecisionObserver("vocabulary")]


@pytest.fixture(scope="module")
def model():
    return load("tiny-llama", quiet=True)


@pytest.fixture(scope="module")
def encoded(model):
    return ask(model, questions("facts", limit=6))


def same(a, b) -> bool:
    """Equal bit by bit."""
    return (
        np.array_equal(a["final"].scores, b["final"].scores)
        and np.array_equal(a["final"].margin, b["final"].margin)
        and np.array_equal(a["states"], b["states"])
        and np.array_equal(a["decisions"].margin, b["decisions"].margin, equal_nan=True)
        and np.array_equal(a["decisions"].embed_log_normaliser, b["decisions"].embed_log_normaliser)
        and a["decisions"].under == b["decisions"].under
    )


def run(model, encoded, variants, **kwargs):
    return list(evaluate(model, encoded, variants, LOOK, **kwargs))


def test_what_comes_from_a_store_is_bit_for_bit_what_was_computed(model, encoded, tmp_path, monkeypatch):
    variants = [*CUTS, noise(2, 0.1, positions="answer"), CUTS[0]]
    plain = run(model, encoded, variants)
    first = run(model, encoded, variants, store=tmp_path)
    monkeypatch.setattr(type(model), "run_block", None)  # nothing is run again
    again = run(model, encoded, variants, store=ResultStore(tmp_path))
    assert [r.variant for r in again] == variants
    assert all(map(same, plain, first))
    assert all(map(same, plain, again))
    assert len(ResultStore(tmp_path)) == 3 * (len(CUTS) + 1)


def test_only_what_is_missing_is_run(model, encoded, tmp_path):
    run(model, encoded, CUTS[:6], store=tmp_path)
    store = ResultStore(tmp_path)
    before = set(store.to_pandas()["written"].index), len(store)
    all_of_them = run(model, encoded, CUTS, store=store)
    assert all(map(same, run(model, encoded, CUTS), all_of_them))
    assert len(store) == before[1] + 3 * (len(CUTS) - 6)
    assert not store.to_pandas().duplicated(["study", "variant"]).any()


def test_whatever_decides_a_result_is_in_its_key(model, encoded, tmp_path):
    store = ResultStore(tmp_path)
    look = [FinalObserver()]

    def size(of, inputs, **kwargs) -> int:
        list(evaluate(of, inputs, CUTS[:1], look, store=store, **kwargs))
        return len(store)

    assert size(model, encoded) == 1
    assert size(model, encoded) == 1
    assert size(model, ask(model, questions("facts", limit=5))) == 2
    assert size(model, encoded, max_tokens=40) == 3  # other batches, other rounding
    assert size(load("tiny-llama", dtype="float64", quiet=True), encoded) == 4
    with torch.no_grad():
        other = load("tiny-llama", quiet=True)
        next(iter(other.parameters(3).values()))[0] += 1.0
    assert size(other, encoded) == 5


def test_short_memory_is_no_excuse_for_losing_much(model, encoded, tmp_path):
    plan = plan_for(model, encoded, CUTS, LOOK, memory_budget=1, max_tokens=32)
    assert len(plan.groups) > 1
    parts = plan.parts(CUTS * 2)
    assert [len(part.variants) for part in parts] == [16, 4]
    assert sorted(v.key for part in parts for v in part.variants) == sorted(v.key for v in CUTS * 2)
    kept = run(model, encoded, CUTS, store=tmp_path, memory_budget=1, max_tokens=32)
    assert all(map(same, kept, run(model, encoded, CUTS, max_tokens=32)))


def test_a_damaged_result_is_reported_and_computed_anew(model, encoded, tmp_path):
    run(model, encoded, CUTS[:3], store=tmp_path)
    path = min(tmp_path.glob("arrays/*/*.parquet"))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.warns(DamagedResultWarning, match="quarantine"):
        again = run(model, encoded, CUTS[:3], store=tmp_path)
    assert all(map(same, run(model, encoded, CUTS[:3]), again))
    assert len(ResultStore(tmp_path).damaged()) == 1


def test_what_a_store_cannot_keep_or_tell_is_refused(model, encoded, tmp_path):
    look = [CaptureObserver(("resid_post",), (1,), "answer")]
    with pytest.raises(InputError, match="'capture' cannot be kept in a store"):
        list(evaluate(model, encoded, [skip(3)], look, store=tmp_path))
    point = model.hook_point(2, "resid_post")
    point.add_hook(lambda x, hook: x)
    try:
        with pytest.raises(InputError, match="hooks of your own"):
            evaluate(model, encoded, [skip(3)], LOOK, store=tmp_path)
    finally:
        point.remove_hooks()


SCRIPT = """
import sys, time
from itertools import combinations
import torch
torch.set_num_threads(1)
from decision_phases.engine import evaluate
from decision_phases.interventions import skip
from decision_phases.models import load
from decision_phases.readout import ask
from decision_phases.readout.observe import FinalObserver
from decision_phases.store import ResultStore
from decision_phases.tasks import questions

model = load("tiny-llama", quiet=True)
put = ResultStore.put
ResultStore.put = lambda *a, **k: (put(*a, **k), time.sleep(0.2))
cuts = [skip(*c) for c in combinations(range(6), 3)]
inputs = ask(model, questions("facts", limit=12))
sys.stdin.readline()  # until told to begin
for run in evaluate(model, inputs, cuts, [FinalObserver()], store=sys.argv[1]):
    print(run["final"].scores.tobytes().hex())
"""


def _start(folder):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def _until(folder, kept):
    deadline = time.monotonic() + 240
    while len(list(folder.glob("arrays/*/*.parquet"))) < kept and time.monotonic() < deadline:
        time.sleep(0.02)


def test_a_killed_process_loses_nothing_and_two_do_not_disturb_each_other(model, tmp_path):
    """Another process is killed; then this one and a third go on at the same time, with what it left."""
    store, cuts = tmp_path / "shared", [skip(*c) for c in combinations(range(6), 3)]
    inputs = ask(model, questions("facts", limit=12))
    expected = [
        run["final"].scores.tobytes().hex() for run in evaluate(model, inputs, cuts, [FinalObserver()])
    ]
    killed, other = _start(store), _start(store)
    killed.stdin.write(b"\n")
    killed.stdin.flush()
    _until(store, 3)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    kept = len(ResultStore(store))
    assert 2 <= kept < 20
    other.stdin.write(b"\n")
    other.stdin.flush()
    _until(store, kept + 2)
    found = [
        run["final"].scores.tobytes().hex()
        for run in evaluate(model, inputs, cuts, [FinalObserver()], store=store)
    ]
    said = other.communicate()[0].decode().split()
    assert found == said == expected
    assert len(ResultStore(store)) == 20
