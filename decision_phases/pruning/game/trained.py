"""The method that trains a surrogate on masks, and says how far it can be trusted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from decision_phases.errors import InputError
from decision_phases.pruning.game.defects import training_pairs
from decision_phases.pruning.game.designs import Solved
from decision_phases.pruning.game.masks import distinct_masks
from decision_phases.pruning.game.quality import SurrogateQuality, measure
from decision_phases.pruning.game.samplers import Draws
from decision_phases.pruning.game.surrogates import Fitted, Surrogate

HELD_OUT = 0.2
"""Share of the different masks that the surrogate is measured on and never fitted to."""
LEAST_HELD_OUT = 5
"""Different masks without which a rank correlation says nothing."""
CURVE = (1.0, 0.25, 0.5, 0.75)
"""Shares of the training draws in the learning curve; all of them stand first."""


class Trained:
    """A surrogate, fitted to four fifths of the draws and measured on the rest.

    Whole draws are held out (pairs, orders), and a mask that is held out is not trained on in another draw either.

    Args:
        draws: The masks.
        surrogate: What to fit.
        chances: Of `size_chances`.
        defects: Names in `DEFECTS`.
        seed: Of the split and the fit.

    Raises:
        InputError: If there are too few masks.
    """

    def __init__(
        self,
        draws: Draws,
        surrogate: Surrogate,
        chances: Float[np.ndarray, " others"],
        *,
        defects: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        self.draws, self.surrogate, self.chances = draws, surrogate, chances
        self.defects, self.seed = tuple(defects), seed
        self.masks, self.n_groups, self.sampler = draws.masks, draws.n_groups, draws.sampler
        # The first groups of a random order are held out; the curve takes the others in that order.
        self.turn = np.random.default_rng([seed, 0, 4]).permutation(self.n_groups).argsort()
        _, same = distinct_masks(self.masks)
        self.n_held = self._groups_to_hold(same)
        held = self.turn[draws.group] < self.n_held
        self.held_out = np.flatnonzero(held)
        self.train = np.flatnonzero(~np.isin(same, same[held]))
        self._check(len(np.unique(same[self.train])), len(np.unique(same[self.held_out])))

    def _groups_to_hold(self, same: Int[np.ndarray, " mask"]) -> int:
        """How many draws hold a fifth of the different masks; some masks are in many draws if there are few units."""
        first = np.full(same.max() + 1, self.n_groups)
        np.minimum.at(first, same, self.turn[self.draws.group])  # the first draw that holds each mask
        reached = np.cumsum(np.bincount(first, minlength=self.n_groups))
        return int(np.searchsorted(reached, HELD_OUT * len(first))) + 1

    def _check(self, n_train: int, n_held: int) -> None:
        n = self.masks.shape[1]
        least = self.surrogate.least(n)
        if n_train < least or n_held < LEAST_HELD_OUT:
            together = int(np.bincount(self.draws.group).max())  # a draw is held out as a whole
            needed = max((least + together) / (1 - HELD_OUT), LEAST_HELD_OUT / HELD_OUT)
            wanted = int(np.ceil(1.05 * needed)) + together  # some masks are drawn twice
            instead = (
                f"Give n_masks={wanted} or more (several times as many is better), or a simpler surrogate"
            )
            if wanted > 2**n - 2:
                instead = f"There are {2**n} masks in all, so use method='exact'"
            msg = (
                f"{len(self.masks)} masks are too few for the {self.surrogate.name} surrogate of {n} units: {n_train} "
                f"different ones to fit to and {n_held} held out, but it takes at least {least} and {LEAST_HELD_OUT}. "
                f"{instead}"
            )
            raise InputError(msg)

    def solve(
        self,
        values: Float[np.ndarray, "mask column"],
        weights: Float[np.ndarray, "group column"] | None = None,
    ) -> Solved:
        """The value of every unit, and of every pair where the surrogate knows pairs."""
        fitted = self._fit(values, None if weights is None else weights[self.draws.group])
        return Solved(fitted.values(self.chances, seed=self.seed), fitted.interactions(seed=self.seed))

    def quality(self, values: Float[np.ndarray, " mask"]) -> SurrogateQuality:
        """The learning curve of the surrogate on the held-out masks."""
        seen = self.held_out[np.isfinite(values[self.held_out])]
        if len(seen) < LEAST_HELD_OUT:
            msg = (
                f"only {len(seen)} of {len(self.held_out)} held-out masks have a value that is a number, and it takes "
                f"{LEAST_HELD_OUT} to measure a surrogate; give more masks"
            )
            raise InputError(msg)
        fitted, sizes = self._fit_curve(values)
        predicted = fitted(self.masks[seen])
        points = [measure(predicted[:, i], values[seen], n_masks=size) for i, size in enumerate(sizes)]
        curve = tuple(sorted(points, key=lambda point: point.n_masks))
        dropped = int((~np.isfinite(values)).sum())
        return SurrogateQuality(self.surrogate.name, len(seen), dropped, curve)

    def _fit_curve(self, values: Float[np.ndarray, " mask"]) -> tuple[Fitted, list[int]]:
        turn = self.turn[self.draws.group]
        bounds = [self.n_held + share * (self.n_groups - self.n_held) for share in CURVE]
        weights = (turn[:, None] < np.array(bounds)).astype(np.float64)
        rows, _ = self._pairs(values[:, None])
        sizes = [int(weights[rows, i].sum()) for i in range(len(CURVE))]
        kept = [i for i, size in enumerate(sizes) if size > 1]
        tiled = np.repeat(values[:, None], len(kept), axis=1)
        return self._fit(tiled, weights[:, kept]), [sizes[i] for i in kept]

    def _pairs(
        self, values: Float[np.ndarray, "mask column"]
    ) -> tuple[Int[np.ndarray, " pair"], Int[np.ndarray, " pair"]]:
        finite: Bool[np.ndarray, " mask"] = np.isfinite(values[self.train]).all(axis=1)
        rows, targets = training_pairs(finite, self.masks.shape[1], self.defects)
        return self.train[rows], self.train[targets]

    def _fit(
        self,
        values: Float[np.ndarray, "mask column"],
        weights: Float[np.ndarray, "mask column"] | None,
    ) -> Fitted:
        rows, targets = self._pairs(values)
        least = self.surrogate.least(self.masks.shape[1])
        if len(rows) < least:
            msg = (
                f"only {len(rows)} of {len(self.train)} training masks can be used (those whose value is no number are "
                f"left out), and the {self.surrogate.name} surrogate takes at least {least}; give more masks"
            )
            raise InputError(msg)
        own = None if weights is None else weights[rows]
        return self.surrogate.fit(self.masks[rows], values[targets], own, self.seed)
