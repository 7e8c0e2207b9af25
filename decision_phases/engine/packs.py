"""A tree of text as one row of token positions, every distinct beginning of its sequences once.

Sequences are sorted, so that those that begin alike stand together; each adds only the positions that the one before it
lacks, and its path names all its positions in the row. What a position depends on always stands before it, so that a
long row can be computed piece by piece.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from decision_phases.engine.batches import Batch, Cells
from decision_phases.engine.trees import Tree
from decision_phases.models import ModelAccess
from decision_phases.models.packed import Group, Known, Masks, PackedEntry, enter_packed

TOGETHER = 32  # positions that attend in one group, if their sequences are short
ALIKE = 1.25  # groups run together if the sizes of none exceed those of the smallest by more than this factor


@dataclass(frozen=True, eq=False)
class Path:
    """One sequence in the row.

    Attributes:
        nodes: Places of its tokens in the row.
        first: How many of them stand in the row for an earlier sequence already.
    """

    nodes: Int[np.ndarray, " token"]
    first: int


@dataclass(frozen=True, eq=False)
class Pack:
    """The positions of a tree of text, side by side.

    Attributes:
        tree: The tree.
        paths: The sequences, in the order of the row.
        places: For every leaf of the tree and every row of its batch, the path.
        tokens: Token of every position.
        depths: Place of every position in its sequences.
    """

    tree: Tree
    paths: tuple[Path, ...]
    places: tuple[tuple[Path, ...], ...]
    tokens: Int[np.ndarray, " position"]
    depths: Int[np.ndarray, " position"]

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def pieces(self) -> list[tuple[int, int]]:
        """Where the row is divided, so that no piece exceeds the largest batch, but between sequences only."""
        cuts, begun = [0], 0
        for path in self.paths:
            own = path.nodes[path.first :]
            if len(own) and own[-1] + 1 - begun > self.tree.max_tokens and own[0] > begun:
                begun = int(own[0])
                cuts.append(begun)
        return [*zip(cuts, [*cuts[1:], len(self)], strict=True)]

    def cells(self, leaf: int, batch: Batch, positions: str) -> Cells:
        """Where the cells of a batch lie in the row.

        Args:
            leaf: Which of the tree's leaves the batch is.
            batch: The sequences.
            positions: As for `Batch.cells`.

        Returns:
            Cells of the row.
        """
        whole = batch.cells(positions)
        pairs = zip(whole.rows.tolist(), whole.columns.tolist(), strict=True)
        nodes = [int(self.places[leaf][row].nodes[column]) for row, column in pairs]
        return Cells(torch.zeros_like(whole.rows), torch.tensor(nodes, dtype=torch.long, device=batch.device))

    def groups(self, wanted: Bool[np.ndarray, " position"]) -> list[list[Group]]:
        """Positions that attend together, in lists of nearly equal size.

        Args:
            wanted: The positions that attend.

        Returns:
            Groups; their queries are places among the positions wanted, their keys places in the row.
        """
        number = np.cumsum(wanted) - 1
        found: list[Group] = []
        waiting: list[tuple[Path, Int[np.ndarray, " _"]]] = []
        for path in self.paths:
            own = np.flatnonzero(wanted[path.nodes[path.first :]]) + path.first
            if len(own):
                waiting.append((path, own))
            if sum(len(columns) for _, columns in waiting) >= TOGETHER:
                found.append(_group(waiting, number))
                waiting = []
        if waiting:
            found.append(_group(waiting, number))
        return _sorted(found)

    @cached_property
    def spread(self) -> list[Int[Tensor, "row pos"]]:
        """For every stretch of the tree, the place in the row of each of its positions; padding is anywhere."""
        path_of = {
            id(s): path
            for (_, batch), paths in zip(self.tree.leaves, self.places, strict=True)
            for s, path in zip(batch.sequences, paths, strict=True)
        }
        found = []
        for stretch in self.tree.stretches:
            columns = np.arange(stretch.offset, stretch.offset + stretch.length)
            rows = [path_of[id(s)].nodes for s in stretch.examples]
            inside = [nodes[np.minimum(columns, len(nodes) - 1)] for nodes in rows]
            found.append(torch.from_numpy(np.array(inside)).to(stretch.device))
        return found

    @cached_property
    def gathered(self) -> Int[Tensor, " position"]:
        """For every position, its place among those of all stretches, one after the other."""
        found = np.zeros(len(self), np.int64)
        start = 0
        for stretch, nodes in zip(self.tree.stretches, self.spread, strict=True):
            size = nodes.numel()
            at = np.arange(start, start + size).reshape(nodes.shape)
            lengths = np.minimum(stretch.ends, stretch.offset + stretch.length) - stretch.offset
            real = np.arange(stretch.length)[None] < lengths[:, None]
            found[nodes.cpu().numpy()[real]] = at[real]
            start += size
        return torch.from_numpy(found).to(self.spread[0].device)


def make_pack(tree: Tree) -> Pack:
    """Put the sequences of a tree side by side.

    Args:
        tree: The tree; its `merging` says what may be computed once.

    Returns:
        The positions.
    """
    items = [
        (leaf, row, s.tokens[: tree.stretches[index].ends[row]], (s.owner, s.unconditional))
        for leaf, (index, batch) in enumerate(tree.leaves)
        for row, s in enumerate(batch.sequences)
    ]
    if tree.merging == "all":
        items = [(leaf, row, tokens, (0, False)) for leaf, row, tokens, _ in items]
    if tree.merging != "nothing":
        items.sort(key=lambda item: (item[3], item[2]))
    places: list[list[Path]] = [[None] * len(batch.sequences) for _, batch in tree.leaves]  # type: ignore[list-item]
    tokens: list[int] = []
    depths: list[int] = []
    paths: list[Path] = []
    before: tuple[int, ...] = ()
    whose: object = None
    for leaf, row, own, owner in items:
        alike = _common(before, own) if tree.merging != "nothing" and owner == whose else 0
        new = np.arange(len(tokens), len(tokens) + len(own) - alike)
        path = Path(np.concatenate([paths[-1].nodes[:alike], new]) if alike else new, alike)
        tokens += own[alike:]
        depths += range(alike, len(own))
        places[leaf][row] = path
        paths.append(path)
        before, whose = own, owner
    return Pack(tree, tuple(paths), tuple(map(tuple, places)), np.array(tokens), np.array(depths))


class PackedRun:
    """The positions of a tree on their way through the blocks.

    Args:
        model: The model.
        pack: The positions.
    """

    def __init__(self, model: ModelAccess, pack: Pack) -> None:
        self.model, self.pack = model, pack
        self.masks = Masks(model, int(pack.depths.max()) + 1)
        self.tokens, self.depths = (torch.from_numpy(a).to(model.device) for a in (pack.tokens, pack.depths))
        self.entries = [self._entry(np.arange(start, stop)) for start, stop in pack.pieces]

    @property
    def resid(self) -> Float[Tensor, "1 position d_model"]:
        """The residual stream entering block 0."""
        return torch.cat([entry.entry.resid for entry in self.entries], dim=1)

    def block(
        self, layer: int, resid: Float[Tensor, "1 position d_model"]
    ) -> Float[Tensor, "1 position d_model"]:
        """Compute one block on all positions.

        Args:
            layer: 0-based index of the block.
            resid: The residual stream entering it.

        Returns:
            The residual stream leaving it.
        """
        if len(self.entries) == 1:
            return self.entries[0].run(self.model, layer, resid, None)[0]
        left: list[Tensor] = []
        known: Known | None = None
        for entry, (start, stop) in zip(self.entries, self.pack.pieces, strict=True):
            out, known = entry.run(self.model, layer, resid[:, start:stop], known)
            left.append(out)
        return torch.cat(left, dim=1)

    def ending(self, nodes: Int[np.ndarray, " read"]) -> Callable[[int, Tensor], Tensor]:
        """Prepare to compute a block that no other follows, at some positions only.

        Args:
            nodes: The positions that are read.

        Returns:
            A function of layer and residual stream that gives the residuals leaving the block at these positions.
        """
        entry = self._entry(nodes, complete=True)
        chosen = torch.from_numpy(nodes).to(self.model.device)

        def run(layer: int, resid: Tensor) -> Tensor:
            known: Known | None = None
            for before, (start, stop) in zip(self.entries, self.pack.pieces, strict=True):
                known = before.keys(self.model, layer, resid[:, start:stop], known)
            return entry.run(self.model, layer, resid[:, chosen], known)[0]

        return run

    def _entry(self, nodes: Int[np.ndarray, " some"], *, complete: bool = False) -> PackedEntry:
        wanted = np.zeros(len(self.pack), bool)
        wanted[nodes] = True
        at = torch.from_numpy(nodes).to(self.model.device)
        return enter_packed(
            self.model,
            self.tokens[at],
            self.depths[at],
            self.pack.groups(wanted),
            self.masks,
            key_positions=self.depths,
            complete=complete,
        )


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _group(some: Sequence[tuple[Path, Int[np.ndarray, " _"]]], number: Int[np.ndarray, " position"]) -> Group:
    """The positions of some neighbouring sequences, given by their columns, and all that these depend on."""
    keys = np.unique(np.concatenate([path.nodes[: columns[-1] + 1] for path, columns in some]))
    allowed = np.zeros((sum(len(columns) for _, columns in some), len(keys)), bool)
    queries, start = [], 0
    for path, columns in some:
        places = np.searchsorted(keys, path.nodes[: columns[-1] + 1])
        seen = np.arange(len(places))[None] <= columns[:, None]
        allowed[start : start + len(columns), places] = seen
        queries.append(number[path.nodes[columns]])
        start += len(columns)
    return Group(np.concatenate(queries), keys, allowed)


def _sorted(groups: Sequence[Group]) -> list[list[Group]]:
    """Groups of nearly equal size together."""
    ordered = sorted(groups, key=lambda g: (len(g.keys), len(g.queries)))
    lists: list[list[Group]] = []
    for group in ordered:
        if lists:
            here = lists[-1]
            few = min(len(g.queries) for g in [*here, group])
            many = max(len(g.queries) for g in [*here, group])
            if len(group.keys) <= ALIKE * len(here[0].keys) and many <= ALIKE * few:
                here.append(group)
                continue
        lists.append([group])
    return lists
