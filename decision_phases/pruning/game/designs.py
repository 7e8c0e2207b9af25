"""Which masks a method asks for, and what it makes of their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from decision_phases.errors import InputError
from decision_phases.pruning.game.exact import exact_interactions, exact_values
from decision_phases.pruning.game.kernel import kernel_values
from decision_phases.pruning.game.masks import all_masks, nested_masks
from decision_phases.pruning.game.permutation import order_contributions
from decision_phases.pruning.game.quality import SurrogateQuality
from decision_phases.pruning.game.samplers import Draws, kernel_mass


@dataclass(frozen=True, eq=False)
class Solved:
    """What a method makes of the values of its masks, for several games at once.

    Attributes:
        values: The value of every unit.
        interactions: What pairs of units add together beyond what each adds, for methods that know it.
    """

    values: Float[np.ndarray, "unit column"]
    interactions: Float[np.ndarray, "unit unit column"] | None = None


@runtime_checkable
class Design(Protocol):
    """A method, set up for one number of units.

    Attributes:
        masks: What it asks for. Rows are in no particular order, and may be equal.
        n_groups: Number of independent draws, which a bootstrap may resample; 0 if nothing is drawn.
        sampler: How masks were drawn, "" if nothing is drawn.
    """

    masks: Bool[np.ndarray, "mask unit"]
    n_groups: int
    sampler: str

    def solve(
        self,
        values: Float[np.ndarray, "mask column"],
        weights: Float[np.ndarray, "group column"] | None = None,
    ) -> Solved:
        """The value of every unit; columns are games, and weights say how much each draw counts in each."""
        ...

    def quality(self, values: Float[np.ndarray, " mask"]) -> SurrogateQuality | None:
        """How good the surrogate is, for methods that have one."""
        ...


class Exact:
    """All masks there are.

    Args:
        n_units: Number of units.
        chances: Of `size_chances`.
    """

    n_groups, sampler = 0, ""

    def __init__(self, n_units: int, chances: Float[np.ndarray, " others"]) -> None:
        self.masks, self.chances = all_masks(n_units), chances

    def solve(
        self,
        values: Float[np.ndarray, "mask column"],
        weights: Float[np.ndarray, "group column"] | None = None,
    ) -> Solved:
        """The value of every unit, and of every pair."""
        return Solved(exact_values(values, self.chances), exact_interactions(values))

    def quality(self, values: Float[np.ndarray, " mask"]) -> None:
        """There is no surrogate."""


class Permutations:
    """Orders, walked from all units to none.

    Args:
        orders: Units in the order of removal; for pairs, all orders and then all their reverses.
        chances: Of `size_chances`.
        antithetic: Whether they are pairs.
    """

    sampler = "permutation"

    def __init__(
        self,
        orders: Int[np.ndarray, "order unit"],
        chances: Float[np.ndarray, " others"],
        *,
        antithetic: bool,
    ) -> None:
        self.orders, self.chances = orders, chances
        self.masks = nested_masks(orders).reshape(-1, orders.shape[1])
        self.n_groups = len(orders) // 2 if antithetic else len(orders)

    def solve(
        self,
        values: Float[np.ndarray, "mask column"],
        weights: Float[np.ndarray, "group column"] | None = None,
    ) -> Solved:
        """The value of every unit."""
        n_orders, n = self.orders.shape
        by_order = values.reshape(n_orders, n + 1, -1)
        found = order_contributions(self.orders, by_order, self.chances)
        by_group = found.reshape(-1, self.n_groups, n, values.shape[1]).mean(axis=0)
        if weights is None:
            return Solved(by_group.mean(axis=0))
        return Solved(np.einsum("guc,gc->uc", by_group, weights / weights.sum(axis=0)))

    def quality(self, values: Float[np.ndarray, " mask"]) -> None:
        """There is no surrogate."""


class Kernel:
    """KernelSHAP, on all masks or on drawn ones.

    Args:
        draws: The masks.

    Raises:
        InputError: If the sampler leaves out sizes that the kernel weighs.
    """

    def __init__(self, draws: Draws) -> None:
        n = draws.masks.shape[1]
        mass = kernel_mass(n)
        if (draws.chances[1:-1] == 0).any():
            missing = np.flatnonzero(draws.chances[1:-1] == 0) + 1
            msg = (
                f"KernelSHAP weighs every number of kept units, and these masks never keep {missing.tolist()} of {n}; "
                "use the sampler 'stratified' without kept counts, 'kernel', 'uniform' or 'permutation'"
            )
            raise InputError(msg)
        chance = draws.chances[draws.masks.sum(axis=1)]
        self.row_weights = mass[draws.masks.sum(axis=1)] / chance
        self.group = draws.group
        self.sampler = draws.sampler
        self.n_groups = draws.n_groups if draws.sampler else 0
        ends = np.array([[False], [True]]).repeat(n, axis=1)
        self.masks = np.concatenate([draws.masks, ends])

    def solve(
        self,
        values: Float[np.ndarray, "mask column"],
        weights: Float[np.ndarray, "group column"] | None = None,
    ) -> Solved:
        """The value of every unit."""
        masks, inner, empty, full = self.masks[:-2], values[:-2], values[-2], values[-1]
        if weights is None:
            return Solved(kernel_values(masks, inner, self.row_weights, empty, full))
        by_row = weights[self.group] * self.row_weights[:, None]
        columns = [
            kernel_values(masks, inner[:, [c]], by_row[:, c], empty[[c]], full[[c]])
            for c in range(values.shape[1])
        ]
        return Solved(np.concatenate(columns, axis=1))

    def quality(self, values: Float[np.ndarray, " mask"]) -> None:
        """There is no surrogate."""


def enumerated(n_units: int) -> Draws:
    """Return all masks but "all" and "none", as if they had been drawn: by no sampler.

    Args:
        n_units: Number of units.

    Returns:
        2^n − 2 masks.

    Example:
        >>> len(enumerated(4).masks)
        14
    """
    masks = all_masks(n_units)[1:-1]
    sizes = np.bincount(masks.sum(axis=1), minlength=n_units + 1)
    return Draws("", masks, np.arange(len(masks)), sizes / len(masks))
