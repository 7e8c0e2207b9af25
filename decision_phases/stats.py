"""Uncertainty of what is measured on questions: intervals, tests and what a null result could have missed."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Num
from scipy import stats

from decision_phases.errors import InputError, check_confidence

BATCH_CELLS = 4_000_000
"""Resampled values held at a time by the bootstrap: 32 MB in double precision."""
N_FINE = 20_000
"""Sign patterns where p is small: the smallest p that they show survives Holm's rule over hundreds of comparisons."""
_SMALL_P = 0.02


@dataclass(frozen=True, eq=False)
class Interval:
    """An estimate with its interval; the three arrays have one shape, ``()`` for a single number.

    Attributes:
        estimate: What was measured.
        low: Lower ends.
        high: Upper ends.
        confidence: Nominal coverage, for instance 0.95.
        method: How the ends were found.
    """

    estimate: Float[np.ndarray, "*shape"]
    low: Float[np.ndarray, "*shape"]
    high: Float[np.ndarray, "*shape"]
    confidence: float
    method: str


@dataclass(frozen=True)
class PairedDifference:
    """The mean of a − b over the same questions, its interval and its two-sided p-value.

    Attributes:
        difference: Mean of a − b.
        low: Lower end of the bootstrap interval over questions.
        high: Upper end.
        p_value: Sign-flip permutation test of "a and b are exchangeable within each question".
        minimum_detectable: Smallest true mean difference that a test at 5 % finds with power 0.8.
        n_questions: Number of pairs.
        confidence: Nominal coverage of the interval.
    """

    difference: float
    low: float
    high: float
    p_value: float
    minimum_detectable: float
    n_questions: int
    confidence: float


def resample_weights(n_questions: int, n_boot: int, *, seed: int) -> Float[np.ndarray, "boot question"]:
    """Return bootstrap resamples of the questions as weights: each row is how often each was drawn, over n.

    ``weights @ values`` with values ``[question, ...]`` gives the mean of every resample in one product, and
    the same seed gives the same resamples to every curve over the same questions. The last few are kept, so that they
    are drawn once; nothing can be written into them.

    Raises:
        InputError: If there is no question or no resample.

    Example:
        >>> resample_weights(4, 1000, seed=0).sum(axis=1).round(12).tolist() == [1.0] * 1000
        True
    """
    if n_questions < 1 or n_boot < 1:
        raise InputError(
            f"{n_questions} questions and {n_boot} resamples given; at least one of each is needed."
        )
    kept = n_questions * n_boot <= BATCH_CELLS
    return (_kept if kept else _drawn)(n_questions, n_boot, seed)


def _drawn(n_questions: int, n_boot: int, seed: int) -> Float[np.ndarray, "boot question"]:
    rng = np.random.default_rng([seed, 0])
    counts = rng.multinomial(n_questions, np.full(n_questions, 1 / n_questions), size=n_boot)
    weights = np.asarray(counts / n_questions)
    weights.flags.writeable = False
    return weights


#: Intervals over the same questions draw the same resamples; a few are kept, if they are small.
_kept = lru_cache(maxsize=4)(_drawn)


def bootstrap_ci(
    values: Float[np.ndarray, "question ..."],
    *,
    statistic: Callable[..., Any] = np.mean,
    method: Literal["percentile", "bca"] = "percentile",
    confidence: float = 0.95,
    n_boot: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return a statistic over the questions with its bootstrap interval, one for every trailing index.

    Whole questions are resampled, the same ones for every trailing index. Where the rows of a trailing index
    are NaN throughout (a removed layer), the estimate and its ends are NaN.

    Args:
        values: One row per question.
        statistic: Takes an array and ``axis``, as ``np.mean`` and ``np.median`` do.
        method: ``"percentile"``, or ``"bca"`` (bias-corrected and accelerated).
        confidence: Nominal coverage.
        n_boot: Number of resamples.
        seed: Of the resamples.

    Raises:
        InputError: With fewer than two questions, where only some questions are NaN, or if the confidence is no share.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), §13.3 and §14.3;
        ``scipy.stats.bootstrap``.

    Example:
        >>> interval = bootstrap_ci(np.array([0.0, 1.0, 1.0, 0.0, 1.0]))
        >>> bool(interval.low < interval.estimate < interval.high)
        True
    """
    check_confidence(confidence)
    n = len(values)
    if n < 2:
        raise InputError(f"{n} question(s) given; an interval over questions needs at least two.")
    columns = np.asarray(values, dtype=np.float64).reshape(n, -1)
    missing = np.isnan(columns)
    if (missing.any(axis=0) != missing.all(axis=0)).any():
        raise InputError("NaN for some questions but not for others; leave those questions out first.")
    estimate = np.asarray(statistic(columns, axis=0), dtype=np.float64)
    low, high = estimate.copy(), estimate.copy()
    varies = ~missing.any(axis=0) & (np.ptp(columns, axis=0) > 0)  # BCa is undefined on a constant
    if varies.any():
        result = stats.bootstrap(
            (columns[:, varies],),
            statistic,
            axis=0,
            vectorized=True,
            method="BCa" if method == "bca" else "percentile",
            confidence_level=confidence,
            n_resamples=n_boot,
            batch=max(1, BATCH_CELLS // columns[:, varies].size),
            rng=np.random.default_rng([seed, 0]),
        )
        low[varies], high[varies] = result.confidence_interval.low, result.confidence_interval.high
    shape = values.shape[1:]
    return Interval(estimate.reshape(shape), low.reshape(shape), high.reshape(shape), confidence, method)


def permutation_p(
    observed: float,
    null: Float[np.ndarray, " permutation"],
    *,
    alternative: Literal["greater", "less", "two-sided"] = "greater",
) -> float:
    """Return the p-value of a statistic among its values under random permutations, (1 + hits) / (1 + n).

    The added one counts the observed arrangement itself, so the test keeps its level and p is never zero.
    Values equal up to rounding count as hits. Two-sided is twice the smaller side, at most 1.

    Source: Phipson and Smyth, Permutation p-values should never be zero (2010).

    Example:
        >>> permutation_p(3.0, np.array([0.0, 1.0, 2.0]))
        0.25
    """
    slack = 1e-12 * max(1.0, abs(observed))
    n = len(null)
    upper = (1 + int((null >= observed - slack).sum())) / (1 + n)
    lower = (1 + int((null <= observed + slack).sum())) / (1 + n)
    return {"greater": upper, "less": lower, "two-sided": min(1.0, 2 * min(upper, lower))}[alternative]


def paired_difference(
    a: Float[np.ndarray, " question"],
    b: Float[np.ndarray, " same"],
    *,
    confidence: float = 0.95,
    n_boot: int = 2000,
    n_perm: int = 2000,
    seed: int = 0,
) -> PairedDifference:
    """Return the mean of a − b on the same questions, with a bootstrap interval and a sign-flip p-value.

    The test enumerates all 2^n sign patterns when they are no more than ``n_perm`` and samples otherwise. A small p
    from a sample cannot be told from a smaller one, and Holm's rule multiplies it: where it is 0.02 or less, it is
    taken anew from ``N_FINE`` patterns. That keeps the level: both are valid, and the second is drawn by itself.

    Raises:
        InputError: If the lengths differ, a value is NaN, there are fewer than two questions, or the confidence is no
            share.

    Source: ``scipy.stats.permutation_test`` with ``permutation_type="samples"``.

    Example:
        >>> paired_difference(np.array([2.0, 3.0, 4.0]), np.array([1.0, 1.0, 1.0])).p_value
        0.25
    """
    if a.shape != b.shape:
        raise InputError(f"{len(a)} and {len(b)} values given; paired means one of each for every question.")
    d = np.asarray(a, dtype=np.float64) - b
    interval = bootstrap_ci(d, confidence=confidence, n_boot=n_boot, seed=seed)
    if np.isnan(interval.estimate):
        raise InputError("NaN among the values; a removed layer has nothing to compare.")
    p_value = _sign_flip_p(d, n_perm, np.random.default_rng([seed, 1]))
    if p_value <= _SMALL_P and n_perm < min(N_FINE, 2**d.size):
        p_value = _sign_flip_p(d, N_FINE, np.random.default_rng([seed, 3]))
    return PairedDifference(
        difference=float(interval.estimate),
        low=float(interval.low),
        high=float(interval.high),
        p_value=p_value,
        minimum_detectable=minimum_detectable_effect(d),
        n_questions=d.size,
        confidence=confidence,
    )


def _sign_flip_p(differences: Float[np.ndarray, " question"], n_perm: int, rng: np.random.Generator) -> float:
    test = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=n_perm,
        batch=max(1, BATCH_CELLS // differences.size),
        rng=rng,
    )
    return float(test.pvalue)


def wilson_interval(
    successes: int | float | Num[np.ndarray, "*shape"], n: int, *, confidence: float = 0.95
) -> Interval:
    """Return a share of n questions with its Wilson score interval, for one count or an array of counts.

    NaN counts (removed layers) stay NaN.

    Raises:
        InputError: If n is not positive, a count is not a whole number from 0 to n, or the confidence is no share.

    Source: Wilson (1927); ``scipy.stats.binomtest(...).proportion_ci(method="wilson")``.

    Example:
        >>> interval = wilson_interval(8, 10)
        >>> f"{interval.estimate:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
        '0.80 [0.49, 0.94]'
    """
    check_confidence(confidence)
    counts = np.asarray(successes, dtype=np.float64)
    known = counts[~np.isnan(counts)]
    if (
        n < 1
        or (abs(known - known.round()) > 1e-6).any()
        or (known.round() < 0).any()
        or (known.round() > n).any()
    ):
        raise InputError(
            f"counts {successes} of {n} given; each must be a whole number from 0 to n, n positive."
        )

    def end(side: Literal["low", "high"]) -> Float[np.ndarray, "*shape"]:
        ends = [
            np.nan if np.isnan(k) else getattr(_wilson(round(k), n, confidence), side) for k in counts.ravel()
        ]
        return np.array(ends, dtype=np.float64).reshape(counts.shape)

    return Interval(np.asarray(counts / n), end("low"), end("high"), confidence, "wilson")


def _wilson(successes: int, n: int, confidence: float) -> Any:
    return stats.binomtest(successes, n).proportion_ci(confidence_level=confidence, method="wilson")


def recovered_shares(
    gained: Float[np.ndarray, " whole_and_resamples"], lost: Float[np.ndarray, " whole_and_resamples"]
) -> Float[np.ndarray, " whole_and_resamples"]:
    """The share of a loss that something gives back: `gained / lost`.

    A share of nothing says nothing. So all are NaN where the loss is not told from zero (its 2.5% quantile over
    resamples is not above it); elsewhere only the few resamples are NaN that lose nothing themselves.

    Args:
        gained: What is given back: the mean over all questions, then the mean of each resample of them.
        lost: What was lost, likewise, on the same resamples.

    Returns:
        The shares, likewise; `with_ends` gives the interval.

    Example:
        >>> shares = recovered_shares(np.array([1.0, 0.0, 1.0, 0.0]), np.array([2.0, 2.0, 4.0, 1.0]))
        >>> shares.tolist()
        [0.5, 0.0, 0.25, 0.0]
    """
    found = np.full(len(lost), np.nan)
    if np.quantile(lost[1:], 0.025) > 0:
        np.divide(gained, lost, out=found, where=lost > 0)
    return found


def with_ends(
    values: Float[np.ndarray, " whole_and_resamples"], *, confidence: float = 0.95
) -> tuple[float, float, float]:
    """Return a value with the ends of its percentile interval.

    Args:
        values: Of the whole, then of each resample; resamples without one are left out.
        confidence: Nominal coverage.

    Returns:
        The value, the lower and the upper end; all NaN where the whole has none.

    Raises:
        InputError: If the confidence is not between 0 and 1.

    Example:
        >>> with_ends(np.array([0.5, 0.0, 0.25, np.nan, 1.0]), confidence=0.5)
        (0.5, 0.125, 0.625)
    """
    check_confidence(confidence)
    if np.isnan(values[0]):
        return np.nan, np.nan, np.nan
    low, high = np.nanquantile(values[1:], [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(values[0]), float(low), float(high)


def holm(p_values: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """Return p-values adjusted for their number by Holm's step-down rule, in the order given.

    With p sorted upwards, the adjusted i-th (from 0) is the running maximum of min(1, (m − i) p_i); rejecting
    those at most α keeps the chance of any false rejection at most α, whatever their dependence.

    Source: Holm, A simple sequentially rejective multiple test procedure (1979).

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values)
    steps = np.minimum(1.0, p_values[order] * (len(p_values) - np.arange(len(p_values))))
    adjusted = np.empty(len(p_values), dtype=np.float64)
    adjusted[order] = np.maximum.accumulate(steps)
    return adjusted


def minimum_detectable_effect(
    differences: Float[np.ndarray, " question"], *, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Return the smallest true mean difference that a two-sided paired test would find with this power.

    MDE = (t_{1−α/2} + t_{power}) · s / √n with n − 1 degrees of freedom, s the standard deviation of the
    differences observed; it is what a null result should carry.

    Raises:
        InputError: With fewer than two questions.

    Source: Bloom, Minimum detectable effects (1995).

    Example:
        >>> round(minimum_detectable_effect(np.array([-1.0, 1.0] * 50)), 2)
        0.28
    """
    n = len(differences)
    if n < 2:
        raise InputError(f"{n} question(s) given; the spread of differences needs at least two.")
    quantiles = stats.t.ppf(1 - alpha / 2, df=n - 1) + stats.t.ppf(power, df=n - 1)
    return float(quantiles * np.std(differences, ddof=1) / np.sqrt(n))
