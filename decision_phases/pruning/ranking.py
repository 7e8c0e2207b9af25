"""What a ranking is: importance of every unit by one criterion, or by several on the same units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from decision_phases.errors import InputError, unknown_name
from decision_phases.interventions import Intervention
from decision_phases.pruning.criteria.units import Unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from decision_phases.plots.ranking import ScorePanel


@dataclass(frozen=True, eq=False)
class Ranking:
    """Importance of units by one criterion; the lowest is removed first.

    Attributes:
        by: Name of the criterion.
        what: What it measures, in a few words.
        units: What is ranked, by layer.
        scores: One number a unit.
        low: Lower end of the interval over questions, texts or windows; NaN where the score depends on none of them,
            or there are too few.
        high: Its upper end.
        values: What each question, text or window says by itself; None where that is undefined.
        labels: Their names.
        protected: Units that the criterion never removes.
        data: Name of what was measured on, "" if nothing was.
        resampled: What intervals are over: "question", "text", "window" or "".
        confidence: Nominal coverage of the intervals.
        under: What was done to the model besides.
        model: Name of the model.
        n_layers: Layers of the intact model.
        details: What else the criterion says of every unit, by name; columns of the table.
        notes: What must be known about the scores, in sentences.

    Raises:
        InputError: If shapes do not agree.
    """

    by: str
    what: str
    units: tuple[Unit, ...]
    scores: Float[np.ndarray, " unit"]
    low: Float[np.ndarray, " unit"]
    high: Float[np.ndarray, " unit"]
    values: Float[np.ndarray, "unit group"] | None = field(repr=False)
    labels: tuple[str, ...] = field(repr=False)
    protected: tuple[Unit, ...]
    data: str
    resampled: str
    confidence: float
    under: Intervention
    model: str
    n_layers: int
    details: Mapping[str, Float[np.ndarray, " unit"]] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shapes = {a.shape for a in (self.scores, self.low, self.high, *self.details.values())}
        if shapes != {(len(self.units),)}:
            msg = f"{len(self.units)} units, but scores, ends of intervals and details of shapes {sorted(shapes)}"
            raise InputError(msg)
        if self.values is not None and self.values.shape != (len(self.units), len(self.labels)):
            msg = f"values {self.values.shape} for {len(self.units)} units and {len(self.labels)} labels"
            raise InputError(msg)

    @property
    def order(self) -> tuple[Unit, ...]:
        """Units in the order of removal: least important first, ties from the deepest; without those protected."""
        rows = sorted(
            zip(self.scores.tolist(), self.units, strict=True),
            key=lambda row: (row[0], -row[1].depth),
        )
        return tuple(unit for _, unit in rows if unit not in self.protected)

    @property
    def layers(self) -> tuple[int, ...]:
        """First layer of each unit, in the order of removal."""
        return tuple(unit.layer for unit in self.order)

    def cut(self, count: int = 1) -> Intervention:
        """Remove the least important units.

        Args:
            count: How many.

        Returns:
            The intervention, without what the model ran under (both together are `ranking.under.removing(cut)`); units
            of several blocks must not overlap.

        Raises:
            InputError: If there are not so many, or they overlap.

        Example:
            >>> from decision_phases.pruning.rank import rank
            >>> rank("tiny-gpt2", by="deepest").cut(2)
            <Intervention: skip {4, 5}>
        """
        if not 0 <= count <= len(self.order):
            msg = f"{count} units cannot be removed: {self.by} ranks {len(self.order)}"
            raise InputError(msg)
        return sum((unit.cut for unit in self.order[:count]), Intervention())

    def to_pandas(self) -> pd.DataFrame:
        """One row a unit, by layer.

        Returns:
            Columns by, unit, layer, last_layer, part, score, low, high, rank (1 is removed first; missing where
            protected), and one for each of the details.
        """
        place = {unit: i for i, unit in enumerate(self.order, 1)}
        table = pd.DataFrame(
            {
                "by": self.by,
                "unit": [str(unit) for unit in self.units],
                "layer": [unit.layer for unit in self.units],
                "last_layer": [unit.layers[-1] for unit in self.units],
                "part": [unit.part for unit in self.units],
                "score": self.scores,
                "low": self.low,
                "high": self.high,
                "rank": [place.get(unit) for unit in self.units],
                **self.details,
            }
        )
        return table.astype({"rank": "Int64"})

    def panel(self) -> ScorePanel:
        """What `plot` draws.

        Returns:
            The arrays of one panel.
        """
        from decision_phases.plots.ranking import ScorePanel

        middle = np.array([(unit.layers[0] + unit.layers[-1]) / 2 for unit in self.units])
        parts = tuple(unit.part for unit in self.units)
        return ScorePanel(self.by, middle, parts, self.scores, self.low, self.high)

    def plot(self) -> Figure:
        """Draw the scores by layer with their intervals.

        Returns:
            A matplotlib figure, which Jupyter shows by itself.
        """
        from decision_phases.plots.ranking import unit_scores

        return unit_scores([self.panel()], n_layers=self.n_layers)

    def __str__(self) -> str:
        """What was ranked on what, and what goes first."""
        on = f" on {self.data} ({len(self.labels)} {self.resampled}s)" if self.data else ""
        where = f", under {self.under}" if self.under else ""
        first = ", ".join(str(unit) for unit in self.order[:8])
        rest = len(self.order) - 8
        lines = [
            f"Ranking of {len(self.units)} units of {self.model} by {self.by}{on}{where}",
            f"  removed first: {first}{f' and {rest} more' if rest > 0 else ''}",
            *(f"  {note}" for note in self.notes),
        ]
        return "\n".join(lines)

    __repr__ = __str__


@dataclass(frozen=True, eq=False)
class Rankings(Mapping[str, Ranking]):
    """Rankings of the same units by several criteria, by name.

    Attributes:
        members: The rankings, in the order asked for.
    """

    members: tuple[Ranking, ...]

    def __getitem__(self, name: str) -> Ranking:
        """One of the rankings; `InputError` with near names if there is none."""
        for ranking in self.members:
            if ranking.by == name:
                return ranking
        raise unknown_name("criterion of these rankings", name, list(self))

    def __iter__(self) -> Iterator[str]:
        return (ranking.by for ranking in self.members)

    def __len__(self) -> int:
        return len(self.members)

    def __contains__(self, name: object) -> bool:
        return any(ranking.by == name for ranking in self.members)

    def agreement(self) -> pd.DataFrame:
        """Spearman's rank correlation of the scores, for every pair of criteria.

        Returns:
            One row and one column a criterion; NaN where all scores of one are equal.
        """
        ranks = [stats.rankdata(ranking.scores) for ranking in self.members]
        with np.errstate(invalid="ignore", divide="ignore"):
            return pd.DataFrame(np.atleast_2d(np.corrcoef(ranks)), index=list(self), columns=list(self))

    def to_pandas(self) -> pd.DataFrame:
        """One row a criterion and unit; the columns of `Ranking.to_pandas`."""
        return pd.concat([ranking.to_pandas() for ranking in self.members], ignore_index=True)

    def plot(self) -> Figure:
        """Draw every criterion in a panel of its own, as their units of measurement differ.

        Returns:
            A matplotlib figure.
        """
        from decision_phases.plots.ranking import unit_scores

        panels = [ranking.panel() for ranking in self.members]
        return unit_scores(panels, n_layers=self.members[0].n_layers)

    def __str__(self) -> str:
        """One ranking after the other."""
        return "\n".join(str(ranking) for ranking in self.members)

    __repr__ = __str__
