"""Taylor criteria: what the loss would do, to first or second order, were the weights of a unit set to zero."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from decision_phases.engine.lower import replaced_weights
from decision_phases.pruning.criteria.contract import ON_WEIGHT_SLOPES, Criterion, Needs, Request
from decision_phases.pruning.criteria.scores import Scores
from decision_phases.pruning.criteria.slopes import slopes, unit_parameters

Array = Float[Tensor, "..."]
Order = Literal["first", "second", "mixed", "vector"]


def first_order(w: Array, g: Array) -> Array:
    """Return |w g|, element by element: the first-order change of the loss were the weight zero.

    Args:
        w: Weights.
        g: Gradient of the mean loss over all of the data.

    Source: LLM-Pruner, arXiv 2305.11627 (element-wise, `param_first`); Shortened LLaMA, arXiv 2402.02834 (Taylor).

    Example:
        >>> first_order(torch.tensor([1.0, -2.0]), torch.tensor([3.0, 0.5])).tolist()
        [3.0, 1.0]
    """
    return (w * g).abs()


def second_order(w: Array, f: Array) -> Array:
    """Return w² F, element by element, with F the mean of squared gradients in place of the Hessian's diagonal.

    Args:
        w: Weights.
        f: Mean over sequences of the squared gradient of each one's loss.

    Source: LLM-Pruner, arXiv 2305.11627, as its code computes `param_second` (without the factor ½).

    Example:
        >>> second_order(torch.tensor([1.0, -2.0]), torch.tensor([3.0, 0.5])).tolist()
        [3.0, 2.0]
    """
    return w * w * f


def mixed_order(w: Array, g: Array, f: Array) -> Array:
    """Return |w g − ½ w² F|, element by element: both orders together.

    Args:
        w: Weights.
        g: Gradient of the mean loss.
        f: Mean over sequences of the squared gradient of each one's loss.

    Source: LLM-Pruner, arXiv 2305.11627 (`param_mix` of its code).

    Example:
        >>> mixed_order(torch.tensor([2.0]), torch.tensor([3.0]), torch.tensor([1.0])).tolist()
        [4.0]
    """
    return (w * g - 0.5 * w * w * f).abs()


_SUMS: Mapping[Order, Callable[[Array, Array, Array | None], Array]] = MappingProxyType(
    {
        "first": lambda w, g, _: first_order(w, g).sum(),
        "second": lambda w, _, f: second_order(w, _given(f)).sum(),
        "mixed": lambda w, g, f: mixed_order(w, g, _given(f)).sum(),
        "vector": lambda w, g, _: (w * g).sum(),
    }
)


@dataclass(frozen=True)
class TaylorCriterion(Criterion):
    """Taylor scores of all weights of a unit, norms included, summed.

    The gradient is that of the loss over all of the data, so signs cancel between questions and there is no value of a
    single question. On questions the loss is the cross-entropy of the right answer.

    Attributes:
        order: "first" Σ |w g|, "second" Σ w² F, "mixed" Σ |w g − ½ w² F|, "vector" |Σ w g| of the unit as a whole.
    """

    needs: Needs = ON_WEIGHT_SLOPES
    vanishes: bool = True
    order: Order = "first"

    def score(self, request: Request) -> Scores:
        """See `Criterion.score`."""
        found = slopes(request, squared=self.order in ("second", "mixed"))
        term = _SUMS[self.order]
        with replaced_weights(request.model, request.under.edits):
            totals = [
                sum(
                    float(term(_wide(p), found.mean[id(p)], found.squared.get(id(p))).double())
                    for p in unit_parameters(request, unit)
                )
                for unit in request.units
            ]
        return Scores(np.abs(np.array(totals)))


def _wide(parameter: Tensor) -> Tensor:
    return parameter.detach().to(torch.promote_types(parameter.dtype, torch.float32))


def _given(f: Array | None) -> Array:
    assert f is not None
    return f


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
