"""How long accuracy lasts as units go: area under a curve, and where it ends. Arrays only."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from decision_phases.errors import InputError, check_confidence
from decision_phases.stats import Interval, resample_weights


def trapezoid_weights(
    x: Float[np.ndarray, " point"] | Int[np.ndarray, " point"],
) -> Float[np.ndarray, " point"]:
    """Weights whose sum with the values is the area under straight lines between points, over the length of x.

    Args:
        x: Where the values are, ascending.

    Returns:
        Weights that add up to 1; of a single point 1.

    Example:
        >>> trapezoid_weights(np.array([0, 1, 2])).tolist()
        [0.25, 0.5, 0.25]
    """
    if len(x) == 1:
        return np.ones(1)
    gaps = np.diff(np.asarray(x, dtype=np.float64))
    return np.asarray((np.append(gaps, 0.0) + np.append(0.0, gaps)) / 2 / gaps.sum())


def normalised_area(
    right: Float[np.ndarray, "step question"],
    chance: float,
    *,
    confidence: float = 0.95,
    n_boot: int = 2000,
    seed: int = 0,
) -> Interval:
    """The area under accuracy against units removed, 1 if none is lost and 0 at chance throughout.

    `(A − chance) / (accuracy of the intact model − chance)`, A the mean height of the curve by trapezoids from the
    intact model to the last step. The interval is a percentile bootstrap over questions, the intact model resampled
    with them; it is conditional on the cuts.

    Args:
        right: Whether each question is answered right at each step, or in which share of draws; the first step is the
            intact model.
        chance: Accuracy of guessing.
        confidence: Nominal coverage.
        n_boot: Number of resamples.
        seed: Of the resamples.

    Returns:
        The area with its ends. All are NaN where the intact model is not above chance, and the ends where it is not so
        in every resample: then there is nothing to lose.

    Raises:
        InputError: If there is no question or no step, or the confidence is no share.

    Example:
        >>> right = np.array([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
        >>> float(normalised_area(right, 0.0).estimate)
        0.5
    """
    check_confidence(confidence)
    if not right.size:
        msg = f"right answers of shape {right.shape} [step, question]; give at least one of each"
        raise InputError(msg)
    heights = trapezoid_weights(np.arange(len(right))) @ right
    whole = float(right[0].mean()) - chance
    undefined = np.asarray(np.nan)
    if whole <= 0:
        return Interval(undefined, undefined, undefined, confidence, "percentile")
    estimate = np.asarray((heights.mean() - chance) / whole)
    drawn = resample_weights(right.shape[1], n_boot, seed=seed)
    below = drawn @ right[0] - chance
    if (below <= 0).any():
        return Interval(estimate, undefined, undefined, confidence, "percentile")
    ends = np.quantile((drawn @ heights - chance) / below, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(estimate, np.asarray(ends[0]), np.asarray(ends[1]), confidence, "percentile")


def last_above_chance(
    right: Int[np.ndarray, " step"], n_questions: int, chance: float, *, alpha: float = 0.05
) -> int | None:
    """The largest number of removed units up to which every cut is still significantly above chance.

    Cuts are tested one after the other, from the intact model on, each against guessing by a one-sided binomial test
    at level `alpha`, up to the first that fails. Testing in a fixed order keeps the chance of calling any cut above
    chance that is guessing at most `alpha`, however many are tested. Where questions differ in their number of
    options the test is conservative (Hoeffding 1956).

    Args:
        right: Number of right answers at each step; the first is the intact model.
        n_questions: Number of questions.
        chance: Accuracy of guessing.
        alpha: Level of the tests.

    Returns:
        The number of units; None if the intact model itself is not above chance.

    Example:
        >>> last_above_chance(np.array([20, 18, 5, 19]), 20, 0.25)
        1
    """
    for step, count in enumerate(right.tolist()):
        if stats.binomtest(count, n_questions, chance, alternative="greater").pvalue > alpha:
            return step - 1 if step else None
    return len(right) - 1
