"""Distances are exact, estimates are of second order, and neither sees what it should not see."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.special import log_softmax, rel_entr, softmax

from decision_phases.errors import InputError
from decision_phases.hierarchy.distances import (
    ESTIMATES,
    PROBABILITY_MEASURES,
    Shift,
    centred,
    orthogonal,
    parallel,
    probability_distances,
    theorem_1,
    vector_distances,
)
from decision_phases.pruning.criteria.change import Change

TEMPERATURES = (0.3, 1.0, 2.5)
SIZES = np.logspace(-1, -3, 7)


def drawn(seed=0, cells=6, tokens=40, scale=1.0):
    rng = np.random.default_rng(seed)
    dense, change = rng.normal(size=(2, cells, tokens))
    return torch.from_numpy(3 * dense), torch.from_numpy(scale * change)


def cosine(x, y):
    return 1 - (x * y).sum(-1) / np.sqrt((x * x).sum(-1) * (y * y).sum(-1))


def test_vectors_agree_with_their_definitions():
    x, delta = drawn()
    found = vector_distances(x, x + delta)
    a, d = x.numpy(), delta.numpy()
    share = (a * d).sum(-1) / (a * a).sum(-1)
    across = np.linalg.norm(d - share[:, None] * a, axis=-1) / np.linalg.norm(a, axis=-1)
    np.testing.assert_allclose(found["cosine"], cosine(a, a + d), atol=1e-12)
    np.testing.assert_allclose(found["parallel"], share, atol=1e-12)
    np.testing.assert_allclose(found["orthogonal"], across, atol=1e-12)
    np.testing.assert_allclose(found["theorem_1"], across**2 / 2, atol=1e-12)


def test_the_cosine_follows_from_both_parts_of_the_change():
    """1 − (1+α)/√((1+α)² + ‖Δ⊥‖²/‖x‖²)."""
    x, delta = drawn(1, scale=4.0)
    change = Change.between(x, x + delta)
    along, across = 1 + parallel(change), orthogonal(change)
    exact = 1 - along / np.sqrt(along**2 + across**2)
    np.testing.assert_allclose(change.cosine_distance(), exact, atol=1e-10)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_probabilities_agree_with_other_implementations(temperature):
    a, delta = drawn(2)
    b = a + delta
    found = probability_distances(a, b, temperature=temperature)
    p, q = (softmax(x.numpy() / temperature, axis=-1) for x in (a, b))
    assert set(found) == set(PROBABILITY_MEASURES)
    np.testing.assert_allclose(found["cosine"], cosine(p, q), atol=1e-12)
    np.testing.assert_allclose(found["kl_dense_from_pruned"], rel_entr(p, q).sum(-1), atol=1e-12)
    np.testing.assert_allclose(found["kl_pruned_from_dense"], rel_entr(q, p).sum(-1), atol=1e-12)
    np.testing.assert_allclose(found["total_variation"], np.abs(p - q).sum(-1) / 2, atol=1e-12)
    np.testing.assert_allclose(found["jensen_shannon"], jensenshannon(p, q, axis=-1) ** 2, atol=1e-10)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_exact_identities_of_the_theorems(temperature):
    """cos(p, q) = E_r[e^d]/√E_r[e^2d] and KL(p‖q) = log E_p[e^d] − E_p[d], with d = Δz/T and r ∝ p²."""
    a, delta = drawn(3)
    d = delta.numpy() / temperature
    p = softmax(a.numpy() / temperature, axis=-1)
    r = p**2 / (p**2).sum(-1, keepdims=True)
    found = probability_distances(a, a + delta, temperature=temperature)
    ratio = (r * np.exp(d)).sum(-1) / np.sqrt((r * np.exp(2 * d)).sum(-1))
    np.testing.assert_allclose(found["cosine"], 1 - ratio, atol=1e-10)
    kl = np.log((p * np.exp(d)).sum(-1)) - (p * d).sum(-1)
    np.testing.assert_allclose(found["kl_dense_from_pruned"], kl, atol=1e-10)
    for name, weights in (("theorem_2", r), ("theorem_3", p)):
        mean = (weights * d).sum(-1, keepdims=True)
        np.testing.assert_allclose(found[name], (weights * (d - mean) ** 2).sum(-1) / 2, atol=1e-12)


def test_the_direction_of_each_divergence_by_hand():
    shift = Shift.between(torch.zeros(2), torch.tensor([0.9, 0.1]).log())
    assert shift.kl_dense_from_pruned().item() == pytest.approx(0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(5))
    assert shift.kl_pruned_from_dense().item() == pytest.approx(0.9 * np.log(1.8) + 0.1 * np.log(0.2))


@pytest.mark.parametrize("estimate", [*ESTIMATES, "other direction"])
def test_what_the_estimates_leave_out_is_of_third_order(estimate):
    """Halving the change divides the error by eight; relative to the exact value it vanishes."""
    a, delta = drawn(4, cells=8)

    def error(size):
        b = a + size * delta
        if estimate == "theorem_1":
            change = Change.between(a, b)
            return np.abs(change.cosine_distance() - theorem_1(change)), change.cosine_distance()
        found = probability_distances(a, b)
        exact = found[ESTIMATES.get(estimate, "kl_pruned_from_dense")]
        return np.abs(exact - found[estimate if estimate in ESTIMATES else "theorem_3"]), exact

    errors, exact = zip(*(error(size) for size in SIZES), strict=True)
    slope = np.polyfit(np.log(SIZES), np.log(np.median(errors, axis=1)), 1)[0]
    assert slope == pytest.approx(3, abs=0.1)
    assert (errors[-1] / exact[-1]).max() < 0.05 * (errors[0] / exact[0]).max()


def test_the_two_directions_differ_at_third_order_only():
    a, delta = drawn(5)
    gaps = []
    for size in SIZES:
        found = probability_distances(a, a + size * delta)
        gaps.append(np.median(np.abs(found["kl_dense_from_pruned"] - found["kl_pruned_from_dense"])))
    assert np.polyfit(np.log(SIZES), np.log(gaps), 1)[0] == pytest.approx(3, abs=0.1)


def test_tiny_changes_keep_their_digits():
    """At 1e-7 a difference of the two sums would have none left: the values themselves are about 1e-14."""
    a, delta = drawn(6)
    found = probability_distances(a, a + 1e-7 * delta)
    for name, exact in ESTIMATES.items():
        if name != "theorem_1":
            np.testing.assert_allclose(found[exact], found[name], rtol=1e-5)
    np.testing.assert_allclose(found["jensen_shannon"], found["theorem_3"] / 4, rtol=1e-5)


def test_a_common_shift_of_logits_changes_nothing_that_a_softmax_sees():
    a, delta = drawn(7)
    before = probability_distances(a, a + delta)
    after = probability_distances(a, a + delta + 5.0)
    for name in before:
        np.testing.assert_allclose(after[name], before[name], rtol=1e-9, atol=1e-14, err_msg=name)
    for name, values in vector_distances(centred(a), centred(a + delta + 5.0)).items():
        np.testing.assert_allclose(values, vector_distances(centred(a), centred(a + delta))[name], rtol=1e-9)


def test_the_length_of_a_vector_is_no_turn():
    x, delta = drawn(8)
    for name, values in vector_distances(7 * x, 7 * (x + delta)).items():
        np.testing.assert_allclose(values, vector_distances(x, x + delta)[name], rtol=1e-9)
    longer = vector_distances(x, 3 * x)
    np.testing.assert_allclose(longer["cosine"], 0, atol=1e-14)
    np.testing.assert_allclose(longer["parallel"], 2)
    np.testing.assert_allclose(longer["orthogonal"], 0, atol=1e-7)


def test_no_change_is_exactly_zero():
    a, _ = drawn(9)
    for found in (vector_distances(a, a), probability_distances(a, a, temperature=0.7)):
        assert all((values == 0).all() for values in found.values())


def test_distributions_that_hardly_overlap_stay_finite():
    a = torch.tensor([[900.0, 0.0, -900.0]], dtype=torch.float64)
    found = probability_distances(a, a.flip(-1), temperature=0.5)
    assert all(np.isfinite(values).all() for values in found.values())
    assert found["cosine"].item() == pytest.approx(1)
    assert found["total_variation"].item() == pytest.approx(1)
    assert found["jensen_shannon"].item() == pytest.approx(np.log(2))
    logs = log_softmax(2 * a.numpy(), axis=-1)
    kl = (np.exp(logs) * (logs - logs[:, ::-1])).sum()
    assert found["kl_dense_from_pruned"].item() == pytest.approx(kl)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_must_be_above_zero(temperature):
    with pytest.raises(InputError, match="temperature"):
        Shift.between(torch.zeros(2), torch.ones(2), temperature=temperature)
