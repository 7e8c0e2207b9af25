"""Taylor criteria: what the loss would do, to first or second order, were the weights of a unit set to zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from decision_phases.pruning.criteria.contract import ON_WEIGHT_SLOPES, Criterion, Needs, Request
from decision_phases.pruning.criteria.scores import Scores
from decision_phases.pruning.criteria.slope_sums import slope_sums

Order = Literal["first", "second", "mixed", "vector"]


@dataclass(frozen=True)
class TaylorCriterion(Criterion):
    """Taylor scores of all weights of a unit, norms included, summed.

    The gradient is that of the loss over all of the data, so signs cancel between questions and there is no value of a
    single question: the interval is a jackknife over folds. On questions the loss is the cross-entropy of the right
    answer.

    Attributes:
        order: "first" Σ |w g|, "second" Σ w² F, "mixed" Σ |w g − ½ w² F|, "vector" |Σ w g| of the unit as a whole.
    """

    needs: Needs = ON_WEIGHT_SLOPES
    vanishes: bool = True
    order: Order = "first"

    def score(self, request: Request) -> Scores:
        """See `Criterion.score`."""
        whole, left_out = slope_sums(request, self.order)
        sign = np.where(whole < 0, -1.0, 1.0)
        return Scores(sign * whole, left_out=left_out if left_out is None else sign * left_out)


TAYLOR = TaylorCriterion(
    "taylor", "Σ |w · ∂L/∂w| over the weights", "Shortened LLaMA, arXiv 2402.02834 (Taylor)"
)
TAYLOR_SECOND = TaylorCriterion(
    "taylor_second", "Σ w² F over the weights, F the mean squared gradient",
    "LLM-Pruner, arXiv 2305.11627 (param_second)", order="second",
)  # fmt: skip
TAYLOR_MIXED = TaylorCriterion(
    "taylor_mixed",
    "Σ |w · ∂L/∂w − ½ w² F| over the weights",
    "LLM-Pruner, arXiv 2305.11627 (param_mix)",
    order="mixed",
)
TAYLOR_VECTOR = TaylorCriterion(
    "taylor_vector",
    "|Σ w · ∂L/∂w| over the weights",
    "LLM-Pruner, arXiv 2305.11627 (vectorize)",
    order="vector",
)
#: The published rule for 32 blocks: never the first four and the last two.
TAYLOR_PLUS = TaylorCriterion(
    "taylor_plus", "Σ |w · ∂L/∂w| over the weights; the first four and last two blocks protected",
    "Shortened LLaMA, arXiv 2402.02834 (Taylor+)", protect_first=4, protect_last=2,
)  # fmt: skip
