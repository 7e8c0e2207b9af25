"""Values of a game that costs next to nothing to ask: of a surrogate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

from decision_phases.pruning.game.exact import MOST_UNITS, exact_values
from decision_phases.pruning.game.interactions import interactions_of
from decision_phases.pruning.game.masks import all_masks, nested_masks
from decision_phases.pruning.game.permutation import order_contributions
from decision_phases.pruning.game.samplers import draw_orders

Predict = Callable[[Bool[np.ndarray, "mask unit"]], Float[np.ndarray, "mask column"]]

N_ORDERS = 512
"""Orders drawn where masks cannot be enumerated: 256 and their reverses."""
INTERACTION_MASKS = 256
"""Masks over which interactions are averaged."""


class ByAsking(ABC):
    """A surrogate without a closed form: what units are worth is found by asking it for masks."""

    @property
    @abstractmethod
    def n_units(self) -> int:
        """Number of units."""

    @abstractmethod
    def __call__(self, masks: Bool[np.ndarray, "mask unit"]) -> Float[np.ndarray, "mask column"]:
        """The value of every mask."""

    def values(
        self, chances: Float[np.ndarray, " others"], *, seed: int = 0
    ) -> Float[np.ndarray, "unit column"]:
        """The value of every unit: exactly up to 12 units, by drawn orders beyond.

        Args:
            chances: Of `size_chances`.
            seed: Of the orders.

        Returns:
            The value of every unit in every game.
        """
        return values_of_function(self, self.n_units, chances, seed=seed)

    def interactions(self, *, seed: int = 0) -> Float[np.ndarray, "unit unit column"]:
        """What pairs of units add together, beyond what each adds; mean over drawn masks, the same in every game.

        Args:
            seed: Of the masks.

        Returns:
            Symmetric in the units, 0 on the diagonal.
        """
        return interactions_of(self, self.n_units, n_masks=INTERACTION_MASKS, seed=seed)


def values_of_function(
    predict: Predict,
    n_units: int,
    chances: Float[np.ndarray, " others"],
    *,
    n_orders: int = N_ORDERS,
    seed: int = 0,
) -> Float[np.ndarray, "unit column"]:
    """Return the values of all units: exactly up to 12 units, by antithetic orders beyond.

    Args:
        predict: Takes masks; gives their values, one column a game.
        n_units: Number of units.
        chances: Of `size_chances`.
        n_orders: How many orders to draw.
        seed: Of the orders.

    Returns:
        The value of every unit in every game.

    Example:
        >>> def twice(masks):
        ...     return masks @ np.array([[1.0], [2.0]])
        >>> values_of_function(twice, 2, np.array([0.5, 0.5]))[:, 0].tolist()
        [1.0, 2.0]
    """
    if n_units <= MOST_UNITS:
        return exact_values(predict(all_masks(n_units)), chances)
    orders = draw_orders(n_units, n_orders, seed=seed)
    values = predict(nested_masks(orders).reshape(-1, n_units))
    by_order = values.reshape(n_orders, n_units + 1, -1)
    return np.asarray(order_contributions(orders, by_order, chances).mean(axis=0))
