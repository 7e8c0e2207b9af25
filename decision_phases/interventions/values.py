"""What an edit can hold: a number, a vector, values per question, noise, a map, parameters."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from decision_phases.errors import InputError, unknown_name
from decision_phases.interventions.arrays import Array, Key
from decision_phases.interventions.low_rank import LowRank
from decision_phases.interventions.masks import Mask
from decision_phases.interventions.per_question import PerQuestion

RELATIVE_TO: Mapping[str, str] = {
    "token_std": "the noise has `variance` times the variance of the token's activation over its channels",
    "absolute": "the noise has `variance`, in the squared units of the activation",
}


#: What an edit of weights holds of one parameter.
Held: TypeAlias = Array | Mask | LowRank


@dataclass(frozen=True)
class Noise:
    """Describe Gaussian noise: `h' = h + √variance · σ · N(0, I)`.

    Attributes:
        variance: The variance of the noise, not its standard deviation; 0 changes nothing.
        relative_to: `"token_std"`: σ is the standard deviation of the token's own activation over its
            channels (population form); `"absolute"`: σ is 1.

    Raises:
        InputError: If the variance is negative or not finite, or the scale is unknown.

    Example:
        >>> Noise(0.02).key
        ('noise', 0.02, 'token_std')
    """

    variance: float
    relative_to: str = "token_std"

    def __post_init__(self) -> None:
        if not math.isfinite(self.variance) or self.variance < 0:
            raise InputError(f"the noise variance is {self.variance}; it must be a finite number, 0 or more.")
        if self.relative_to not in RELATIVE_TO:
            raise unknown_name("noise scale", self.relative_to, RELATIVE_TO)
        object.__setattr__(self, "variance", float(self.variance) + 0.0)

    @property
    def key(self) -> Key:
        """Identify the content, for caching.

        Example:
            >>> Noise(1.0, "absolute").key
            ('noise', 1.0, 'absolute')
        """
        return ("noise", self.variance, self.relative_to)


@dataclass(frozen=True)
class Affine:
    """Describe the map `x @ weight + bias`.

    Attributes:
        weight: `[d, d]`, applied from the right.
        bias: `[d]`, or None for none.

    Raises:
        InputError: If the weight is not square, or the bias does not fit it.

    Example:
        >>> Affine(Array.of([[1.0, 0.0], [0.0, 1.0]], "w")).width
        2
    """

    weight: Array
    bias: Array | None = None

    def __post_init__(self) -> None:
        shape = self.weight.shape
        if len(shape) != 2 or shape[0] != shape[1] or self.weight.data.dtype.kind != "f":
            raise InputError(f"the weight of the map is {self.weight}; it must be square, [d, d].")
        if self.bias is not None and (self.bias.shape != shape[:1] or self.bias.data.dtype.kind != "f"):
            raise InputError(f"the bias of the map is {self.bias}; with this weight it must be [{shape[0]}].")

    @property
    def width(self) -> int:
        """The width d of the activations that are mapped.

        Example:
            >>> Affine(Array.of([[2.0]], "w"), Array.of([1.0], "b")).width
            1
        """
        return self.weight.shape[0]

    @property
    def key(self) -> Key:
        """Identify the content, for caching.

        Example:
            >>> Affine(Array.of([[2.0]], "w")).key[2] is None
            True
        """
        bias = None if self.bias is None else self.bias.content_hash
        return ("affine", self.weight.content_hash, bias)


@dataclass(frozen=True)
class Bottleneck:
    """Describe the map `x + gelu(x̂ @ down + hidden) @ up + bias`, where x̂ is x divided by its root mean square.

    Attributes:
        down: `[d, r]`, applied from the right.
        hidden: `[r]`.
        up: `[r, d]`, applied from the right.
        bias: `[d]`.

    Raises:
        InputError: If the shapes do not fit each other.

    Example:
        >>> parts = ([[1.0], [1.0]], [0.0], [[0.5, 0.0]], [0.0, 0.0])
        >>> Bottleneck(*(Array.of(part, "part") for part in parts)).width
        2
    """

    down: Array
    hidden: Array
    up: Array
    bias: Array

    def __post_init__(self) -> None:
        shapes = tuple(array.shape for array in self.arrays)
        d, r = (*self.down.shape, 0, 0)[:2]
        if shapes != ((d, r), (r,), (r, d), (d,)) or any(a.data.dtype.kind != "f" for a in self.arrays):
            raise InputError(
                f"the bottleneck has down, hidden, up and bias of the shapes {shapes}; they must be numbers of the "
                "shapes [d, r], [r], [r, d] and [d]."
            )

    @property
    def arrays(self) -> tuple[Array, Array, Array, Array]:
        """The parameters, in the order in which they are applied."""
        return self.down, self.hidden, self.up, self.bias

    @property
    def width(self) -> int:
        """The width d of the activations that are mapped."""
        return self.down.shape[0]

    @property
    def key(self) -> Key:
        """Identify the content, for caching."""
        return ("bottleneck", *(array.content_hash for array in self.arrays))


@dataclass(frozen=True)
class Weights:
    """Hold replacements for parameters of one block, by their names within the block.

    Attributes:
        parameters: Pairs of name and Array, Mask or LowRank, sorted by name. An array of numbers replaces the
            parameter; where a mask is False the parameter becomes 0; a change of low rank is added to it. An array of
            booleans is kept as a mask.

    Raises:
        InputError: If there is no parameter, or a name is empty or given twice.

    Example:
        >>> Weights.from_mapping({"mlp.weight": [[True, False]]}).names
        ('mlp.weight',)
    """

    parameters: tuple[tuple[str, Held], ...]

    def __post_init__(self) -> None:
        names = [name for name, _ in self.parameters]
        if not names:
            raise InputError("no parameter is given; give at least one name with its array.")
        if not all(names) or len(set(names)) != len(names):
            raise InputError(f"the parameters are named {names}; each must have a name of its own.")
        held = ((name, _as_mask(array)) for name, array in self.parameters)
        object.__setattr__(self, "parameters", tuple(sorted(held, key=lambda pair: pair[0])))

    @classmethod
    def from_mapping(cls, parameters: Mapping[str, Any]) -> "Weights":
        """Return replacements from a mapping of names to arrays.

        Args:
            parameters: Name within the block to array, numbers or booleans, or to a LowRank.

        Returns:
            The replacements.

        Raises:
            InputError: If a value is no array of finite numbers or booleans.

        Example:
            >>> Weights.from_mapping({"b": [1.0], "a": [2.0]}).names
            ('a', 'b')
        """
        return cls(
            tuple(
                (name, values if isinstance(values, LowRank) else Array.of(values, f"parameter {name!r}"))
                for name, values in parameters.items()
            )
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parameters, sorted.

        Example:
            >>> Weights((("w", Array.of([1.0], "w")),)).names
            ('w',)
        """
        return tuple(name for name, _ in self.parameters)

    @property
    def key(self) -> Key:
        """Identify the content, for caching.

        Example:
            >>> Weights((("w", Array.of([1.0], "w")),)).key[0]
            'weights'
        """
        return ("weights", tuple((name, array.content_hash) for name, array in self.parameters))


def _as_mask(array: Held) -> Held:
    return Mask.of(array.data) if isinstance(array, Array) and array.data.dtype.kind == "b" else array


Value: TypeAlias = float | Array | PerQuestion | Noise | Affine | Bottleneck | Weights | None
