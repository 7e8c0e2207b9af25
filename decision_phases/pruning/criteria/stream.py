"""Criteria that look at what a unit does to the residual stream, position by position, in one forward pass."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from decision_phases.pruning.criteria.change import Change, changes
from decision_phases.pruning.criteria.contract import ON_STREAM, Criterion, Needs, Request
from decision_phases.pruning.criteria.data import Positions, summed
from decision_phases.pruning.criteria.scores import Scores


@dataclass(frozen=True)
class StreamCriterion(Criterion):
    """The mean over positions of something that depends on the stream before and behind a unit.

    Attributes:
        positions: "all", or "last": the answer position of a question, the last token of a window of text.
    """

    needs: Needs = ON_STREAM
    positions: Positions = "all"

    @abstractmethod
    def measure(self, change: Change) -> Float[np.ndarray, "unit cell"]:
        """One number a unit and position.

        Args:
            change: What the units do.

        Returns:
            The numbers; the larger, the more important.
        """

    def score(self, request: Request) -> Scores:
        """The mean over all positions; see `Criterion.score`."""
        change, groups = changes(request, self.positions)
        values = self.measure(change)
        n_groups = request.measured.n_groups
        counts = np.bincount(groups, minlength=n_groups).astype(np.float64)
        return Scores.mean(summed(values, groups, n_groups), counts)
