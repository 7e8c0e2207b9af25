"""Intervals and tests against scipy, enumeration and hand-worked answers."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference

from decision_phases.errors import InputError
from decision_phases.stats import (
    N_FINE,
    bootstrap_ci,
    holm,
    minimum_detectable_effect,
    paired_difference,
    permutation_p,
    resample_weights,
    wilson_interval,
)


def test_weights_are_counts_over_n_and_seeded():
    weights = resample_weights(7, 500, seed=3)
    counts = weights * 7
    np.testing.assert_allclose(counts, counts.round(), atol=1e-12)
    np.testing.assert_allclose(counts.sum(axis=1), 7)
    np.testing.assert_array_equal(weights, resample_weights(7, 500, seed=3))
    assert (weights != resample_weights(7, 500, seed=4)).any()


def test_weighted_means_have_the_bootstrap_standard_error():
    values = np.random.default_rng(0).normal(size=80)
    spread = (resample_weights(80, 20_000, seed=0) @ values).std()
    assert spread == pytest.approx(values.std() / np.sqrt(80), rel=0.03)


def test_percentile_interval_of_a_mean_is_near_the_normal_one():
    values = np.random.default_rng(1).normal(size=400)
    interval = bootstrap_ci(values, n_boot=5000)
    half = 1.96 * values.std() / 20
    assert float(interval.estimate) == values.mean()
    assert float(interval.low) == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert float(interval.high) == pytest.approx(values.mean() + half, abs=0.1 * half)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_every_column_gets_the_interval_it_would_get_alone(method):
    values = np.random.default_rng(2).exponential(size=(30, 2, 3))
    together = bootstrap_ci(values, method=method, n_boot=300)
    assert together.low.shape == (2, 3)
    alone = bootstrap_ci(values[:, 1, 2], method=method, n_boot=300)
    np.testing.assert_allclose(together.low[1, 2], alone.low)
    np.testing.assert_allclose(together.high[1, 2], alone.high)


def test_bca_is_scipys_and_moves_with_skew():
    values = np.random.default_rng(2).exponential(size=25)
    ours = bootstrap_ci(values, method="bca", n_boot=999, seed=5)
    theirs = reference.bootstrap((values,), np.mean, n_resamples=999, rng=np.random.default_rng([5, 0]))
    assert (float(ours.low), float(ours.high)) == pytest.approx(tuple(theirs.confidence_interval))
    assert float(ours.high) > float(bootstrap_ci(values, n_boot=999, seed=5).high)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_removed_and_constant_columns(method):
    values = np.stack([np.arange(6.0), np.full(6, np.nan), np.full(6, 0.25)], axis=1)
    interval = bootstrap_ci(values, method=method, n_boot=200)
    assert interval.low[0] < 2.5 < interval.high[0]
    assert np.isnan([interval.estimate[1], interval.low[1], interval.high[1]]).all()
    assert (interval.estimate[2], interval.low[2], interval.high[2]) == (0.25, 0.25, 0.25)


def test_bootstrap_of_another_statistic():
    values = np.array([0.0, 1.0, 2.0, 3.0, 100.0])
    assert float(bootstrap_ci(values, statistic=np.median, n_boot=200).estimate) == 2.0


def test_bootstrap_refuses_what_it_cannot_resample():
    with pytest.raises(InputError, match="at least two"):
        bootstrap_ci(np.array([1.0]))
    with pytest.raises(InputError, match="NaN for some questions"):
        bootstrap_ci(np.array([1.0, np.nan]))
    with pytest.raises(InputError, match="at least one"):
        resample_weights(0, 10, seed=0)


def test_permutation_p_by_hand():
    null = np.array([1.0, 2.0, 2.0, 5.0])
    assert permutation_p(2.0, null) == 4 / 5
    assert permutation_p(9.0, null) == 1 / 5
    assert permutation_p(1.0, null, alternative="less") == 2 / 5
    assert permutation_p(9.0, null, alternative="two-sided") == 2 / 5
    assert permutation_p(2.0, null, alternative="two-sided") == 1.0


def test_paired_difference_enumerates_small_samples():
    a, b = np.array([0.9, 0.4, 0.8, 0.7]), np.array([0.5, 0.5, 0.3, 0.1])
    d = a - b
    every = [np.mean(np.array(signs) * d) for signs in itertools.product([1, -1], repeat=4)]
    expected = 2 * np.mean(np.array(every) >= d.mean() - 1e-12)
    found = paired_difference(a, b)
    assert found.p_value == pytest.approx(expected)
    assert found.difference == pytest.approx(d.mean())
    assert found.minimum_detectable == minimum_detectable_effect(d)
    assert found.low < found.difference < found.high


def test_paired_difference_is_antisymmetric_and_near_the_t_test():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.25, size=100), rng.normal(size=100)
    found, turned = paired_difference(a, b), paired_difference(b, a)
    assert found.difference == pytest.approx(-turned.difference)
    assert found.p_value == pytest.approx(reference.ttest_rel(a, b).pvalue, abs=0.02)
    assert found.p_value == pytest.approx(turned.p_value, abs=0.02)


def test_small_p_values_survive_an_adjustment_for_hundreds_of_comparisons():
    rng = np.random.default_rng(3)
    few, many = 1 + rng.random(14), 1 + rng.random(64)
    assert paired_difference(few, np.zeros(14)).p_value == pytest.approx(2 / 2**14)  # every pattern
    found = paired_difference(many, np.zeros(64)).p_value
    assert found == pytest.approx(2 / (N_FINE + 1))
    assert holm(np.r_[found, np.ones(300)])[0] < 0.05
    finer = paired_difference(many, np.zeros(64), n_perm=30_000).p_value
    assert finer == pytest.approx(2 / 30_001)  # never from fewer than were asked for


def test_paired_difference_of_equals_is_null():
    same = np.array([0.1, 0.5, 0.2])
    found = paired_difference(same, same)
    assert (found.difference, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_paired_difference_refuses_unpaired_and_missing():
    with pytest.raises(InputError, match="2 and 3 values"):
        paired_difference(np.zeros(2), np.zeros(3))
    with pytest.raises(InputError, match="NaN among"):
        paired_difference(np.full(3, np.nan), np.zeros(3))


def test_wilson_by_formula_and_shapes():
    z = reference.norm.ppf(0.975)
    n, k = 48, 45
    p = k / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    interval = wilson_interval(np.array([k, np.nan, n * 0.5]), n)
    assert (interval.low[0], interval.high[0]) == pytest.approx((centre - half, centre + half))
    assert np.isnan([interval.estimate[1], interval.low[1], interval.high[1]]).all()
    assert interval.estimate[2] == 0.5
    assert wilson_interval(0, 10).low == 0


@pytest.mark.parametrize(("successes", "n"), [(11, 10), (-1, 10), (2.5, 10), (0, 0)])
def test_wilson_refuses_impossible_counts(successes, n):
    with pytest.raises(InputError, match="whole number"):
        wilson_interval(successes, n)


def test_holm_worked_example():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.floats(0.001, 0.999))
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values, alpha):
    p = np.array(p_values)
    adjusted = holm(p)
    assert (adjusted >= p).all()
    assert (adjusted <= 1).all()
    rejected = set()
    for step, index in enumerate(np.argsort(p, kind="stable")):
        if p[index] * (len(p) - step) > alpha:
            break
        rejected.add(int(index))
    assert set(np.flatnonzero(adjusted <= alpha).tolist()) == rejected


@pytest.mark.parametrize("n", [10, 200])
def test_minimum_detectable_effect_has_its_power(n):
    d = np.random.default_rng(0).normal(size=n)
    effect = minimum_detectable_effect(d)
    non_centrality = effect / (d.std(ddof=1) / np.sqrt(n))
    cut = reference.t.ppf(0.975, n - 1)
    power = reference.nct.sf(cut, n - 1, non_centrality) + reference.nct.cdf(-cut, n - 1, non_centrality)
    assert power == pytest.approx(0.8, abs=0.02)
    with pytest.raises(InputError, match="at least two"):
        minimum_detectable_effect(d[:1])
