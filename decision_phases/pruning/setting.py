"""What all strategies of one comparison share."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from decision_phases.engine import Store, as_store, evaluate
from decision_phases.engine.observers import AnyObserver
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.pruning.budget import Budget, check_budget, find_budget, n_parameters
from decision_phases.pruning.criteria.data import Data, text_data
from decision_phases.pruning.criteria.registry import find_criterion
from decision_phases.pruning.criteria.units import Unit, units_of
from decision_phases.pruning.ground import Ground, Known
from decision_phases.pruning.objectives import Objective, Valuer, find_objective
from decision_phases.pruning.savings import Savings, measure_savings
from decision_phases.pruning.screener import Screener
from decision_phases.pruning.strategy import Strategy
from decision_phases.pruning.timing import Timing
from decision_phases.readout import DecisionObserver, Decisions, Phases, StateObserver, ask, find_phases, read
from decision_phases.readout.ask import Questions
from decision_phases.store import ResultStore
from decision_phases.tasks import EncodedQuestions, QuestionSet, TextSet
from decision_phases.tasks import questions as as_set


@dataclass(frozen=True, eq=False)
class Setting:
    """What all strategies of one comparison share.

    Attributes:
        model: The model.
        search: Questions that choose.
        evaluation: Questions that measure.
        intact: The intact model's decisions on the evaluation questions.
        states: Its last residuals there, `[sequence, d_model]`.
        phases: Its phases on the search questions, which bound the phase-targeted strategies.
        candidates: Layers that are not protected.
        budget: The most that may be removed.
        draws: Number of random orders.
        seed: Of the pool, the bootstrap and the permutations.
        texts: What criteria and objectives that need no labels choose on; None for the search questions.
        held_out: Texts that measure; None if there are none.
        store: Where the engine keeps and finds results, if anywhere.
        known: What is known of cuts already: strategies, and splits of the same questions, ask for the same ones.
        screener: What greedy searches screen their candidates with, if anything.
        objective: What searches without an objective of their own go by, a name in `OBJECTIVES`.
        width: How many cuts of each size a beam search keeps.
        evaluate: What else is measured of every cut, names in `OBJECTIVES`.
        timing: How forward passes are timed, if they are.
        window: Tokens in a window of the texts.
        limit: At most this many windows choose, and as many others measure; None for all.
        savings: What every unit saves of a forward pass, if the budget is one of time or memory.
        every_layer: Whether cuts are read at every layer, or at their end alone.
        refused: Strategy → why it gave no cut although it could run, filled as strategies run.
    """

    model: ModelAccess
    search: EncodedQuestions
    evaluation: EncodedQuestions
    intact: Decisions
    states: np.ndarray
    phases: Phases
    candidates: tuple[int, ...]
    budget: Budget
    draws: int
    seed: int
    texts: TextSet | None = None
    held_out: TextSet | None = None
    store: ResultStore | None = None
    known: Known = field(default_factory=dict, repr=False)
    screener: Screener | None = None
    objective: str = "margin"
    width: int = 4
    evaluate: tuple[str, ...] = ()
    timing: Timing | None = None
    window: int = 128
    limit: int | None = 64
    savings: Savings | None = None
    every_layer: bool = True
    refused: dict[str, str] = field(default_factory=dict, repr=False)

    def scope(self, strategy: Strategy) -> tuple[int, ...]:
        """Layers that a strategy may touch.

        Args:
            strategy: The strategy.

        Returns:
            Layers, ascending; empty if there is no such phase.
        """
        phases = {"silent": self.phases.silent, "decisive": self.phases.decisive}
        allowed = phases.get(strategy.scope, self.candidates)
        return tuple(layer for layer in self.candidates if layer in allowed)

    def units(self, strategy: Strategy) -> tuple[Unit, ...]:
        """What a strategy may remove.

        Args:
            strategy: The strategy.

        Returns:
            The units, in the order of computation.
        """
        scope = self.scope(strategy)
        there = tuple(unit for unit in units_of(self.model, strategy.part) if unit.layer in scope)
        if not strategy.criterion:
            return there
        criterion = find_criterion(strategy.criterion)
        return tuple(unit for unit in there if not criterion.protected(self.model, unit))

    def steps(self, strategy: Strategy) -> int:
        """Most units that a strategy can remove, whatever their size."""
        there = len(self.units(strategy))
        return there if self.budget.units is None else min(self.budget.units, there)

    def fits(self, units: Collection[Unit]) -> bool:
        """Whether a cut is within the budget.

        Args:
            units: What it removes.
        """
        if self.budget.units is not None and len(units) > self.budget.units:
            return False
        if sum(unit.part == "block" for unit in units) == self.model.n_layers:
            return False
        if self.savings is not None and not self.savings.within(units, self.budget):
            return False
        share = self.budget.parameters
        return share is None or self.n_parameters(units) <= share * self._total

    def n_parameters(self, units: Collection[Unit]) -> int:
        """How many parameters a cut removes.

        Args:
            units: What it removes.
        """
        for unit in units:
            if unit not in self._sizes:
                self._sizes[unit] = n_parameters(self.model, [unit])
        return sum(self._sizes[unit] for unit in units)

    @cached_property
    def _sizes(self) -> dict[Unit, int]:
        return {}

    @cached_property
    def _total(self) -> int:
        return self.model.n_params

    def valuer(self, objective: str | Objective = "") -> Valuer:
        """An objective on what chooses.

        Args:
            objective: The objective; "" for the comparison's own.

        Returns:
            What gives cuts their values.
        """
        return Valuer(find_objective(objective or self.objective), self._choosing)

    def _windows(self, texts: TextSet) -> Data:
        return text_data(self.model, texts, window=self.window, limit=self.limit, seed=self.seed)

    @cached_property
    def _choosing(self) -> Ground:
        texts = None if self.texts is None else self._windows(self.texts)
        return Ground(self.model, self.search, texts, store=self.store, known=self.known)

    @cached_property
    def measuring(self) -> Ground:
        """What cuts are measured on."""
        texts = None if self.held_out is None else self._windows(self.held_out)
        return Ground(self.model, self.evaluation, texts, store=self.store, known=self.known)

    def obstacle(self, strategy: Strategy) -> str | None:
        """Why a strategy cannot run, if so.

        Args:
            strategy: The strategy.

        Returns:
            A sentence, or None.
        """
        if strategy.name in self.refused:
            return self.refused[strategy.name]
        if strategy.scope == "all":
            if self.units(strategy):
                return None
            return f"the criterion {strategy.criterion} protects every block that could be removed"
        if not self.phases.found:
            return f"there are no phases to target on the search questions: {self.phases.verdict}"
        if not self.scope(strategy):
            return f"every block of the {strategy.scope.title()} Phase is protected"
        return None


def make_setting(
    model: ModelAccess,
    search: EncodedQuestions,
    evaluation: EncodedQuestions,
    *,
    up_to: int | str | Budget,
    protect: Collection[int] | None = None,
    draws: int = 3,
    seed: int = 0,
    texts: TextSet | None = None,
    held_out: TextSet | None = None,
    store: Store = None,
    screen: str | Screener | None = None,
    parts: Collection[str] = ("block",),
    removed: Collection[str] = (),
    timing: Timing | None = None,
    savings: Savings | None = None,
    **more: Any,
) -> Setting:
    """Read the intact model and check the budget.

    Args:
        model: The model.
        search: Questions that choose.
        evaluation: Questions that measure.
        up_to: Most units to remove, or a share of the parameters such as "30%".
        protect: Layers never touched; the first and the last by default.
        draws: Number of random orders.
        seed: Of everything random.
        texts: What criteria that need no labels are measured on; None for the search questions.
        held_out: Texts that measure.
        store: Where the engine keeps and finds results.
        screen: "bfloat16" or "float16" for searches that screen their candidates in it, or what does that already.
        parts: What the budget must be there for, names in `PARTS`.
        removed: What will be removed besides, whether or not that uses the budget up.
        timing: How forward passes are timed, if they are; they always are under a budget of time or memory.
        savings: What every unit saves, if that was measured already.
        **more: `objective`, `width`, `evaluate`, `window`, `limit`, `every_layer` and `known` of the
            setting.

    Returns:
        The setting.

    Raises:
        InputError: If a protected layer does not exist, more is to be removed than is not protected, or the model has
            no twin to screen with.
    """
    candidates = check_budget(model, up_to=up_to, protect=protect, draws=draws, parts=tuple(parts))
    budget = find_budget(up_to)
    if budget.measured:
        savings = savings or _measured(model, candidates, budget, parts, removed, timing or Timing(), seed)
        timing = savings.timing
    screener = Screener(model, screen, seed=seed) if isinstance(screen, str) else screen
    kept = as_store(store)
    phases = find_phases(read(model, search, store=kept), seed=seed)
    look: list[AnyObserver] = [DecisionObserver(), StateObserver()]
    (run,) = evaluate(model, evaluation, [Intervention()], look, store=kept)
    return Setting(
        model,
        search,
        evaluation,
        run["decisions"],
        run["states"],
        phases,
        candidates,
        budget,
        draws,
        seed,
        texts,
        held_out,
        kept,
        screener=screener,
        timing=timing,
        savings=savings,
        **more,
    )


def _measured(
    model: ModelAccess,
    candidates: Collection[int],
    budget: Budget,
    parts: Collection[str],
    removed: Collection[str],
    timing: Timing,
    seed: int,
) -> Savings:
    """What units save, refused where the budget cannot be met."""
    by_part = {part: units_of(model, part) for part in dict.fromkeys(["block", *parts, *removed])}
    every = dict.fromkeys(unit for units in by_part.values() for unit in units)
    found = measure_savings(model, tuple(every), timing, seed=seed)
    for part in parts:
        found.check(budget, [unit for unit in by_part[part] if unit.layer in candidates])
    return found


def divide(
    model: ModelAccess, questions: Questions, split: float | None, *, seed: int, **settings: Any
) -> tuple[EncodedQuestions, EncodedQuestions]:
    """Divide questions into those that choose and those that measure.

    Args:
        model: The model.
        questions: A name, a file or questions.
        split: Share that chooses; None for all questions on both sides.
        seed: Of the draw.
        **settings: Of `tasks.encode_questions`.

    Returns:
        Search and evaluation questions, encoded.
    """
    if isinstance(questions, EncodedQuestions):
        msg = "questions are divided before they are encoded; give the question set, not its encoding"
        raise InputError(msg)
    every: QuestionSet = as_set(questions)
    search, evaluation = (every, every) if split is None else every.split(split, seed)
    return ask(model, search, seed=seed, **settings), ask(model, evaluation, seed=seed, **settings)
