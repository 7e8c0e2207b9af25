"""Activations of a run, as a source for patches and means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from decision_phases.engine.batches import Batch
from decision_phases.engine.evaluate import evaluate
from decision_phases.engine.inputs import Inputs
from decision_phases.engine.observers import Collector, Observer, ReadRows, Reads
from decision_phases.errors import InputError
from decision_phases.interventions import Captured, Intervention
from decision_phases.interventions.layer_sets import listed_layers
from decision_phases.models import ModelAccess
from decision_phases.tasks import TokenSequence


@dataclass(frozen=True)
class CaptureObserver(Observer[Captured]):
    """Keeps activations of every question.

    Attributes:
        sites: Sites to keep.
        layers: Layers to keep.
        positions: "read", or a symbolic position.
        name: Under which the result is found.
    """

    sites: tuple[str, ...]
    layers: tuple[int, ...]
    positions: str
    name: str = "capture"

    @property
    def reads(self) -> Reads:
        """The places named."""
        return Reads(self.sites, self.layers, self.positions)

    @property
    def key(self) -> str:
        """The settings."""
        return f"capture {self.sites} {self.layers} {self.positions}"

    def start(self, model: ModelAccess, inputs: Inputs, variant: Intervention) -> Collector[Captured]:
        """Begin with one variant."""
        gone = set(variant.removed_blocks) & set(self.layers)
        if gone:
            msg = f"layer {min(gone)} is removed by {variant}; nothing can be captured there"
            raise InputError(msg)
        if sorted(s.owner for s in inputs.sequences) != list(range(len(inputs))):
            msg = "activations are captured with one sequence a question; use letter or first_token scoring"
            raise InputError(msg)
        if self.positions == "read" and any(len(s.read) != 1 for s in inputs.sequences):
            msg = (
                "sequences are read at several positions; name the one to capture, such as positions='answer'"
            )
            raise InputError(msg)
        return _Keeping(self, inputs)


class _Keeping(Collector[Captured]):
    def __init__(self, observer: CaptureObserver, inputs: Inputs) -> None:
        self.observer, self.inputs = observer, inputs
        self.kept: dict[tuple[str, int], list[np.ndarray | None]] = {
            (site, layer): [None] * len(inputs) for site in observer.sites for layer in observer.layers
        }

    def take(self, batch: Batch, rows: ReadRows) -> None:
        cells = batch.cells(self.observer.positions)
        for place, kept in self.kept.items():
            found = rows[place]
            values: Tensor = found.to(torch.promote_types(found.dtype, torch.float32)).cpu()
            for row, sequence in enumerate(batch.sequences):
                kept[sequence.owner] = values[(cells.rows == row).cpu()].numpy()

    def finish(self) -> Captured:
        one = self.observer.positions in ("answer", "read")
        values: dict[tuple[str, int], object] = {}
        for place, kept in self.kept.items():
            rows = [row for row in kept if row is not None]
            values[place] = np.concatenate(rows) if one else rows
        positions = "answer" if self.observer.positions == "read" else self.observer.positions
        return Captured.from_arrays(values, positions, self.inputs.key)


def capture(
    model: ModelAccess,
    inputs: Inputs | Sequence[TokenSequence],
    *,
    sites: Sequence[str] = ("resid_post",),
    layers: Sequence[int] | None = None,
    positions: str = "answer",
    under: Intervention | None = None,
) -> Captured:
    """Run a model and keep activations, made without gradients, of every question.

    Args:
        model: The model.
        inputs: Encoded questions, or token sequences.
        sites: Sites to keep, of `models.SITES`.
        layers: Layers to keep; by default all that `under` leaves.
        positions: A symbolic position: "answer", "question", "option:0", "all".
        under: The intervention to run under; none by default.

    Returns:
        Activations in at least float32, a source for `patch`, `mean` and `resample`.

    Raises:
        InputError: If a site, layer or position does not exist.
    """
    gone = under.removed_blocks if under else ()
    every = [k for k in range(model.n_layers) if k not in gone] if layers is None else listed_layers(layers)
    if not sites or not len(every):
        msg = "nothing is to be captured; name at least one site and one layer"
        raise InputError(msg)
    for site in sites:
        model.hook_point(0, site)
    for layer in every:
        model.check_layer(layer)
    look = CaptureObserver(tuple(sites), tuple(every), positions)
    (run,) = evaluate(model, inputs, [under or Intervention()], [look])
    found: Captured = run["capture"]
    return found
