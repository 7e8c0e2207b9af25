"""Which layers and options a table of scores holds."""

import numpy as np
from jaxtyping import Float, Int

from decision_phases.errors import InputError


def survivors(scores: Float[np.ndarray, "question layer option"]) -> Int[np.ndarray, " survivor"]:
    """Return the intact indices of the layers that were not removed, after checking the scores.

    Raises:
        InputError: If there is no question or no layer left, a question has fewer than two options, a score
            is infinite, or NaN stands anywhere but for an absent option or a removed layer.

    Example:
        >>> survivors(np.array([[[0.1, 0.2], [np.nan, np.nan], [0.3, 0.1]]])).tolist()
        [0, 2]
    """
    missing = np.isnan(scores)
    kept = np.flatnonzero(~missing.all(axis=(0, 2)))
    if not len(scores) or not len(kept):
        raise InputError(f"scores of shape {scores.shape} hold no question or no layer that was not removed.")
    pattern = missing[:, kept[:1]]
    for question, at, option in np.argwhere(missing[:, kept] != pattern)[:1]:
        where = (
            f"question {question}, option {option}: NaN at one of the layers {kept[0]} and {kept[at]} only"
        )
        raise InputError(
            f"{where}. An option is absent at every layer or at none; NaN logits are an error upstream."
        )
    for question in np.flatnonzero((~pattern[:, 0]).sum(axis=1) < 2)[:1]:
        raise InputError(f"question {question} has fewer than two options; a decision needs at least two.")
    if np.isinf(scores).any():
        raise InputError("infinite scores given; compute logits in float32 or wider.")
    return kept
