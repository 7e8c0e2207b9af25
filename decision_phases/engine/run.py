"""Walking a plan: blocks are called one by one, what is read is gathered on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from decision_phases.engine.batches import Batch, Cells, Rows
from decision_phases.engine.lower import Hook, layer_hooks, removes_block, replaced_weights, stand_in
from decision_phases.engine.observers import Reads
from decision_phases.engine.plan import Branch, Plan
from decision_phases.engine.trees import Tree
from decision_phases.interventions import Edit, Intervention
from decision_phases.models import ModelAccess
from decision_phases.models.shared_text import KeyValues, enter_after, gathered, run_after

#: Called with (place of the variant, batch, what was read under each of the `Reads`).
Deliver = Callable[[int, Batch, Mapping[Reads, Mapping[tuple[str, int], Tensor]]], None]
#: (leaf, reads, site, layer) → parts, each with its places among the cells of the leaf's batch.
_Found = dict[tuple[int, Reads, str, int], tuple[tuple[Tensor, Tensor], ...]]
_AROUND = ("resid_pre", "resid_post")  # sites outside the computation of a block
_State = tuple[tuple[Tensor, ...], _Found]


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
    model: ModelAccess, plan: Plan, group: Sequence[Tree], reads: Sequence[Reads], deliver: Deliver
) -> None:
    """Run every variant of a plan over a group of trees.

    Args:
        model: The model.
        plan: The plan.
        group: Trees that are walked together.
        reads: What is read.
        deliver: Called for every variant and batch, as soon as a variant is through.
    """
    if not plan.variants:
        return
    with torch.no_grad():
        if plan.mode == "whole model":
            for place, variant in enumerate(plan.variants):
                for tree in group:
                    for _, batch in tree.leaves:
                        deliver(place, batch, _whole(model, variant, batch, reads))
            return
        walkers = [_Walker(model, plan, tree, reads) for tree in group]
        _descend(plan, plan.root, walkers, [walker.entered() for walker in walkers], deliver)


def _descend(
    plan: Plan, branch: Branch, walkers: Sequence[_Walker], states: list[_State], deliver: Deliver
) -> None:
    variant = plan.variants[branch.variants[0]]
    for layer in range(branch.start, branch.stop):
        for i, walker in enumerate(walkers):
            states[i] = walker.step(layer, variant.at(layer), states[i])
    for child in branch.children[:-1]:
        _descend(plan, child, walkers, list(states), deliver)
    if branch.children:
        _descend(plan, branch.children[-1], walkers, states, deliver)
        return
    for place in branch.variants:
        for (_, found), walker in zip(states, walkers, strict=True):
            for leaf, (_, batch) in enumerate(walker.tree.leaves):
                deliver(place, batch, _by_reads(found, walker.reads, leaf))


@dataclass(frozen=True)
class _Look:
    """Cells of one stretch that are read for one leaf."""

    leaf: int
    reads: Reads
    cells: Cells
    places: Tensor


class _Walker:
    """One tree of text on its way through the blocks."""

    def __init__(self, model: ModelAccess, plan: Plan, tree: Tree, reads: Sequence[Reads]) -> None:
        self.model, self.tree, self.reads = model, tree, reads
        self.wanted = {(r, layer) for r in reads for layer in wanted_layers(r, plan.n_layers)}
        self.looks: list[list[_Look]] = [[] for _ in tree.stretches]
        for leaf, (index, batch) in enumerate(tree.leaves):
            for r in reads:
                for stretch, cells, places in tree.cells(index, batch, r.positions):
                    self.looks[stretch].append(_Look(leaf, r, cells, places))
        self.shares = len(tree.stretches) > 1
        self.entries = [
            None
            if not stretch.length
            else enter_after(model, stretch.tokens, stretch.offset)
            if self.shares
            else model.enter(stretch.tokens)
            for stretch in tree.stretches
        ]
        self.plain = model.runs_plain
        above = {stretch.above for stretch in tree.stretches}
        self.continued = [i in above for i in range(len(tree.stretches))]
        self.rows_above = [torch.tensor(s.rows_above, device=s.device) for s in tree.stretches]

    def entered(self) -> _State:
        found: _Found = {}
        empty = torch.empty(0)
        resids = tuple(empty if entry is None else entry.resid for entry in self.entries)
        for index, resid in enumerate(resids):
            for look in self.looks[index]:
                if (look.reads, -1) in self.wanted and "resid_post" in look.reads.sites:
                    _keep(found, look, "resid_post", -1)(resid)
        return resids, found

    def step(self, layer: int, edits: Sequence[Edit], state: _State) -> _State:
        resids, found = state
        if any((r, layer) in self.wanted for r in self.reads):
            found = dict(found)
        if removes_block(edits):
            left = tuple(
                stand_in(edits, stretch.rows)(resid) if stretch.length else resid
                for stretch, resid in zip(self.tree.stretches, resids, strict=True)
            )
            # The final layer is read even if its block is gone: it is what the model says.
            for index, resid in enumerate(left):
                for look in self._looks(index, layer):
                    if look.reads.layers == "final" and "resid_post" in look.reads.sites:
                        _keep(found, look, "resid_post", layer)(resid)
            return left, found
        with ExitStack() as stack:
            if _weighed(edits):
                stack.enter_context(replaced_weights(self.model, edits))
            return self._through(layer, edits, resids, found), found

    def _looks(self, index: int, layer: int) -> list[_Look]:
        return [look for look in self.looks[index] if (look.reads, layer) in self.wanted]

    def _through(
        self, layer: int, edits: Sequence[Edit], resids: tuple[Tensor, ...], found: _Found
    ) -> tuple[Tensor, ...]:
        """One block, over every stretch in turn; keys and values live no longer than this call."""
        known: dict[int, KeyValues] = {}
        left: list[Tensor] = []
        for index, (stretch, resid) in enumerate(zip(self.tree.stretches, resids, strict=True)):
            entry = self.entries[index]
            if entry is None:
                left.append(resid)
                continue
            readers: list[Hook] = [
                (layer, site, _keep(found, look, site, layer))
                for look in self._looks(index, layer)
                for site in look.reads.sites
            ]
            hooks = layer_hooks(edits, stretch.rows, readers)
            around = self.plain and all(site in _AROUND for _, site, _ in hooks) and not _weighed(edits)
            before = None
            if stretch.above is not None:
                before = gathered([known[stretch.above]], self.rows_above[index])
            with self.model.hooked(() if around else hooks):
                x = _shown(hooks, "resid_pre", resid) if around else resid
                if self.shares:
                    after, own = run_after(self.model, layer, x, entry, before, plain=around)
                else:
                    after = self.model.run_block(layer, x, entry, plain=around)
            if around:
                after = _shown(hooks, "resid_post", after)
            left.append(after)
            if self.shares and self.continued[index]:
                known[index] = own if before is None else gathered([before, own], None)
        return tuple(left)


def _weighed(edits: Sequence[Edit]) -> bool:
    return any(edit.op == "weights" for edit in edits)


def _shown(hooks: Sequence[Hook], site: str, x: Tensor) -> Tensor:
    """What is left of a residual after the functions at its site, called in order as hooks would be."""
    for _, at, fn in hooks:
        if at == site:
            new = fn(x)
            x = x if new is None else new
    return x


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
        look = _Look(0, r, cells, torch.arange(len(cells), device=batch.device))
        for layer in wanted_layers(r, model.n_layers):
            if layer in removed and r.layers != "final":
                continue
            for site in r.sites:
                keep = _keep(found, look, site, layer)
                if layer < 0:
                    if site == "resid_post":
                        entering.append((0, "resid_pre", keep))
                elif (layer, site) == (model.n_layers - 1, "resid_post") and isinstance(r.layers, str):
                    # What leaves the model is read at its final norm: such a model may still change it after the
                    # last block. Layers asked for by number are read where patches write.
                    leaving.append(keep)
                else:
                    readers.setdefault(layer, []).append((layer, site, keep))
    hooks, table = lowered(model, variant, batch.rows, readers)
    hooks = [*entering, *hooks]
    with (
        replaced_weights(model, variant.edits),
        model.hooked(hooks),
        model.overridden(dict(table)),
        model.watching_last(leaving),
    ):
        model.logits(batch.tokens, last_only=True)
    return _by_reads(found, reads, 0)


def lowered(
    model: ModelAccess,
    variant: Intervention,
    rows: Rows | None,
    readers: Mapping[int, Sequence[Hook]] | None = None,
) -> tuple[list[Hook], dict[int, Callable[[Tensor], Tensor] | None]]:
    """Lower a whole intervention to hooks and overrides.

    Args:
        model: The model.
        variant: The intervention.
        rows: What runs, or None.
        readers: layer → hooks that look on.

    Returns:
        Hooks, and layer → what stands in for its block.
    """
    hooks: list[Hook] = []
    table: dict[int, Callable[[Tensor], Tensor] | None] = {}
    for layer in range(model.n_layers):
        edits = variant.at(layer)
        if removes_block(edits):
            table[layer] = stand_in(edits, rows) if len(edits) > 1 else None
        else:
            hooks += layer_hooks(edits, rows, (readers or {}).get(layer, ()))
    return hooks, table


def _keep(found: _Found, look: _Look, site: str, layer: int) -> Callable[[Tensor], None]:
    key = (look.leaf, look.reads, site, layer)

    def read(x: Tensor) -> None:
        rows, columns = look.cells.rows.to(x.device), look.cells.columns.to(x.device)
        found[key] = (*found.get(key, ()), (look.places, x[rows, columns]))

    return read


def _by_reads(found: _Found, reads: Sequence[Reads], leaf: int) -> dict[Reads, dict[tuple[str, int], Tensor]]:
    """What was read for one leaf, the parts of each place put together in the order of its cells."""
    gathered_rows: dict[Reads, dict[tuple[str, int], Tensor]] = {r: {} for r in reads}
    for (of, r, site, layer), parts in found.items():
        if of == leaf:
            gathered_rows[r][site, layer] = _joined(parts)
    return gathered_rows


def _joined(parts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    if len(parts) == 1:
        return parts[0][1]
    total = sum(len(places) for places, _ in parts)
    out = parts[0][1].new_empty(total, *parts[0][1].shape[1:])
    for places, rows in parts:
        out[places.to(out.device)] = rows
    return out
