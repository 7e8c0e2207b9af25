"""Angular distance: the angle by which one block, or several in a row, turn the residual stream."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from decision_phases.pruning.criteria.change import Change
from decision_phases.pruning.criteria.stream import StreamCriterion


def angular_distance(change: Change) -> Float[np.ndarray, "*cells"]:
    """Return arccos(cos(x, y)) / π, from 0 for equal to 1 for opposite directions.

    Computed as (2 / π) · arcsin √((1 − cos) / 2), which is the same and exact for small angles.

    Args:
        change: The stream before and what is added to it.

    Source: Gromov et al., arXiv 2403.17887.

    Example:
        >>> import torch
        >>> one, other = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])
        >>> angular_distance(Change.between(one, other)).round(12).item()
        0.25
    """
    return np.asarray(2 / np.pi * np.arcsin(np.sqrt(np.minimum(change.cosine_distance() / 2, 1.0))))


@dataclass(frozen=True)
class AngularCriterion(StreamCriterion):
    """Angular distance between the stream entering a window of blocks and the one leaving it."""

    vanishes: bool = True

    def measure(self, change: Change) -> Float[np.ndarray, "unit cell"]:
        """The angle, in units of π."""
        return angular_distance(change)


ANGULAR_DISTANCE = AngularCriterion(
    "angular_distance",
    "angle between the stream before and behind, in units of π, at the answer or the last token",
    "Gromov et al., arXiv 2403.17887",
    positions="last",
)
ANGULAR_DISTANCE_ALL = AngularCriterion(
    "angular_distance_all",
    "angle between the stream before and behind, in units of π, mean over positions",
    "Gromov et al., arXiv 2403.17887, over all positions",
)
