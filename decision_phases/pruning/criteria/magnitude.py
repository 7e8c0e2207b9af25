"""Weight magnitude: how large the parameters of a unit are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from decision_phases.engine.lower import replaced_weights
from decision_phases.models.parts import part_parameters
from decision_phases.pruning.criteria.contract import ON_WEIGHTS, Criterion, Needs, Request
from decision_phases.pruning.criteria.scores import Scores


def magnitude(weights: Iterable[Tensor], power: int) -> float:
    """Return Σ |w|^p over all parameters.

    Args:
        weights: The parameters.
        power: p, 1 or 2.

    Source: Shortened LLaMA, arXiv 2402.02834 (Magnitude).

    Example:
        >>> import torch
        >>> magnitude([torch.tensor([1.0, -2.0]), torch.tensor([[3.0]])], 2)
        14.0
    """
    return sum(float(weight.detach().double().abs().pow(power).sum()) for weight in weights)


@dataclass(frozen=True)
class MagnitudeCriterion(Criterion):
    """Σ |w|^p over the parameters of a unit, those of its norm layers included.

    As published there is no root: with p = 2 it is the square of the length of all weights, which orders units alike.

    Attributes:
        power: p, 1 or 2.
    """

    needs: Needs = ON_WEIGHTS
    power: int = 1

    def score(self, request: Request) -> Scores:
        """See `Criterion.score`."""
        with replaced_weights(request.model, request.under.edits):
            return Scores(
                np.array(
                    [
                        sum(
                            magnitude(part_parameters(request.model, layer, unit.part).values(), self.power)
                            for layer in unit.layers
                        )
                        for unit in request.units
                    ]
                )
            )


MAGNITUDE_L1 = MagnitudeCriterion(
    "magnitude_l1",
    "sum of the absolute values of the weights",
    "Shortened LLaMA, arXiv 2402.02834 (Magnitude)",
)
MAGNITUDE_L2 = MagnitudeCriterion(
    "magnitude_l2",
    "sum of the squares of the weights",
    "Shortened LLaMA, arXiv 2402.02834 (Magnitude, with p = 2)",
    power=2,
)
#: The published rule for 32 blocks: never the first four and the last two.
MAGNITUDE_PLUS = MagnitudeCriterion(
    "magnitude_plus",
    "sum of the absolute values of the weights; the first four and last two blocks protected",
    "Shortened LLaMA, arXiv 2402.02834 (Magnitude+)",
    protect_first=4,
    protect_last=2,
)
