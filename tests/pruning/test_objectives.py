"""Objectives against plain runs and against the functions that measure the same."""

from importlib import import_module

import numpy as np
import pytest
import torch

from decision_phases.engine import applied
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention, skip
from decision_phases.pruning import OBJECTIVES, greedy, prune, rank
from decision_phases.pruning.criteria import text_data
from decision_phases.pruning.ground import Ground
from decision_phases.pruning.objectives import Valuer, find_objective
from decision_phases.readout import ask, perplexity, read
from decision_phases.readout.loss import Losses
from decision_phases.store import ResultStore
from decision_phases.tasks import TextSet

TEXTS = TextSet(
    "some", tuple(f"A {a} is {b}." for a in ("cow", "sun", "dog") for b in ("hot", "cold", "white"))
)
CUTS = [Intervention(), skip(2), skip(1, 3), skip(2, part="mlp") + skip(4, part="attention")]


@pytest.fixture(scope="module")
def encoded(tiny, facts):
    return ask(tiny, facts[:16])


def plain_logits(model, tokens, cut):
    with torch.no_grad(), applied(model, cut):
        return model.logits(torch.tensor([tokens]))[0].double()


def test_perplexity_is_that_of_dp_perplexity(tiny):
    values = Valuer(OBJECTIVES["perplexity"], Ground(tiny, texts=text_data(tiny, TEXTS)))(CUTS)
    expected = [perplexity(tiny, TEXTS, window=128, limit=64, under=cut).value for cut in CUTS]
    np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_decision_objectives_are_those_of_reading(tiny, encoded):
    ground = Ground(tiny, encoded)
    decisions = [read(tiny, encoded, under=cut or None) for cut in CUTS]
    margins, accuracies = (Valuer(OBJECTIVES[name], ground)(CUTS) for name in ("margin", "accuracy"))
    np.testing.assert_allclose(margins, [d.final.margin.mean() for d in decisions], atol=1e-6)
    assert accuracies.tolist() == [d.final.accuracy for d in decisions]


def test_the_self_margin_is_of_what_the_intact_model_chooses(tiny, encoded):
    values = Valuer(OBJECTIVES["self_margin"], Ground(tiny, encoded))(CUTS)
    chosen = read(tiny, encoded).final.choice
    for cut, value in zip(CUTS, values, strict=True):
        scores = read(tiny, encoded, under=cut or None).final.scores
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        share = odds / odds.sum(axis=1, keepdims=True)
        own = share[np.arange(16), chosen].copy()
        share[np.arange(16), chosen] = -1
        assert value == pytest.approx((own - share.max(axis=1)).mean(), abs=1e-6)


@pytest.mark.parametrize("on", ["texts", "questions"])
def test_kl_is_that_of_two_plain_runs(tiny, encoded, on):
    data = text_data(tiny, TEXTS) if on == "texts" else None
    sequences = encoded.sequences if data is None else data.sequences
    values = Valuer(OBJECTIVES["kl"], Ground(tiny, encoded, data))(CUTS)
    for cut, value in zip(CUTS, values, strict=True):
        kl = []
        for s in sequences:
            p, q = (
                plain_logits(tiny, s.tokens, c)[list(s.read)].log_softmax(-1) for c in (Intervention(), cut)
            )
            kl += (p.exp() * (p - q)).sum(-1).tolist()
        assert value == pytest.approx(np.mean(kl), abs=1e-6)
    assert values[0] == 0


@pytest.mark.parametrize("name", OBJECTIVES)
def test_intervals_are_those_of_resampled_questions_or_documents(tiny, encoded, name):
    """Perplexity and KL weigh every document by its tokens, drawn documents too."""
    texts = TextSet("lengths", tuple(" ".join(["Is water wet? Yes."] * n) for n in (1, 2, 4, 3, 1, 2)))
    ground = Ground(tiny, encoded, text_data(tiny, texts))
    objective, valuer = OBJECTIVES[name], Valuer(OBJECTIVES[name], ground)
    (seen,) = ground.see(objective.inputs(ground), objective.look(ground), CUTS[1:2])
    sums, counts = objective.items(seen, ground)
    assert (len(set(counts)) > 1) == (name in ("perplexity", "kl"))
    rng, drawn = np.random.default_rng(9), []
    for _ in range(4000):
        chosen = rng.integers(0, len(sums), len(sums))
        drawn.append(sums[chosen].sum() / counts[chosen].sum())
    expected = np.quantile(np.exp(drawn) if name == "perplexity" else drawn, [0.025, 0.975])
    ((low, high),) = valuer.intervals(CUTS[1:2])
    value = float(valuer(CUTS[1:2])[0])
    assert low < value < high
    np.testing.assert_allclose([low, high], expected, rtol=0.05, atol=0.1 * (high - low))


def test_windows_of_one_document_are_drawn_together(tiny):
    """Six documents that repeat themselves, cut into many windows, say as much as six windows."""
    words = (
        "Is water wet? Yes. ",
        "No fire is cold. ",
        "A b c d e. ",
        "One two, one two. ",
        "So so so. ",
        "If, if. ",
    )
    texts = TextSet("alike", tuple(text * 40 for text in words))
    data = text_data(tiny, texts, window=16, limit=None)
    assert len(data.sequences) > 40
    ground = Ground(tiny, None, data)
    for name in ("perplexity", "kl"):
        objective = OBJECTIVES[name]
        (seen,) = ground.see(objective.inputs(ground), objective.look(ground), CUTS[1:2])
        sums, counts = objective.items(seen, ground)
        assert len(sums) == len(counts) == 6
    found = perplexity(tiny, texts, window=16, limit=None, under=CUTS[1]).interval(seed=4)
    ((low, high),) = Valuer(OBJECTIVES["perplexity"], ground).intervals(CUTS[1:2], seed=4)
    np.testing.assert_allclose([low, high], found, rtol=0.02)


def test_an_interval_of_something_infinite_is_infinite(tiny, encoded):
    ground = Ground(tiny, encoded, text_data(tiny, TEXTS))
    seen = Losses(np.array([*[10.0] * 8, 1e6]), np.full(9, 10))
    low, high = OBJECTIVES["perplexity"].interval(seen, ground)
    assert low == pytest.approx(np.e)
    assert high == np.inf


def test_where_less_is_better_the_least_is_taken(tiny):
    texts = text_data(tiny, TEXTS)
    for name in ("perplexity", "kl"):
        (found,) = greedy(tiny, objective=name, candidates=(1, 2, 3, 4), steps=1, texts=texts)
        assert found.value == min(found.candidates.values())
        assert found.value > 0


def test_intact_means_under_what_else_is_done(tiny, encoded):
    base = skip(3)
    values = Valuer(OBJECTIVES["kl"], Ground(tiny, encoded, under=base))([base, base + skip(2)])
    assert values[0] == 0
    assert values[1] > 0


@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_is_missing_is_refused_before_anything_runs(tiny, encoded, name, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("ran")

    monkeypatch.setattr("decision_phases.pruning.ground.evaluate", refuse)
    objective = OBJECTIVES[name]
    texts = text_data(tiny, TEXTS)
    lacking = {"questions": {"texts": texts}, "texts": {"questions": encoded}, "either": {}}[objective.on]
    with pytest.raises(InputError, match=f"{name} is measured on"):
        greedy(tiny, objective=name, candidates=(1, 2), steps=1, **lacking)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"by": "perplexity:greedy"}, "strategy perplexity:greedy needs texts"),
        ({"by": "beam", "objective": "perplexity"}, "strategy beam needs texts"),
        ({"by": "sleb:swaps", "objective": "perplexity"}, "strategy sleb:swaps needs texts"),
        ({"objective": "marging"}, "unknown objective 'marging'; did you mean 'margin'"),
        ({"evaluate": ["perplexity"]}, "evaluate='perplexity' needs texts"),
        ({"evaluate": ["perplexity"], "texts": TEXTS.fit}, "'some' is the fit half"),
        ({"evaluate": ["brevity"]}, "unknown objective 'brevity'"),
        ({"splits": 0}, "splits=0"),
        ({"splits": 2, "split": None}, "splits=2 with split=None"),
        ({"width": 0}, "width=0"),
        ({"by": "block_influence:one_shot:mlp"}, "block_influence is defined for part=block, not for 'mlp'"),
        ({"timing": "128"}, "timing='128' is no shape"),
        ({"timing": "1x9999"}, "passes of 9999 tokens cannot be timed"),
    ],
)
def test_what_does_not_fit_is_refused_by_prune_before_anything_runs(
    tiny, facts, monkeypatch, settings, message
):
    def refuse(*args, **kwargs):
        raise AssertionError("ran")

    for module, name in (("setting", "evaluate"), ("setting", "read"), ("ground", "evaluate")):
        monkeypatch.setattr(import_module(f"decision_phases.pruning.{module}"), name, refuse)
    with pytest.raises(InputError, match=message):
        prune(tiny, facts, **{"up_to": 2, "draws": 1, **settings})


def test_other_metrics_are_measured_on_what_did_not_choose(tiny, facts):
    curves = prune(
        tiny, facts, by="kl:greedy", up_to=2, draws=1, controls=False, texts=TEXTS,
        evaluate=["perplexity", "kl", "self_margin", "margin"],
    )  # fmt: skip
    table = curves.to_pandas()
    assert {"perplexity", "kl", "self_margin"} <= set(table)
    intact = read(tiny, facts.split(0.5, 0)[1]).final
    for step in curves.steps:
        expected = perplexity(tiny, TEXTS.evaluation, window=128, limit=64, under=step.under or None)
        assert step.metrics["perplexity"] == pytest.approx(expected.value, rel=1e-6)
        assert step.metrics["margin"] == step.margin
    first, *rest = curves.steps
    assert first.metrics["kl"] == 0
    own = find_objective("self_margin").of(intact, lambda: intact).mean()
    assert first.metrics["self_margin"] == pytest.approx(own, abs=1e-6)
    assert all(step.search_value != step.metrics["kl"] for step in rest)  # other texts chose


def test_a_store_keeps_what_criteria_and_objectives_saw(tiny, facts, tmp_path, monkeypatch):
    store, some = ResultStore(tmp_path), facts[:8]
    settings = {"by": ["kl", "perplexity", "margin", "block_influence", "cka"], "store": store}
    first = rank(tiny, some, **settings)
    values = Valuer(OBJECTIVES["kl"], Ground(tiny, ask(tiny, some), store=store))(CUTS)
    kept = len(store)
    again = rank(tiny, some, **settings)
    assert len(store) == kept
    for name, ranking in first.items():
        np.testing.assert_array_equal(ranking.scores, again[name].scores)
        np.testing.assert_array_equal(ranking.scores, rank(tiny, some, by=name).scores)
    assert np.array_equal(values, Valuer(OBJECTIVES["kl"], Ground(tiny, ask(tiny, some), store=store))(CUTS))
    assert len(store) == kept
    store.close()


def test_an_objective_that_is_infinite_everywhere_orders_nothing(tiny, monkeypatch):
    values = Valuer(OBJECTIVES["perplexity"], Ground(tiny, texts=text_data(tiny, TEXTS)))
    monkeypatch.setattr(type(values.objective), "value", lambda *_: float("inf"))
    with pytest.raises(InputError, match=r"perplexity is infinite under all of 2 cuts, 'skip \{1\}' among"):
        values([skip(1), skip(2)])
    assert values([skip(1)]).tolist() == [float("inf")]
