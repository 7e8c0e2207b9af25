"""Batches: every sequence once, at a cost no worse than the two obvious ways, and always the same."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from decision_phases.engine import Batch, make_batches
from decision_phases.errors import InputError
from decision_phases.tasks import TokenSequence

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=40)


def of_lengths(lengths: list[int]) -> list[TokenSequence]:
    return [
        TokenSequence(tuple(range(1, n + 1)), (n - 1,), (), i, spans={"answer": (n - 1, n)})
        for i, n in enumerate(lengths)
    ]


def cost(batches: list[Batch], overhead: int) -> int:
    return sum(batch.tokens.numel() + overhead for batch in batches)


@given(lengths=LENGTHS, max_tokens=st.integers(1, 400))
def test_every_sequence_is_in_one_batch_within_the_limit(lengths: list[int], max_tokens: int) -> None:
    rows = of_lengths(lengths)
    batches = make_batches(rows, max_tokens=max_tokens)
    assert sorted(i for batch in batches for i in batch.indices) == list(range(len(rows)))
    for batch in batches:
        assert [rows[i] for i in batch.indices] == list(batch.sequences)
        assert batch.tokens.numel() <= max_tokens or len(batch.sequences) == 1
        for row, sequence in zip(batch.tokens.tolist(), batch.sequences, strict=True):
            assert row == [*sequence.tokens, *[0] * (batch.tokens.shape[1] - len(sequence))]


@given(lengths=LENGTHS, overhead=st.integers(0, 100))
def test_no_dearer_than_one_batch_or_one_a_row_or_one_a_length(lengths: list[int], overhead: int) -> None:
    found = cost(make_batches(of_lengths(lengths), overhead=overhead), overhead)
    assert found <= len(lengths) * max(lengths) + overhead
    assert found <= sum(lengths) + overhead * len(set(lengths)) <= sum(lengths) + overhead * len(lengths)


def test_the_cheapest_of_all_cuts_is_found() -> None:
    """By hand, overhead 10: {2, 3 | 20, 21} costs 6 + 10 + 42 + 10 = 68; all other cuts cost 94, 80, 87 or more."""
    batches = make_batches(of_lengths([20, 2, 21, 3]), overhead=10)
    assert [batch.indices for batch in batches] == [(1, 3), (0, 2)]
    assert cost(batches, 10) == 68


@given(lengths=LENGTHS)
def test_the_same_sequences_give_the_same_batches(lengths: list[int]) -> None:
    first, second = (make_batches(of_lengths(lengths)) for _ in range(2))
    assert [batch.indices for batch in first] == [batch.indices for batch in second]


def test_cells_are_the_positions_of_every_row() -> None:
    rows = [TokenSequence((1, 2, 3), (0, 2), (), 0, spans={"answer": (1, 2)}), *of_lengths([2])]
    batch = Batch(tuple(rows), (0, 1), torch.device("cpu"))
    assert [(c.rows.tolist(), c.columns.tolist()) for c in map(batch.cells, ("read", "answer", "all"))] == [
        ([0, 0, 1], [0, 2, 1]),
        ([0, 1], [1, 1]),
        ([0, 0, 0, 1, 1], [0, 1, 2, 0, 1]),
    ]
    assert len(batch.cells("read")) == 3
    with pytest.raises(InputError, match="has no position 'question'"):
        batch.cells("question")
