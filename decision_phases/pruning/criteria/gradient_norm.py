"""Gradient norm: how steeply the loss depends on the parameters of a unit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from decision_phases.pruning.criteria.contract import ON_WEIGHT_SLOPES, Criterion, Needs, Request
from decision_phases.pruning.criteria.scores import Scores
from decision_phases.pruning.criteria.slope_sums import slope_sums


@dataclass(frozen=True)
class GradientNormCriterion(Criterion):
    """‖∂L/∂θ‖₂ over all parameters of a unit, L the mean loss over all of the data; the interval is a jackknife."""

    needs: Needs = ON_WEIGHT_SLOPES

    def score(self, request: Request) -> Scores:
        """See `Criterion.score`."""
        squares, left_out = slope_sums(request, "norm")
        return Scores(np.sqrt(squares), left_out=None if left_out is None else np.sqrt(left_out))


GRADIENT_NORM = GradientNormCriterion(
    "gradient_norm", "norm of the gradient of the loss over the weights", "gradient magnitude"
)
