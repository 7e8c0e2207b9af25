"""How much of a difference is brought back, with its interval."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from decision_phases.stats import Interval, resample_weights

N_BOOT = 2000
CONFIDENCE = 0.95
TAILS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)


def recovery(
    gained: Float[np.ndarray, "pair cell"], lost: Float[np.ndarray, " pair"], *, seed: int
) -> Interval:
    """Return the mean of what is gained over the mean of what was lost, pairs resampled together.

    A ratio of means, not a mean of ratios: pairs between which little was lost would rule the latter.

    Args:
        gained: What a patch adds to the margin.
        lost: What lies between the two runs.
        seed: Of the bootstrap.

    Returns:
        One ratio a cell; NaN if on average nothing was lost. Its ends are NaN if what was lost is not told from
        nothing, for a ratio to that may be anything.

    Example:
        >>> gained, lost = np.array([[1.0, 0.0], [3.0, 0.0]]), np.array([2.0, 6.0])
        >>> recovery(gained, lost, seed=0).estimate.tolist()
        [0.5, 0.0]
    """
    if not lost.mean() > 0:
        nothing = np.full(gained.shape[1], np.nan)
        return Interval(nothing, nothing.copy(), nothing.copy(), CONFIDENCE, "percentile")
    weights = resample_weights(len(lost), N_BOOT, seed=seed)
    estimate, below = gained.mean(axis=0) / lost.mean(), weights @ lost
    if np.quantile(below, TAILS[0]) > 0:
        low, high = np.quantile((weights @ gained) / below[:, None], TAILS, axis=0)
    else:
        low, high = np.full((2, gained.shape[1]), np.nan)
    return Interval(estimate, low, high, CONFIDENCE, "percentile")
