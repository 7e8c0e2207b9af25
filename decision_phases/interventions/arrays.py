"""An array that cannot change and is equal to every array of the same content."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Shaped

from decision_phases.errors import InputError

Key: TypeAlias = tuple[object, ...]


def to_numpy(values: Any, name: str) -> Shaped[np.ndarray, "..."]:
    """Return `values` as a numpy array of little-endian floats, or of booleans if it holds booleans.

    Args:
        values: Numbers: an array, a tensor (taken off its device and its graph), or nested sequences.
        name: What the values are, for the error.

    Returns:
        The array; integers become float64, bfloat16 becomes float32, other floats keep their type.

    Raises:
        InputError: If the values are no numbers, are empty, or are not all finite.

    Example:
        >>> to_numpy([1, 2], "direction")
        array([1., 2.])
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        if str(values.dtype) == "torch.bfloat16":
            values = values.float()
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InputError(f"{name} is not a rectangular array of numbers: {error}.") from None
    if array.dtype.kind in "iu":
        array = array.astype(np.float64)
    if array.dtype.kind not in "fb":
        raise InputError(f"{name} has the type {array.dtype}; it must be an array of real numbers.")
    if array.size == 0:
        raise InputError(f"{name} has the shape {array.shape}, without any element.")
    bad = ~np.isfinite(array)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise InputError(
            f"{name} holds {int(bad.sum())} values that are NaN or infinite, the first at index {first}; "
            "every value must be finite."
        )
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


@dataclass(frozen=True, eq=False, repr=False)
class Array:
    """Hold an immutable copy of an array; equality and hash are those of type, shape and content.

    Attributes:
        data: The copy, which can be read but never written. Any shape; float16, float32, float64 or bool.

    Raises:
        InputError: If the array is empty, holds no real numbers, or has values that are not finite.

    Example:
        >>> source = np.ones(3)
        >>> array = Array(source)
        >>> source[0] = 7
        >>> array.data.tolist(), array == Array(np.ones(3)), array
        ([1.0, 1.0, 1.0], True, Array(float64[3], 195a4091))
    """

    data: Shaped[np.ndarray, "..."]

    def __post_init__(self) -> None:
        checked = to_numpy(self.data, "an array")
        # Memory owned by bytes cannot be made writable again, unlike an array's own.
        frozen = np.frombuffer(checked.tobytes(), dtype=checked.dtype).reshape(checked.shape)
        object.__setattr__(self, "data", frozen)

    @classmethod
    def of(cls, values: Any, name: str, ndim: int | None = None) -> "Array":
        """Return `values` as an Array, checked and named in errors.

        Args:
            values: Numbers: an array, a tensor, nested sequences, or an Array.
            name: What the values are, for the error.
            ndim: How many dimensions they must have; None allows any number.

        Returns:
            The Array.

        Raises:
            InputError: As for `to_numpy`, and if the number of dimensions is another one.

        Example:
            >>> Array.of([[1, 2]], "direction", ndim=1)
            Traceback (most recent call last):
            decision_phases.errors.InputError: direction has the shape (1, 2); it must have 1 dimension.
        """
        array = values if isinstance(values, cls) else cls(to_numpy(values, name))
        if ndim is not None and array.data.ndim != ndim:
            expected = f"{ndim} dimension" + ("s" if ndim != 1 else "")
            raise InputError(f"{name} has the shape {array.shape}; it must have {expected}.")
        return array

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array.

        Example:
            >>> Array(np.zeros((2, 3))).shape
            (2, 3)
        """
        return self.data.shape

    @cached_property
    def content_hash(self) -> str:
        """The SHA-256 of type, shape and content, in hexadecimal.

        Example:
            >>> Array(np.zeros(2)).content_hash == Array(np.zeros((1, 2))).content_hash
            False
        """
        digest = hashlib.sha256(f"{self.data.dtype.str}{self.shape}".encode())
        digest.update(self.data.tobytes())
        return digest.hexdigest()

    @property
    def key(self) -> Key:
        """Identify the content, for caching.

        Example:
            >>> Array(np.zeros(2)).key[0]
            'array'
        """
        return ("array", self.content_hash)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Array) and self.content_hash == other.content_hash

    def __hash__(self) -> int:
        return hash(self.content_hash)

    def __repr__(self) -> str:
        sizes = ", ".join(str(size) for size in self.shape)
        return f"Array({self.data.dtype}[{sizes}], {self.content_hash[:8]})"

    def __reduce__(self) -> tuple[Callable[..., "Array"], tuple[Any, ...]]:
        # A plain copy of a numpy array can be written to; going through the constructor keeps it immutable.
        return Array, (self.data,)
