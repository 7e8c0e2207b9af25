"""Gradient norm: how steeply the loss depends on the parameters of a unit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from decision_phases.pruning.criteria.contract import ON_WEIGHT_SLOPES, Criterion, Needs, Request
from decision_phases.pruning.criteria.scores import Scores
from decision_phases.pruning.criteria.slopes import slopes, unit_parameters


@dataclass(frozen=True)
class GradientNormCriterion(Criterion):
    """‖∂L/∂θ‖₂ over all parameters of a unit, L the mean loss over all of the data."""

    needs: Needs = ON_WEIGHT_SLOPES

    def score(self, request: Request) -> Scores:
        """See `Criterion.score`."""
        mean = slopes(request).mean
        squares = [
            sum(float(mean[id(p)].double().square().sum()) for p in unit_parameters(request, unit))
            for unit in request.units
        ]
        return Scores(np.sqrt(np.array(squares)))


GRADIENT_NORM = GradientNormCriterion(
    "gradient_norm", "norm of the gradient of the loss over the weights", "gradient magnitude"
)
