"""Coalitions as boolean rows: which units of a model are kept."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int


@runtime_checkable
class Game(Protocol):
    """Anything that gives every mask a value.

    A mask is a row of booleans, True where the unit is kept. Estimators ask for many masks at once, and for the same
    one as often as they like.
    """

    def __call__(self, masks: Bool[np.ndarray, "mask unit"]) -> Float[np.ndarray, " mask"]:
        """The value of every mask."""
        ...


def all_masks(n_units: int) -> Bool[np.ndarray, "mask unit"]:
    """Return every mask; row *i* keeps the units whose bit is set in *i*.

    Args:
        n_units: Number of units.

    Returns:
        2^n rows, from none kept to all kept.

    Example:
        >>> all_masks(2).astype(int).tolist()
        [[0, 0], [1, 0], [0, 1], [1, 1]]
    """
    return np.asarray((np.arange(2**n_units)[:, None] >> np.arange(n_units)) & 1 == 1)


def nested_masks(orders: Int[np.ndarray, "order unit"]) -> Bool[np.ndarray, "order size unit"]:
    """Return the masks that lie on the way as units are removed one by one.

    Args:
        orders: The units of each row in the order of removal.

    Returns:
        At `[order, k]` the mask that keeps *k* units, the last *k* of the order; `k` runs from none to all.

    Example:
        >>> nested_masks(np.array([[1, 0, 2]]))[0].astype(int).tolist()
        [[0, 0, 0], [0, 0, 1], [1, 0, 1], [1, 1, 1]]
    """
    n = orders.shape[1]
    turn = np.argsort(orders, axis=1)  # when each unit goes
    return np.asarray(turn[:, None, :] >= (n - np.arange(n + 1))[:, None])


def distinct_masks(
    masks: Bool[np.ndarray, "mask unit"],
) -> tuple[Bool[np.ndarray, "distinct unit"], Int[np.ndarray, " mask"]]:
    """Return each mask once, and where every row is found among them.

    Args:
        masks: Masks, some of them equal.

    Returns:
        The masks in lexicographic order, and for every row given the place of its equal.

    Example:
        >>> distinct_masks(np.array([[True, False], [False, True], [True, False]]))[1].tolist()
        [1, 0, 1]
    """
    once, places = np.unique(masks, axis=0, return_inverse=True)
    return once, places.reshape(-1)
