"""What all strategies of one comparison share."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from decision_phases.engine import Store, as_store, evaluate
from decision_phases.engine.observers import AnyObserver
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.pruning.budget import check_budget
from decision_phases.pruning.screener import Screener
from decision_phases.pruning.strategies import Strategy
from decision_phases.readout import DecisionObserver, Decisions, Phases, StateObserver, ask, find_phases, read
from decision_phases.readout.ask import Questions
from decision_phases.readout.decisions import Final
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
        up_to: Most blocks to remove.
        draws: Number of random orders.
        seed: Of the pool, the bootstrap and the permutations.
        texts: What criteria that need no labels are measured on; None for the search questions.
        store: Where the engine keeps and finds results, if anywhere.
        known: What is known on the search questions already: searches ask for the same cuts.
        screener: What searches screen their candidates with, if anything.
        refused: Strategy → why it gave no cut although it could run, filled as strategies run.
    """

    model: ModelAccess
    search: EncodedQuestions
    evaluation: EncodedQuestions
    intact: Decisions
    states: np.ndarray
    phases: Phases
    candidates: tuple[int, ...]
    up_to: int
    draws: int
    seed: int
    texts: TextSet | None = None
    store: ResultStore | None = None
    known: dict[Intervention, Final] = field(default_factory=dict, repr=False)
    screener: Screener | None = None
    refused: dict[str, str] = field(default_factory=dict, repr=False)

    def scope(self, strategy: Strategy) -> tuple[int, ...]:
        """Layers that a strategy may remove.

        Args:
            strategy: The strategy.

        Returns:
            Layers, ascending; empty if there is no such phase.
        """
        phases = {"silent": self.phases.silent, "decisive": self.phases.decisive}
        allowed = phases.get(strategy.scope, self.candidates)
        return tuple(layer for layer in self.candidates if layer in allowed)

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
            return None
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
    up_to: int,
    protect: Collection[int] | None = None,
    draws: int = 3,
    seed: int = 0,
    texts: TextSet | None = None,
    store: Store = None,
    screen: str | None = None,
) -> Setting:
    """Read the intact model and check the budget.

    Args:
        model: The model.
        search: Questions that choose.
        evaluation: Questions that measure.
        up_to: Most blocks to remove.
        protect: Layers never removed; the first and the last by default.
        draws: Number of random orders.
        seed: Of everything random.
        texts: What criteria that need no labels are measured on; None for the search questions.
        store: Where the engine keeps and finds results.
        screen: "bfloat16" or "float16" for searches that screen their candidates in it.

    Returns:
        The setting.

    Raises:
        InputError: If a protected layer does not exist, more is to be removed than is not protected, or the model has
            no twin to screen with.
    """
    candidates = check_budget(model, up_to=up_to, protect=protect, draws=draws)
    screener = None if screen is None else Screener(model, screen, seed=seed)
    known = as_store(store)
    phases = find_phases(read(model, search, store=known), seed=seed)
    look: list[AnyObserver] = [DecisionObserver(), StateObserver()]
    (run,) = evaluate(model, evaluation, [Intervention()], look, store=known)
    return Setting(
        model,
        search,
        evaluation,
        run["decisions"],
        run["states"],
        phases,
        candidates,
        up_to,
        draws,
        seed,
        texts,
        known,
        screener=screener,
    )


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
