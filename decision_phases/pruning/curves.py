"""What became of the decision as units were removed: one row a strategy and step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from decision_phases.errors import InputError, unknown_name
from decision_phases.pruning.criteria.units import PARTS
from decision_phases.pruning.endurance import last_above_chance, normalised_area
from decision_phases.pruning.game.luck import Luck
from decision_phases.pruning.step import Step, step_table
from decision_phases.stats import (
    Interval,
    PairedDifference,
    paired_difference,
    permutation_p,
    wilson_interval,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
        n_parameters: Number of parameters of the intact model; 0 if it was not asked for.
        controls: Strategy → the random one that removes the same kind of unit; "random" for those not named here.
        repeats: The same on other splits of the questions, by the seeds that follow.
        removes: Strategy → what it may remove, a name in `PARTS`; by what it did remove for those not named here.
    """

    steps: tuple[Step, ...]
    chance: float
    n_search: int
    n_evaluation: int
    split: bool
    not_applicable: Mapping[str, str]
    notes: tuple[str, ...] = ()
    n_parameters: int = 0
    controls: Mapping[str, str] = field(default_factory=dict)
    repeats: tuple[Curves, ...] = ()
    removes: Mapping[str, str] = field(default_factory=dict)

    @property
    def strategies(self) -> tuple[str, ...]:
        """Names of the strategies, in the order in which they ran."""
        return tuple(dict.fromkeys(step.strategy for step in self.steps))

    @property
    def unit(self) -> str:
        """What a step removes, in a word: "block", or "unit" where attentions or MLPs go by themselves."""
        parts = {unit.part for step in self.steps for unit in step.units}
        return "block" if parts <= {"block"} else "unit"

    def of(self, strategy: str, seed: int | None = None, *, step: int | None = None) -> tuple[Step, ...]:
        """The rows of one strategy.

        Args:
            strategy: Its name.
            seed: Number of the draw; None for all.
            step: Number of units removed; None for all.

        Returns:
            Rows by draw and step.

        Raises:
            InputError: If it was not run.
        """
        if strategy not in self.strategies:
            raise unknown_name("strategy of these curves", strategy, self.strategies)
        return tuple(
            row
            for row in self.steps
            if row.strategy == strategy and seed in (None, row.seed) and step in (None, row.step)
        )

    def last_step(self, strategy: str) -> int:
        """The largest number of units that a strategy removed, in every draw.

        Args:
            strategy: Its name.
        """
        rows = self.of(strategy)
        return min(max(row.step for row in rows if row.seed == seed) for seed in {row.seed for row in rows})

    def right(self, strategy: str, up_to: int | None = None) -> Float[np.ndarray, "step question"]:
        """Whether each question is answered right at each step, averaged over draws.

        Args:
            strategy: Its name.
            up_to: Last step; by default the last that every draw has.

        Returns:
            One row a step, the intact model first.

        Raises:
            InputError: If there is no such step.
        """
        last = self.last_step(strategy) if up_to is None else up_to
        return np.stack([self._right(strategy, step) for step in range(last + 1)])

    def collapse(self, strategy: str, *, share: float = 0.25) -> int | None:
        """Smallest number of units after which at most some share of the accuracy above chance is left.

        `k` with accuracy ≤ chance + share · (intact − chance), over the mean of draws.

        Args:
            strategy: Its name.
            share: A quarter by default; 0.5 for where half is lost.

        Returns:
            Number of units, or None if that does not happen, or if the intact model is not above chance.
        """
        rows = self.of(strategy)
        if rows[0].accuracy <= self.chance:
            return None
        bar = self.chance + share * (rows[0].accuracy - self.chance)
        for step in range(self.last_step(strategy) + 1):
            if np.mean([row.accuracy for row in rows if row.step == step]) <= bar:
                return step
        return None

    def last_above_chance(self, strategy: str, *, alpha: float = 0.05) -> int | None:
        """Largest number of removed units up to which accuracy is still significantly above chance.

        Cut by cut from the intact model on, by a one-sided binomial test, up to the first that fails; see
        `endurance.last_above_chance`. Of several draws each is tested by itself, and the (lower) median is given.

        Args:
            strategy: Its name.
            alpha: Level of the tests.

        Returns:
            Number of units, or None if the intact model itself is not above chance.
        """
        rows = self.of(strategy)
        found = []
        for seed in {row.seed for row in rows}:
            own = sorted((row for row in rows if row.seed == seed), key=lambda row: row.step)
            counts = np.array([int(row.correct.sum()) for row in own])
            last = last_above_chance(counts, self.n_evaluation, self.chance, alpha=alpha)
            found.append(-1 if last is None else last)
        middle = sorted(found)[(len(found) - 1) // 2]
        return None if middle < 0 else middle

    def area(
        self, strategy: str, *, up_to: int | None = None, confidence: float = 0.95, seed: int = 0
    ) -> Interval:
        """Area under accuracy against units removed: 1 if nothing is lost, 0 at chance throughout.

        Args:
            strategy: Its name; draws are averaged question by question.
            up_to: Last step; by default the strategy's own. Areas are comparable at equal last steps.
            confidence: Nominal coverage of the bootstrap interval over questions.
            seed: Of the resampling.

        Returns:
            The area with its interval, conditional on the cuts chosen; see `endurance.normalised_area`.

        Raises:
            InputError: If there is no such step.
        """
        return normalised_area(self.right(strategy, up_to), self.chance, confidence=confidence, seed=seed)

    def compare(self, a: str, b: str, step: int, *, seed: int = 0) -> PairedDifference:
        """Accuracy of one strategy minus that of another, at one number of units, on the same questions.

        Args:
            a: First strategy; draws are averaged question by question.
            b: Second strategy.
            step: Number of units removed.
            seed: Of the resampling.

        Returns:
            The difference with its interval, conditional on the cuts chosen.

        Raises:
            InputError: If one of them has no such step.
        """
        return paired_difference(self._right(a, step), self._right(b, step), seed=seed)

    def control_of(self, strategy: str) -> str | None:
        """The random strategy that a strategy is compared with.

        Args:
            strategy: Its name.

        Returns:
            The name; None for the control itself, or where it was not run.
        """
        control = self.controls.get(strategy, "random")
        return control if control in self.strategies and control != strategy else None

    def parts(self, strategy: str) -> frozenset[str]:
        """What kind of unit a strategy may remove: "block", or "attention", "mlp" or both.

        Args:
            strategy: Its name.
        """
        if strategy in self.removes:
            return frozenset(PARTS[self.removes[strategy]])
        return frozenset(unit.part for step in self.of(strategy) for unit in step.units)

    def against(self, reference: str, step: int | None = None, *, seed: int = 0) -> pd.DataFrame:
        """Every other strategy minus one of them, on the same questions, adjusted for how many there are.

        Strategies that remove another kind of unit are left out: a step of theirs is another thing.

        Args:
            reference: The strategy that the others are compared with.
            step: Number of units removed; by default the mean height of the curves, over the steps that both have.
            seed: Of the resampling.

        Returns:
            Columns strategy, reference, step (the last one), difference, low, high, p_value, p_holm (Holm over the
            strategies), minimum_detectable, n_questions.

        Raises:
            InputError: If the reference was not run.
        """
        from decision_phases.pruning.comparison import against

        return against(self, reference, step, seed=seed)

    def against_random(self, step: int | None = None, *, seed: int = 0) -> pd.DataFrame:
        """Every strategy minus the random one, on the same questions, adjusted for how many there are.

        Args:
            step: Number of units removed; by default the mean height of the curves, over the steps that both have.
            seed: Of the resampling.

        Returns:
            Columns strategy, control, step (the last one), difference, low, high, p_value, p_holm (Holm over the
            strategies), minimum_detectable, n_questions.
        """
        from decision_phases.pruning.comparison import against_random

        return against_random(self, step, seed=seed)

    def summary(self, *, seed: int = 0) -> pd.DataFrame:
        """One row a strategy: how long accuracy lasts, and whether that is more than random cuts give.

        Args:
            seed: Of the resampling.

        Returns:
            Columns strategy, last_step, parameters (removed there), area, area_low, area_high, last_above_chance,
            half and collapse (each with _low and _high over questions, no number beyond the last step), p_luck (of the
            last cut, see `better_than_luck`) with the draws behind it, splits, area_split_mean, area_split_sd, and
            those of `against_random`.
        """
        from decision_phases.pruning.comparison import summary

        return summary(self, seed=seed)

    def by_step(self, *, seed: int = 0) -> pd.DataFrame:
        """One row a strategy and step, draws averaged: the interval within this split beside the spread over splits.

        Args:
            seed: Of the resampling.

        Returns:
            Columns strategy, step, parameters, accuracy, low, high (over questions), margin with margin_low and
            margin_high, transition with transition_low and transition_high (of one draw), splits, split_mean,
            split_sd, split_low, split_high (over splits), difference, difference_low, difference_high (from random),
            p_luck with the draws behind it.
        """
        from decision_phases.pruning.comparison import by_step

        return by_step(self, seed=seed)

    def better_than_luck(
        self, strategy: str, step: int, *, of: Literal["margin", "accuracy"] = "margin"
    ) -> Luck:
        """Compare a cut with the random cuts of as many units, on the same evaluation questions.

        The null are the draws of "random" that stand beside the curve already; p is never below 1 / (draws + 1), so
        `draws=` of `prune` decides how small it can be.

        Args:
            strategy: Its name; not "random".
            step: Number of units removed.
            of: What is compared, the mean final margin or the accuracy.

        Returns:
            The value, its p-value and the random ones.

        Raises:
            InputError: If the strategy draws at random itself, or it or "random" has no such step.
        """
        control = self.control_of(strategy)
        own, null = (
            [float(getattr(row, of)) for row in (self.of(name, step=step) if name else ())]
            for name in (strategy, control)
        )
        if len(own) != 1 or not null:
            msg = (
                f"{strategy} with {step} removed has {len(own)} cut(s) and {control or 'random'} has {len(null)}; one "
                "cut is compared with those of random (controls=True), at a number that both reach"
            )
            raise InputError(msg)
        return Luck(own[0], permutation_p(own[0], np.array(null)), np.array(null))

    def _right(self, strategy: str, step: int) -> Float[np.ndarray, " question"]:
        rows = [row.correct for row in self.of(strategy, step=step)]
        if not rows or step > self.last_step(strategy):
            where = f" in every draw; the last is {self.last_step(strategy)}" if rows else ""
            msg = f"{strategy} has no step {step}{where}"
            raise InputError(msg)
        return np.asarray(np.mean(rows, axis=0, dtype=np.float64))

    def to_pandas(self) -> pd.DataFrame:
        """One row a strategy, draw and step.

        Returns:
            The columns of `step_table`; and split, the number of the split, where there are several.
        """
        every = (self, *self.repeats)
        tables = [step_table(one.steps) for one in every]
        if len(every) == 1:
            return tables[0]
        return pd.concat([table.assign(split=i) for i, table in enumerate(tables)], ignore_index=True)

    def to_dict(self) -> dict[str, list[dict[str, Any]]]:
        """Strategy → its rows, as JSON values."""
        return {name: [step.to_dict() for step in self.of(name)] for name in self.strategies}

    def plot(self) -> Figure:
        """Draw accuracy against units removed, random draws as a band.

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
        return pruning_curves(curves, chance=self.chance, unit=self.unit)

    def __str__(self) -> str:
        """What was compared, in a line for each strategy."""
        lines = [
            f"Curves of {len(self.strategies)} strategies on {self.n_evaluation} questions, chosen on {self.n_search}"
            + ("" if self.split else " (the same ones: what chose also measures)")
            + (f", and {len(self.repeats)} other splits of them" if self.repeats else "")
        ]
        for name in self.strategies:
            last = self.last_step(name)
            mean = float(np.mean([row.accuracy for row in self.of(name, step=last)]))
            lines.append(f"  {name}: accuracy {mean:.3f} with {last} {self.unit}s removed")
        lines += [f"  {name}: not applicable, for {why}" for name, why in self.not_applicable.items()]
        return "\n".join(lines)

    __repr__ = __str__
