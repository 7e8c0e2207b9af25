"""Last improvements to a cut: one removed unit comes back, one kept unit goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from decision_phases.pruning.game.masks import Game


@dataclass(frozen=True, eq=False)
class Swapped:
    """Where a search by swaps ended.

    Attributes:
        mask: The mask that no swap improves, unless the rounds ran out.
        value: Its value.
        start: Value of the mask that it began with.
        swaps: (put back, removed) of every round.
        settled: Whether no swap improves it.
    """

    mask: Bool[np.ndarray, " unit"]
    value: float
    start: float
    swaps: tuple[tuple[int, int], ...]
    settled: bool


def improve_by_swaps(
    game: Game,
    mask: Bool[np.ndarray, " unit"],
    *,
    rounds: int | None = 3,
    allowed: Callable[[Bool[np.ndarray, " unit"]], bool] | None = None,
) -> Swapped:
    """Take the best swap of a kept and a removed unit, as long as one improves the value.

    A ranking scores units one by one; swaps are measured on the game itself, and so see pairs that a ranking cannot.
    Each round asks for (units kept) · (units removed) masks.

    Args:
        game: The game itself, not a surrogate of it.
        mask: Where to begin.
        rounds: Most swaps; None for as many as help.
        allowed: Which masks may be reached, such as those within a budget; all by default.

    Returns:
        The mask found, at least as good as the one given.

    Source: proposed for arXiv 2602.07804, whose motivating example is a pair that no ranking finds.

    Example:
        >>> found = improve_by_swaps(lambda masks: masks @ np.arange(4.0), np.array([True, True, False, False]))
        >>> found.mask.tolist(), found.swaps
        ([False, False, True, True], ((3, 0), (2, 1)))
    """
    best = mask.copy()
    value = start = float(game(mask[None])[0])
    swaps: list[tuple[int, int]] = []
    settled = False
    while (rounds is None or len(swaps) < rounds) and not settled:
        pairs = [(int(back), int(gone)) for back in np.flatnonzero(~best) for gone in np.flatnonzero(best)]
        tried = np.repeat(best[None], len(pairs), axis=0)
        for row, (back, gone) in zip(tried, pairs, strict=True):
            row[[back, gone]] = True, False
        if allowed is not None:
            within = np.array([allowed(row) for row in tried], dtype=bool)
            tried, pairs = tried[within], [pair for pair, ok in zip(pairs, within, strict=True) if ok]
        values = game(tried) if pairs else np.array([])
        settled = not (values > value).any()
        if not settled:
            place = int(values.argmax())
            best, value = tried[place], float(values[place])
            swaps.append(pairs[place])
    return Swapped(best, value, start, tuple(swaps), settled)
