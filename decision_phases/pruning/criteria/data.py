"""What criteria are measured on: questions with their right answers, or texts, as sequences in groups."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, Num

from decision_phases.engine import texts as read_texts
from decision_phases.models import ModelAccess
from decision_phases.tasks import EncodedQuestions, TextSet, TokenSequence, encode_texts, is_cloze

Positions = Literal["all", "last"]

#: What `dp.texts` takes.
Texts = str | Path | TextSet | Iterable[str]


@dataclass(frozen=True, eq=False)
class Data:
    """Sequences, every one with targets, and the questions or texts that they belong to.

    Attributes:
        name: Name of the questions or texts.
        kind: What the groups are: "question", "text" or "window".
        sequences: What is run. Of a question that is its prompt, with the right answer behind it in cloze scorings;
            the targets are the tokens of the right answer. Of texts it is their windows, with the next tokens.
        groups: For each sequence, the question, text or window that intervals are resampled over.
        labels: Name of each group, for messages and tables.
        encoded: The questions as they were put; None for texts.
    """

    name: str
    kind: Literal["question", "text", "window"]
    sequences: tuple[TokenSequence, ...]
    groups: Int[np.ndarray, " sequence"]
    labels: tuple[str, ...] = field(repr=False)
    encoded: EncodedQuestions | None = field(default=None, repr=False)

    @property
    def n_groups(self) -> int:
        """Number of questions, texts or windows."""
        return len(self.labels)

    @cached_property
    def tokens(self) -> Int[np.ndarray, " sequence"]:
        """Number of targets of each sequence."""
        return np.array([len(s.targets) for s in self.sequences], dtype=np.int64)

    def by_group(self, values: Num[np.ndarray, "... sequence"]) -> Float[np.ndarray, "... group"]:
        """Sum over the sequences of each group.

        Args:
            values: One a sequence.

        Returns:
            One a group.
        """
        return summed(values, self.groups, self.n_groups)

    def reading(self, positions: Positions) -> tuple[TokenSequence, ...]:
        """The same sequences, read at other positions.

        Args:
            positions: "all", or "last": the answer position of a question, the last token of a window.

        Returns:
            Sequences without targets.
        """

        def places(s: TokenSequence) -> tuple[int, ...]:
            if positions == "all":
                return tuple(range(len(s)))
            return (s.span("answer")[0],) if self.encoded is not None else (len(s) - 1,)

        return tuple(replace(s, read=places(s), targets=()) for s in self.sequences)


def summed(
    values: Num[np.ndarray, "... cell"], groups: Int[np.ndarray, " cell"], n_groups: int
) -> Float[np.ndarray, "... group"]:
    """Sum over the cells of each group.

    Args:
        values: One a cell.
        groups: The group of each cell.
        n_groups: Number of groups.

    Returns:
        One a group.

    Example:
        >>> summed(np.array([1.0, 2.0, 4.0]), np.array([1, 0, 1]), 2).tolist()
        [2.0, 5.0]
    """
    sums = np.zeros((*values.shape[:-1], n_groups))
    np.add.at(sums.T, groups, values.T)
    return sums


def question_data(encoded: EncodedQuestions) -> Data:
    """Take questions with their right answers as what is to be predicted.

    Args:
        encoded: The questions.

    Returns:
        One sequence a question.

    Example:
        >>> from decision_phases.models import load
        >>> from decision_phases.readout import ask
        >>> encoded = ask(load("tiny-gpt2", quiet=True), "facts")
        >>> one = question_data(encoded).sequences[0]
        >>> one.read == encoded.sequences[0].read, one.targets == (encoded.option_ids[0][encoded.gold[0]],)
        (True, True)
    """
    gold = encoded.gold.tolist()
    if is_cloze(encoded.scoring):
        chosen = tuple(s for s in encoded.sequences if s.option == gold[s.owner] and not s.unconditional)
    else:
        chosen = tuple(
            replace(s, targets=(encoded.option_ids[s.owner][gold[s.owner]],)) for s in encoded.sequences
        )
    labels = tuple(item.id or f"#{i}" for i, item in enumerate(encoded.questions))
    groups = np.array([s.owner for s in chosen], dtype=np.int64)
    return Data(encoded.questions.name, "question", chosen, groups, labels, encoded)


def text_data(
    model: ModelAccess,
    texts: Texts,
    *,
    window: int = 128,
    limit: int | None = 64,
    seed: int = 0,
) -> Data:
    """Cut texts into windows that do not overlap.

    Args:
        model: The model, whose tokenizer and context length hold.
        texts: What `dp.texts` takes.
        window: Tokens in a window, BOS included.
        limit: Use at most this many windows, drawn without replacement; None for all.
        seed: Of that draw.

    Returns:
        The windows; groups are the texts, or the windows of a single one.

    Raises:
        InputError: If texts, window and model do not fit.

    Example:
        >>> from decision_phases.models import load
        >>> data = text_data(load("tiny-gpt2", quiet=True), ["Is water wet? Yes."], window=4)
        >>> data.kind, data.labels
        ('window', ('#0', '#1'))
    """
    textset = read_texts(texts, model=model)
    made = encode_texts(
        textset, model.tokenizer, window=window, context_length=model.context_length, limit=limit, seed=seed
    )
    documents = np.array([s.owner for s in made])
    kept, groups = np.unique(documents, return_inverse=True)
    several = len(kept) > 1
    if not several:
        kept = groups = np.arange(len(made))
    sequences = tuple(replace(s, owner=i) for i, s in enumerate(made))
    labels = tuple(f"#{number}" for number in kept.tolist())
    return Data(textset.name, "text" if several else "window", sequences, groups, labels)
