"""A change of a matrix of few directions, as two narrow ones."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

from decision_phases.errors import InputError
from decision_phases.interventions.arrays import Array


@dataclass(frozen=True, repr=False)
class LowRank:
    """Hold what is added to a parameter: `left @ right`. What trains few directions of a model is kept small by it.

    Attributes:
        left: `[rows, rank]`.
        right: `[rank, columns]`.

    Raises:
        InputError: If the shapes do not fit each other, or they are no numbers.

    Example:
        >>> LowRank(Array.of([[1.0], [2.0]], "left"), Array.of([[3.0, 0.0, 1.0]], "right"))
        LowRank([2, 3], rank 1)
    """

    left: Array
    right: Array

    def __post_init__(self) -> None:
        (_, *inner), (rank, *_) = self.left.shape, self.right.shape
        numbers = all(array.data.dtype.kind == "f" for array in (self.left, self.right))
        if (self.left.data.ndim, self.right.data.ndim, inner) != (2, 2, [rank]) or not numbers:
            raise InputError(
                f"a change of low rank has left and right of the shapes {self.left.shape} and {self.right.shape}; they "
                "must be numbers of the shapes [rows, rank] and [rank, columns]."
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the parameter that it is added to."""
        return self.left.shape[0], self.right.shape[1]

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return int(self.left.data.size + self.right.data.size)

    @cached_property
    def content_hash(self) -> str:
        """The SHA-256 of the content, in hexadecimal."""
        return hashlib.sha256(
            f"low rank {self.left.content_hash} {self.right.content_hash}".encode()
        ).hexdigest()

    def __hash__(self) -> int:
        return hash(self.content_hash)

    def __repr__(self) -> str:
        rows, columns = self.shape
        return f"LowRank([{rows}, {columns}], rank {self.right.shape[0]})"
