"""Shapley values as one weighted regression on masks."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from decision_phases.errors import InputError


def kernel_values(
    masks: Bool[np.ndarray, "mask unit"],
    values: Float[np.ndarray, "mask column"],
    weights: Float[np.ndarray, " mask"],
    empty: Float[np.ndarray, " column"],
    full: Float[np.ndarray, " column"],
) -> Float[np.ndarray, "unit column"]:
    """Return φ that minimises Σ_m w(m) (v(m) − v(∅) − Σ_{i ∈ m} φ_i)² with Σ φ = v(all) − v(∅).

    With all masks and the Shapley kernel as weights this is the Shapley value itself; with masks drawn at random, the
    weights are the kernel over the chance of being drawn.

    Args:
        masks: The masks.
        values: Their values; columns are games.
        weights: Nonnegative, in any unit.
        empty: Value of no unit.
        full: Value of all units.

    Returns:
        The value of every unit.

    Raises:
        InputError: If the masks do not determine all values.

    Source: Charnes et al., Extremal principle solutions of games in characteristic function form (1988); Lundberg and
        Lee, A Unified Approach to Interpreting Model Predictions (2017), theorem 2.

    Example:
        >>> masks = np.array([[True, False], [False, True]])
        >>> found = kernel_values(masks, np.array([[1.0], [2.0]]), np.ones(2), np.zeros(1), np.array([5.0]))
        >>> found[:, 0].round(12).tolist()
        [2.0, 3.0]
    """
    total = full - empty
    last = masks[:, -1:].astype(np.float64)
    design = masks[:, :-1] - last  # the last value is what the others leave of the total
    target = values - empty - last * total
    scale = np.sqrt(weights)[:, None]
    found, _, rank, _ = np.linalg.lstsq(design * scale, target * scale, rcond=None)
    if rank < design.shape[1]:
        msg = (
            f"{len(masks)} masks of {masks.shape[1]} units determine {rank + 1} values only; give more masks "
            f"(at least {masks.shape[1]}, better several times as many)"
        )
        raise InputError(msg)
    return np.concatenate([found, (total - found.sum(axis=0))[None]])
