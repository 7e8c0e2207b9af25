"""Whether a cut is better than cuts drawn at random: a p-value from the pool."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from decision_phases.errors import InputError
from decision_phases.pruning.game.masks import Game
from decision_phases.pruning.game.samplers import draw_orders
from decision_phases.stats import permutation_p


@dataclass(frozen=True, eq=False)
class Luck:
    """A mask among random masks that keep as many units.

    Attributes:
        value: Of the mask.
        p_value: Chance that a random mask is worth at least as much, with the +1 correction.
        null: Values of the random masks.
    """

    value: float
    p_value: float
    null: Float[np.ndarray, " draw"]

    def __str__(self) -> str:
        """All of it, in a line."""
        return (
            f"value {self.value:.4g}; {len(self.null)} random cuts of the same size: mean {self.null.mean():.4g}, best "
            f"{self.null.max():.4g}; better than luck: p = {self.p_value:.2g}"
        )

    __repr__ = __str__


def better_than_luck(game: Game, mask: Bool[np.ndarray, " unit"], *, draws: int = 99, seed: int = 0) -> Luck:
    """Compare a mask with the random pool's masks that keep as many units.

    For an honest p-value the game's questions must be others than those that chose the mask.

    Args:
        game: The game.
        mask: The mask in question.
        draws: Random masks to compare with.
        seed: Of the pool.

    Returns:
        The comparison.

    Raises:
        InputError: If the mask keeps all units or none, so that there is nothing to compare with, or no draw is made.

    Source: Phipson and Smyth, Permutation p-values should never be zero (2010).

    Example:
        >>> better_than_luck(lambda masks: masks @ np.arange(8.0), np.arange(8) > 2).p_value < 0.1
        True
    """
    kept, n_units = int(mask.sum()), len(mask)
    if not 0 < kept < n_units or draws < 1:
        msg = (
            f"a mask that keeps {kept} of {n_units} units and {draws} draws given; at least one unit must be kept, one "
            "removed, and one draw made"
        )
        raise InputError(msg)
    orders = draw_orders(n_units, draws, antithetic=False, seed=seed)
    null = np.ones((draws, n_units), dtype=bool)
    np.put_along_axis(null, orders[:, : n_units - kept], values=False, axis=1)
    value, *others = game(np.concatenate([mask[None], null]))
    return Luck(float(value), permutation_p(float(value), np.array(others)), np.array(others))
