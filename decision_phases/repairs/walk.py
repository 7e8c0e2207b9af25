"""Texts walked through a model from one place of a cut to the next, so that no block runs twice."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from decision_phases.engine.batches import Batch
from decision_phases.engine.local import MEMORY_BUDGET
from decision_phases.engine.maps import mapped
from decision_phases.interventions import Affine, Bottleneck, Intervention
from decision_phases.models import ModelAccess
from decision_phases.repairs.contract import Task
from decision_phases.repairs.places import Place
from decision_phases.repairs.stream import Chunk, in_parts
from decision_phases.tasks import TokenSequence


def can_walk(task: Task, places: Sequence[Place], repairs: int) -> bool:
    """Whether a text can be walked from place to place, keeping what enters each.

    Args:
        task: What is asked.
        places: Where its maps are.
        repairs: How many maps are fitted at each.

    Returns:
        Whether whole blocks are removed at several places of an otherwise intact model whose blocks can be called one
        by one, and what is kept is not too large.
    """
    model = task.model
    kept = task.source.tokens * model.d_model * model.dtype.itemsize * (1 + repairs)
    blocks = all(edit.site == "block" for edit in task.cut.edits)
    apart = len(places) > 1 and task.sequential
    return (
        apart
        and blocks
        and not task.base
        and model.capabilities.direct
        and not model.spread
        and kept <= MEMORY_BUDGET
    )


@dataclass
class _Way:
    """Some windows, and how far the models are with them.

    Attributes:
        batch: The windows.
        intact: What leaves the last place in the intact model, `[window, pos, d_model]`; None before the first.
        repaired: What enters the last place in each repaired model, before its map.
    """

    batch: Batch
    intact: Float[Tensor, "window pos d_model"] | None = None
    repaired: list[Float[Tensor, "window pos d_model"]] = field(default_factory=list)


class Walk:
    """The intact model and several repaired ones on their way through the same texts.

    Args:
        model: The model.
        sequences: The texts, in windows.
        progress: Show bars.
    """

    def __init__(self, model: ModelAccess, sequences: Sequence[TokenSequence], *, progress: bool) -> None:
        self.model, self.progress = model, progress
        self.ways = [_Way(batch) for batch in in_parts(sequences)]
        self._at = 0

    def to(
        self,
        place: Place,
        variants: Sequence[Intervention],
        maps: Sequence[Affine | Bottleneck],
        *,
        what: str,
    ) -> Iterator[Chunk]:
        """Go on to the next place, and give what enters and what should leave it.

        Args:
            place: The place; what it removes lies behind all places before.
            variants: By which intervention each repaired model is known in what is given.
            maps: The map of each at the place that was read last; none at the first place.
            what: Label of the bar.

        Yields:
            What was read of the next windows. What all models have in common counts as the intact model's time.
        """
        run = place.cut.removed_blocks
        first, behind = min(run), max(run) + 1
        total = sum(len(way.batch.indices) for way in self.ways)
        with tqdm(total=total, disable=not self.progress, unit="window", desc=what) as bar:
            for way in self.ways:
                intact, repaired, times = self._on(way, maps, first, behind, len(variants))
                rows = {Intervention(): {place.target: self._tokens(way, intact)}}
                seconds = dict.fromkeys([Intervention(), *variants], 0.0)
                for variant, resid in zip(variants, repaired, strict=True):
                    rows.setdefault(variant, {})[place.site, place.layer] = self._tokens(way, resid)
                for variant, spent in zip([Intervention(), *variants], times, strict=True):
                    seconds[variant] += spent
                way.intact, way.repaired = intact, repaired
                yield Chunk(rows, seconds)
                bar.update(len(way.batch.indices))
        self._at = behind

    def _tokens(
        self, way: _Way, resid: Float[Tensor, "window pos d_model"]
    ) -> Float[Tensor, "token d_model"]:
        """What stands at tokens, without padding, where the model is: it waits between places in main memory."""
        cells = way.batch.cells("all")
        return resid[cells.rows, cells.columns].to(self.model.device)

    @torch.no_grad()
    def _on(
        self, way: _Way, maps: Sequence[Affine | Bottleneck], first: int, behind: int, repairs: int
    ) -> tuple[Tensor, list[Tensor], list[float]]:
        """Run a batch through `behind` intact, and as far as block `first` under each repair; seconds of each."""
        times = [time.perf_counter()]
        entry = self.model.enter(way.batch.tokens.to(self.model.device))

        def blocks(resid: Tensor, begin: int, end: int) -> Tensor:
            resid = resid.to(self.model.device)
            for layer in range(begin, end):
                resid = self.model.run_block(layer, resid, entry, plain=self.model.runs_plain)
            times.append(time.perf_counter())
            return resid.cpu()

        if way.intact is None:
            common = blocks(entry.resid, 0, first)
            intact = blocks(common, first, behind)
            return intact, [common] * repairs, [times[-1] - times[0], *[0.0] * repairs]
        intact = blocks(way.intact, self._at, behind)
        repaired = [
            blocks(mapped(value, resid.to(self.model.device)), self._at, first)
            for value, resid in zip(maps, way.repaired, strict=True)
        ]
        return intact, repaired, np.diff(times).tolist()
