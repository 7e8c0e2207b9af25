"""Trees of text on their way through the blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from decision_phases.engine.batches import Cells
from decision_phases.engine.lower import Hook, layer_hooks, removes_block, replaced_weights, stand_in
from decision_phases.engine.observers import Reads
from decision_phases.engine.packs import PackedRun, make_pack
from decision_phases.engine.plan import Plan
from decision_phases.engine.reading import AROUND, Found, Look, keeping, shown, wanted_layers
from decision_phases.engine.trees import Tree
from decision_phases.interventions import Edit
from decision_phases.models import ModelAccess
from decision_phases.models.shared_text import KeyValues, enter_after, gathered, run_after

#: Residuals on their way, and what was read so far.
State = tuple[tuple[Tensor, ...], Found]


class Walker(ABC):
    """One tree of text on its way through the blocks.

    Args:
        model: The model.
        plan: The plan.
        tree: The tree.
        reads: What is read.
    """

    def __init__(self, model: ModelAccess, plan: Plan, tree: Tree, reads: Sequence[Reads]) -> None:
        self.model, self.tree, self.reads, self.last = model, tree, reads, plan.last_layer - 1
        self.wanted = {(r, layer) for r in reads for layer in wanted_layers(r, plan.n_layers)}

    @abstractmethod
    def entered(self) -> State:
        """The residuals that enter block 0."""

    @abstractmethod
    def step(self, layer: int, edits: Sequence[Edit], state: State) -> State:
        """Go through one layer.

        Args:
            layer: 0-based index.
            edits: What is done there.
            state: The residuals entering it.

        Returns:
            Those leaving it; what was given stays as it was.
        """

    def _seen(self, looks: Sequence[Look], layer: int) -> list[Look]:
        return [look for look in looks if (look.reads, layer) in self.wanted]

    def _entering(self, found: Found, looks: Sequence[Look], resid: Tensor) -> None:
        for look in self._seen(looks, -1):
            if "resid_post" in look.reads.sites:
                keeping(found, look, "resid_post", -1)(resid)

    def _last_without_block(self, found: Found, looks: Sequence[Look], layer: int, resid: Tensor) -> None:
        """The final layer is read even if its block is gone: it is what the model says."""
        for look in self._seen(looks, layer):
            if look.reads.layers == "final" and "resid_post" in look.reads.sites:
                keeping(found, look, "resid_post", layer)(resid)

    def _readers(self, found: Found, looks: Sequence[Look], layer: int) -> list[Hook]:
        seen = self._seen(looks, layer)
        return [
            (layer, site, keeping(found, look, site, layer)) for look in seen for site in look.reads.sites
        ]


class StretchWalker(Walker):
    """Stretch by stretch, each in a batch of its own: whatever is read or edited, in every family."""

    def __init__(self, model: ModelAccess, plan: Plan, tree: Tree, reads: Sequence[Reads]) -> None:
        super().__init__(model, plan, tree, reads)
        self.looks: list[list[Look]] = [[] for _ in tree.stretches]
        for leaf, (index, batch) in enumerate(tree.leaves):
            for r in reads:
                for stretch, cells, places in tree.cells(index, batch, r.positions):
                    self.looks[stretch].append(Look(leaf, r, cells, places))
        self.entries = [
            None
            if not stretch.length
            else enter_after(model, stretch.tokens, stretch.offset)
            if tree.shares
            else model.enter(stretch.tokens)
            for stretch in tree.stretches
        ]
        self.plain = model.runs_plain
        above = {stretch.above for stretch in tree.stretches}
        self.continued = [i in above for i in range(len(tree.stretches))]
        self.rows_above = [torch.tensor(s.rows_above, device=s.device) for s in tree.stretches]

    def entered(self) -> State:
        """The residuals that enter block 0."""
        found: Found = {}
        empty = torch.empty(0)
        resids = tuple(empty if entry is None else entry.resid for entry in self.entries)
        for looks, resid in zip(self.looks, resids, strict=True):
            self._entering(found, looks, resid)
        return resids, found

    def step(self, layer: int, edits: Sequence[Edit], state: State) -> State:
        """Go through one layer."""
        resids, found = state
        if any((r, layer) in self.wanted for r in self.reads):
            found = dict(found)
        if removes_block(edits):
            left = tuple(
                stand_in(edits, stretch.rows)(resid) if stretch.length else resid
                for stretch, resid in zip(self.tree.stretches, resids, strict=True)
            )
            for looks, resid in zip(self.looks, left, strict=True):
                self._last_without_block(found, looks, layer, resid)
            return left, found
        with replaced_weights(self.model, edits):
            return self._through(layer, edits, resids, found), found

    def _through(
        self, layer: int, edits: Sequence[Edit], resids: tuple[Tensor, ...], found: Found
    ) -> tuple[Tensor, ...]:
        """One block, over every stretch in turn; keys and values live no longer than this call."""
        known: dict[int, KeyValues] = {}
        left: list[Tensor] = []
        for index, (stretch, resid) in enumerate(zip(self.tree.stretches, resids, strict=True)):
            entry = self.entries[index]
            if entry is None:
                left.append(resid)
                continue
            readers = self._readers(found, self.looks[index], layer)
            parts = self._left_out(edits)
            kept = [edit for edit in edits if not (edit.op == "skip" and edit.site in parts)]
            hooks = layer_hooks(kept, stretch.rows, readers)
            around = self.plain and all(site in AROUND for _, site, _ in hooks)
            if parts and not around:
                parts, hooks = (), layer_hooks(edits, stretch.rows, readers)
            before = None
            if stretch.above is not None:
                before = gathered([known[stretch.above]], self.rows_above[index])
            with self.model.hooked(() if around else hooks), self.model.leaving_out(layer, parts):
                x = shown(hooks, "resid_pre", resid) if around else resid
                if self.tree.shares:
                    after, own = run_after(self.model, layer, x, entry, before, plain=around)
                else:
                    after = self.model.run_block(layer, x, entry, plain=around)
            if around:
                after = shown(hooks, "resid_post", after)
            left.append(after)
            if self.tree.shares and self.continued[index]:
                known[index] = own if before is None else gathered([before, own], None)
        return tuple(left)

    def _left_out(self, edits: Sequence[Edit]) -> tuple[str, ...]:
        """Parts of a block that need not be computed; keys are still wanted if other text continues this."""
        if not self.plain:
            return ()
        return tuple(
            edit.site
            for edit in edits
            if edit.op == "skip"
            and edit.site in self.model.skips
            and (edit.site == "mlp" or not self.tree.shares)
        )


class PackedWalker(Walker):
    """All positions side by side; a layer that something looks into, or that treats positions differently, by stretch.

    A block that no other follows is computed at the positions that are read, if these are few.
    """

    def __init__(self, model: ModelAccess, plan: Plan, tree: Tree, reads: Sequence[Reads]) -> None:
        super().__init__(model, plan, tree, reads)
        self.pack = make_pack(tree)
        self.run = PackedRun(model, self.pack)
        self.looks: list[Look] = []
        for leaf, (_, batch) in enumerate(tree.leaves):
            for r in reads:
                cells = self.pack.cells(leaf, batch, r.positions)
                self.looks.append(Look(leaf, r, cells, torch.arange(len(cells), device=batch.device)))
        self.inside = {r for r in reads if not set(r.sites) <= set(AROUND)}
        self.plan = plan

    @cached_property
    def apart(self) -> StretchWalker:
        """The same tree, stretch by stretch."""
        return StretchWalker(self.model, self.plan, self.tree, self.reads)

    @cached_property
    def ending(self) -> tuple[Callable[[int, Tensor], Tensor], list[Look]] | None:
        """How the last layer is computed, and what is read of it; None if that is most of the positions."""
        looks = self._seen(self.looks, self.last)
        nodes = np.unique([node for look in looks for node in look.cells.columns.tolist()])
        if not 0 < 2 * len(nodes) <= len(self.pack):
            return None
        place = {int(node): i for i, node in enumerate(nodes)}
        moved = []
        for look in looks:
            columns = torch.tensor([place[node] for node in look.cells.columns.tolist()], dtype=torch.long)
            cells = Cells(look.cells.rows, columns.to(look.cells.rows.device))
            moved.append(Look(look.leaf, look.reads, cells, look.places))
        return self.run.ending(nodes), moved

    def entered(self) -> State:
        """The residuals that enter block 0."""
        found: Found = {}
        self._entering(found, self.looks, self.run.resid)
        return (self.run.resid,), found

    def step(self, layer: int, edits: Sequence[Edit], state: State) -> State:
        """Go through one layer."""
        (resid,), found = state
        gone = removes_block(edits)
        parts = () if gone else self._left_out(edits)
        kept = [edit for edit in edits if not (edit.op == "skip" and edit.site in parts)]
        if not all(_everywhere(edit, gone=gone) for edit in kept):
            return self._by_stretch(layer, edits, state)
        if any((r, layer) in self.wanted for r in self.reads):
            found = dict(found)
        if gone:
            left = stand_in(edits, None)(resid)
            self._last_without_block(found, self.looks, layer, left)
            return (left,), found
        if any((r, layer) in self.wanted for r in self.inside):
            return self._by_stretch(layer, edits, state)
        x = shown(layer_hooks(kept, None, self._readers(found, self.looks, layer)), "resid_pre", resid)
        run: Callable[[int, Tensor], Tensor] = self.run.block
        looks = self.looks
        if layer == self.last and self.ending is not None and not parts:
            run, looks = self.ending
        hooks = layer_hooks(kept, None, self._readers(found, looks, layer))
        with replaced_weights(self.model, edits), self.model.leaving_out(layer, parts):
            return (shown(hooks, "resid_post", run(layer, x)),), found

    def _left_out(self, edits: Sequence[Edit]) -> tuple[str, ...]:
        """Parts of a block that need not be computed; without its attention, a block goes by stretch."""
        skipped = {edit.site for edit in edits if edit.op == "skip"}
        return ("mlp",) if skipped == {"mlp"} and "mlp" in self.model.skips else ()

    def _by_stretch(self, layer: int, edits: Sequence[Edit], state: State) -> State:
        (resid,), found = state
        parts = tuple(resid[0, nodes] for nodes in self.pack.spread)
        left, found = self.apart.step(layer, edits, (parts, found))
        flat = torch.cat([part.reshape(-1, part.shape[-1]) for part in left])
        return (flat[self.pack.gathered][None],), found


def _everywhere(edit: Edit, *, gone: bool) -> bool:
    """Whether an edit treats all positions alike, and does nothing inside a block that is computed."""
    alike = edit.positions == "all" and not edit.per_question
    return alike and (gone or edit.op == "weights" or (edit.site in AROUND and edit.op != "skip"))
