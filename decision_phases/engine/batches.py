"""Token sequences as right-padded batches of nearly equal lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Int
from torch import Tensor

from decision_phases.interventions import resolve
from decision_phases.tasks import TokenSequence


@dataclass(frozen=True)
class Cells:
    """Token positions of a batch, one after the other, row by row.

    Attributes:
        rows: Row of each cell in the batch.
        columns: Token position of each cell.
    """

    rows: Int[Tensor, " cell"]
    columns: Int[Tensor, " cell"]

    def __len__(self) -> int:
        return int(self.rows.shape[0])


@dataclass(frozen=True)
class Rows:
    """The rows of a tensor of activations, as stretches of the sequences that they belong to.

    Attributes:
        sequences: For every row, its sequence (or one of those that share the stretch).
        offset: Tokens of the sequence that come before the stretch.
        width: Token positions in the tensor.
    """

    sequences: tuple[TokenSequence, ...]
    offset: int
    width: int

    def places(self, positions: str, row: int) -> tuple[list[int], list[int], int]:
        """Where a symbolic position lies in a row.

        Args:
            positions: A symbolic position.
            row: The row.

        Returns:
            Columns of the tensor, which of all the positions of the sequence these are, and how many it has.
        """
        sequence = self.sequences[row]
        every = resolve(positions, sequence.spans, len(sequence.tokens))
        inside = [i for i, at in enumerate(every) if self.offset <= at < self.offset + self.width]
        return [every[i] - self.offset for i in inside], inside, len(every)


@dataclass(frozen=True, eq=False)
class Batch:
    """Sequences that run together.

    Attributes:
        sequences: The sequences, of nearly equal length.
        indices: Their places among all sequences of the inputs.
        device: Where the tokens are put.
    """

    sequences: tuple[TokenSequence, ...]
    indices: tuple[int, ...]
    device: torch.device = field(repr=False)

    @cached_property
    def tokens(self) -> Int[Tensor, "row pos"]:
        """Token ids, padded on the right with token 0, which no earlier position of a causal model can see."""
        width = max(len(s) for s in self.sequences)
        padded = [[*s.tokens, *[0] * (width - len(s))] for s in self.sequences]
        return torch.tensor(padded, device=self.device)

    @property
    def rows(self) -> Rows:
        """The rows of its activations."""
        return Rows(self.sequences, 0, int(self.tokens.shape[1]))

    def cells(self, positions: str) -> Cells:
        """The token positions that a symbolic position stands for, in every sequence.

        Args:
            positions: "read" for what each sequence says is read out, or a symbolic position ("all", "answer",
                "question", "option:0").

        Returns:
            The cells, row by row.

        Raises:
            InputError: If a sequence has no such position.
        """
        found: list[tuple[int, int]] = []
        for row, sequence in enumerate(self.sequences):
            columns = (
                sequence.read
                if positions == "read"
                else resolve(positions, sequence.spans, len(sequence.tokens))
            )
            found.extend((row, column) for column in columns)
        pairs = torch.tensor(found, dtype=torch.long, device=self.device).reshape(-1, 2)
        return Cells(pairs[:, 0], pairs[:, 1])


def make_batches(
    sequences: Sequence[TokenSequence],
    *,
    device: torch.device | str = "cpu",
    max_tokens: int = 4096,
    overhead: int = 32,
) -> list[Batch]:
    """Group sequences by length so that padding and the number of batches together cost least.

    Sequences are sorted by length, and the sorted list is cut where it minimises
    `Σ over batches (rows × longest + overhead)`, found by dynamic programming over the distinct lengths.

    Args:
        sequences: What is to be run.
        device: Where the tokens are put.
        max_tokens: Most tokens in a batch, padding included; a longer single sequence makes a batch of its own.
        overhead: What a batch costs beyond its tokens, in tokens.

    Returns:
        Batches that hold every sequence once; the same for the same sequences, always.

    Example:
        >>> rows = [TokenSequence((1,) * n, (n - 1,), (), i) for i, n in enumerate([3, 90, 3])]
        >>> [batch.indices for batch in make_batches(rows)]
        [(0, 2), (1,)]
    """
    order = sorted(range(len(sequences)), key=lambda i: (len(sequences[i]), i))
    lengths = [len(sequences[i]) for i in order]
    ends = [i + 1 for i in range(len(lengths)) if i + 1 == len(lengths) or lengths[i + 1] != lengths[i]]
    # best[end]: least cost of the first `end` sequences, and where the last group of it starts.
    best: dict[int, tuple[int, int]] = {0: (0, 0)}
    for end in ends:
        best[end] = min(
            (
                best[start][0]
                + (end - start) * lengths[end - 1]
                + overhead * _n_parts(end - start, lengths[end - 1], max_tokens),
                start,
            )
            for start in (0, *ends)
            if start < end
        )
    groups: list[tuple[int, int]] = []
    end = len(lengths)
    while end > 0:
        groups.append((best[end][1], end))
        end = best[end][1]
    place = torch.device(device)
    batches = []
    for start, end in reversed(groups):
        rows = max(1, max_tokens // lengths[end - 1])
        for first in range(start, end, rows):
            indices = tuple(order[first : min(first + rows, end)])
            batches.append(Batch(tuple(sequences[i] for i in indices), indices, place))
    return batches


def _n_parts(rows: int, length: int, max_tokens: int) -> int:
    return -(-rows // max(1, max_tokens // length))
