"""Circuits: what was planted is found, keeps everything, and is told from what merely lies at the same depth."""

from dataclasses import replace

import numpy as np
import pytest

from decision_phases.circuits import (
    Circuit,
    Component,
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


# -- ablation ---------------------------------------------------------------------------------------------------------


def test_mean_ablation_writes_means_over_the_reference(tiny):
    few = ask(tiny, questions("facts").limit(6))
    other = ask(tiny, questions("facts").limit(9, seed=2))
    there = components_of(tiny)
    made = make_ablation(
        tiny, "mean", Circuit(there, there), reference=other, inputs=few, under=Intervention(), seed=0
    )
    kept = capture(tiny, other, sites=["head_out", "mlp_out"], layers=[2], positions="all")
    by_hand = mean("head_out", 2, kept.mean("head_out", 2)[3], head=3, positions="all") + mean(
        "mlp_out", 2, kept.mean("mlp_out", 2), positions="all"
    )
    both = made.without([Component(2, 3), Component(2)])
    a, b = (run["final"].scores for run in evaluate(tiny, few, [both, by_hand], [FinalObserver()]))
    np.testing.assert_allclose(a, b, atol=1e-4)
    assert np.abs(a - read(tiny, few).final.scores).max() > 1e-3


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


def test_a_circuit_is_like_itself_and_carries_over(reader, reading):
    first = find_circuit(reader, reading, scores_of(*PLANTED), target=0.99, report=("mean",))
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


def test_overlap_that_only_comes_from_depth_is_not_significant(reader, reading):
    """All heads of the last two layers against the same: no other arrangement is possible within the band."""
    found = find_circuit(reader, reading, scores_of(*PLANTED), target=0.99, report=("mean",))
    late = np.zeros_like(THERE)
    late[4:, :2] = True
    whole = Circuit(late, THERE)
    compared = compare_circuits(replace(found, circuit=whole), replace(found, circuit=whole), bands=3)
    assert (compared.jaccard, compared.expected, compared.p_value) == (1.0, 1.0, 1.0)
    assert jaccard(late.ravel(), ~late.ravel()) == 0.0


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"selection": "best"}, "unknown selection"),
        ({"ablation": "zero"}, "unknown ablation"),
        ({"metric": "margins"}, "unknown metric 'margins'; did you mean 'margin'"),
        ({"target": 0.0}, "target=0.0"),
        ({"report": ()}, "an ablation are needed"),
        ({"scoring": "cloze"}, "use letter or first_token"),
    ],
)
def test_bad_settings_are_refused(settings, text, reader, reading):
    with pytest.raises(InputError, match=text):
        find_circuit(reader, reading, scores_of(*PLANTED), **settings)


def test_bad_scores_are_refused(reader, reading):
    with pytest.raises(InputError, match=r"scores are \(6, 2\)"):
        find_circuit(reader, reading, np.ones((6, 2)))
    with pytest.raises(InputError, match="1 components that are there have no score"):
        find_circuit(reader, reading, np.where(np.arange(18).reshape(6, 3) == 4, np.nan, 1.0))
    found = find_circuit(reader, reading, scores_of(*PLANTED), report=("mean",))
    wide = np.ones((6, 5), dtype=bool)
    other = replace(found, circuit=Circuit(wide, wide))
    with pytest.raises(InputError, match="of models of the shapes"):
        compare_circuits(found, other)
