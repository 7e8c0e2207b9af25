"""Decision criteria: how much of the margin or the accuracy is gone when a unit is removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from decision_phases.pruning.criteria.contract import BY_DECISION, Criterion, Needs, Request
from decision_phases.pruning.criteria.removal import with_and_without
from decision_phases.pruning.criteria.scores import Scores
from decision_phases.readout.decisions import Final
from decision_phases.readout.observe import FinalObserver


@dataclass(frozen=True)
class DecisionCriterion(Criterion):
    """The drop of what the final decision is worth, mean over questions; below zero where removal helps.

    Attributes:
        of: "margin", p(gold) − max p(other), or "correct", whether the choice is right.
    """

    needs: Needs = BY_DECISION
    of: Literal["margin", "correct"] = "margin"

    def score(self, request: Request) -> Scores:
        """See `Criterion.score`."""
        encoded = request.measured.encoded
        assert encoded is not None

        def run() -> tuple[Final, list[Final]]:
            return with_and_without(request, encoded, FinalObserver())

        whole, without = request.once("decisions", run)
        worth = getattr(whole, self.of).astype(np.float64)
        drops = np.stack([worth - getattr(final, self.of) for final in without])
        return Scores.mean(drops, np.ones(drops.shape[1]))


MARGIN = DecisionCriterion(
    "margin", "drop of the mean decision margin when removed", "Decision Margin, arXiv 2605.07271, §3"
)
ACCURACY = DecisionCriterion("accuracy", "drop of the accuracy when removed", "task accuracy", of="correct")
