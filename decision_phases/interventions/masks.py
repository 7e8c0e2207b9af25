"""Which elements of a parameter are kept, a bit each."""

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, UInt8

from decision_phases.errors import InputError


@dataclass(frozen=True, repr=False)
class Mask:
    """Hold booleans, eight to a byte: the masks of a whole model take an eighth of a byte a weight.

    Attributes:
        shape: The shape.
        bits: The elements in order, as `numpy.packbits` packs them.

    Raises:
        InputError: If there is no element, or the bits are not those of so many elements.

    Example:
        >>> mask = Mask.of(np.array([[True, False, True]]))
        >>> mask, mask.data.tolist()
        (Mask([1, 3], 67% kept), [[True, False, True]])
    """

    shape: tuple[int, ...]
    bits: bytes

    def __post_init__(self) -> None:
        size = math.prod(self.shape)
        if size < 1 or len(self.bits) != -(-size // 8):
            raise InputError(
                f"a mask of the shape {self.shape} has {size} elements, but {len(self.bits)} bytes are given; eight "
                "elements take one byte, and at least one element is needed."
            )

    @classmethod
    def of(cls, values: Bool[np.ndarray, "..."]) -> "Mask":
        r"""Return the mask of an array.

        Args:
            values: True where the parameter is kept.

        Returns:
            The mask.

        Example:
            >>> Mask.of(np.ones(3, dtype=bool)).bits
            b'\xe0'
        """
        return cls(values.shape, np.packbits(values).tobytes())

    @property
    def data(self) -> Bool[np.ndarray, "..."]:
        """The booleans, unpacked anew each time.

        Example:
            >>> Mask.of(np.array([True, False])).data.tolist()
            [True, False]
        """
        flat = np.unpackbits(self.packed, count=math.prod(self.shape))
        return flat.astype(bool).reshape(self.shape)

    @property
    def packed(self) -> UInt8[np.ndarray, " byte"]:
        """The bits, as they are saved.

        Example:
            >>> Mask.of(np.array([True, False])).packed.tolist()
            [128]
        """
        return np.frombuffer(self.bits, dtype=np.uint8)

    @cached_property
    def content_hash(self) -> str:
        """The SHA-256 of shape and content, in hexadecimal.

        Example:
            >>> Mask.of(np.array([True])).content_hash == Mask.of(np.array([[True]])).content_hash
            False
        """
        digest = hashlib.sha256(f"mask{self.shape}".encode())
        digest.update(self.bits)
        return digest.hexdigest()

    def __hash__(self) -> int:
        return hash(self.content_hash)

    def __repr__(self) -> str:
        sizes = ", ".join(str(size) for size in self.shape)
        return f"Mask([{sizes}], {self.data.mean():.0%} kept)"
