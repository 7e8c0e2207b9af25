"""Residual states at the answer, as arrays, for comparing two runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from decision_phases.engine import Batch, Collector, Inputs, Observer, Reads
from decision_phases.engine.observers import ReadRows
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.store import Packed

States = Float[np.ndarray, "sequence d_model"]


@dataclass(frozen=True)
class StateObserver(Observer[np.ndarray]):
    """The residual that a model ends with, at the last position read of each sequence.

    Attributes:
        name: Under which the result is found.
    """

    name: str = "states"

    @property
    def reads(self) -> Reads:
        """The residual that the model ends with."""
        return Reads(layers="final")

    @property
    def key(self) -> str:
        """The settings."""
        return "states final"

    def start(self, model: ModelAccess, inputs: Inputs, variant: Intervention) -> Collector[np.ndarray]:
        """Begin with one variant."""
        return _Stacking(model, inputs)

    def pack(self, result: np.ndarray) -> Packed:
        """The states."""
        return Packed(arrays={"states": result})

    def unpack(self, packed: Packed, model: ModelAccess, inputs: Inputs, variant: Intervention) -> np.ndarray:
        """Put a result together again."""
        return packed.arrays["states"]


class _Stacking(Collector[np.ndarray]):
    def __init__(self, model: ModelAccess, inputs: Inputs) -> None:
        self.last = ("resid_post", model.n_layers - 1)
        self.states = np.full((len(inputs.sequences), model.d_model), np.nan)

    def take(self, batch: Batch, rows: ReadRows) -> None:
        ends = np.cumsum([len(s.read) for s in batch.sequences]) - 1
        self.states[list(batch.indices)] = rows[self.last].double().cpu().numpy()[ends]

    def finish(self) -> np.ndarray:
        return self.states
