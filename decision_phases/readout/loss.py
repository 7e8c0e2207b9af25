"""How surprised a model is by the tokens that follow: cross-entropy of every target, summed by sequence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from decision_phases.engine import Batch, Collector, Inputs, Observer, Reads
from decision_phases.engine.observers import ReadRows
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.store import Packed


@dataclass(frozen=True, eq=False)
class Losses:
    """Cross-entropy by sequence, as sums and counts, so that any mean can be taken.

    Attributes:
        nll: Sum of −log p over the targets of each sequence, in nats.
        tokens: Number of targets of each sequence.
    """

    nll: Float[np.ndarray, " sequence"]
    tokens: Int[np.ndarray, " sequence"]

    @property
    def mean(self) -> float:
        """Nats a token, over all tokens: the log of the perplexity."""
        return float(self.nll.sum() / self.tokens.sum())


@dataclass(frozen=True)
class LossObserver(Observer[Losses]):
    """Cross-entropy of the tokens that the sequences name as targets.

    Attributes:
        name: Under which the result is found.
    """

    name: str = "loss"

    @property
    def reads(self) -> Reads:
        """The residual that the model ends with, where something is predicted."""
        return Reads(layers="final")

    @property
    def key(self) -> str:
        """The settings."""
        return "loss"

    def start(self, model: ModelAccess, inputs: Inputs, variant: Intervention) -> Collector[Losses]:
        """Begin with one variant."""
        if any(not s.targets for s in inputs.sequences):
            msg = (
                "a loss needs the tokens that follow, and some sequences name none; give windows of texts, or "
                "sequences whose targets are what should follow at the positions read"
            )
            raise InputError(msg)
        return _Summing(model, inputs)

    def pack(self, result: Losses) -> Packed:
        """Sums and counts."""
        return Packed({"nll_per_token": result.mean}, {"nll": result.nll, "tokens": result.tokens})

    def unpack(self, packed: Packed, model: ModelAccess, inputs: Inputs, variant: Intervention) -> Losses:
        """Put a result together again."""
        return Losses(packed.arrays["nll"], packed.arrays["tokens"])


class _Summing(Collector[Losses]):
    def __init__(self, model: ModelAccess, inputs: Inputs) -> None:
        self.model, self.last = model, ("resid_post", model.n_layers - 1)
        self.nll = np.full(len(inputs.sequences), np.nan)
        self.tokens = np.array([len(s.targets) for s in inputs.sequences], dtype=np.int64)

    def take(self, batch: Batch, rows: ReadRows) -> None:
        losses = token_losses(self.model, rows[self.last], targets_of(batch)).cpu().numpy()
        starts = np.cumsum([0, *(len(s.targets) for s in batch.sequences[:-1])])
        self.nll[list(batch.indices)] = np.add.reduceat(losses, starts)

    def finish(self) -> Losses:
        return Losses(self.nll, self.tokens)


def targets_of(batch: Batch) -> Int[Tensor, " cell"]:
    """The targets of all sequences of a batch, in the order of its cells.

    Args:
        batch: What runs.

    Returns:
        Token ids.
    """
    return torch.tensor([t for s in batch.sequences for t in s.targets], device=batch.device)


def token_losses(
    model: ModelAccess, resid: Float[Tensor, "cell d_model"], targets: Int[Tensor, " cell"]
) -> Float[Tensor, " cell"]:
    """Cross-entropy of each target, read off the residual before it: log Σ exp(logits) − logit, in float64.

    The normaliser is accumulated over parts of the vocabulary. Gradients pass, where they are on.

    Args:
        model: The model.
        resid: Residuals that the model ends with, at the positions before the targets.
        targets: Token ids.

    Returns:
        −log p of each target, in nats.
    """
    targets = targets.to(resid.device)
    unique, inverse = torch.unique(targets, return_inverse=True)
    picked = model.readout(resid, unique).gather(-1, inverse[:, None])[:, 0]
    return model.log_normaliser(resid).double() - picked.double()
