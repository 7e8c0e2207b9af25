"""Sums over the weights of a unit, of weights and slopes of the loss, on all of the data and with parts left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import Float
from torch import Tensor

from decision_phases.engine.lower import replaced_weights
from decision_phases.pruning.criteria.contract import Request
from decision_phases.pruning.criteria.slopes import Slopes, unit_parameters, unit_slopes

Array = Float[Tensor, "..."]
Term = Callable[[Array, Array, Array | None], Array]


def first_order(w: Array, g: Array) -> Array:
    """Return |w g|, element by element: the first-order change of the loss were the weight zero.

    Args:
        w: Weights.
        g: Gradient of the mean loss over all of the data.

    Source: LLM-Pruner, arXiv 2305.11627 (element-wise, `param_first`); Shortened LLaMA, arXiv 2402.02834 (Taylor).

    Example:
        >>> import torch
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
        >>> import torch
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
        >>> import torch
        >>> mixed_order(torch.tensor([2.0]), torch.tensor([3.0]), torch.tensor([1.0])).tolist()
        [4.0]
    """
    return (w * g - 0.5 * w * w * f).abs()


#: Of a parameter, its gradient g and F: what is summed. Those of one set come from the same backward passes.
_TERMS: Mapping[bool, Mapping[str, Term]] = MappingProxyType(
    {
        False: {
            "first": lambda w, g, _: first_order(w, g).sum(),
            "vector": lambda w, g, _: (w * g).sum(),
            "norm": lambda _, g, __: g.double().square().sum(),
        },
        True: {
            "second": lambda w, _, f: second_order(w, _given(f)).sum(),
            "mixed": lambda w, g, f: mixed_order(w, g, _given(f)).sum(),
        },
    }
)


def slope_sums(
    request: Request, term: str
) -> tuple[Float[np.ndarray, " unit"], Float[np.ndarray, "fold unit"] | None]:
    """Sum over the weights of every unit; backward passes are shared by all criteria that ask.

    With folds every sequence is run twice: gradients of all of the data are known before a fold's are taken from them,
    so that no more than two sets of gradients are held.

    Args:
        request: What is asked.
        term: "first" Σ |w g|, "vector" Σ w g, "norm" Σ g², "second" Σ w² F, "mixed" Σ |w g − ½ w² F|.

    Returns:
        The sums on all of the data, and with each fold of it left out (None if the request wants no intervals).
    """
    squared = term in _TERMS[True]
    whole, left_out = request.once(("slope sums", squared), lambda: _sum(request, squared=squared))
    return whole[term], None if left_out is None else np.array([sums[term] for sums in left_out])


_Sums = Mapping[str, Float[np.ndarray, " unit"]]


def _sum(request: Request, *, squared: bool) -> tuple[_Sums, list[_Sums] | None]:
    sequences = request.measured.sequences
    parameters = list({id(p): p for unit in request.units for p in unit_parameters(request, unit)}.values())
    slopes = unit_slopes(request, parameters, sequences, squared=squared)
    whole = _sums(request, slopes, None, squared=squared)
    folds = request.folds()
    if not folds:
        return whole, None
    left_out = []
    for fold in folds:
        own = [
            s for s, group in zip(sequences, request.measured.groups.tolist(), strict=True) if group in fold
        ]
        less = unit_slopes(request, parameters, own, squared=squared)
        left_out.append(_sums(request, slopes, less, squared=squared))
    return whole, left_out


def _sums(request: Request, slopes: Slopes, less: Slopes | None, *, squared: bool) -> _Sums:
    totals = {term: np.zeros(len(request.units)) for term in _TERMS[squared]}
    with replaced_weights(request.model, request.under.edits):
        for place, unit in enumerate(request.units):
            for parameter in unit_parameters(request, unit):
                g, f = slopes.means(parameter, less)
                w = parameter.detach().to(g.dtype)
                for name, term in _TERMS[squared].items():
                    totals[name][place] += float(term(w, g, f).double())
    return totals


def _given(f: Array | None) -> Array:
    assert f is not None
    return f
