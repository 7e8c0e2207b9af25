"""Measuring a pruned model against the dense one while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from decision_phases.engine import Batch, Collector, Inputs, Observer, Reads
from decision_phases.engine.observers import ReadRows
from decision_phases.hierarchy.measures import Meter
from decision_phases.hierarchy.reference import CellPlaces, Reference, check_finite
from decision_phases.interventions import Intervention, skip
from decision_phases.models import ModelAccess
from decision_phases.store import Packed

#: "layers": every layer that is left; "final": what the model ends with, whatever was removed; "local": see `local_to`.
Where = Literal["layers", "final", "local"]
Deviations = Float[np.ndarray, "layer cell column"]


def local_to(variant: Intervention, layer: int, n_layers: int) -> Intervention:
    """What changes one layer only, on the dense context, and ends there.

    No later block has a part in what leaves the layer, so all of them are left out: what the model then ends with is
    what leaves the layer, also where its own block is removed, and nothing is computed in vain.

    Args:
        variant: An intervention.
        layer: One of the layers that it edits.
        n_layers: Layers of the model.

    Returns:
        Its edits of that layer, and the removal of every later block.

    Example:
        >>> local_to(skip(1) + skip(2, part="mlp"), 2, 5)
        <Intervention: skip {3, 4} + skip mlp {2}>
    """
    alone = Intervention(variant.at(layer))
    return alone + skip(range(layer + 1, n_layers)) if layer + 1 < n_layers else alone


@dataclass(frozen=True)
class SpaceObserver(Observer[Deviations]):
    """How far a model is from the dense one in every space.

    Attributes:
        reference: The dense run, on the same sequences.
        name: "layers" (NaN where a block is removed), "final" or "local"; the last two give one layer.
    """

    reference: Reference
    name: Where = "layers"

    @property
    def reads(self) -> Reads:
        """The residual leaving every block, or what the model ends with."""
        return Reads(layers="all" if self.name == "layers" else "final")

    @property
    def key(self) -> str:
        """The settings."""
        return f"spaces {self.name} {self.reference.key}"

    def start(self, model: ModelAccess, inputs: Inputs, variant: Intervention) -> Collector[Deviations]:
        """Begin with one variant."""
        return _Comparing(self, model, inputs, variant)

    def pack(self, result: Deviations) -> Packed:
        """The deviations."""
        return Packed(arrays={"deviations": result})

    def unpack(self, packed: Packed, model: ModelAccess, inputs: Inputs, variant: Intervention) -> Deviations:
        """Put a result together again."""
        return packed.arrays["deviations"]


class _Comparing(Collector[Deviations]):
    def __init__(
        self, observer: SpaceObserver, model: ModelAccess, inputs: Inputs, variant: Intervention
    ) -> None:
        self.reference, self.variant = observer.reference, variant
        self.meter, self.places = Meter(model, observer.reference.settings), CellPlaces(inputs)
        layers = {
            "layers": range(model.n_layers),
            "final": [model.n_layers - 1],
            "local": [variant.earliest_layer],
        }[observer.name]
        self.last = None if observer.name == "layers" else model.n_layers - 1
        self.layers = [layer for layer in layers if layer is not None]
        self.out = np.full((len(self.layers), self.places.n_cells, len(self.meter.columns)), np.nan)

    def take(self, batch: Batch, rows: ReadRows) -> None:
        cells = self.places.of(batch)
        for row, layer in enumerate(self.layers):
            found = rows.get(("resid_post", layer if self.last is None else self.last))
            if found is None:
                continue
            values = self.reference.deviations(self.meter, layer, cells, found.to(self.meter.model.device))
            check_finite(values, self.meter.columns, f"layer {layer} ({self.variant})")
            self.out[row, cells] = values

    def finish(self) -> Deviations:
        return self.out
