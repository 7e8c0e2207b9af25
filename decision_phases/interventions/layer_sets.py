"""Sets of layers: as they are given, and as text, `{5..8, 12}` to print, `5-8,12` to type."""

import operator
import re
from collections.abc import Iterable
from typing import SupportsIndex

from decision_phases.errors import InputError

_RANGE = re.compile(r"([0-9]+)(?:-([0-9]+))?")


def listed_layers(given: object, name: str = "layers") -> tuple[int, ...]:
    """Return layers that were given as a collection; whether there are such layers is not asked.

    Args:
        given: Integers of any integer type, in anything that can be gone through.
        name: What they were given as, for the error.

    Returns:
        The layers, in the order given.

    Raises:
        InputError: If it is a single layer or a text, or something in it is no integer.

    Example:
        >>> listed_layers(range(2, 4))
        (2, 3)
    """
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InputError(f"{name}={given!r} is no collection of layers; give one, such as {name}=[2, 3].")
    layers = tuple(given)
    for layer in layers:
        if isinstance(layer, bool) or not isinstance(layer, SupportsIndex):
            raise InputError(f"{name} has {layer!r} in it, which is no integer; give such as {name}=[2, 3].")
    return tuple(operator.index(layer) for layer in layers)


def layer_runs(layers: Iterable[int]) -> tuple[tuple[int, ...], ...]:
    """Return a set of layers as runs of neighbours, ascending.

    Args:
        layers: The layers, in any order.

    Returns:
        The runs.

    Example:
        >>> layer_runs([4, 2, 1])
        ((1, 2), (4,))
    """
    runs: list[list[int]] = []
    for layer in sorted(set(layers)):
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return tuple(tuple(run) for run in runs)


def format_layers(layers: Iterable[int]) -> str:
    """Return a set of layers in braces, runs of three and more shortened.

    Args:
        layers: The layers, in any order.

    Returns:
        The text.

    Example:
        >>> format_layers([12, 5, 6, 7, 8])
        '{5..8, 12}'
    """
    runs = layer_runs(layers)
    texts = (f"{run[0]}..{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)
    return "{" + ", ".join(texts) + "}"


def parse_layers(text: str, name: str = "layers") -> tuple[int, ...]:
    """Return the layers that a text lists.

    Args:
        text: Layers and ranges with both ends included, separated by commas: `"5-8,12"`.
        name: What the text was given as, for the error (`"--skip"`).

    Returns:
        The layers in the order of the text.

    Raises:
        InputError: If the text is empty, or a piece of it is no layer or range of layers.

    Example:
        >>> parse_layers("5-8, 12")
        (5, 6, 7, 8, 12)
    """
    layers: list[int] = []
    for piece in text.split(","):
        match = _RANGE.fullmatch(piece.strip())
        if match is None:
            raise InputError(
                f"{name}: {piece.strip()!r} is not a layer or a range of layers; write 5,8 or 5-8."
            )
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if last < first:
            raise InputError(f"{name}: the range {first}-{last} runs backwards; write {last}-{first}.")
        layers.extend(range(first, last + 1))
    return tuple(layers)
