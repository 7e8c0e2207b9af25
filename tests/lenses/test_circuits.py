"""Circuits: what was planted is found, keeps everything, and is told from what merely lies at the same depth."""

from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest

from decision_phases.circuits import (
    Circuit,
    Component,
    Faithfulness,
    circuit_faithfulness,
    compare_circuits,
    components_of,
    find_circuit,
)
from decision_phases.circuits.ablation import make_ablation, others_of_equal_length
from decision_phases.circuits.overlap import _strata, _within, jaccard
from decision_phases.engine import capture, evaluate
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention, mean, patch, skip
from decision_phases.readout import ask, read
from decision_phases.readout.observe import FinalObserver
from decision_phases.tasks import questions

PLANTED = (Component(1, 0), Component(3, 0), Component(4))
THERE = np.ones((6, 3), dtype=bool)


@pytest.fixture(scope="module")
def reading(reading):
    """Fewer of them."""
    return reading[:16]


@pytest.fixture(scope="module")
def planted(reader, reading):
    """What is found by good scores."""
    return find_circuit(reader, reading, scores_of(*PLANTED), target=0.99, report=("mean",))


def scores_of(*components, noise=0.1, seed=0):
    scores = noise * np.random.default_rng(seed).random((6, 3))
    for one in components:
        scores[one.layer, -1 if one.head is None else one.head] = -1.0  # the sign says nothing
    return scores


# -- what is found ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ablation", ["mean", "resample"])
def test_a_planted_circuit_keeps_everything_and_leaves_nothing(ablation, reader, reading):
    circuit = Circuit.of(PLANTED, THERE)
    found = circuit_faithfulness(reader, reading, circuit, ablation=ablation)
    assert found.faithfulness == pytest.approx(1.0, abs=1e-4)
    assert found.completeness == pytest.approx(1.0, abs=1e-4)
    assert found.interval() == pytest.approx((1.0, 1.0), abs=1e-3)
    for one in PLANTED:
        less = Circuit.of([other for other in PLANTED if other != one], THERE)
        assert circuit_faithfulness(reader, reading, less, ablation=ablation).faithfulness < 0.4
    others = circuit.complement
    assert circuit_faithfulness(reader, reading, others, ablation=ablation).faithfulness < 1e-4


@pytest.mark.parametrize("selection", ["threshold", "greedy"])
def test_good_scores_lead_to_the_planted_circuit(selection, reader, reading):
    found = find_circuit(reader, reading, scores_of(*PLANTED), selection=selection, target=0.99)
    assert found.circuit == Circuit.of(PLANTED, THERE)
    assert list(found.reported) == ["mean", "resample"]
    for one in found.reported.values():
        assert one.faithfulness == pytest.approx(1.0, abs=1e-4)
    assert set(found.to_pandas()["half"]) == {"search", "evaluation"}
    found_by = {item.id for item in found.reference.questions}
    reported_on = {item.id for item in found.encoded.questions}
    assert not found_by & reported_on
    assert len(found_by | reported_on) == len(reading)
    assert "head 1.0, head 3.0, mlp 4" in str(found)


def test_greedy_leaves_out_what_scores_wrongly_praise(reader, reading):
    praised = (Component(0), Component(2, 1))
    scores = scores_of(*PLANTED, *praised)
    by_threshold = find_circuit(reader, reading, scores, selection="threshold", target=0.99, report=("mean",))
    greedy = find_circuit(reader, reading, scores, target=0.99, report=("mean",))
    assert set(PLANTED) < set(by_threshold.circuit.components)
    assert greedy.circuit == Circuit.of(PLANTED, THERE)
    assert greedy.path[-1][0] == 3


def test_useless_scores_still_end_in_a_circuit_that_keeps_the_decision(reader, reading):
    found = find_circuit(reader, reading, scores_of(noise=1.0, seed=3), target=0.99, report=("mean",))
    assert found.circuit == Circuit.of(PLANTED, THERE)


def margins_of(*kept_rest_empty_whole):
    values = (np.array(v, dtype=float) for v in kept_rest_empty_whole)
    return Faithfulness(Circuit(THERE, THERE), *values, "mean", "margin", "made up", Intervention())


def test_shares_are_what_their_formulas_say():
    found = margins_of([3, 4, 2], [1, 2, 0], [0, 1, -1], [4, 5, 3])
    assert found.faithfulness == pytest.approx(3 / 4)
    assert found.completeness == pytest.approx(1 - 1 / 4)
    kept, rest, empty, whole = (np.array(v) for v in ([3, 8, 2], [1, 2, 1], [0, 1, -1], [4, 9, 3]))
    found = margins_of(kept, rest, empty, whole)
    rng = np.random.default_rng(1)
    rows = rng.integers(3, size=(4000, 3))
    drawn = {
        "faithfulness": (kept - empty)[rows].mean(1) / (whole - empty)[rows].mean(1),
        "completeness": 1 - (rest - empty)[rows].mean(1) / (whole - empty)[rows].mean(1),
    }
    for of, values in drawn.items():
        assert found.interval(of) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=1e-6)
    with pytest.raises(InputError, match="unknown share 'complete'; did you mean 'completeness'"):
        found.interval("complete")


def test_where_nothing_is_carried_no_share_is_told():
    """A decision that ablation makes better is none that components carry, however alike the numbers are."""
    worse = margins_of([-2, -2], [-1, -1], [-1, -1], [-2, -2])
    assert np.isnan([worse.faithfulness, worse.completeness, *worse.interval()]).all()
    unsure = margins_of([8, -1, -1, -1], [0, 0, 0, 0], [0, 0, 0, 0], [8, -1, -1, -1])
    assert unsure.faithfulness == pytest.approx(1.0)
    assert np.isnan(unsure.interval()).all()
    assert "keep 1.00 (no interval: ablation's cost is not told from none)" in str(unsure)


@pytest.mark.parametrize("split", [0.5, None])
def test_what_reports_is_measured_on_what_did_not_find_it(tiny, split):
    """Means are those of the questions that find the circuit; without a split these report, and it is said."""
    scores = np.random.default_rng(0).random((6, 5))
    found = find_circuit(tiny, questions("facts").limit(16, seed=1), scores, selection="threshold", target=0.5,
                         report=("mean",), split=split)  # fmt: skip
    (told,) = found.reported.values()
    expected = circuit_faithfulness(tiny, found.encoded, found.circuit, reference=found.reference)
    for name in ("kept", "rest", "empty", "whole"):
        np.testing.assert_allclose(getattr(told, name), getattr(expected, name), rtol=0, atol=1e-5)
    assert len(told.whole) == len(found.encoded) == (8 if split else 16)
    assert found.held_out == (split is not None)
    assert ("these questions also found it" in str(found)) == (split is None)
    assert set(found.to_pandas()["half"]) == {"search", *(["evaluation"] if split else [])}
    if split is None:
        return
    other = circuit_faithfulness(tiny, found.encoded, found.circuit)  # means over those that report
    assert abs(told.empty - other.empty).max() > 1e-4
    assert abs(told.whole - found.search.whole).max() > 1e-4


# -- ablation ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("under", [Intervention(), skip(1)])
def test_mean_ablation_writes_means_over_the_reference(tiny, under):
    few = ask(tiny, questions("facts").limit(6))
    other = ask(tiny, questions("facts").limit(9, seed=2))
    there = components_of(tiny, under)
    made = make_ablation(
        tiny, "mean", Circuit(there, there), reference=other, inputs=few, under=under, seed=0
    )
    kept = capture(tiny, other, sites=["head_out", "mlp_out"], layers=[2], positions="all", under=under)
    by_hand = (
        under
        + mean("head_out", 2, kept.mean("head_out", 2)[3], head=3, positions="all")
        + mean("mlp_out", 2, kept.mean("mlp_out", 2), positions="all")
    )
    both = made.without([Component(2, 3), Component(2)])
    a, b = (run["final"].scores for run in evaluate(tiny, few, [both, by_hand], [FinalObserver()]))
    np.testing.assert_allclose(a, b, atol=1e-4)
    assert np.abs(a - read(tiny, few, under=under).final.scores).max() > 1e-3


@pytest.mark.parametrize("under", [Intervention(), skip(1)])
def test_resample_ablation_writes_what_others_have_in_the_same_model(reader, reading, under):
    few = ask(reader, reading[:8])
    there = components_of(reader, under)
    made = make_ablation(
        reader, "resample", Circuit(there, there), reference=few, inputs=few, under=under, seed=2
    )
    settings = {"sites": ["head_out", "mlp_out"], "layers": [2, 3], "positions": "all", "under": under}
    kept = capture(reader, few, **settings).reordered(others_of_equal_length(few, 2))
    by_hand = [
        patch("head_out", 3, kept, head=1, positions="all"), patch("mlp_out", 2, kept, positions="all"),
    ]  # fmt: skip
    for one, edit in zip((Component(3, 1), Component(2)), by_hand, strict=True):
        assert made.without([one]) == under + edit


def test_resample_ablation_takes_another_question_of_equal_length(reader, reading):
    encoded = ask(reader, reading)
    order = others_of_equal_length(encoded, 0)
    assert sorted(order) == list(range(len(encoded)))
    assert (order != np.arange(len(encoded))).all()
    # With every component of the other question, only the embedding is the question's own, and nothing reads that.
    found = circuit_faithfulness(reader, encoded, Circuit(~THERE, THERE), ablation="resample")
    source = capture(reader, encoded).reordered(order)
    (run,) = evaluate(reader, encoded, [patch("resid_post", 5, source)], [FinalObserver()])
    np.testing.assert_array_equal(np.sign(found.kept), np.sign(run["final"].margin))


def test_questions_without_a_partner_are_named(tiny):
    few = ask(tiny, questions("facts").limit(6, seed=1))
    lengths = [len(s) for s in few.sequences]
    assert any(lengths.count(n) == 1 for n in lengths)
    with pytest.raises(InputError, match=r"the only one of .* tokens"):
        others_of_equal_length(few, 0)


def test_what_an_intervention_removes_is_in_no_circuit(reader, reading):
    under = skip(2) + skip(5, part="attention")
    there = components_of(reader, under)
    assert there.sum() == 18 - 3 - 2
    found = find_circuit(reader, reading, np.where(there, scores_of(*PLANTED), np.nan), under=under, target=0.99,
                         report=("mean",))  # fmt: skip
    assert found.circuit == Circuit.of(PLANTED, there)
    with pytest.raises(InputError, match=r"head 2\.1 is not there"):
        Circuit.of([Component(2, 1)], there)


# -- comparison -------------------------------------------------------------------------------------------------------


def test_a_circuit_is_like_itself_and_carries_over(reader, reading, planted):
    first = planted
    second = find_circuit(
        reader, reading, scores_of(*PLANTED, seed=1), target=0.99, report=("mean",), under=skip(2), seed=1
    )
    found = compare_circuits(first, second, model=reader, names=("dense", "pruned"), bands=2)
    assert (found.shared, found.components, found.jaccard) == (3, 15, 1.0)
    assert found.p_value < 0.05
    assert found.expected < 0.6
    assert found.correlation > 0
    for shares in found.transfer.values():
        assert shares.faithfulness == pytest.approx(1.0, abs=1e-4)
    assert len(found.to_pandas()) == 4
    assert "dense keeps 1.00 of pruned" in str(found)


def test_the_null_keeps_depth_and_kind():
    strata = _strata(THERE, 3)
    layers, columns = np.nonzero(THERE)
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(200):
        order = _within(strata, rng)
        assert sorted(order) == list(range(18))
        assert (layers[order] // 2 == layers // 2).all()
        assert ((columns[order] == 2) == (columns == 2)).all()
        seen.add(tuple(order))
    assert len(seen) > 100


def test_each_circuit_is_measured_where_the_other_was(reader, planted):
    """One that lacks a head does badly on the ground of the whole one, and the whole one well on its ground."""
    less = replace(planted, circuit=Circuit.of(PLANTED[:2], THERE))
    found = compare_circuits(planted, less, model=reader, names=("whole", "less"), n_perm=20)
    assert (found.shared, found.sizes) == (2, (3, 2))
    for of, on in found.transfer:
        kept = found.transfer[of, on].faithfulness
        assert kept == pytest.approx(1.0, abs=1e-4) if of == "whole" else kept < 0.4
        assert len(found.transfer[of, on].circuit) == (3 if of == "whole" else 2)
    with pytest.raises(InputError, match="found on another and"):
        compare_circuits(replace(planted, model="another"), planted, model=reader)


def test_scores_that_only_share_their_depth_do_not_correlate_significantly(planted):
    rng = np.random.default_rng(5)
    depth = np.arange(6)[:, None] // 2 * 10.0
    one, other = (depth + rng.random((6, 3)) for _ in range(2))
    told = [
        compare_circuits(replace(planted, scores=one), replace(planted, scores=scores), bands=3, n_perm=400)
        for scores in (other, one)
    ]
    assert told[0].correlation > 0.8
    assert told[0].correlation_p > 0.05
    assert told[1].correlation == pytest.approx(1.0)
    assert told[1].correlation_p == pytest.approx(1 / 401, abs=0.01)


def test_overlap_that_only_comes_from_depth_is_not_significant(planted):
    """All heads of the last two layers against the same: no other arrangement is possible within the band."""
    found = planted
    late = np.zeros_like(THERE)
    late[4:, :2] = True
    whole = Circuit(late, THERE)
    compared = compare_circuits(replace(found, circuit=whole), replace(found, circuit=whole), bands=3)
    assert (compared.jaccard, compared.expected, compared.p_value) == (1.0, 1.0, 1.0)
    assert jaccard(late.ravel(), ~late.ravel()) == 0.0
    whole, half = np.array([True, True, False, False]), np.array([True, False, False, False])
    assert jaccard(whole, half) == jaccard(half, whole) == 0.5


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"selection": "best"}, "unknown selection"),
        ({"ablation": "zero"}, "unknown ablation"),
        ({"metric": "margins"}, "unknown metric 'margins'; did you mean 'margin'"),
        ({"target": 0.0}, "target=0.0"),
        ({"report": ()}, "an ablation are needed"),
        ({"report": ("mean", "zero")}, "unknown ablation"),
        ({"scoring": "cloze"}, "use letter or first_token"),
        ({"under": skip(6)}, r"out of range: the model has layers 0\.\.5"),
        ({"under": skip(*range(6))}, "no component left to ablate"),
        ({"split": 0.95}, "1 question given"),
    ],
)
def test_bad_settings_are_refused_before_anything_runs(settings, text, reader, reading, monkeypatch):
    monkeypatch.setattr(import_module("decision_phases.engine.evaluate"), "walk_all", None)
    with pytest.raises(InputError, match=text):
        find_circuit(reader, reading, scores_of(*PLANTED), **settings)


def test_bad_scores_are_refused(reader, reading, planted, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(import_module("decision_phases.engine.evaluate"), "walk_all", None)
        with pytest.raises(InputError, match=r"scores are \(6, 2\)"):
            find_circuit(reader, reading, np.ones((6, 2)))
        with pytest.raises(InputError, match="1 components that are there have no score"):
            find_circuit(reader, reading, np.where(np.arange(18).reshape(6, 3) == 4, np.nan, 1.0))
    for one in (Component(6, 0), Component(0, 2), Component(0, -1), Component(-1)):
        with pytest.raises(InputError, match="out of range: there are 6 layers of 2 heads"):
            Circuit.of([one], THERE)
    found = planted
    wide = np.ones((6, 5), dtype=bool)
    other = replace(found, circuit=Circuit(wide, wide))
    with pytest.raises(InputError, match="of models of the shapes"):
        compare_circuits(found, other)
    for settings in ({"bands": 0}, {"bands": 7}, {"n_perm": 19}, {"names": ("a", "a")}):
        with pytest.raises(InputError, match="two different names are needed"):
            compare_circuits(found, found, **settings)
