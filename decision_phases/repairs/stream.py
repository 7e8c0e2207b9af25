"""What enters the places of a cut and what should leave them, a few windows of text at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from decision_phases.engine import Batch, Collector, Inputs, Observer, Plan, Reads
from decision_phases.engine.batches import make_batches
from decision_phases.engine.inputs import as_inputs, check_inputs
from decision_phases.engine.local import plan_for, walk_all
from decision_phases.engine.lower import check_variant
from decision_phases.engine.observers import ReadRows
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.tasks import TokenSequence

#: Tokens that run at once: what is read of them is all that is ever held.
CHUNK = 2048

#: (site, layer) → activations of every token, `[token, d]`, at head_out `[token, head, d]`.
Rows = Mapping[tuple[str, int], Float[Tensor, "token ..."]]


@dataclass(frozen=True)
class RowsObserver(Observer[Rows]):
    """Keeps activations, in the order of the sequences, where they are.

    Attributes:
        where: Sites and layers to keep.
        positions: Of "all" tokens, or of those that the sequences say are "read".
        name: Under which the result is found.
    """

    where: tuple[tuple[str, int], ...]
    positions: Literal["all", "read"] = "all"
    name: str = "rows"

    @property
    def reads(self) -> Reads:
        """The places named."""
        sites, layers = (dict.fromkeys(column) for column in zip(*self.where, strict=True))
        return Reads(tuple(sites), tuple(layers), self.positions)

    @property
    def key(self) -> str:
        """The settings."""
        return f"rows {self.positions} {self.where}"

    def start(self, model: ModelAccess, inputs: Inputs, variant: Intervention) -> Collector[Rows]:
        """Begin with one variant."""
        return _Keeping(self, inputs)


class _Keeping(Collector[Rows]):
    def __init__(self, observer: RowsObserver, inputs: Inputs) -> None:
        self.whole = observer.positions == "all"
        self.kept: dict[tuple[str, int], list[Tensor]] = {
            place: [torch.empty(0)] * len(inputs.sequences) for place in observer.where
        }

    def take(self, batch: Batch, rows: ReadRows) -> None:
        sizes = [len(sequence) if self.whole else len(sequence.read) for sequence in batch.sequences]
        for place, kept in self.kept.items():
            for index, part in zip(batch.indices, torch.split(rows[place], sizes), strict=True):
                kept[index] = part

    def finish(self) -> Rows:
        return {place: torch.cat(kept) for place, kept in self.kept.items()}


@dataclass(frozen=True, eq=False)
class Chunk:
    """What was read of some windows.

    Attributes:
        rows: Intervention → what was read under it.
        seconds: Intervention → how long it would have run alone, by the blocks that it needs; what several have in
            common was run once.
    """

    rows: Mapping[Intervention, Rows]
    seconds: Mapping[Intervention, float]


def stream(
    model: ModelAccess,
    sequences: Sequence[TokenSequence],
    wanted: Mapping[Intervention, Sequence[tuple[str, int]]],
    *,
    positions: Literal["all", "read"] = "all",
    progress: bool,
    what: str,
) -> Iterator[Chunk]:
    """Run texts under several interventions and give what is read, a few windows at a time.

    Interventions that are read at the same places run together, so that the blocks before they part run once.

    Args:
        model: The model.
        sequences: Windows of text.
        wanted: Intervention → sites and layers to read under it.
        positions: As in `RowsObserver`.
        progress: Show a bar.
        what: Its label.

    Yields:
        What was read of the next windows.
    """
    alike: dict[RowsObserver, list[Intervention]] = {}
    for variant, where in wanted.items():
        alike.setdefault(RowsObserver(tuple(dict.fromkeys(where)), positions), []).append(variant)
    with tqdm(total=len(sequences), disable=not progress, unit="window", desc=what) as bar:
        for part in (batch.sequences for batch in in_parts(sequences)):
            rows, seconds = {}, {}
            for look, variants in alike.items():
                start = time.perf_counter()
                plan, found = _together(model, part, variants, look)
                spent = time.perf_counter() - start
                rows.update(found)
                seconds.update({variant: spent * plan.share_alone(variant) for variant in variants})
            yield Chunk(rows, seconds)
            bar.update(len(part))


def _together(
    model: ModelAccess, part: Sequence[TokenSequence], variants: Sequence[Intervention], look: RowsObserver
) -> tuple[Plan, dict[Intervention, Rows]]:
    """What is read under each, here and now: activations are too large to be sent to workers or kept in a store."""
    inputs = as_inputs(part)
    check_inputs(model, inputs)
    for variant in variants:
        check_variant(model, variant, inputs.sequences, len(inputs))
    plan = plan_for(model, inputs, variants, [look])
    found: dict[Intervention, Rows] = {}

    def keep(place: int, results: Mapping[str, Rows]) -> None:
        found[plan.variants[place]] = results[look.name]

    walk_all(model, inputs, plan, [look], keep, progress=False)
    return plan, found


def in_parts(sequences: Sequence[TokenSequence]) -> list[Batch]:
    """Divide texts into what runs at once, always in the same way: minibatches are drawn by where a token stands.

    Args:
        sequences: Windows of text.

    Returns:
        Batches of at most `CHUNK` tokens, which hold every window once.
    """
    return make_batches(sequences, max_tokens=CHUNK)
