"""Sequences as trees of text: what several of them begin with stands once.

A tree has at its root a stretch of text that all its sequences share (few-shot examples, an instruction), below it one
row for every text that several sequences continue (a question, continued by its options), and at its leaves what is
left of each sequence. Every stretch is computed once a variant; see `models.shared_text`. What lies behind the last
position that is read is not computed at all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from decision_phases.engine.batches import Batch, Cells, Rows, make_batches
from decision_phases.tasks import TokenSequence

Merging = Literal["all", "question", "nothing"]

LEAST = 8  # tokens that different questions must share to be worth a stretch of their own
WORTH = 128  # token positions that it must save


@dataclass(frozen=True, eq=False)
class Stretch:
    """Rows of text of one length, each continuing a row of the stretch above.

    Attributes:
        examples: For every row, a sequence that holds it.
        ends: For every row, the number of tokens of that sequence that are computed.
        offset: Number of tokens before the stretch in that sequence.
        length: Tokens in the stretch, padding included; 0 if nothing is left of any sequence.
        above: Index in `Tree.stretches` of the stretch that it continues, None at the root.
        rows_above: For every row, the row that it continues.
        device: Where the tokens are put.
    """

    examples: tuple[TokenSequence, ...]
    ends: tuple[int, ...]
    offset: int
    length: int
    above: int | None
    rows_above: tuple[int, ...]
    device: torch.device

    @cached_property
    def tokens(self) -> Int[Tensor, "row pos"]:
        """Token ids, padded on the right with token 0, which no earlier position of a causal model can see."""
        stop = self.offset + self.length
        parts = [
            s.tokens[self.offset : min(stop, end)] for s, end in zip(self.examples, self.ends, strict=True)
        ]
        rows = [[*p, *[0] * (self.length - len(p))] for p in parts]
        return torch.tensor(rows, dtype=torch.long, device=self.device).view(len(rows), self.length)

    @property
    def rows(self) -> Rows:
        """The rows of its activations."""
        return Rows(self.examples, self.offset, self.length)


@dataclass(frozen=True, eq=False)
class Tree:
    """Stretches of text, each after the one that it continues, and the sequences that end in them.

    Attributes:
        stretches: The stretches.
        leaves: (index of the last stretch, the sequences that end in it, row by row).
        merging: What may be computed once for several sequences, where positions can run side by side (see `packs`):
            "all" that they begin with, what those of one "question" begin with, or "nothing".
        max_tokens: Most tokens in a batch.
    """

    stretches: tuple[Stretch, ...]
    leaves: tuple[tuple[int, Batch], ...]
    merging: Merging = "nothing"
    max_tokens: int = 4096

    @property
    def shares(self) -> bool:
        """Whether a stretch continues another."""
        return any(stretch.above is not None for stretch in self.stretches)

    @property
    def computed(self) -> int:
        """Token positions computed for a block, padding included."""
        return sum(len(s.examples) * s.length for s in self.stretches)

    @property
    def pairs(self) -> int:
        """Pairs of a token and what it can attend to: the size of the attention masks."""
        return sum(len(s.examples) * s.length * (s.offset + s.length) for s in self.stretches)

    def cells(self, leaf: int, batch: Batch, positions: str) -> list[tuple[int, Cells, Tensor]]:
        """Where the cells of a batch lie in the stretches.

        Args:
            leaf: Index of the last stretch of its sequences.
            batch: The sequences.
            positions: As for `Batch.cells`.

        Returns:
            (stretch, cells in it, their places among the cells of the batch), for every stretch that has some.
        """
        whole = batch.cells(positions)
        rows, found = whole.rows, []
        index: int | None = leaf
        while index is not None:
            stretch = self.stretches[index]
            local = whole.columns - stretch.offset
            inside = torch.nonzero((local >= 0) & (local < stretch.length)).flatten()
            if len(inside):
                found.append((index, Cells(rows[inside], local[inside]), inside))
            rows = torch.tensor(stretch.rows_above, dtype=torch.long, device=rows.device)[rows]
            index = stretch.above
        return found


def make_trees(
    sequences: Sequence[TokenSequence],
    *,
    ends: Sequence[int] | None = None,
    share: bool = False,
    share_all: bool = True,
    device: torch.device | str = "cpu",
    max_tokens: int = 4096,
) -> list[Tree]:
    """Arrange sequences so that what they begin with is computed once.

    Args:
        sequences: What is to be run.
        ends: For every sequence, the number of its tokens that must be computed; all by default.
        share: Whether text can be shared.
        share_all: Whether it can be shared by different questions too, and not only by the options of one.
        device: Where the tokens are put.
        max_tokens: Most tokens in a batch.

    Returns:
        Trees that hold every sequence once, no stretch continuing another if sharing would save less than a tenth.
        Small ones are put together, as far as a batch goes.

    Example:
        >>> shots = tuple(range(70))
        >>> rows = [TokenSequence((*shots, 80 + i, 90), (71,), (), i) for i in range(3)]
        >>> [[(len(s.examples), s.length) for s in tree.stretches] for tree in make_trees(rows, share=True)]
        [[(1, 70), (3, 2)]]
    """
    growing = _Growing(sequences, ends or [len(s) for s in sequences], torch.device(device), max_tokens)
    merging: Merging = "nothing" if not share else "all" if share_all else "question"
    plain = growing.plain()
    if not share or len(sequences) < 2:
        return _together(plain, merging, max_tokens)
    everything = list(range(len(sequences)))
    clusters = _clusters(growing.texts, everything)[1] if share_all else []
    clustered = {i for _, members in clusters for i in members}
    rest = [i for i in everything if i not in clustered]
    shared = [growing.tree(root, members) for root, members in [*clusters, (0, rest)] if members]
    saved = sum(tree.computed for tree in plain) - sum(tree.computed for tree in shared)
    worth = saved > 0.1 * sum(tree.computed for tree in plain)
    return _together(shared if worth else plain, merging, max_tokens)


def _together(trees: Sequence[Tree], merging: Merging, max_tokens: int) -> list[Tree]:
    """Neighbouring trees as one, as long as they are not more than a batch."""
    groups: list[list[Tree]] = []
    for tree in trees:
        if groups and sum(t.computed for t in groups[-1]) + tree.computed <= max_tokens:
            groups[-1].append(tree)
        else:
            groups.append([tree])
    found = []
    for group in groups:
        stretches: list[Stretch] = []
        leaves: list[tuple[int, Batch]] = []
        for tree in group:
            n = len(stretches)
            stretches += [s if s.above is None else replace(s, above=s.above + n) for s in tree.stretches]
            leaves += [(index + n, batch) for index, batch in tree.leaves]
        found.append(Tree(tuple(stretches), tuple(leaves), merging, max_tokens))
    return found


def _clusters(
    texts: Sequence[tuple[int, ...]], members: Sequence[int]
) -> tuple[int, list[tuple[int, list[int]]]]:
    """Sequences that begin with the same long text: tokens saved, and (length of that text, members) of each cluster.

    All of them can share what they all begin with, or be divided by the token at which they part and share more
    among fewer, whichever saves more.
    """
    if len(members) < 2:
        return 0, []
    common = _common([texts[i] for i in members])
    together = (len(members) - 1) * common if common >= LEAST else 0
    groups: dict[int, list[int]] = defaultdict(list)
    for i in members:
        groups[texts[i][common] if len(texts[i]) > common else -1].append(i)
    apart = [_clusters(texts, group) for group in groups.values()] if len(groups) > 1 else []
    divided = sum(saved for saved, _ in apart)
    if together >= WORTH and together >= divided:
        return together, [(common, list(members))]
    return divided, [cluster for _, clusters in apart for cluster in clusters]


def _common(texts: Sequence[tuple[int, ...]]) -> int:
    """Length of the longest common beginning."""
    low, high = min(texts), max(texts)
    return next(
        (i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high))
    )


class _Growing:
    """What all stretches of one set of sequences are made from."""

    def __init__(
        self, sequences: Sequence[TokenSequence], ends: Sequence[int], device: torch.device, max_tokens: int
    ) -> None:
        self.sequences, self.ends, self.device, self.max_tokens = sequences, ends, device, max_tokens
        self.texts = [s.tokens[:end] for s, end in zip(sequences, ends, strict=True)]

    def batches(self, members: Sequence[int], offset: int) -> list[tuple[int, ...]]:
        """Members in groups of nearly equal length of what is left after `offset`."""
        rest = [TokenSequence(self.texts[i][offset:] or (0,), (), (), 0) for i in members]
        made = make_batches(rest, max_tokens=self.max_tokens)
        return [tuple(members[i] for i in batch.indices) for batch in made]

    def stretch(
        self, members: Sequence[int], offset: int, length: int, above: int | None, rows: Sequence[int]
    ) -> Stretch:
        """A stretch that begins at `offset`, one row a member."""
        examples = tuple(self.sequences[i] for i in members)
        ends = tuple(self.ends[i] for i in members)
        return Stretch(examples, ends, offset, length, above, tuple(rows), self.device)

    def leaf(self, members: Sequence[int], index: int) -> tuple[int, Batch]:
        """Sequences that end in the stretch at `index`."""
        return index, Batch(tuple(self.sequences[i] for i in members), tuple(members), self.device)

    def plain(self) -> list[Tree]:
        """Nothing shared: a tree of one stretch for each batch."""
        trees = []
        for members in self.batches(range(len(self.sequences)), 0):
            width = max(self.ends[i] for i in members)
            stretch = self.stretch(members, 0, width, None, range(len(members)))
            trees.append(Tree((stretch,), (self.leaf(members, 0),)))
        return trees

    def tree(self, root: int, within: Sequence[int]) -> Tree:
        """The first `root` tokens once, below them each question once, below them what is left."""
        stretches: list[Stretch] = []
        leaves: list[tuple[int, Batch]] = []
        above: int | None = None
        if root:
            stretches.append(self.stretch(within[:1], 0, root, None, [0]))
            above = 0

        def grow(members: Sequence[int], offset: int, over: int | None, rows: Sequence[int]) -> None:
            length = max(self.ends[i] for i in members) - offset
            stretches.append(self.stretch(members, offset, length, over, rows))
            leaves.append(self.leaf(members, len(stretches) - 1))

        stems, alone = self._stems(root, within)
        for stem, groups in stems:
            heads = [group[0] for group in groups]
            rows = [0] * len(groups) if root else range(len(groups))
            stretches.append(self.stretch(heads, root, stem - root, above, rows))
            members = [i for group in groups for i in group]
            parents = [row for row, group in enumerate(groups) for _ in group]
            grow(members, stem, len(stretches) - 1, parents)
        for some in self.batches(alone, root) if alone else ():
            grow(some, root, above, [0] * len(some) if root else range(len(some)))
        return Tree(tuple(stretches), tuple(leaves))

    def _stems(self, root: int, within: Sequence[int]) -> tuple[list[tuple[int, list[list[int]]]], list[int]]:
        """Questions that several sequences continue, by their length, and the sequences that stand alone."""
        groups: dict[tuple[int, bool], list[int]] = defaultdict(list)
        for i in within:
            groups[self.sequences[i].owner, self.sequences[i].unconditional].append(i)
        by_length: dict[int, list[list[int]]] = defaultdict(list)
        alone: list[int] = []
        for members in groups.values():
            stem = _common([self.texts[i] for i in members]) if len(members) > 1 else 0
            if stem > root:
                by_length[stem].append(members)
            else:
                alone += members
        stems = []
        for stem, every in sorted(by_length.items()):
            size = max(1, self.max_tokens // stem)
            stems += [(stem, every[first : first + size]) for first in range(0, len(every), size)]
        return stems, alone
