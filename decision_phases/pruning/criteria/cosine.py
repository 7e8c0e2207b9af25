"""Cosine criteria: how far a unit turns the residual stream."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from decision_phases.pruning.criteria.change import Change
from decision_phases.pruning.criteria.stream import StreamCriterion


@dataclass(frozen=True)
class CosineCriterion(StreamCriterion):
    """1 − cos between the stream before and behind a unit, mean over positions."""

    vanishes: bool = True

    def measure(self, change: Change) -> Float[np.ndarray, "unit cell"]:
        """1 − cos(x, y)."""
        return change.cosine_distance()


BLOCK_INFLUENCE = CosineCriterion(
    "block_influence",
    "1 − cos(before, behind) of a block, mean over positions",
    "ShortGPT, arXiv 2403.03853 (Block Influence)",
    parts=("block",),
)
#: For blocks the same as Block Influence; for attention and MLP, x and x + f(norm(x)), the norm going with the part.
COSINE = CosineCriterion(
    "cosine",
    "1 − cos(before, behind) of a block, attention or MLP, mean over positions",
    "LLM-Drop, arXiv 2406.15786",
)
