"""How likely a model finds what follows, summed by sequence, and whether it would write that itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float

from decision_phases.engine import Batch, Collector, Inputs, Observer, Reads
from decision_phases.engine.observers import ReadRows
from decision_phases.errors import InputError
from decision_phases.hierarchy.open_observer import own_and_rival
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.readout.loss import targets_of
from decision_phases.store import Packed


@dataclass(frozen=True, eq=False)
class Likelihoods:
    """How likely what follows is, by sequence.

    Attributes:
        log_likelihood: Sum of log p over the targets, in nats.
        greedy: Whether every target is the likeliest token at its place.
    """

    log_likelihood: Float[np.ndarray, " sequence"]
    greedy: Bool[np.ndarray, " sequence"]


@dataclass(frozen=True)
class LikelihoodObserver(Observer[Likelihoods]):
    """Log-probabilities of the targets of every sequence, and whether the model would choose them itself.

    Attributes:
        name: Under which the result is found.
    """

    name: str = "likelihood"

    @property
    def reads(self) -> Reads:
        """The residual that the model ends with, where something is predicted."""
        return Reads(layers="final")

    @property
    def key(self) -> str:
        """The settings."""
        return "likelihood"

    def start(self, model: ModelAccess, inputs: Inputs, variant: Intervention) -> Collector[Likelihoods]:
        """Begin with one variant."""
        if any(not s.targets for s in inputs.sequences):
            msg = (
                "a likelihood is that of tokens that follow, and some sequences name none; give them targets"
            )
            raise InputError(msg)
        return _Summing(model, inputs, variant)

    def pack(self, result: Likelihoods) -> Packed:
        """Both columns."""
        return Packed(
            {"log_likelihood": float(result.log_likelihood.mean())},
            {"log_likelihood": result.log_likelihood, "greedy": result.greedy},
        )

    def unpack(
        self, packed: Packed, model: ModelAccess, inputs: Inputs, variant: Intervention
    ) -> Likelihoods:
        """Put a result together again."""
        return Likelihoods(packed.arrays["log_likelihood"], packed.arrays["greedy"])


class _Summing(Collector[Likelihoods]):
    def __init__(self, model: ModelAccess, inputs: Inputs, variant: Intervention) -> None:
        self.model, self.variant, self.last = model, variant, ("resid_post", model.n_layers - 1)
        self.sums = np.full(len(inputs.sequences), np.nan)
        self.greedy = np.zeros(len(inputs.sequences), dtype=bool)

    def take(self, batch: Batch, rows: ReadRows) -> None:
        own, rival, total = own_and_rival(self.model, rows[self.last], targets_of(batch))
        log_p = own - total
        if not torch.isfinite(log_p).all():
            msg = f"logits are not finite ({self.variant}); try dtype='float32', or a smaller intervention"
            raise InputError(msg)
        starts = np.cumsum([0, *(len(s.targets) for s in batch.sequences[:-1])])
        where = list(batch.indices)
        self.sums[where] = np.add.reduceat(log_p.cpu().numpy(), starts)
        self.greedy[where] = np.logical_and.reduceat((own >= rival).cpu().numpy(), starts)

    def finish(self) -> Likelihoods:
        return Likelihoods(self.sums, self.greedy)
