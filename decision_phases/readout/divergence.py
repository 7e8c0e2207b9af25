"""How far the distribution over the next token moves: KL divergence from a reference run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

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

_CHUNK = 8192


@dataclass(frozen=True, eq=False)
class Endings:
    """The residuals that a model ends with, wherever the sequences are read.

    Attributes:
        rows: One array `[position, d_model]` a sequence, in the model's number format or float32 for narrower ones.
    """

    rows: tuple[Float[np.ndarray, "_ d_model"], ...] = field(repr=False)

    @cached_property
    def key(self) -> str:
        """Hash of all values."""
        digest = hashlib.sha256()
        for row in self.rows:
            digest.update(np.ascontiguousarray(row).data)
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class EndingObserver(Observer[Endings]):
    """Keeps what a model ends with, as the reference of a `DivergenceObserver`.

    Attributes:
        name: Under which the result is found.
    """

    name: str = "endings"

    @property
    def reads(self) -> Reads:
        """The residual that the model ends with."""
        return Reads(layers="final")

    @property
    def key(self) -> str:
        """The settings."""
        return "endings"

    def start(self, model: ModelAccess, inputs: Inputs, variant: Intervention) -> Collector[Endings]:
        """Begin with one variant."""
        return _Keeping(model, inputs)


class _Keeping(Collector[Endings]):
    def __init__(self, model: ModelAccess, inputs: Inputs) -> None:
        self.last = ("resid_post", model.n_layers - 1)
        self.rows = [np.empty((0, model.d_model), dtype=np.float32)] * len(inputs.sequences)

    def take(self, batch: Batch, rows: ReadRows) -> None:
        found = rows[self.last]
        values = found.to(torch.promote_types(found.dtype, torch.float32)).cpu().numpy()
        ends = np.cumsum([len(s.read) for s in batch.sequences])
        for index, own in zip(batch.indices, np.split(values, ends[:-1]), strict=True):
            self.rows[index] = own

    def finish(self) -> Endings:
        return Endings(tuple(self.rows))


@dataclass(frozen=True, eq=False)
class Divergences:
    """KL divergence by sequence, as sums and counts.

    Attributes:
        kl: Sum over the positions read of each sequence, in nats.
        positions: Number of positions read of each sequence.
    """

    kl: Float[np.ndarray, " sequence"]
    positions: Int[np.ndarray, " sequence"]


@dataclass(frozen=True, eq=False)
class DivergenceObserver(Observer[Divergences]):
    """KL(reference ‖ this run) of the distribution over the vocabulary, at every position read.

    Attributes:
        reference: What the reference run ended with, on the same sequences.
        name: Under which the result is found.
    """

    reference: Endings
    name: str = "kl"

    @property
    def reads(self) -> Reads:
        """The residual that the model ends with."""
        return Reads(layers="final")

    @property
    def key(self) -> str:
        """The settings."""
        return f"kl {self.reference.key}"

    def start(self, model: ModelAccess, inputs: Inputs, variant: Intervention) -> Collector[Divergences]:
        """Begin with one variant."""
        if [len(s.read) for s in inputs.sequences] != [len(row) for row in self.reference.rows]:
            msg = "the reference run was on other sequences; take it on the same ones"
            raise InputError(msg)
        return _Diverging(model, inputs, self.reference)

    def pack(self, result: Divergences) -> Packed:
        """Sums and counts."""
        mean = float(result.kl.sum() / result.positions.sum())
        return Packed({"kl_per_position": mean}, {"kl": result.kl, "positions": result.positions})

    def unpack(
        self, packed: Packed, model: ModelAccess, inputs: Inputs, variant: Intervention
    ) -> Divergences:
        """Put a result together again."""
        return Divergences(packed.arrays["kl"], packed.arrays["positions"])


class _Diverging(Collector[Divergences]):
    def __init__(self, model: ModelAccess, inputs: Inputs, reference: Endings) -> None:
        self.model, self.reference, self.last = model, reference, ("resid_post", model.n_layers - 1)
        self.kl = np.full(len(inputs.sequences), np.nan)
        self.positions = np.array([len(s.read) for s in inputs.sequences], dtype=np.int64)

    def take(self, batch: Batch, rows: ReadRows) -> None:
        ours = rows[self.last]
        kept = np.concatenate([self.reference.rows[i] for i in batch.indices])
        theirs = torch.from_numpy(kept).to(device=ours.device, dtype=ours.dtype)
        values = divergences(self.model, theirs, ours).cpu().numpy()
        starts = np.cumsum([0, *(len(s.read) for s in batch.sequences[:-1])])
        self.kl[list(batch.indices)] = np.add.reduceat(values, starts)

    def finish(self) -> Divergences:
        return Divergences(self.kl, self.positions)


def divergences(
    model: ModelAccess, reference: Float[Tensor, "cell d_model"], other: Float[Tensor, "cell d_model"]
) -> Float[Tensor, " cell"]:
    """KL(p ‖ q) of the distributions over the vocabulary that two residuals lead to, a part of it at a time.

    With logits a and b, KL = Σ p (a − b) − log Σ exp a + log Σ exp b, each sum kept relative to its largest term.
    Rounding below zero is set to zero.

    Args:
        model: The model.
        reference: Residuals that lead to p.
        other: Residuals that lead to q.

    Returns:
        One divergence a cell, in nats, in float64.
    """
    first, second = model.final_norm(reference), model.final_norm(other)
    top = torch.full(first.shape[:1], -torch.inf, dtype=torch.float64, device=first.device)
    mass = moved = mass_q = torch.zeros_like(top)
    top_q = top
    for start in range(0, model.d_vocab, _CHUNK):
        part = slice(start, start + _CHUNK)
        a, b = model.unembed(first, part).double(), model.unembed(second, part).double()
        top, shrink, weight = _weighed(top, a)
        mass, moved = mass * shrink + weight.sum(-1), moved * shrink + (weight * (a - b)).sum(-1)
        top_q, shrink, weight = _weighed(top_q, b)
        mass_q = mass_q * shrink + weight.sum(-1)
    return (moved / mass - (top + mass.log()) + (top_q + mass_q.log())).clamp_min(0.0)


def _weighed(
    top: Float[Tensor, " cell"], logits: Float[Tensor, "cell part"]
) -> tuple[Float[Tensor, " cell"], Float[Tensor, " cell"], Float[Tensor, "cell part"]]:
    """The largest logit so far, what sums relative to the last one shrink by, and exp of these logits beside it."""
    higher = torch.maximum(top, logits.amax(-1))
    return higher, (top - higher).exp(), (logits - higher[:, None]).exp()
