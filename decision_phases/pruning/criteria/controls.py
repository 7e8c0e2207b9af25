"""Controls: orders that know nothing of the model but its depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from decision_phases.pruning.criteria.contract import ON_NOTHING, Criterion, Needs, Request
from decision_phases.pruning.criteria.scores import Scores
from decision_phases.pruning.criteria.units import PARTS
from decision_phases.pruning.pool import RandomPool

_PARTS = PARTS["block"] + PARTS["joint"]


@dataclass(frozen=True)
class DepthCriterion(Criterion):
    """The place of a unit, or a random one.

    Attributes:
        first: What is removed first: the "deepest", the "shallowest", or any ("random").
    """

    needs: Needs = ON_NOTHING
    first: Literal["deepest", "shallowest", "random"] = "random"

    def score(self, request: Request) -> Scores:
        """See `Criterion.score`."""
        depths = np.array([unit.depth for unit in request.units], dtype=np.float64)
        if self.first != "random":
            return Scores(depths if self.first == "shallowest" else 2 * request.model.n_layers - 1 - depths)
        # Drawn among all there could be, so that a unit's place does not depend on which others are left.
        every = tuple(range(len(_PARTS) * request.model.n_layers))
        place = {number: i for i, number in enumerate(RandomPool(every, request.seed).order(0))}
        numbers = [_PARTS.index(unit.part) * request.model.n_layers + unit.layer for unit in request.units]
        return Scores(np.array([place[number] for number in numbers], dtype=np.float64))


RANDOM = DepthCriterion("random", "a random order, by the seed", "control")
DEEPEST = DepthCriterion("deepest", "the deepest first", "control", first="deepest")
SHALLOWEST = DepthCriterion("shallowest", "the shallowest first", "control", first="shallowest")
