"""Two more surrogates to compare with: ridge regression with a chosen penalty, and boosted trees on kept or not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

Predict = Callable[[np.ndarray], np.ndarray]
_PENALTIES = 10.0 ** np.arange(-3, 4)
_LEAVES = 8.0  # shrinks the value of a leaf of few masks


def ridge(masks: Bool[np.ndarray, "mask unit"], values: Float[np.ndarray, " mask"]) -> Predict:
    """Fit a line with the penalty that does best when each mask is left out.

    Args:
        masks: Masks.
        values: Their values.

    Returns:
        What gives masks their values.

    Source: Hoerl and Kennard (1970); the left-out error of a linear smoother with hat matrix H is r_i / (1 − H_ii).

    Example:
        >>> masks = np.random.default_rng(0).random((40, 3)) < 0.5
        >>> fitted = ridge(masks, masks @ np.array([1.0, 2.0, 3.0]))
        >>> bool(abs(fitted(masks[:5]) - masks[:5] @ np.array([1.0, 2.0, 3.0])).max() < 0.01)
        True
    """
    centre, middle = masks.mean(axis=0), float(values.mean())
    x, y = masks - centre, values - middle
    u, d, vt = np.linalg.svd(x, full_matrices=False)
    best, slopes = np.inf, np.zeros(masks.shape[1])
    for penalty in _PENALTIES:
        shrunk = d**2 / (d**2 + penalty)
        left_out = 1 - (u**2 @ shrunk) - 1 / len(x)
        error = float((((y - u @ (shrunk * (u.T @ y))) / left_out) ** 2).mean())
        if error < best:
            best, slopes = error, vt.T @ ((d / (d**2 + penalty)) * (u.T @ y))
    return lambda new: np.asarray((new - centre) @ slopes + middle)


def trees(
    masks: Bool[np.ndarray, "mask unit"],
    values: Float[np.ndarray, " mask"],
    *,
    rounds: int = 300,
    rate: float = 0.1,
    depth: int = 3,
    share: float = 0.7,
    seed: int = 0,
) -> Predict:
    """Fit gradient-boosted regression trees, each on a random share of the masks.

    Args:
        masks: Masks.
        values: Their values.
        rounds: Number of trees.
        rate: How much of each tree is added.
        depth: Splits from the root to a leaf.
        share: Share of the masks that a tree is grown on.
        seed: Of the shares.

    Returns:
        What gives masks their values.

    Source: Friedman, Greedy function approximation (2001); Stochastic gradient boosting (2002).

    Example:
        >>> masks = np.random.default_rng(0).random((200, 4)) < 0.5
        >>> both = (masks[:, 0] & masks[:, 1]) * 1.0
        >>> bool(abs(trees(masks, both)(masks) - both).max() < 0.1)
        True
    """
    rng = np.random.default_rng([seed, 7])
    middle = float(values.mean())
    left = values - middle
    grown = []
    for _ in range(rounds):
        rows = rng.permutation(len(masks))[: max(1, round(share * len(masks)))]
        tree = _grow(masks[rows], left[rows], depth)
        left = left - rate * tree(masks)
        grown.append(tree)
    return lambda new: middle + rate * np.sum([tree(new) for tree in grown], axis=0)


def _grow(x: Bool[np.ndarray, "mask unit"], y: Float[np.ndarray, " mask"], depth: int) -> Predict:
    """A tree whose splits reduce the squared error most, with leaves shrunk towards zero."""
    unit = _best_split(x, y) if depth else None
    if unit is None:
        leaf = float(y.sum() / (len(y) + _LEAVES))
        return lambda new: np.full(len(new), leaf)
    there = x[:, unit]
    with_it, without = _grow(x[there], y[there], depth - 1), _grow(x[~there], y[~there], depth - 1)
    return lambda new: np.where(new[:, unit], with_it(new), without(new))


def _best_split(x: Bool[np.ndarray, "mask unit"], y: Float[np.ndarray, " mask"]) -> int | None:
    inside: Int[np.ndarray, " unit"] = x.sum(axis=0)
    sums = y @ x
    total, n = float(y.sum()), len(y)
    gain = sums**2 / (inside + _LEAVES) + (total - sums) ** 2 / (n - inside + _LEAVES)
    gain = np.where((inside > 0) & (inside < n), gain - total**2 / (n + _LEAVES), -np.inf)
    best = int(np.argmax(gain)) if n else 0
    return best if n > 1 and gain[best] > 0 else None
