"""What a criterion gives: one number a unit, and where it can, what each question contributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from scipy import stats

from decision_phases.errors import check_confidence
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
        left_out: Of a score that is no such mean and not below zero, what it is without each fold of the data.
        ends: Both ends of intervals at the coverage that was asked for, where the criterion finds them by itself.
    """

    score: Float[np.ndarray, " unit"]
    sums: Float[np.ndarray, "unit group"] | None = None
    counts: Float[np.ndarray, " group"] | None = None
    details: Mapping[str, Float[np.ndarray, " unit"]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    left_out: Float[np.ndarray, "fold unit"] | None = None
    ends: tuple[Float[np.ndarray, " unit"], Float[np.ndarray, " unit"]] | None = None

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
        """How far the scores would move on other questions, texts or windows.

        Means: the percentile bootstrap, with the same resamples for every unit. Other scores: the jackknife over folds,
        with Student's t at one degree of freedom less than there are folds.

        Args:
            confidence: Nominal coverage.
            seed: Of the resamples.
            n_boot: Number of resamples.

        Returns:
            Lower and upper ends; NaN where there is nothing, or a single thing, to resample.

        Raises:
            InputError: If the confidence is no share.

        Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), §11 and §13.
        """
        check_confidence(confidence)
        if self.ends is not None:
            return self.ends
        if self.left_out is not None:
            return _jackknife(self.score, self.left_out, confidence)
        unknown = np.full(self.score.shape, np.nan)
        if self.sums is None or self.counts is None or self.sums.shape[1] < 2:
            return unknown, unknown.copy()
        drawn = resample_weights(self.sums.shape[1], n_boot, seed=seed)
        means = (self.sums @ drawn.T) / (drawn @ self.counts)
        low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2], axis=1)
        return low, high


def _jackknife(
    score: Float[np.ndarray, " unit"], left_out: Float[np.ndarray, "fold unit"], confidence: float
) -> tuple[Float[np.ndarray, " unit"], Float[np.ndarray, " unit"]]:
    n = len(left_out)
    error = np.sqrt((n - 1) * left_out.var(axis=0))
    far = stats.t.ppf((1 + confidence) / 2, n - 1) * error
    return np.maximum(score - far, 0.0), score + far
