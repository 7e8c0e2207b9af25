"""Values that differ by question, whatever the batch they are run in."""

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Shaped

from decision_phases.errors import InputError
from decision_phases.interventions.arrays import Array, Key


@dataclass(frozen=True)
class PerQuestion:
    """Hold values that differ by question: one vector each, or one per token.

    Attributes:
        rows: The values of all questions, one after the other: `[row, width]`, or `[row, head, width]`.
        lengths: How many rows each question has; None means one vector for each question.

    Raises:
        InputError: If the rows have another number of dimensions, or the lengths do not add up to them.

    Example:
        >>> source = PerQuestion(Array(np.arange(6.0).reshape(3, 2)), lengths=(1, 2))
        >>> source.n_questions, source.of(1).tolist()
        (2, [[2.0, 3.0], [4.0, 5.0]])
    """

    rows: Array
    lengths: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if len(self.rows.shape) not in (2, 3) or self.rows.data.dtype.kind != "f":
            raise InputError(
                f"values per question are {self.rows}; they must be numbers of the shape [question, d], "
                "or one array [position, d] for each question."
            )
        if self.lengths is not None and (
            any(length < 1 for length in self.lengths) or sum(self.lengths) != self.rows.shape[0]
        ):
            raise InputError(
                f"values per question have {self.rows.shape[0]} rows, but their lengths are {self.lengths}; "
                "the lengths must be positive and add up to the rows."
            )

    @classmethod
    def from_arrays(cls, values: Any, name: str) -> "PerQuestion":
        """Return the values of each question, from one array or from one array for each.

        Args:
            values: `[question, d]` (or `[question, head, d]`), or a list or tuple of `[position, d]`
                (or `[position, head, d]`), where the number of positions may differ.
            name: What the values are, for the error.

        Returns:
            The values.

        Raises:
            InputError: If the shapes are others, or the values are not finite numbers.

        Example:
            >>> PerQuestion.from_arrays([np.zeros((3, 2)), np.ones((1, 2))], "source").lengths
            (3, 1)
        """
        if not isinstance(values, list | tuple) or all(np.ndim(part) < 2 for part in values):
            return cls(Array.of(values, name))
        parts = [Array.of(part, f"{name}, question {i}").data for i, part in enumerate(values)]
        shapes = [part.shape for part in parts]
        if {len(shape) for shape in shapes} > {2, 3} or len({shape[1:] for shape in shapes}) != 1:
            raise InputError(
                f"{name} has the shapes {shapes}; it must be one array [position, d] for each question."
            )
        return cls(Array(np.concatenate(parts)), tuple(part.shape[0] for part in parts))

    @property
    def n_questions(self) -> int:
        """The number of questions.

        Example:
            >>> PerQuestion(Array(np.zeros((4, 2)))).n_questions
            4
        """
        return self.rows.shape[0] if self.lengths is None else len(self.lengths)

    @property
    def width(self) -> int:
        """The length of one vector.

        Example:
            >>> PerQuestion(Array(np.zeros((4, 2)))).width
            2
        """
        return self.rows.shape[-1]

    @property
    def description(self) -> str:
        """The shape in words, for errors.

        Example:
            >>> PerQuestion(Array(np.zeros((4, 2))), lengths=(3, 1)).description
            '2 questions of 1 to 3 positions, width 2'
        """
        if self.lengths is None:
            return f"{self.n_questions} questions of one vector each, width {self.width}"
        low, high = min(self.lengths), max(self.lengths)
        return f"{self.n_questions} questions of {low} to {high} positions, width {self.width}"

    @property
    def key(self) -> Key:
        """Identify the content, for caching.

        Example:
            >>> PerQuestion(Array(np.zeros((4, 2)))).key[0]
            'per_question'
        """
        return ("per_question", self.rows.content_hash, self.lengths)

    def of(self, question: int) -> Shaped[np.ndarray, "..."]:
        """Return the values of one question: `[d]` if there is one vector, else `[position, d]`.

        Args:
            question: The index of the question.

        Returns:
            A view that cannot be written to.

        Raises:
            InputError: If there is no such question.

        Example:
            >>> PerQuestion(Array(np.arange(4.0).reshape(2, 2))).of(1).tolist()
            [2.0, 3.0]
        """
        if not 0 <= question < self.n_questions:
            raise InputError(f"question {question} is out of range: there are values for {self.description}.")
        if self.lengths is None:
            row: np.ndarray = self.rows.data[question]
            return row
        start = sum(self.lengths[:question])
        return self.rows.data[start : start + self.lengths[question]]

    def at_positions(self, question: int, n_positions: int) -> Shaped[np.ndarray, "position ..."]:
        """Return what to write at each of `n_positions` edited positions of one question.

        Args:
            question: The index of the question.
            n_positions: How many positions the edit resolves to in it.

        Returns:
            `[position, d]`: the question's own rows, or its one vector repeated.

        Raises:
            InputError: If the question has another number of rows.

        Example:
            >>> PerQuestion(Array(np.arange(4.0).reshape(2, 2))).at_positions(1, 2).tolist()
            [[2.0, 3.0], [2.0, 3.0]]
        """
        values = self.of(question)
        if self.lengths is None:
            return np.broadcast_to(values, (n_positions, *values.shape))
        if values.shape[0] != n_positions:
            raise InputError(
                f"the source has {values.shape[0]} positions for question {question}, but the edit writes at "
                f"{n_positions}; capture the source at these positions, from questions of equal length."
            )
        return values

    def head(self, head: int) -> "PerQuestion":
        """Return the values of one head.

        Args:
            head: The 0-based index of the head.

        Returns:
            Values of the shape `[row, width]`.

        Raises:
            InputError: If the values have no heads, or not this one.

        Example:
            >>> PerQuestion(Array(np.zeros((4, 3, 2)))).head(2).rows.shape
            (4, 2)
        """
        if len(self.rows.shape) != 3:
            raise InputError(
                f"values of the shape {self.rows.shape} have no heads; head {head} cannot be taken."
            )
        if not 0 <= head < self.rows.shape[1]:
            raise InputError(
                f"head {head} is out of range: the values have heads 0..{self.rows.shape[1] - 1}."
            )
        return PerQuestion(Array(self.rows.data[:, head]), self.lengths)

    def reordered(self, order: Iterable[SupportsIndex]) -> "PerQuestion":
        """Return the values with question `i` given those of question `order[i]`.

        Args:
            order: The index of the question to take, for each question.

        Returns:
            The values of `len(order)` questions.

        Raises:
            InputError: If the order is empty or names a question that is not there.

        Example:
            >>> PerQuestion(Array(np.arange(2.0).reshape(2, 1))).reordered([1, 0]).rows.data.tolist()
            [[1.0], [0.0]]
        """
        taken = [self.of(operator.index(question)) for question in order]
        if not taken:
            raise InputError("the order is empty; it must name one question of the source for each question.")
        if self.lengths is None:
            return PerQuestion(Array(np.stack(taken)))
        return PerQuestion(Array(np.concatenate(taken)), tuple(part.shape[0] for part in taken))
