"""The dense run: its residuals, and how far apart different prompts are in each space."""

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
from decision_phases.hierarchy.measures import Meter
from decision_phases.hierarchy.settings import Column, SpaceSettings
from decision_phases.hierarchy.token_sets import padded, rank_matched
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.store import Packed


@dataclass(frozen=True, eq=False)
class Reference:
    """What the dense model does.

    Attributes:
        settings: What was measured.
        streams: Residual leaving every block in every cell, in the model's number format or float32 for narrower ones.
        between: Mean distance of every cell to its partners in other prompts, NaN if there is one prompt only.
        random: Random sets of tokens at the ranks of the options; None without options.
    """

    settings: SpaceSettings
    streams: Float[np.ndarray, "layer cell d_model"] = field(repr=False)
    between: Float[np.ndarray, "layer cell column"] = field(repr=False)
    random: Int[np.ndarray, "layer cell set option"] | None = field(repr=False)

    @cached_property
    def options(self) -> Int[np.ndarray, "cell option"] | None:
        """Token of each option of each cell, −1 where there are fewer; None without options."""
        return padded(self.settings.options) if self.settings.options else None

    @cached_property
    def key(self) -> str:
        """Hash of residuals and settings, from which everything else follows."""
        digest = hashlib.sha256(repr((self.settings.groups, self.settings.options, self.settings)).encode())
        digest.update(np.ascontiguousarray(self.streams).data)
        return digest.hexdigest()[:16]

    def deviations(
        self, meter: Meter, layer: int, cells: Int[np.ndarray, " cell"], pruned: Float[Tensor, "cell d_model"]
    ) -> Float[np.ndarray, "cell column"]:
        """How far residuals are from those of the dense model.

        Args:
            meter: What measures.
            layer: The layer of the dense model.
            cells: Its cells.
            pruned: The residuals to compare with.

        Returns:
            One row a cell.
        """
        dense = torch.from_numpy(self.streams[layer, cells]).to(device=pruned.device, dtype=pruned.dtype)
        options = None if self.options is None else self.options[cells]
        random = None if self.random is None else self.random[layer, cells]
        return meter.measure(dense, pruned, options, random)


@dataclass(frozen=True)
class ReferenceObserver(Observer[Reference]):
    """Keeps the residuals of the dense model and measures how far different prompts are apart.

    Attributes:
        settings: What to measure.
        name: Under which the result is found.
    """

    settings: SpaceSettings
    name: str = "reference"

    @property
    def reads(self) -> Reads:
        """The residual leaving every block."""
        return Reads()

    @property
    def key(self) -> str:
        """The settings."""
        told = repr((self.settings.groups, self.settings.options, self.settings))
        return f"reference of spaces {hashlib.sha256(told.encode()).hexdigest()[:16]}"

    def start(self, model: ModelAccess, inputs: Inputs, variant: Intervention) -> Collector[Reference]:
        """Begin with one variant."""
        return _Keeping(model, inputs, self.settings)

    def pack(self, result: Reference) -> Packed:
        """The arrays."""
        arrays = {"streams": result.streams, "between": result.between}
        return Packed(arrays=arrays if result.random is None else {**arrays, "random": result.random})

    def unpack(self, packed: Packed, model: ModelAccess, inputs: Inputs, variant: Intervention) -> Reference:
        """Put a result together again."""
        arrays = packed.arrays
        return Reference(self.settings, arrays["streams"], arrays["between"], arrays.get("random"))


class _Keeping(Collector[Reference]):
    def __init__(self, model: ModelAccess, inputs: Inputs, settings: SpaceSettings) -> None:
        self.model, self.settings, self.places = model, settings, CellPlaces(inputs)
        self.wide = torch.promote_types(model.dtype, torch.float32)
        shape = (model.n_layers, self.places.n_cells, model.d_model)
        self.streams = torch.full(shape, torch.nan, dtype=self.wide).numpy()

    def take(self, batch: Batch, rows: ReadRows) -> None:
        cells = self.places.of(batch)
        for (_, layer), resid in rows.items():
            if layer >= 0:
                self.streams[layer, cells] = resid.to(self.wide).cpu().numpy()

    def finish(self) -> Reference:
        meter = Meter(self.model, self.settings)
        shape = (*self.streams.shape[:2], len(meter.columns))
        random = None
        if self.settings.options:
            random = np.stack([self._random(meter, layer) for layer in range(len(self.streams))])
        alone = Reference(self.settings, self.streams, np.full(shape, np.nan), random)
        found = partners(self.settings)
        if not len(found):
            return alone
        every = np.tile(np.arange(shape[1]), len(found))
        between = np.empty(shape)
        for layer, stream in enumerate(self._on_device()):
            apart = alone.deviations(meter, layer, every, stream[found.ravel()])
            between[layer] = apart.reshape(len(found), *shape[1:]).mean(axis=0)
        return Reference(self.settings, self.streams, between, random)

    def _on_device(self) -> list[Tensor]:
        return [
            torch.from_numpy(stream).to(device=self.model.device, dtype=self.model.dtype)
            for stream in self.streams
        ]

    def _random(self, meter: Meter, layer: int) -> Int[np.ndarray, "cell set option"]:
        """Every cell draws by a seed of its own, so that other cells beside it change nothing."""
        options, stream = padded(self.settings.options), self._on_device()[layer]
        sets: list[Int[np.ndarray, "set option"]] = []
        for part in meter.blocks(len(stream)):
            for logits in meter.logits(stream[part]).cpu().numpy():
                rng = np.random.default_rng([self.settings.seed, 2, layer, len(sets)])
                sets.append(
                    rank_matched(logits, options[len(sets)], n_sets=self.settings.random_sets, rng=rng)
                )
        return np.stack(sets)


class CellPlaces:
    """Where the cells of a batch are among those of all sequences, which are counted sequence by sequence.

    Args:
        inputs: All sequences.
    """

    def __init__(self, inputs: Inputs) -> None:
        sizes = [len(s.read) for s in inputs.sequences]
        self._starts = np.cumsum([0, *sizes])
        self.n_cells = int(self._starts[-1])

    def of(self, batch: Batch) -> Int[np.ndarray, " cell"]:
        """The cells of a batch, in the order in which they are read.

        Args:
            batch: What runs.

        Returns:
            Their places.
        """
        spans = [np.arange(self._starts[i], self._starts[i + 1]) for i in batch.indices]
        return np.concatenate(spans).astype(np.int64)


def partners(settings: SpaceSettings) -> Int[np.ndarray, "partner cell"]:
    """For every cell, cells of other questions or texts: in each round another one, and each as often as any other.

    Args:
        settings: Groups, number of partners and seed.

    Returns:
        Cells; none if there is one question or text only.

    Example:
        >>> partners(SpaceSettings((0, 1, 2), partners=2)).tolist()
        [[2, 0, 1], [1, 2, 0]]
    """
    groups = np.array(settings.groups, dtype=np.int64)
    names = np.unique(groups)
    ring = np.random.default_rng([settings.seed, 3]).permutation(names)
    after = {int(name): i for i, name in enumerate(ring)}
    own = {int(name): np.flatnonzero(groups == name) for name in names}
    nth = np.empty(len(groups), dtype=np.int64)  # which of the cells of its group each cell is
    for cells in own.values():
        nth[cells] = np.arange(len(cells))
    rounds = []
    for step in range(1, min(settings.partners, len(names) - 1) + 1):
        other = [own[int(ring[(after[int(group)] + step) % len(ring)])] for group in groups]
        rounds.append([cells[i % len(cells)] for cells, i in zip(other, nth, strict=True)])
    return np.array(rounds, dtype=np.int64).reshape(-1, len(groups))


def check_finite(values: Float[np.ndarray, "cell column"], columns: tuple[Column, ...], where: str) -> None:
    """Refuse numbers that come of logits or residuals that are not finite.

    Args:
        values: What was measured.
        columns: What it is.
        where: Layer and intervention, for the message.

    Raises:
        InputError: Naming both.
    """
    probable = [
        i for i, column in enumerate(columns) if column.space == "p"
    ]  # cosines of a zero vector are NaN
    wrong = ~np.isfinite(values[:, probable])
    if wrong.any():
        column = columns[probable[int(np.flatnonzero(wrong.any(axis=0))[0])]]
        msg = f"{column} is not finite at {where}; try dtype='float32', or a smaller intervention"
        raise InputError(msg)
