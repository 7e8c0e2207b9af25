"""Which units stand in for one another, and which need one another."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from decision_phases.pruning.game.exact import MOST_UNITS
from decision_phases.pruning.game.masks import Game, all_masks


def interaction_index(
    game: Game, n_units: int, *, n_masks: int = 512, seed: int = 0
) -> Float[np.ndarray, "unit unit"]:
    """Return what pairs of units add together beyond what each adds: the mean second difference over masks.

    I_ij = mean over masks m of v(m with both) − v(m with i only) − v(m with j only) + v(m with neither). Positive where
    two units need each other, negative where one stands in for the other, and removing both costs more than the sum.

    Args:
        game: The game, or a surrogate of it: it is asked for 2 n (n − 1) times as many masks.
        n_units: Number of units.
        n_masks: Masks to draw, uniformly; up to 12 units all masks are taken if they are no more.
        seed: Of the draw.

    Returns:
        Symmetric, 0 on the diagonal.

    Source: Grabisch and Roubens, An axiomatic approach to the concept of interaction among players (1999), the Banzhaf
        interaction index.

    Example:
        >>> interaction_index(lambda masks: masks.all(axis=1).astype(float), 2).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    if n_units <= MOST_UNITS and 2**n_units <= n_masks:
        masks = all_masks(n_units)
    else:
        masks = np.random.default_rng([seed, 0, 6]).random((n_masks, n_units)) < 0.5
    found = np.zeros((n_units, n_units))
    for i in range(n_units):
        for j in range(i):
            found[i, j] = found[j, i] = _second_difference(game, masks, i, j)
    return found


def _second_difference(game: Game, masks: Bool[np.ndarray, "mask unit"], i: int, j: int) -> float:
    corners = np.repeat(masks[None], 4, axis=0)
    corners[:2, :, i], corners[2:, :, i] = True, False
    corners[::2, :, j], corners[1::2, :, j] = True, False
    both, first, second, neither = game(corners.reshape(-1, masks.shape[1])).reshape(4, -1)
    return float((both - first - second + neither).mean())
