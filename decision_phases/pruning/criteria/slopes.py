"""Gradients of the mean loss with respect to the parameters of all units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from decision_phases.engine import Batch, applied, make_batches
from decision_phases.models.gradients import differentiable, final_residual
from decision_phases.models.parts import part_parameters
from decision_phases.pruning.criteria.contract import Request
from decision_phases.pruning.criteria.units import Unit
from decision_phases.readout.loss import targets_of, token_losses

_MAX_TOKENS = 1024


@dataclass(frozen=True, eq=False)
class Slopes:
    """Gradients of the loss, by parameter (its id).

    Attributes:
        mean: Of the mean cross-entropy over all targets.
        squared: Mean over the sequences of the squared gradient of each one's own mean loss, F of second-order
            Taylor scores; empty unless it was asked for.
    """

    mean: Mapping[int, Tensor]
    squared: Mapping[int, Tensor]


def slopes(request: Request, *, squared: bool = False) -> Slopes:
    """Take the gradients, once however many criteria ask.

    They take as much memory again as the blocks' weights in float32, once more with the squared ones. Those need a
    backward pass for every sequence by itself.

    Args:
        request: What is asked.
        squared: Whether squared gradients are wanted as well.

    Returns:
        The gradients; a parameter that the loss does not depend on has zeros.
    """
    return request.once(("slopes", squared), lambda: _take(request, squared=squared))


def unit_parameters(request: Request, unit: Unit) -> list[nn.Parameter]:
    """The parameters of a unit.

    Args:
        request: What is asked.
        unit: The unit.

    Returns:
        Raw parameters, of all its layers.
    """
    return [
        parameter
        for layer in unit.layers
        for parameter in part_parameters(request.model, layer, unit.part).values()
    ]


def batch_losses(request: Request, batch: Batch) -> Tensor:
    """Run a batch with gradients on, and give the cross-entropy of each target.

    Args:
        request: What is asked; its intervention is applied already.
        batch: What runs.

    Returns:
        One loss a target, in the order of the batch's cells.
    """
    cells = batch.cells("read")
    ends = final_residual(request.model, batch.tokens)
    rows = ends[cells.rows.to(ends.device), cells.columns.to(ends.device)]
    return token_losses(request.model, rows, targets_of(batch))


def _take(request: Request, *, squared: bool) -> Slopes:
    data = request.measured
    parameters = list({id(p): p for unit in request.units for p in unit_parameters(request, unit)}.values())
    mean = {id(p): torch.zeros_like(p, dtype=_wide(p)) for p in parameters}
    squares = {id(p): torch.zeros_like(p, dtype=_wide(p)) for p in parameters} if squared else {}
    most = 1 if squared else _MAX_TOKENS  # one sequence a batch, where each one's own gradient is wanted
    batches = make_batches(data.sequences, device=request.model.device, max_tokens=most)
    total = int(data.tokens.sum())
    with differentiable(parameters):
        for batch in tqdm(batches, disable=not request.progress, desc="gradients"):
            with applied(request.model, request.under, batch.sequences):
                losses = batch_losses(request, batch)
                found = torch.autograd.grad(losses.sum(), parameters, materialize_grads=True)
            for parameter, slope in zip(parameters, found, strict=True):
                wide = slope.to(_wide(parameter))
                mean[id(parameter)] += wide / total
                if squared:
                    squares[id(parameter)] += (wide / len(losses)) ** 2 / len(data.sequences)
    return Slopes(mean, squares)


def _wide(parameter: Tensor) -> torch.dtype:
    return torch.promote_types(parameter.dtype, torch.float32)
