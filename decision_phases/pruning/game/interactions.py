"""Which units stand in for one another, and which need one another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from decision_phases.errors import InputError
from decision_phases.pruning.game.exact import MOST_UNITS
from decision_phases.pruning.game.masks import Game, all_masks

_SHOWN = 6
"""Pairs that are printed."""


@dataclass(frozen=True, eq=False, repr=False)
class Interactions:
    """What pairs of units add together beyond what each adds, with names and intervals.

    Positive where two units need each other; negative where one stands in for the other, so that removing both costs
    more than the sum. Intervals are of one pair each: of many pairs some lie off zero by chance. Those over masks are
    conditional on the form of the surrogate, and too narrow where there are few masks for each pair.

    Attributes:
        names: Names of the units.
        values: Of every pair; symmetric, 0 on the diagonal.
        low: Lower ends of the intervals, NaN where there is none.
        high: Upper ends.
        over: What intervals resample: "masks", "questions", or "" if there are none.
        confidence: Nominal coverage of the intervals.
        notes: What must be known about them, in sentences.

    Raises:
        InputError: If shapes do not agree.
    """

    names: tuple[str, ...]
    values: Float[np.ndarray, "unit unit"]
    low: Float[np.ndarray, "unit unit"]
    high: Float[np.ndarray, "unit unit"]
    over: str
    confidence: float
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shapes = {array.shape for array in (self.values, self.low, self.high)}
        if shapes != {(len(self.names), len(self.names))}:
            msg = (
                f"{len(self.names)} units, but interactions and ends of intervals of shapes {sorted(shapes)}"
            )
            raise InputError(msg)

    def to_pandas(self) -> pd.DataFrame:
        """One row a pair, in the order of the units.

        Returns:
            Columns first, second, interaction, low, high.

        Example:
            >>> both = np.array([[0.0, 1.0], [1.0, 0.0]])
            >>> found = Interactions(("block 3", "block 5"), both, both - 0.5, both + 0.5, "masks", 0.95)
            >>> found.to_pandas().values.tolist()
            [['block 3', 'block 5', 1.0, 0.5, 1.5]]
        """
        rows, columns = np.triu_indices(len(self.names), 1)
        return pd.DataFrame(
            {
                "first": [self.names[i] for i in rows],
                "second": [self.names[j] for j in columns],
                "interaction": self.values[rows, columns],
                "low": self.low[rows, columns],
                "high": self.high[rows, columns],
            }
        )

    def __str__(self) -> str:
        """The strongest few."""
        first, second = np.triu_indices(len(self.names), 1)
        strongest = np.argsort(-abs(self.values[first, second]), kind="stable")
        lines = [f"Interactions of {len(first)} pairs of {len(self.names)} units, the strongest first"]
        for i, j in zip(first[strongest[:_SHOWN]], second[strongest[:_SHOWN]], strict=True):
            ends = "" if np.isnan(self.low[i, j]) else f" ({self.low[i, j]:+.4f} to {self.high[i, j]:+.4f})"
            lines.append(f"  {self.names[i]}, {self.names[j]}: {self.values[i, j]:+.4f}{ends}")
        if self.over:
            lines.append(f"  {self.confidence:.0%} intervals, of each pair by itself, resample {self.over}")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])

    __repr__ = __str__


def interaction_index(
    game: Game, n_units: int, *, n_masks: int = 512, seed: int = 0
) -> Float[np.ndarray, "unit unit"]:
    """Return what pairs of units add together beyond what each adds: the mean second difference over masks.

    I_ij = mean over masks m of v(m with both) − v(m with i only) − v(m with j only) + v(m with neither). Positive where
    two units need each other, negative where one stands in for the other, and removing both costs more than the sum.

    Args:
        game: The game, or a surrogate of it: it is asked for 1 + n (n + 1) / 2 times as many masks.
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
    return interactions_of(lambda masks: game(masks)[:, None], n_units, n_masks=n_masks, seed=seed)[:, :, 0]


def interactions_of(
    predict: Callable[[Bool[np.ndarray, "mask unit"]], Float[np.ndarray, "mask column"]],
    n_units: int,
    *,
    n_masks: int = 512,
    seed: int = 0,
) -> Float[np.ndarray, "unit unit column"]:
    """Return the interactions of several games at once, over the same masks; see `interaction_index`.

    Args:
        predict: Takes masks; gives their values, one column a game.
        n_units: Number of units.
        n_masks: Masks to draw.
        seed: Of the draw.

    Returns:
        Symmetric in the units, 0 on the diagonal.

    Example:
        >>> interactions_of(lambda masks: masks.all(axis=1)[:, None] * np.array([1.0, 4.0]), 2)[0, 1].tolist()
        [1.0, 4.0]
    """
    if n_units <= MOST_UNITS and 2**n_units <= n_masks:
        masks = all_masks(n_units)
    else:
        masks = np.random.default_rng([seed, 0, 6]).random((n_masks, n_units)) < 0.5
    flips = np.eye(n_units, dtype=bool)
    own = predict(masks)
    one = [predict(masks ^ flip) for flip in flips]
    found = np.zeros((n_units, n_units, own.shape[1]))
    for i in range(n_units):
        for j in range(i):
            # m, and m with i, j or both the other way round, are the four corners; m is itself one of these.
            side = np.where(masks[:, i] == masks[:, j], 1.0, -1.0)
            found[i, j] = found[j, i] = (
                side @ (own - one[i] - one[j] + predict(masks ^ flips[i] ^ flips[j])) / len(masks)
            )
    return found
