"""Gradients of the mean loss with respect to the parameters of all units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from decision_phases.tasks import TokenSequence

_MAX_TOKENS = 1024


@dataclass(frozen=True, eq=False)
class Slopes:
    """Gradients of the loss, by parameter (its id), as sums, so that those of some data can be taken from those of all.

    Attributes:
        total: Of the summed cross-entropy over all targets.
        squared: Sum over the sequences of the squared gradient of each one's own mean loss; empty unless asked for.
        n_targets: Number of targets.
        n_sequences: Number of sequences.
    """

    total: Mapping[int, Tensor]
    squared: Mapping[int, Tensor]
    n_targets: int
    n_sequences: int

    def means(self, parameter: nn.Parameter, less: Slopes | None = None) -> tuple[Tensor, Tensor | None]:
        """What Taylor scores are made of, for one parameter.

        Args:
            parameter: One that slopes were taken of.
            less: Slopes of a part of the data that is left out.

        Returns:
            The gradient g of the mean cross-entropy, and F, the mean over sequences of squared gradients (None if
            they were not asked for).
        """
        known = id(parameter)
        total, squared = self.total[known], self.squared.get(known)
        if less is None:
            return total / self.n_targets, None if squared is None else squared / self.n_sequences
        mean = (total - less.total[known]) / (self.n_targets - less.n_targets)
        if squared is None:
            return mean, None
        return mean, (squared - less.squared[known]) / (self.n_sequences - less.n_sequences)


def unit_slopes(
    request: Request, parameters: Sequence[nn.Parameter], sequences: Sequence[TokenSequence], *, squared: bool
) -> Slopes:
    """Take the gradients on some sequences.

    They take as much memory again as the blocks' weights in float32, once more with the squared ones. Those need a
    backward pass for every sequence by itself.

    Args:
        request: What is asked.
        parameters: Of which.
        sequences: On what.
        squared: Whether squared gradients are wanted as well.

    Returns:
        The gradients; a parameter that the loss does not depend on has zeros.
    """
    total = {id(p): torch.zeros_like(p, dtype=_wide(p)) for p in parameters}
    squares = {id(p): torch.zeros_like(p, dtype=_wide(p)) for p in parameters} if squared else {}
    most = 1 if squared else _MAX_TOKENS  # one sequence a batch, where each one's own gradient is wanted
    batches = make_batches(sequences, device=request.model.device, max_tokens=most)
    with differentiable(parameters):
        for batch in tqdm(batches, disable=not request.progress, desc="gradients"):
            with applied(request.model, request.under, batch.sequences):
                losses = batch_losses(request, batch)
                found = torch.autograd.grad(losses.sum(), parameters, materialize_grads=True)
            for parameter, slope in zip(parameters, found, strict=True):
                wide = slope.to(_wide(parameter))
                total[id(parameter)] += wide
                if squared:
                    squares[id(parameter)] += (wide / len(losses)) ** 2
    return Slopes(total, squares, sum(len(s.targets) for s in sequences), len(sequences))


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


def _wide(parameter: Tensor) -> torch.dtype:
    return torch.promote_types(parameter.dtype, torch.float32)
