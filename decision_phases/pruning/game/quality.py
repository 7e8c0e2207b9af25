"""How well a surrogate knows masks that it was not fitted to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import spearmanr


@dataclass(frozen=True)
class LearningPoint:
    """The surrogate fitted to some of the masks.

    Attributes:
        n_masks: How many masks it was fitted to.
        r2: Share of the variance of held-out values that it explains; below 0 if their mean would do better.
        rank_correlation: Spearman's, of its values with the true ones; NaN where it says the same of all.
    """

    n_masks: int
    r2: float
    rank_correlation: float


@dataclass(frozen=True)
class SurrogateQuality:
    """How well a surrogate knows held-out masks.

    Attributes:
        name: The surrogate.
        n_held_out: Number of masks that it is measured on, at every point of the curve.
        n_dropped: Masks left out because their value is not a number.
        curve: From few training masks to all of them; the last point is the surrogate that is used.
    """

    name: str
    n_held_out: int
    n_dropped: int
    curve: tuple[LearningPoint, ...]

    @property
    def n_train(self) -> int:
        """Number of masks that it was fitted to."""
        return self.curve[-1].n_masks

    @property
    def r2(self) -> float:
        """Share of the variance of held-out values that it explains."""
        return self.curve[-1].r2

    @property
    def rank_correlation(self) -> float:
        """Spearman's, on the held-out masks."""
        return self.curve[-1].rank_correlation

    def to_pandas(self) -> pd.DataFrame:
        """The learning curve.

        Returns:
            Columns n_masks, r2, rank_correlation.
        """
        return pd.DataFrame([vars(point) for point in self.curve])

    def __str__(self) -> str:
        """Both measures, in a line, and how many masks had no value."""
        dropped = f"; {self.n_dropped} left out, whose value is no number" if self.n_dropped else ""
        return (
            f"{self.name} surrogate: held-out R² {self.r2:.3f}, rank correlation {self.rank_correlation:.3f} "
            f"(fitted to {self.n_train} masks, measured on {self.n_held_out} others{dropped})"
        )


def measure(
    predicted: Float[np.ndarray, " mask"], true: Float[np.ndarray, " mask"], *, n_masks: int
) -> LearningPoint:
    """Compare what a surrogate says of held-out masks with what is so.

    R² = 1 − Σ (predicted − true)² / Σ (true − mean)².

    Args:
        predicted: What the surrogate says.
        true: What is so.
        n_masks: How many masks the surrogate was fitted to.

    Returns:
        A point of the learning curve. Where all true values are equal, R² is NaN.

    Example:
        >>> measure(np.array([1.0, 2.0, 3.5]), np.array([1.0, 2.0, 3.0]), n_masks=8)
        LearningPoint(n_masks=8, r2=0.875, rank_correlation=1.0)
    """
    spread = float(((true - true.mean()) ** 2).sum())
    r2 = 1 - float(((predicted - true) ** 2).sum()) / spread if spread > 0 else np.nan
    varies = np.ptp(predicted) > 0 and spread > 0
    rank = round(float(spearmanr(predicted, true).statistic), 12) if varies else np.nan
    return LearningPoint(n_masks, r2, rank)
