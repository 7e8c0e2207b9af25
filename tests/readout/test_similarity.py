"""CKA against its defining formulas, decision similarity against scipy's Jensen-Shannon distance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax
from scipy.stats import ortho_group

from decision_phases.errors import InputError
from decision_phases.readout.similarity import alignment, debiased_cka, decision_similarity, linear_cka


def feature_space_cka(x, y):
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    return np.linalg.norm(x.T @ y) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))


def unbiased_hsic(x, y):
    n = len(x)
    K, L = x @ x.T, y @ y.T
    np.fill_diagonal(K, 0)
    np.fill_diagonal(L, 0)
    one = np.ones(n)
    middle = (one @ K @ one) * (one @ L @ one) / ((n - 1) * (n - 2))
    return (np.trace(K @ L) + middle - 2 / (n - 2) * (one @ K @ L @ one)) / (n * (n - 3))


def pair(seed, n=20, d=7, e=5, shared=0.5):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) + 3
    return x, shared * x[:, :1] + rng.normal(size=(n, e))


@pytest.mark.parametrize("seed", range(5))
def test_both_estimates_equal_their_definitions(seed):
    x, y = pair(seed)
    assert linear_cka(x, y) == pytest.approx(feature_space_cka(x, y), rel=1e-10)
    expected = unbiased_hsic(x, y) / np.sqrt(unbiased_hsic(x, x) * unbiased_hsic(y, y))
    assert debiased_cka(x, y) == pytest.approx(expected, rel=1e-8)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.floats(0.01, 1000), st.floats(-50, 50))
def test_invariant_under_rotation_scale_and_shift(seed, scale, shift):
    x, y = pair(seed)
    turned = scale * x @ ortho_group.rvs(7, random_state=seed) + shift
    for estimate in (linear_cka, debiased_cka):
        assert estimate(turned, y) == pytest.approx(estimate(x, y), abs=1e-6)
        assert estimate(y, x) == pytest.approx(estimate(x, y), abs=1e-12)
        assert estimate(x, turned) == pytest.approx(1.0)


def test_few_questions_bias_the_plain_estimate_only():
    rng = np.random.default_rng(0)
    pairs = [(rng.normal(size=(30, 500)), rng.normal(size=(30, 500))) for _ in range(40)]
    debiased = [debiased_cka(x, y) for x, y in pairs]
    assert np.mean([linear_cka(x, y) for x, y in pairs]) > 0.9
    assert abs(np.mean(debiased)) < 4 * np.std(debiased) / np.sqrt(40)


def test_alignment_tells_shared_from_unrelated():
    x, _ = pair(0, n=60)
    related = alignment(x, 2 * x + np.random.default_rng(1).normal(size=x.shape))
    assert related.debiased > related.null_high
    assert related.p_value == 1 / 201
    assert abs(related.null_mean) < 0.1
    assert related.biased == linear_cka(x, 2 * x + np.random.default_rng(1).normal(size=x.shape))


def test_alignment_keeps_its_level_on_unrelated_states():
    rng = np.random.default_rng(0)
    p = [alignment(*rng.normal(size=(2, 15, 40)), n_shuffles=39, seed=i).p_value for i in range(300)]
    assert 0.02 < np.mean(np.array(p) <= 0.05) < 0.09


def test_null_is_the_estimate_on_shuffled_rows():
    x, y = pair(3)
    shuffled = [debiased_cka(x, y[np.random.default_rng(i).permutation(20)]) for i in range(400)]
    found = alignment(x, y, n_shuffles=400)
    spread = np.std(shuffled)
    assert found.null_mean == pytest.approx(np.mean(shuffled), abs=0.3 * spread)
    assert found.null_high == pytest.approx(np.quantile(shuffled, 0.95), abs=0.6 * spread)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((5, 2)), np.ones((5, 2)), "same state"),
        (np.eye(3), np.eye(3), "at least 4"),
        (np.eye(5)[:, :1], np.eye(5), "single question"),
        (np.full((5, 2), np.nan), np.eye(5), "NaN"),
    ],
)
def test_cka_refuses_what_has_no_answer(x, y, message):
    with pytest.raises(InputError, match=message):
        debiased_cka(x, y)


def test_cka_needs_the_same_questions():
    with pytest.raises(InputError, match="5 and 6 questions"):
        linear_cka(np.eye(5), np.eye(6))


def test_decision_similarity_equals_scipys_distance():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(6, 3, 4)), rng.normal(size=(6, 2, 4))
    found = decision_similarity(a, b)
    p, q = softmax(a, axis=2), softmax(b, axis=2)
    for i in range(3):
        for j in range(2):
            distance = jensenshannon(p[:, i], q[:, j], base=2, axis=1)
            assert found.divergence[i, j] == pytest.approx(1 - np.mean(distance**2))
            assert found.agreement[i, j] == np.mean(a[:, i].argmax(1) == b[:, j].argmax(1))


def test_decision_similarity_of_disjoint_and_equal_decisions():
    first = np.array([[[800.0, 0.0, np.nan]], [[800.0, 0.0, 0.0]]])
    second = np.array([[[0.0, 800.0, np.nan]], [[0.0, 0.0, 800.0]]])
    assert decision_similarity(first, second).divergence.tolist() == [[0.0]]
    assert decision_similarity(first, second).agreement.tolist() == [[0.0]]
    assert decision_similarity(first, first).divergence.tolist() == [[1.0]]


def test_decision_similarity_marks_removed_layers():
    intact = np.random.default_rng(0).normal(size=(5, 3, 4))
    cut = intact.copy()
    cut[:, 1] = np.nan
    found = decision_similarity(cut, intact)
    for map_ in (found.divergence, found.agreement):
        assert np.isnan(map_[1]).all()
        assert not np.isnan(map_[[0, 2]]).any()
    np.testing.assert_array_equal(decision_similarity(intact, cut).divergence, found.divergence.T)


def test_decision_similarity_needs_the_same_options():
    short = np.array([[[0.0, 1.0, np.nan]]])
    with pytest.raises(InputError, match="different options"):
        decision_similarity(short, np.zeros((1, 1, 3)))
