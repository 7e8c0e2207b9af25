"""Walking a plan: blocks are called one by one, what is read is gathered on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor

from decision_phases.engine.batches import Batch, Cells
from decision_phases.engine.lower import Hook, layer_hooks, removes_block, replaced_weights, stand_in
from decision_phases.engine.observers import Reads
from decision_phases.engine.plan import Branch, Plan
from decision_phases.interventions import Edit, Intervention
from decision_phases.models import Entry, ModelAccess

#: Called with (place of the variant, batch, what was read under each of the `Reads`).
Deliver = Callable[[int, Batch, Mapping[Reads, Mapping[tuple[str, int], Tensor]]], None]
_Found = dict[tuple[Reads, str, int], Tensor]


def wanted_layers(reads: Reads, n_layers: int) -> range | tuple[int, ...]:
    """The layers that an observer reads.

    Args:
        reads: What it asked for.
        n_layers: Layers of the model.

    Returns:
        Layer numbers, −1 for the embedding.
    """
    if reads.layers == "all":
        return range(-1, n_layers)
    return (n_layers - 1,) if reads.layers == "final" else reads.layers


def walk(
    model: ModelAccess,
    plan: Plan,
    group: Sequence[Batch],
    reads: Sequence[Reads],
    deliver: Deliver,
    entries: Sequence[Entry] | None = None,
) -> None:
    """Run every variant of a plan over a group of batches.

    Args:
        model: The model.
        plan: The plan.
        group: Batches that are walked together.
        reads: What is read.
        deliver: Called for every variant and batch, as soon as a variant is through.
        entries: The batches as `ModelAccess.enter` saw them, if they are at hand.
    """
    if not plan.variants:
        return
    with torch.no_grad():
        if plan.mode == "whole model":
            for place, variant in enumerate(plan.variants):
                for batch in group:
                    deliver(place, batch, _whole(model, variant, batch, reads))
            return
        walkers = [
            _Walker(model, plan, batch, reads, entries[i] if entries else model.enter(batch.tokens))
            for i, batch in enumerate(group)
        ]
        states = [walker.entered() for walker in walkers]
        _descend(plan, plan.root, walkers, states, deliver)


def _descend(
    plan: Plan,
    branch: Branch,
    walkers: Sequence[_Walker],
    states: list[tuple[Tensor, _Found]],
    deliver: Deliver,
) -> None:
    variant = plan.variants[branch.variants[0]]
    for layer in range(branch.start, branch.stop):
        for i, walker in enumerate(walkers):
            states[i] = walker.step(layer, variant.at(layer), *states[i])
    for child in branch.children[:-1]:
        _descend(plan, child, walkers, list(states), deliver)
    if branch.children:
        _descend(plan, branch.children[-1], walkers, states, deliver)
        return
    for place in branch.variants:
        for (_, found), walker in zip(states, walkers, strict=True):
            deliver(place, walker.batch, _by_reads(found, walker.reads))


class _Walker:
    """One batch on its way through the blocks."""

    def __init__(
        self, model: ModelAccess, plan: Plan, batch: Batch, reads: Sequence[Reads], entry: Entry
    ) -> None:
        self.model, self.batch, self.reads, self.entry = model, batch, reads, entry
        self.cells = {r.positions: batch.cells(r.positions) for r in reads}
        self.wanted = {(r, layer) for r in reads for layer in wanted_layers(r, plan.n_layers)}

    def entered(self) -> tuple[Tensor, _Found]:
        resid = self.entry.resid
        found = {
            (r, "resid_post", -1): _gather(resid, self.cells[r.positions])
            for r in self.reads
            if (r, -1) in self.wanted and "resid_post" in r.sites
        }
        return resid, found

    def step(self, layer: int, edits: Sequence[Edit], resid: Tensor, found: _Found) -> tuple[Tensor, _Found]:
        here = [r for r in self.reads if (r, layer) in self.wanted]
        found = dict(found) if here else found
        if removes_block(edits):
            resid = stand_in(edits, self.batch)(resid)
            # The final layer is read even if its block is gone: it is what the model says.
            for r in here:
                if r.layers == "final" and "resid_post" in r.sites:
                    found[r, "resid_post", layer] = _gather(resid, self.cells[r.positions])
            return resid, found
        readers: list[Hook] = [
            (layer, site, _keep(found, r, site, layer, self.cells[r.positions]))
            for r in here
            for site in r.sites
        ]
        hooks = layer_hooks(edits, self.batch, readers)
        with ExitStack() as stack:
            if any(edit.op == "weights" for edit in edits):
                stack.enter_context(replaced_weights(self.model, edits))
            stack.enter_context(self.model.hooked(hooks))
            return self.model.run_block(layer, resid, self.entry), found


def _whole(
    model: ModelAccess, variant: Intervention, batch: Batch, reads: Sequence[Reads]
) -> dict[Reads, dict[tuple[str, int], Tensor]]:
    """One variant over one batch by running the whole model."""
    found: _Found = {}
    removed = set(variant.removed_blocks)
    entering: list[Hook] = []
    readers: dict[int, list[Hook]] = {}
    leaving: list[Callable[[Tensor], None]] = []
    for r in reads:
        cells = batch.cells(r.positions)
        for layer in wanted_layers(r, model.n_layers):
            if layer in removed and r.layers != "final":
                continue
            for site in r.sites:
                keep = _keep(found, r, site, layer, cells)
                if layer < 0:
                    if site == "resid_post":
                        entering.append((0, "resid_pre", keep))
                elif (layer, site) == (model.n_layers - 1, "resid_post") and isinstance(r.layers, str):
                    # What leaves the model is read at its final norm: such a model may still change it after the
                    # last block. Layers asked for by number are read where patches write.
                    leaving.append(keep)
                else:
                    readers.setdefault(layer, []).append((layer, site, keep))
    hooks, table = lowered(model, variant, batch, readers)
    hooks = [*entering, *hooks]
    with (
        replaced_weights(model, variant.edits),
        model.hooked(hooks),
        model.overridden(dict(table)),
        model.watching_last(leaving),
    ):
        model.logits(batch.tokens, last_only=True)
    return _by_reads(found, reads)


def lowered(
    model: ModelAccess,
    variant: Intervention,
    batch: Batch | None,
    readers: Mapping[int, Sequence[Hook]] | None = None,
) -> tuple[list[Hook], dict[int, Callable[[Tensor], Tensor] | None]]:
    """Lower a whole intervention to hooks and overrides.

    Args:
        model: The model.
        variant: The intervention.
        batch: What runs, or None.
        readers: layer → hooks that look on.

    Returns:
        Hooks, and layer → what stands in for its block.
    """
    hooks: list[Hook] = []
    table: dict[int, Callable[[Tensor], Tensor] | None] = {}
    for layer in range(model.n_layers):
        edits = variant.at(layer)
        if removes_block(edits):
            table[layer] = stand_in(edits, batch) if len(edits) > 1 else None
        else:
            hooks += layer_hooks(edits, batch, (readers or {}).get(layer, ()))
    return hooks, table


def _keep(found: _Found, r: Reads, site: str, layer: int, cells: Cells) -> Callable[[Tensor], None]:
    def read(x: Tensor) -> None:
        found[r, site, layer] = _gather(x, cells)

    return read


def _gather(x: Tensor, cells: Cells) -> Tensor:
    return x[cells.rows.to(x.device), cells.columns.to(x.device)]


def _by_reads(found: _Found, reads: Sequence[Reads]) -> dict[Reads, dict[tuple[str, int], Tensor]]:
    return {r: {(site, layer): rows for (of, site, layer), rows in found.items() if of == r} for r in reads}
