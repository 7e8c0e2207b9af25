"""What several repairs give back of what one cut costs, as a value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from decision_phases.errors import unknown_name
from decision_phases.interventions import Intervention
from decision_phases.readout import Perplexity
from decision_phases.repairs.result import Fit, FittedRepair
from decision_phases.stats import (
    PairedDifference,
    holm,
    paired_difference,
    recovered_shares,
    resample_weights,
    wilson_interval,
    with_ends,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INTACT, NOTHING = "intact", "nothing"
Measure = Literal["accuracy", "margin", "log_perplexity"]
MEASURES: tuple[Measure, ...] = ("accuracy", "margin", "log_perplexity")
_N_BOOT = 2000


@dataclass(frozen=True, eq=False)
class RepairRow:
    """One model: intact, cut, or cut and repaired.

    Attributes:
        method: "intact", "nothing", or the repair.
        under: What the model ran under.
        correct: Whether each question is answered right.
        margins: Final margin of each question.
        perplexity: On texts that no repair was fitted to.
        transition: Transition layer, None if there is none.
        transition_ci: Its interval.
        outcome: "transition", "no transition" or "not located".
        repair: The fitted repair; None for the first two.
    """

    method: str
    under: Intervention = field(repr=False)
    correct: Bool[np.ndarray, " question"] = field(repr=False)
    margins: Float[np.ndarray, " question"] = field(repr=False)
    perplexity: Perplexity = field(repr=False)
    transition: int | None
    transition_ci: tuple[int, int] | None
    outcome: str
    repair: FittedRepair | None = field(default=None, repr=False)

    @property
    def accuracy(self) -> float:
        """Share of right choices."""
        return float(self.correct.mean())

    @property
    def fit(self) -> Fit | None:
        """How the repair came about."""
        return None if self.repair is None else self.repair.fit


@dataclass(frozen=True)
class Recovered:
    """The share of what a cut costs that a repair gives back.

    Attributes:
        share: 1 for the intact model, 0 for the cut one, below 0 where the repair makes it worse. NaN if there is
            nothing to give back.
        low: Lower end of its interval, over questions or texts, the same ones for all three models.
        high: Upper end.
    """

    share: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class RepairComparison:
    """Repairs of one cut, beside doing nothing and the intact model, on the same questions and texts.

    Attributes:
        rows: The intact model, the cut one, then one row a repair.
        cut: The cut.
        model: Name of the model.
        questions: Name of the questions.
        chance: Accuracy of guessing.
        seed: Of the resampling.
        notes: What a reader must know.
    """

    rows: tuple[RepairRow, ...]
    cut: Intervention
    model: str
    questions: str
    chance: float
    seed: int
    notes: tuple[str, ...] = ()

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the repairs."""
        return tuple(row.method for row in self.rows if row.method not in (INTACT, NOTHING))

    def of(self, method: str) -> RepairRow:
        """The row of one repair, of "intact" or of "nothing".

        Args:
            method: Its name.

        Returns:
            The row.

        Raises:
            InputError: If it was not compared.
        """
        found = {row.method: row for row in self.rows}
        if method not in found:
            raise unknown_name("repair of this comparison", method, found)
        return found[method]

    def gain(self, method: str, of: Measure = "accuracy") -> PairedDifference:
        """What a repair adds to the cut model, question by question (text by text for "log_perplexity").

        Args:
            method: Its name.
            of: "accuracy", "margin", or "log_perplexity", whose gain is its fall, in nats a token.

        Returns:
            The difference with its interval and p-value.

        Raises:
            InputError: If it was not compared, or there are fewer than two questions or texts.
        """
        mine, cut = self.of(method), self.of(NOTHING)
        if of == "accuracy":
            a, b = mine.correct.astype(np.float64), cut.correct.astype(np.float64)
        elif of == "margin":
            a, b = mine.margins, cut.margins
        else:  # longer texts count for more, as they do in the perplexity
            share = cut.perplexity.tokens / cut.perplexity.tokens.mean()
            a = -mine.perplexity.nll / mine.perplexity.tokens * share
            b = -cut.perplexity.nll / cut.perplexity.tokens * share
        return paired_difference(a, b, seed=self.seed)

    def recovered(self, method: str, of: Measure = "accuracy") -> Recovered:
        """(repaired − cut) / (intact − cut), with a bootstrap interval over the same questions or texts.

        Not testable, and then NaN, where the interval of what the cut costs reaches 0: a share of nothing
        (`stats.recovered_shares`); and where a perplexity is infinite, or that of a single text.

        Args:
            method: Its name.
            of: "accuracy", "margin" or "log_perplexity".

        Returns:
            The share.

        Raises:
            InputError: If it was not compared.
        """
        self.of(method)
        if not self._comparable(method, of):
            return Recovered(np.nan, np.nan, np.nan)
        whole, resampled = self._means(of)
        gained, lost = (
            np.concatenate([[whole(more) - whole(NOTHING)], resampled(more) - resampled(NOTHING)])
            for more in (method, INTACT)
        )
        return Recovered(*with_ends(recovered_shares(gained, lost)))

    def _means(self, of: Measure) -> tuple[Callable[[str], Any], Callable[[str], Any]]:
        """The mean of a measure for a row, over all questions or texts and over resamples; higher is better."""

        def parts(method: str) -> tuple[np.ndarray, np.ndarray]:
            row = self.of(method)
            if of == "log_perplexity":
                return -row.perplexity.nll, row.perplexity.tokens.astype(np.float64)
            values = row.correct.astype(np.float64) if of == "accuracy" else row.margins
            return values, np.ones(len(values))

        weights = resample_weights(len(parts(NOTHING)[0]), _N_BOOT, seed=self.seed)

        def whole(method: str) -> float:
            values, counts = parts(method)
            return float(values.sum() / counts.sum())

        def resampled(method: str) -> np.ndarray:
            values, counts = parts(method)
            return np.asarray((weights @ values) / (weights @ counts))

        return whole, resampled

    @cached_property
    def _adjusted(self) -> dict[tuple[str, str], float]:
        """p-values of all gains, adjusted for their number."""
        asked = [(method, of) for method in self.methods for of in MEASURES if self._comparable(method, of)]
        p = holm(np.array([self.gain(method, of).p_value for method, of in asked]))
        return dict(zip(asked, p.tolist(), strict=True))

    def _comparable(self, method: str, of: Measure) -> bool:
        """Whether it can be compared: a perplexity can be infinite, or that of a single text."""
        every = [self.of(name).perplexity.nll for name in (method, NOTHING, INTACT)]
        return of != "log_perplexity" or (len(every[0]) > 1 and bool(np.isfinite(every).all()))

    def to_pandas(self) -> pd.DataFrame:
        """One row a model.

        Returns:
            Columns method, accuracy, accuracy_low, accuracy_high, margin, perplexity, transition, transition_low,
            transition_high, outcome, parameters_trained (numbers fitted), parameters_added (to the model; none where
            they are merged into weights), seconds; for repairs accuracy_gain, margin_gain and log_perplexity_gain with
            _low, _high and _p (Holm over all of them); and recovered_accuracy, recovered_margin and
            recovered_log_perplexity with _low and _high.
        """
        whole = dict.fromkeys(("transition", "transition_low", "transition_high"), "Int64")
        return pd.DataFrame([self._record(row) for row in self.rows]).astype(whole)

    def _record(self, row: RepairRow) -> dict[str, Any]:
        interval = wilson_interval(int(row.correct.sum()), len(row.correct))
        record: dict[str, Any] = {
            "method": row.method,
            "accuracy": row.accuracy,
            "accuracy_low": float(interval.low),
            "accuracy_high": float(interval.high),
            "margin": float(row.margins.mean()),
            "perplexity": row.perplexity.value,
            "transition": row.transition,
            "transition_low": None if row.transition_ci is None else row.transition_ci[0],
            "transition_high": None if row.transition_ci is None else row.transition_ci[1],
            "outcome": row.outcome,
            "parameters_trained": 0 if row.fit is None else row.fit.parameters_trained,
            "parameters_added": 0 if row.fit is None else row.fit.parameters_added,
            "seconds": 0.0 if row.fit is None else row.fit.seconds,
        }
        for of in MEASURES:
            known = row.repair is not None and self._comparable(row.method, of)
            gain = self.gain(row.method, of) if known else None
            record[f"{of}_gain"] = np.nan if gain is None else gain.difference
            record[f"{of}_gain_low"] = np.nan if gain is None else gain.low
            record[f"{of}_gain_high"] = np.nan if gain is None else gain.high
            record[f"{of}_gain_p"] = self._adjusted.get((row.method, of), np.nan)
        for measure in MEASURES:
            found = self.recovered(row.method, measure)
            record[f"recovered_{measure}"] = found.share
            record[f"recovered_{measure}_low"] = found.low
            record[f"recovered_{measure}_high"] = found.high
        return record

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, null for NaN and for an infinite perplexity.

        Returns:
            The table, how each repair was fitted, and the notes.
        """
        rows = []
        for row in self.rows:
            record = {name: _plain(value) for name, value in self._record(row).items()}
            record["transition_ci"] = None if row.transition_ci is None else list(row.transition_ci)
            record["fit"] = None if row.fit is None else row.fit.to_dict()
            rows.append(record)
        return {
            "model": self.model,
            "cut": str(self.cut),
            "questions": self.questions,
            "n_questions": len(self.rows[0].correct),
            "texts": self.rows[0].perplexity.texts,
            "n_tokens": self.rows[0].perplexity.n_tokens,
            "chance": self.chance,
            "seed": self.seed,
            "rows": rows,
            "notes": list(self.notes),
        }

    def plot(self) -> Figure:
        """Draw accuracy and perplexity of every repair, between the cut model and the intact one.

        Returns:
            A matplotlib figure.
        """
        from decision_phases.plots import RepairPoint, repair_comparison

        points = []
        for row in self.rows:
            interval = wilson_interval(int(row.correct.sum()), len(row.correct))
            low, high = float(interval.low), float(interval.high)
            points.append(RepairPoint(row.method, row.accuracy, low, high, row.perplexity.value))
        return repair_comparison(points, chance=self.chance, title=f"Repairs of {self.cut}")

    def __str__(self) -> str:
        """A line for each model."""
        width = max(len(row.method) for row in self.rows)
        lines = [
            f"Repairs of {self.cut} on {self.model}, {len(self.rows[0].correct)} questions of {self.questions}"
        ]
        for row in self.rows:
            where = f"transition {row.transition}" if row.transition is not None else row.outcome
            lines.append(
                f"  {row.method.ljust(width)}  accuracy {row.accuracy:.3f}, margin {row.margins.mean():+.3f}, "
                f"perplexity {row.perplexity.value:.4g}, {where}{self._told(row)}"
            )
        if self.methods:
            lines.append(
                "  Back: the share of what the cut costs that a repair gives back, with its 95% interval."
            )
        return "\n".join(lines)

    def _told(self, row: RepairRow) -> str:
        """What a repair gives back and takes, for a line of text."""
        if row.fit is None:
            return ""
        told = ""
        for of in MEASURES:
            found = self.recovered(row.method, of)
            if not np.isnan(found.share):
                what = of.replace("_", " ")
                told += f", {what} back {found.share:.0%} [{found.low:.0%}, {found.high:.0%}]"
        return f"{told}; {row.fit.size} in {row.fit.seconds:.1f} s"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The table, for Jupyter."""
        shown = [
            "method",
            "accuracy",
            "margin",
            "perplexity",
            "transition",
            "parameters_trained",
            "parameters_added",
            "seconds",
        ]
        html: str = self.to_pandas()[[*shown, "recovered_accuracy", "recovered_log_perplexity"]].to_html(
            index=False
        )
        return html


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value
