"""What became of the decision as blocks were removed: one row a strategy and step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from decision_phases.errors import InputError, unknown_name
from decision_phases.pruning.game.luck import Luck
from decision_phases.pruning.screening import Screening
from decision_phases.stats import PairedDifference, paired_difference, permutation_p, wilson_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = (
    "strategy", "step", "removed", "cut", "seed", "margin", "accuracy", "accuracy_low", "accuracy_high", "transition",
    "outcome", "cka", "cka_null_high", "decision_similarity", "decision_agreement", "search_value", "margin_by_layer",
    "accuracy_by_layer",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Step:
    """One cut, measured on the evaluation questions.

    Attributes:
        strategy: Name of the strategy that chose it.
        step: Number of blocks removed; 0 is the intact model.
        removed: The block removed at this step; None at step 0.
        cut: All blocks removed so far, in the order of removal.
        seed: Number of the random draw; None for strategies that do not draw.
        margin: Mean final decision margin.
        accuracy: Final accuracy.
        margin_by_layer: Mean margin at every layer, NaN where removed.
        accuracy_by_layer: Accuracy at every layer, NaN where removed.
        transition: Transition layer of the pruned model, None if there is none.
        transition_ci: Its interval.
        outcome: "transition", "no transition" or "not located".
        cka: Debiased linear CKA of the last residual with the intact model's, with a row-shuffled null.
        decision_similarity: 1 − JSD / log 2 of the final option probabilities with the intact model's, mean.
        decision_agreement: Share of questions with the same final choice as the intact model.
        search_value: The objective on the search questions, for searches.
        correct: Whether each evaluation question is answered right.
        margins: Final margin of each evaluation question.
        option_frequency: Identity → Option Frequency at every layer, where the questions define it.
        screening: How the search screened its candidates, if it did.
    """

    strategy: str
    step: int
    removed: int | None
    cut: tuple[int, ...]
    seed: int | None
    margin: float
    accuracy: float
    margin_by_layer: Float[np.ndarray, " layer"] = field(repr=False)
    accuracy_by_layer: Float[np.ndarray, " layer"] = field(repr=False)
    transition: int | None
    transition_ci: tuple[int, int] | None
    outcome: str
    cka: Mapping[str, float]
    decision_similarity: float
    decision_agreement: float
    search_value: float | None
    correct: Bool[np.ndarray, " question"] = field(repr=False)
    margins: Float[np.ndarray, " question"] = field(repr=False)
    option_frequency: Mapping[str, list[float | None]] | None = field(default=None, repr=False)
    screening: Screening | None = field(default=None, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, null for NaN; the questions one by one are left out.

        Returns:
            What a report needs.
        """
        interval = wilson_interval(int(self.correct.sum()), len(self.correct))
        return {
            "strategy": self.strategy,
            "step": self.step,
            "removed": self.removed,
            "cut": list(self.cut),
            "seed": self.seed,
            "margin": self.margin,
            "accuracy": self.accuracy,
            "accuracy_ci": [float(interval.low), float(interval.high)],
            "transition": self.transition,
            "transition_ci": None if self.transition_ci is None else list(self.transition_ci),
            "outcome": self.outcome,
            "cka": {k: None if np.isnan(v) else v for k, v in self.cka.items()},
            "decision_similarity": self.decision_similarity,
            "decision_agreement": self.decision_agreement,
            "search_value": self.search_value,
            "margin_by_layer": [None if np.isnan(v) else float(v) for v in self.margin_by_layer],
            "accuracy_by_layer": [None if np.isnan(v) else float(v) for v in self.accuracy_by_layer],
            "option_frequency": None if self.option_frequency is None else dict(self.option_frequency),
            "screening": None if self.screening is None else asdict(self.screening),
        }

    def to_record(self) -> dict[str, Any]:
        """Everything, as JSON values, for `from_record`.

        Returns:
            `to_dict` and the questions one by one.
        """
        return {**self.to_dict(), "correct": self.correct.tolist(), "margins": self.margins.tolist()}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Step:
        """Read back what `to_record` gave.

        Args:
            record: Its values.

        Returns:
            The step, equal in every number.
        """
        given = dict(record)
        given.pop("accuracy_ci")
        interval = given.pop("transition_ci")
        screening = given.pop("screening", None)

        def array(name: str) -> Float[np.ndarray, " layer"]:
            return np.array([np.nan if v is None else v for v in given.pop(name)], dtype=np.float64)

        return cls(
            margin_by_layer=array("margin_by_layer"),
            accuracy_by_layer=array("accuracy_by_layer"),
            screening=screening and Screening(**{**screening, "confirmed": tuple(screening["confirmed"])}),
            transition_ci=None if interval is None else (interval[0], interval[1]),
            cut=tuple(given.pop("cut")),
            cka={k: np.nan if v is None else v for k, v in given.pop("cka").items()},
            correct=np.array(given.pop("correct"), dtype=bool),
            margins=np.array(given.pop("margins"), dtype=np.float64),
            **given,
        )


@dataclass(frozen=True, eq=False)
class Curves:
    """Every strategy's cuts, measured on one and the same set of questions.

    Attributes:
        steps: All rows.
        chance: Accuracy of guessing.
        n_search: Number of questions that chose.
        n_evaluation: Number of questions that measured.
        split: Whether the two are disjoint.
        not_applicable: Strategy → why it was not run.
        notes: What a reader must know.
    """

    steps: tuple[Step, ...]
    chance: float
    n_search: int
    n_evaluation: int
    split: bool
    not_applicable: Mapping[str, str]
    notes: tuple[str, ...] = ()

    @property
    def strategies(self) -> tuple[str, ...]:
        """Names of the strategies, in the order in which they ran."""
        return tuple(dict.fromkeys(step.strategy for step in self.steps))

    def of(self, strategy: str, seed: int | None = None) -> tuple[Step, ...]:
        """The rows of one strategy.

        Args:
            strategy: Its name.
            seed: Number of the draw; None for all rows.

        Returns:
            Rows by draw and step.

        Raises:
            InputError: If it was not run.
        """
        if strategy not in self.strategies:
            raise unknown_name("strategy of these curves", strategy, self.strategies)
        return tuple(s for s in self.steps if s.strategy == strategy and (seed is None or s.seed == seed))

    def collapse(self, strategy: str) -> int | None:
        """Smallest number of blocks after which at most a quarter of the accuracy above chance is left.

        `k` with accuracy ≤ chance + 0.25 · (intact − chance), over the mean of draws.

        Args:
            strategy: Its name.

        Returns:
            Number of blocks, or None if that does not happen, or if the intact model is not above chance.
        """
        rows = self.of(strategy)
        if rows[0].accuracy <= self.chance:
            return None
        bar = self.chance + 0.25 * (rows[0].accuracy - self.chance)
        for step in sorted({row.step for row in rows}):
            if np.mean([row.accuracy for row in rows if row.step == step]) <= bar:
                return step
        return None

    def compare(self, a: str, b: str, step: int, *, seed: int = 0) -> PairedDifference:
        """Accuracy of one strategy minus that of another, at one number of blocks, on the same questions.

        Args:
            a: First strategy; draws are averaged question by question.
            b: Second strategy.
            step: Number of blocks removed.
            seed: Of the resampling.

        Returns:
            The difference with its interval, conditional on the cuts chosen.

        Raises:
            InputError: If one of them has no such step.
        """
        return paired_difference(self._right(a, step), self._right(b, step), seed=seed)

    def better_than_luck(
        self, strategy: str, step: int, *, of: Literal["margin", "accuracy"] = "margin"
    ) -> Luck:
        """Compare a cut with the random cuts of as many blocks, on the same evaluation questions.

        The null are the draws of "random" that stand beside the curve already; p is never below 1 / (draws + 1), so
        `draws=` of `prune` decides how small it can be.

        Args:
            strategy: Its name; not "random".
            step: Number of blocks removed.
            of: What is compared, the mean final margin or the accuracy.

        Returns:
            The value, its p-value and the random ones.

        Raises:
            InputError: If the strategy draws at random itself, or it or "random" has no such step.
        """
        own, null = (
            [float(getattr(row, of)) for row in self.of(name) if row.step == step]
            for name in (strategy, "random")
        )
        if strategy == "random" or len(own) != 1 or not null:
            msg = (
                f"{strategy} with {step} blocks has {len(own)} cut(s) and random has {len(null)}; one cut is compared "
                "with those of random (controls=True), at a number of blocks that both reach"
            )
            raise InputError(msg)
        return Luck(own[0], permutation_p(own[0], np.array(null)), np.array(null))

    def _right(self, strategy: str, step: int) -> Float[np.ndarray, " question"]:
        rows = [row.correct for row in self.of(strategy) if row.step == step]
        if not rows:
            msg = f"{strategy} has no step {step}"
            raise InputError(msg)
        return np.asarray(np.mean(rows, axis=0, dtype=np.float64))

    def to_pandas(self) -> pd.DataFrame:
        """One row a strategy, draw and step.

        Returns:
            Columns strategy, step, removed, cut, seed, margin, accuracy, accuracy_low, accuracy_high, transition,
            outcome, cka (debiased), cka_null_high, decision_similarity, decision_agreement, search_value,
            margin_by_layer, accuracy_by_layer.
        """
        rows = []
        for step in self.steps:
            row = step.to_dict()
            low, high = row.pop("accuracy_ci")
            cka = row.pop("cka")
            for name in ("option_frequency", "transition_ci", "screening"):
                row.pop(name)
            rows.append(
                {
                    **row,
                    "accuracy_low": low,
                    "accuracy_high": high,
                    "cka": cka.get("debiased"),
                    "cka_null_high": cka.get("null_high"),
                }
            )
        table = pd.DataFrame(rows, columns=list(_COLUMNS))
        return table.astype(dict.fromkeys(["step", "removed", "seed", "transition"], "Int64"))

    def to_dict(self) -> dict[str, list[dict[str, Any]]]:
        """Strategy → its rows, as JSON values."""
        return {name: [step.to_dict() for step in self.of(name)] for name in self.strategies}

    def plot(self) -> Figure:
        """Draw accuracy against blocks removed, random draws as a band.

        Returns:
            A matplotlib figure.
        """
        from decision_phases.plots import Curve, pruning_curves

        curves = []
        for name in self.strategies:
            rows = self.of(name)
            counts = sorted({row.step for row in rows})
            by_step = [[row for row in rows if row.step == k] for k in counts]
            draws = max(len(group) for group in by_step)
            accuracy = np.array([np.mean([r.accuracy for r in group]) for group in by_step])
            if draws > 1:
                low = np.array([min(r.accuracy for r in group) for group in by_step])
                high = np.array([max(r.accuracy for r in group) for group in by_step])
            else:
                interval = wilson_interval(
                    np.array([float(group[0].correct.sum()) for group in by_step]), self.n_evaluation
                )
                low, high = np.asarray(interval.low), np.asarray(interval.high)
            curves.append(Curve(name, np.array(counts), accuracy, low, high, draws))
        return pruning_curves(curves, chance=self.chance)

    def __str__(self) -> str:
        """What was compared, in a line for each strategy."""
        lines = [
            f"Curves of {len(self.strategies)} strategies on {self.n_evaluation} questions, chosen on {self.n_search}"
            + ("" if self.split else " (the same ones: what chose also measures)")
        ]
        for name in self.strategies:
            last = max(row.step for row in self.of(name))
            mean = float(np.mean([row.accuracy for row in self.of(name) if row.step == last]))
            lines.append(f"  {name}: accuracy {mean:.3f} with {last} blocks removed")
        return "\n".join(lines)

    __repr__ = __str__
