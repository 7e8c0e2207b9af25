"""Rank correlations over layers, and what they must be held against: resampling, halves, shifts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from decision_phases.stats import permutation_p, resample_weights


def spearman(x: Float[np.ndarray, "*rows layer"], y: Float[np.ndarray, "*rows layer"]) -> np.ndarray:
    """Spearman's rank correlation along the last axis, ties at their mean rank; NaN where one side is constant.

    Args:
        x: One side, or many.
        y: The other.

    Returns:
        One number a row.

    Example:
        >>> float(spearman(np.array([1.0, 2.0, 9.0]), np.array([0.0, 5.0, 6.0])))
        1.0
    """
    a, b = (rankdata(side, axis=-1) for side in np.broadcast_arrays(x, y))
    a, b = (side - side.mean(axis=-1, keepdims=True) for side in (a, b))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1)))


def with_interval(
    scores: Float[np.ndarray, " layer"],
    damage: Float[np.ndarray, "question layer"],
    *,
    n_boot: int = 1000,
    seed: int = 0,
) -> dict[str, float]:
    """Rank correlation of scores with the mean damage, with a bootstrap interval over the questions of the damage.

    The scores are held fixed. Resamples are noisier than the data, so their correlations lie lower and the interval with
    them: it says how far the number depends on these questions.

    Args:
        scores: One a layer.
        damage: What each question loses without each layer.
        n_boot: Number of resamples.
        seed: Of the resamples.

    Returns:
        Estimate, low, high.
    """
    drawn = resample_weights(len(damage), n_boot, seed=seed) @ damage
    low, high = np.nanquantile(spearman(scores, drawn), [0.025, 0.975])
    return {"estimate": float(spearman(scores, damage.mean(axis=0))), "low": float(low), "high": float(high)}


def difference(
    one: Float[np.ndarray, " layer"],
    other: Float[np.ndarray, " layer"],
    damage: Float[np.ndarray, "question layer"],
    *,
    n_boot: int = 1000,
    seed: int = 0,
) -> dict[str, float]:
    """By how much one score's rank correlation with the damage exceeds another's, on the same resamples.

    Args:
        one: A score a layer.
        other: Another.
        damage: What each question loses without each layer.
        n_boot: Number of resamples.
        seed: Of the resamples.

    Returns:
        Estimate, low, high.
    """
    drawn = resample_weights(len(damage), n_boot, seed=seed) @ damage
    low, high = np.nanquantile(spearman(one, drawn) - spearman(other, drawn), [0.025, 0.975])
    mean = damage.mean(axis=0)
    return {
        "estimate": float(spearman(one, mean) - spearman(other, mean)),
        "low": float(low),
        "high": float(high),
    }


def halves(
    values: Float[np.ndarray, "question layer"],
    agree: Callable[[np.ndarray, np.ndarray], float],
    *,
    n_splits: int = 200,
    seed: int = 0,
) -> float:
    """How far two random halves of the questions agree on something, mean over splits.

    Args:
        values: One row a question.
        agree: Takes the means of both halves; gives a number.
        n_splits: How many splits are drawn.
        seed: Of the splits.

    Returns:
        The mean; NaN values are left out.
    """
    found = []
    for split in range(n_splits):
        order = np.random.default_rng([seed, split]).permutation(len(values))
        middle = len(values) // 2
        found.append(
            agree(values[order[:middle]].mean(axis=0), values[order[middle : 2 * middle]].mean(axis=0))
        )
    return float(np.nanmean(found)) if np.isfinite(found).any() else float("nan")


def reliability(values: Float[np.ndarray, "question layer"], *, n_splits: int = 200, seed: int = 0) -> float:
    """Reliability of the ranking of layers by their mean value: 2 r / (1 + r) of the correlation r between halves.

    Its square root is the ceiling of what anything can correlate with these means; 0 where halves do not agree.

    Args:
        values: One row a question.
        n_splits: How many splits are drawn.
        seed: Of the splits.

    Returns:
        From 0 to 1.

    Source: Spearman (1910), Brown (1910); for ranks an approximation.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> reliability(np.arange(12) + rng.normal(0, 0.1, (40, 12))) > 0.99
        True
    """
    r = max(halves(values, lambda a, b: float(spearman(a, b)), n_splits=n_splits, seed=seed), 0.0)
    return 2 * r / (1 + r)


def shift_p(x: Float[np.ndarray, " layer"], y: Float[np.ndarray, " layer"]) -> float:
    """How often the correlation is as high when one side is shifted round along the layers.

    Both sides vary smoothly over depth, so neighbouring layers are no independent points and the usual p-value is far
    too small. Shifting keeps the smoothness and breaks only the alignment. With n layers it cannot fall below 1 / n.

    Args:
        x: One a layer, by depth.
        y: The same layers.

    Returns:
        One-sided p-value; NaN where one side is constant.

    Example:
        >>> shift_p(np.arange(10.0), np.arange(10.0))
        0.1
    """
    observed = float(spearman(x, y))
    null = spearman(np.stack([np.roll(x, k) for k in range(1, len(x))]), y)
    return permutation_p(observed, null) if np.isfinite(observed) else float("nan")


def shared(a: Float[np.ndarray, " layer"], b: Float[np.ndarray, " layer"], count: int) -> float:
    """Share of the layers with the lowest values that two sides have in common; ties go to the last layer.

    Args:
        a: One side.
        b: The other.
        count: How many of the lowest.

    Returns:
        From 0 to 1.

    Example:
        >>> shared(np.array([0.0, 1.0, 2.0]), np.array([1.0, 0.0, 5.0]), 2)
        1.0
    """
    lowest = [set(np.lexsort((-np.arange(len(side)), side))[:count].tolist()) for side in (a, b)]
    return len(lowest[0] & lowest[1]) / count
