"""What a criterion gives: one number a unit, and where it can, what each question contributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from decision_phases.stats import resample_weights


@dataclass(frozen=True, eq=False)
class Scores:
    """Importance of units; the lowest is removed first.

    Attributes:
        score: One number a unit.
        sums: What each question, text or window contributes; None where the score is no mean over them.
        counts: Over how many positions (or 1) each contribution is summed.
        details: What else is known of every unit, by name: what a score is made of.
        notes: What must be known about the scores, in sentences.
    """

    score: Float[np.ndarray, " unit"]
    sums: Float[np.ndarray, "unit group"] | None = None
    counts: Float[np.ndarray, " group"] | None = None
    details: Mapping[str, Float[np.ndarray, " unit"]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def mean(cls, sums: Float[np.ndarray, "unit group"], counts: Float[np.ndarray, " group"]) -> Scores:
        """The mean over all positions of all groups, each position counting once.

        Args:
            sums: Sum over the positions of each group.
            counts: Number of positions of each group.

        Returns:
            The scores.

        Example:
            >>> Scores.mean(np.array([[1.0, 6.0]]), np.array([1.0, 2.0])).score.round(3).tolist()
            [2.333]
        """
        return cls(sums.sum(axis=1) / counts.sum(), sums, counts)

    @property
    def values(self) -> Float[np.ndarray, "unit group"] | None:
        """The mean over the positions of each question, text or window."""
        return None if self.sums is None or self.counts is None else self.sums / self.counts

    def interval(
        self, *, confidence: float, seed: int, n_boot: int = 2000
    ) -> tuple[Float[np.ndarray, " unit"], Float[np.ndarray, " unit"]]:
        """Percentile bootstrap over questions, texts or windows, the same resamples for every unit.

        Args:
            confidence: Nominal coverage.
            seed: Of the resamples.
            n_boot: Number of resamples.

        Returns:
            Lower and upper ends; NaN where there is nothing, or a single thing, to resample.
        """
        unknown = np.full(self.score.shape, np.nan)
        if self.sums is None or self.counts is None or self.sums.shape[1] < 2:
            return unknown, unknown.copy()
        drawn = resample_weights(self.sums.shape[1], n_boot, seed=seed)
        means = (self.sums @ drawn.T) / (drawn @ self.counts)
        low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2], axis=1)
        return low, high
