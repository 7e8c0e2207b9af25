"""Activation gradients: how steeply the loss depends on what a unit puts out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from tqdm.auto import tqdm

from decision_phases.engine import Batch, make_batches
from decision_phases.pruning.criteria.contract import ON_STREAM_SLOPES, Criterion, Needs, Request
from decision_phases.pruning.criteria.outputs import MAX_TOKENS, kept_outputs
from decision_phases.pruning.criteria.scores import Scores
from decision_phases.pruning.criteria.slopes import batch_losses


@dataclass(frozen=True)
class ActivationGradientCriterion(Criterion):
    """A norm that involves ∂L/∂h, L the mean loss of one sequence, h a unit's output at all its positions.

    The output of a block is the stream behind it; that of attention and MLP is what they add to it. The mean is over
    sequences.

    Attributes:
        of: "norm" ‖∂L/∂h‖₂, or "update" ‖∂L/∂h ⊙ Δh‖₁ with Δh what the unit adds: the Taylor score of its removal.
    """

    needs: Needs = ON_STREAM_SLOPES
    of: Literal["norm", "update"] = "norm"

    def score(self, request: Request) -> Scores:
        """See `Criterion.score`."""
        data = request.measured
        norms = request.once("activation gradients", lambda: _measure(request))
        counts = np.bincount(data.groups, minlength=data.n_groups).astype(np.float64)
        return Scores.mean(data.by_group(norms[("norm", "update").index(self.of)]), counts)


def _measure(request: Request) -> Float[np.ndarray, "kind unit sequence"]:
    data = request.measured
    found = np.full((2, len(request.units), len(data.sequences)), np.nan)
    batches = make_batches(data.sequences, device=request.model.device, max_tokens=MAX_TOKENS)
    for batch in tqdm(batches, disable=not request.progress, desc="activation gradients"):
        found[:, :, list(batch.indices)] = _measure_batch(request, batch)
    return found


def _measure_batch(request: Request, batch: Batch) -> Float[np.ndarray, "kind unit row"]:
    with kept_outputs(request, batch) as outputs:
        losses = batch_losses(request, batch)
        share = torch.tensor([1 / len(s.targets) for s in batch.sequences for _ in s.targets])
        loss = (losses * share.to(losses)).sum()  # each sequence's mean; sequences do not meet
        slopes = torch.autograd.grad(loss, [outputs.of(unit) for unit in request.units])
    norms = [slope.double().flatten(1).norm(dim=1) for slope in slopes]
    products = [
        (slope.double() * outputs.added(unit).double()).abs().flatten(1).sum(1)
        for unit, slope in zip(request.units, slopes, strict=True)
    ]
    return torch.stack([torch.stack(norms), torch.stack(products)]).cpu().numpy()


ACTIVATION_GRADIENT = ActivationGradientCriterion(
    "activation_gradient", "norm of the gradient of the loss over a unit's output", "gradient magnitude"
)
ACTIVATION_TAYLOR = ActivationGradientCriterion(
    "activation_taylor", "‖∂L/∂h ⊙ Δh‖₁, Δh what the unit adds",
    "first-order Taylor expansion in activations, after Molchanov et al., arXiv 1611.06440",
    vanishes=True, of="update",
)  # fmt: skip
