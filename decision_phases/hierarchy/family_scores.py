"""What families of tasks are left with under interventions, on one scale: floor 0, intact model 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float

from decision_phases.errors import unknown_name
from decision_phases.hierarchy.drift_result import mean_interval
from decision_phases.hierarchy.families import Measured, TaskFamily
from decision_phases.interventions import Intervention
from decision_phases.stats import Interval, resample_weights

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INTACT = "intact"
N_ERRORS = 3.0
"""A family counts if the intact model is more than this many standard errors above the floor."""
N_BOOT = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True, eq=False)
class FamilyScores:
    """Scores of families of tasks, by item, for the intact model and under every intervention.

    A score is normalised as (score − floor) / (score of the intact model − floor): 1 is what the intact model does, 0
    what a model without knowledge would. A family on which the intact model itself is not clearly above its floor has
    no such scale; it is left out, and `left_out` says why.

    Attributes:
        measured: Family → variant → scores by item; the variant "intact" is always there.
        families: The families, by name.
        variants: The interventions, by name.
        model: Name of the model.
        seed: Of items and of the bootstrap over them.
    """

    measured: Mapping[str, Mapping[str, Measured]] = field(repr=False)
    families: Mapping[str, TaskFamily] = field(repr=False)
    variants: Mapping[str, Intervention]
    model: str
    seed: int

    @cached_property
    def left_out(self) -> dict[str, str]:
        """Families without a scale, and why."""
        found = {}
        for name, variants in self.measured.items():
            intact = variants[INTACT]
            above = intact.score - intact.floor
            error = float(above.std(ddof=1) / np.sqrt(len(above))) if len(above) > 1 else float("inf")
            if not above.mean() > N_ERRORS * error:
                found[name] = (
                    f"the intact model reaches {intact.score.mean():.3f}, which is not {N_ERRORS:g} standard errors "
                    f"({error:.3f}) above the floor of {intact.floor.mean():.3f} ({self.families[name].floor})"
                )
        return found

    @property
    def kept(self) -> tuple[str, ...]:
        """Families with a scale."""
        return tuple(name for name in self.measured if name not in self.left_out)

    def of(self, family: str, variant: str = INTACT) -> Measured:
        """Scores by item.

        Args:
            family: Its name.
            variant: Name of the intervention.

        Returns:
            What was measured.

        Raises:
            InputError: If there is none of that name.
        """
        if family not in self.measured:
            raise unknown_name("task family of these scores", family, self.measured)
        if variant not in self.measured[family]:
            raise unknown_name("variant of these scores", variant, self.measured[family])
        return self.measured[family][variant]

    def score(self, family: str, variant: str = INTACT) -> Interval:
        """The mean score with its bootstrap interval over items.

        Args:
            family: Its name.
            variant: Name of the intervention.

        Returns:
            Estimate and ends.
        """
        return mean_interval(self.of(family, variant).score, self.seed)

    def normalised(self, family: str, variant: str) -> Interval:
        """The score on the scale from floor to intact model; NaN for a family that is left out.

        Items are resampled together, so that numerator and denominator move together.

        Args:
            family: Its name.
            variant: Name of the intervention.

        Returns:
            Estimate and ends.
        """
        estimate, resampled = self._ratio(family, variant, self.seed)
        return _interval(estimate, resampled)

    def difference(self, first: str, second: str, variant: str) -> Interval:
        """The normalised score of one family minus that of another, under the same intervention.

        Items of different families have nothing to do with each other, so they are resampled independently.

        Args:
            first: A family.
            second: Another one.
            variant: Name of the intervention.

        Returns:
            Estimate and ends; NaN if either is left out.
        """
        a, drawn_a = self._ratio(first, variant, self.seed)
        b, drawn_b = self._ratio(second, variant, self.seed + 1)
        return _interval(a - b, drawn_a - drawn_b)

    def _ratio(self, family: str, variant: str, seed: int) -> tuple[float, Float[np.ndarray, " boot"]]:
        ours, intact = self.of(family, variant), self.of(family)
        unknown = np.full(N_BOOT, np.nan)
        if family in self.left_out:
            return float("nan"), unknown
        above = np.stack([ours.score - intact.floor, intact.score - intact.floor], axis=1)
        top, bottom = above.mean(axis=0)
        drawn = resample_weights(len(above), N_BOOT, seed=seed) @ above
        # The intact model is well above the floor, but a resample could put it there.
        resampled = np.divide(drawn[:, 0], drawn[:, 1], out=unknown, where=drawn[:, 1] > 0)
        return float(top / bottom), resampled

    def to_pandas(self) -> pd.DataFrame:
        """One row for each family and variant.

        Returns:
            Columns family, variant, items, score, low, high, floor, normalised, normalised_low, normalised_high,
            left_out.
        """
        rows = []
        for family, variants in self.measured.items():
            for variant, found in variants.items():
                score, scaled = self.score(family, variant), self.normalised(family, variant)
                rows.append(
                    {
                        "family": family,
                        "variant": variant,
                        "items": len(found.score),
                        "score": float(score.estimate),
                        "low": float(score.low),
                        "high": float(score.high),
                        "floor": float(variants[INTACT].floor.mean()),
                        "normalised": float(scaled.estimate),
                        "normalised_low": float(scaled.low),
                        "normalised_high": float(scaled.high),
                        "left_out": family in self.left_out,
                    }
                )
        return pd.DataFrame(rows)

    def details_to_pandas(self) -> pd.DataFrame:
        """Other measures of each family, such as recall or repetition.

        Returns:
            Columns family, variant, measure, value, low, high: means over items with bootstrap intervals.
        """
        rows = []
        for family, variants in self.measured.items():
            for variant, found in variants.items():
                for measure, values in found.extra.items():
                    one = mean_interval(values, self.seed)
                    ends = (float(one.estimate), float(one.low), float(one.high))
                    rows.append((family, variant, measure, *ends))
        return pd.DataFrame(rows, columns=["family", "variant", "measure", "value", "low", "high"])

    def plot(self) -> Figure:
        """Draw the normalised score of every family under every intervention.

        Returns:
            A matplotlib figure, which Jupyter shows by itself.
        """
        from decision_phases.plots import normalised_scores

        changed = [name for name in self.variants if name != INTACT]
        return normalised_scores(
            {family: [self.normalised(family, name) for name in changed] for family in self.kept}, changed
        )

    def __str__(self) -> str:
        """What is left of what."""
        lines = [f"Task families of {self.model}, normalised: floor 0, intact 1"]
        for family in self.kept:
            intact = self.of(family)
            shown = ", ".join(
                f"{self.normalised(family, name).estimate:.2f} ({name})"
                for name in self.variants
                if name != INTACT
            )
            lines.append(
                f"  {family}: {shown or 'only intact'}; intact {intact.score.mean():.3f}, floor "
                f"{intact.floor.mean():.3f}, {len(intact.score)} items"
            )
        lines += [f"  left out: {name}: {why}" for name, why in self.left_out.items()]
        return "\n".join(lines)

    __repr__ = __str__


def _interval(estimate: float, resampled: Float[np.ndarray, " boot"]) -> Interval:
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    known = resampled[~np.isnan(resampled)]
    low, high = np.quantile(known, tails) if len(known) else (np.nan, np.nan)
    return Interval(np.array(estimate), np.array(low), np.array(high), CONFIDENCE, "percentile")
