"""What each unit of a model is worth, with how far that can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from decision_phases.errors import InputError, UntrustedError
from decision_phases.interventions import Intervention
from decision_phases.pruning.game.exact import MOST_UNITS
from decision_phases.pruning.game.indices import INDICES
from decision_phases.pruning.game.interactions import Interactions
from decision_phases.pruning.game.quality import SurrogateQuality
from decision_phases.pruning.game.units import Units

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEAST_R2 = 0.5
"""Held-out R² under which a surrogate's values order nothing."""


@dataclass(frozen=True, eq=False, repr=False)
class ShapleyValues:
    """The value of every unit of a model, as a player of the game of answering questions.

    Attributes:
        units: The units.
        values: What each adds to the objective, averaged as the index says.
        low: Lower ends of the intervals, NaN where there is none.
        high: Upper ends.
        method: How the values were found.
        index: What average they are.
        objective: What was measured.
        sampler: How masks were drawn, "" if all were run.
        over: What intervals resample: "masks", "questions", or "" if there are none.
        confidence: Nominal coverage of the intervals.
        intact: The objective with all units kept.
        empty: The objective with none kept.
        n_masks: Number of different masks evaluated.
        forward_passes: Masks times sequences put to the model.
        n_questions: Number of questions, or of texts.
        seed: Of everything random.
        surrogate: How good the surrogate is, None for methods without one.
        interactions: What pairs of units add together beyond what each adds, for the exact method and for surrogates
            that are no line; `pairs` has them with names and as a table.
        interactions_low: Lower ends of their intervals, NaN where there is none.
        interactions_high: Upper ends.
        kind: What was asked: "question", "text" or "window".
    """

    units: Units
    values: Float[np.ndarray, " unit"]
    low: Float[np.ndarray, " unit"]
    high: Float[np.ndarray, " unit"]
    method: str
    index: str
    objective: str
    sampler: str
    over: str
    confidence: float
    intact: float
    empty: float
    n_masks: int
    forward_passes: int
    n_questions: int
    seed: int
    surrogate: SurrogateQuality | None = None
    interactions: Float[np.ndarray, "unit unit"] | None = None
    interactions_low: Float[np.ndarray, "unit unit"] | None = None
    interactions_high: Float[np.ndarray, "unit unit"] | None = None
    kind: str = "question"

    def __post_init__(self) -> None:
        if len(self.values) != len(self.units):
            msg = f"{len(self.values)} values given for {len(self.units)} units"
            raise InputError(msg)

    @property
    def gap(self) -> float:
        """What the values leave unexplained: (intact − empty) − Σ values.

        Exact, permutation and kernel Shapley values leave nothing; a surrogate leaves its error; the Banzhaf and the
        published index promise nothing.
        """
        return self.intact - self.empty - float(self.values.sum())

    @property
    def pairs(self) -> Interactions:
        """The interactions with their names and intervals: `.to_pandas()`.

        Intervals resample what those of the values do, in the same resamples; they are conditional on the form of a
        surrogate.

        Raises:
            InputError: If the method knows of no pairs.

        Example:
            >>> from decision_phases.pruning.game.shapley import shapley
            >>> from decision_phases.tasks import questions
            >>> found = shapley("tiny-gpt2", questions("facts", limit=8), units=[1, 2, 3], method="exact")
            >>> found.pairs.to_pandas()[["first", "second"]].values.tolist()
            [['block 1', 'block 2'], ['block 1', 'block 3'], ['block 2', 'block 3']]
        """
        low, high = self.interactions_low, self.interactions_high
        if self.interactions is None or low is None or high is None:
            how = self.method if self.surrogate is None else f"{self.surrogate.name} surrogate"
            msg = (
                f"the {how} method knows of no pairs; use method='exact' for up to {MOST_UNITS} units, or "
                "method='surrogate' with surrogate='pairwise'"
            )
            raise InputError(msg)
        doubts = (
            () if self._trusted else (f"{self.surrogate}; that is less than {LEAST_R2}: they say nothing.",)
        )
        return Interactions(
            self.units.names, self.interactions, low, high, self.over, self.confidence, doubts
        )

    @property
    def _trusted(self) -> bool:
        return self.surrogate is None or self.surrogate.r2 >= LEAST_R2

    def order(self, *, least_r2: float = LEAST_R2) -> tuple[int, ...]:
        """Units from the least valuable to the most, which is the order to remove them in.

        Args:
            least_r2: Held-out R² that a surrogate must have.

        Returns:
            Places of the units; ties go to the last unit.

        Raises:
            UntrustedError: If the values are a surrogate's that knows too little of masks it has not seen.
        """
        if self.surrogate is not None and not self.surrogate.r2 >= least_r2:
            msg = (
                f"the {self.surrogate.name} surrogate has a held-out R² of {self.surrogate.r2:.2f}, not {least_r2} or "
                "more, so its values order nothing; give more masks or another surrogate, or lower least_r2 on purpose"
            )
            raise UntrustedError(msg)
        places = np.arange(len(self.values))
        return tuple(int(place) for place in np.lexsort((-places, self.values)))

    def mask(self, removed: int, *, least_r2: float = LEAST_R2) -> Bool[np.ndarray, " unit"]:
        """The mask that removes the least valuable units.

        Args:
            removed: How many.
            least_r2: Held-out R² that a surrogate must have.

        Returns:
            True where a unit is kept.

        Raises:
            InputError: If there are not as many, or the values order nothing.
        """
        if not 0 <= removed <= len(self.units):
            msg = f"{removed} units cannot be removed from {len(self.units)}"
            raise InputError(msg)
        kept = np.ones(len(self.units), dtype=bool)
        kept[list(self.order(least_r2=least_r2)[:removed])] = False
        return kept

    def cut(self, removed: int, *, least_r2: float = LEAST_R2) -> Intervention:
        """The removal of the least valuable units; one order serves every number.

        Args:
            removed: How many.
            least_r2: Held-out R² that a surrogate must have.

        Returns:
            The cut.

        Raises:
            InputError: If there are not as many, or the values order nothing.
        """
        return self.units.cut(self.mask(removed, least_r2=least_r2))

    def to_pandas(self) -> pd.DataFrame:
        """One row a unit.

        Returns:
            Columns unit, value, low, high, rank (0 for the least valuable; missing where `order` refuses).
        """
        ranks = np.argsort(self.order()) if self._trusted else [pd.NA] * len(self.values)
        return pd.DataFrame(
            {
                "unit": self.units.names,
                "value": self.values,
                "low": self.low,
                "high": self.high,
                "rank": pd.array(ranks, dtype="Int64"),
            }
        )

    def plot(self) -> Figure:
        """Draw the values with their intervals, and the surrogate's learning curve if there is one.

        Returns:
            A matplotlib figure.
        """
        from decision_phases.plots import LearningCurve, unit_values

        curve = None
        if self.surrogate is not None:
            table = self.surrogate.to_pandas()
            curve = LearningCurve(
                self.surrogate.name,
                table["n_masks"].to_numpy(),
                table["r2"].to_numpy(),
                table["rank_correlation"].to_numpy(),
            )
        return unit_values(
            self.units.names,
            self.values,
            self.low,
            self.high,
            curve=curve,
            label=f"{self._what}: {self.objective}",
        )

    @property
    def _what(self) -> str:
        return f"{self.index.title()} values" if self.index != "published" else "published average"

    def __str__(self) -> str:
        """What was found and how, in a few lines."""
        drawn = f", masks by the {self.sampler} sampler" if self.sampler else ", all masks"
        lines = [
            f"{self._what} of {len(self.units)} units for {self.objective} on {self.n_questions} {self.kind}s "
            f"({self.method}{drawn}: {self.n_masks} masks, {self.forward_passes} forward passes)",
            f"  intact {self.intact:+.4f}, without any unit {self.empty:+.4f}"
            + (f", left unexplained {self.gap:+.4f}" if INDICES[self.index].efficient else ""),
        ]
        if self.surrogate is not None:
            lines.append(f"  {self.surrogate}")
            if not self._trusted:
                lines.append(f"  That is less than {LEAST_R2}: these values order nothing.")
        ranked = np.argsort(-self.values, kind="stable")
        shown = ranked if len(ranked) <= 8 else np.concatenate([ranked[:4], ranked[-4:]])
        for turn, place in enumerate(shown.tolist()):
            if turn == 4 and len(shown) < len(ranked):
                lines.append(f"  … {len(ranked) - len(shown)} units between")
            lines.append(f"  {self.units.names[place]}: {self.values[place]:+.4f}{self._interval(place)}")
        if self.over:
            lines.append(f"  {self.confidence:.0%} intervals resample {self.over}")
        return "\n".join(lines)

    __repr__ = __str__

    def _interval(self, place: int) -> str:
        if np.isnan(self.low[place]):
            return ""
        return f" ({self.low[place]:+.4f} to {self.high[place]:+.4f})"
