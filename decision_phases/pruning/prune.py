"""`prune`: several strategies, one budget, one set of questions that chooses and another that measures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from decision_phases.engine import Store, as_store, evaluate
from decision_phases.engine.observers import AnyObserver
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention, skip
from decision_phases.models import ModelAccess, as_model
from decision_phases.pruning.budget import check_budget
from decision_phases.pruning.curves import Curves, Step
from decision_phases.pruning.pool import RandomPool
from decision_phases.pruning.search import Found, greedy
from decision_phases.pruning.strategies import Strategy, find_strategy
from decision_phases.readout import DecisionObserver, Decisions, Phases, StateObserver, ask, find_phases, read
from decision_phases.readout.ask import Questions
from decision_phases.readout.decisions import Final
from decision_phases.readout.similarity import alignment, decision_similarity
from decision_phases.store import ResultStore
from decision_phases.tasks import EncodedQuestions, QuestionSet
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
        store: Where the engine keeps and finds results, if anywhere.
        known: What is known on the search questions already: searches ask for the same cuts.
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
    store: ResultStore | None = None
    known: dict[Intervention, Final] = field(default_factory=dict, repr=False)

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
    store: Store = None,
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
        store: Where the engine keeps and finds results.

    Returns:
        The setting.

    Raises:
        InputError: If a protected layer does not exist, or more is to be removed than is not protected.
    """
    candidates = check_budget(model, up_to=up_to, protect=protect, draws=draws)
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
        known,
    )


def prune_one(setting: Setting, name: str, *, progress: bool = False) -> tuple[Step, ...]:
    """Run one strategy: choose on the search questions, measure on the evaluation questions.

    Args:
        setting: What all strategies share.
        name: Name of the strategy.
        progress: Show a bar.

    Returns:
        One row a draw and step, step 0 included; empty if it is not applicable (see `Setting.obstacle`).

    Raises:
        InputError: If there is no such strategy.
    """
    strategy = find_strategy(name)
    if setting.obstacle(strategy):
        return ()
    scope = setting.scope(strategy)
    steps = min(setting.up_to, len(scope))
    values: dict[tuple[int, ...], float] = {}
    if strategy.kind == "greedy":
        found = greedy(
            setting.model,
            setting.search,
            objective=strategy.objective,
            candidates=scope,
            steps=steps,
            known=setting.known,
            store=setting.store,
            progress=progress,
        )
        orders: dict[int | None, tuple[int, ...]] = {None: tuple(step.removed for step in found)}
        values = _values(found)
    elif name == "random":
        pool = RandomPool(scope, setting.seed)
        orders = {draw: pool.order(draw)[:steps] for draw in range(setting.draws)}
    else:
        orders = {None: tuple(sorted(scope, reverse=name == "deepest"))[:steps]}
    return _measure(setting, name, orders, values, progress=progress)


def prune(
    model: object,
    questions: Questions,
    *,
    by: str | Sequence[str] = "margin",
    up_to: int = 6,
    protect: Collection[int] | None = None,
    split: float | None = 0.5,
    draws: int = 3,
    seed: int = 0,
    controls: bool = True,
    store: Store = None,
    progress: bool = False,
    **settings: Any,
) -> Curves:
    """Remove blocks one after the other by several strategies, and watch what becomes of the decision.

    Iterative Pruning (arXiv 2605.07271): after every step, accuracy, margins and Option Frequency at the surviving
    layers, the transition, CKA and the similarity of decisions with the intact model are kept.

    Args:
        model: What `load` gives or takes.
        questions: A name, a file or questions.
        by: Names in `STRATEGIES`.
        up_to: Most blocks to remove.
        protect: Layers never removed; the first and the last by default.
        split: Share of the questions that choose; the others measure. None uses all for both, and says so.
        draws: Number of random orders.
        seed: Of the split, the pool, the bootstrap and the permutations.
        controls: Also run "random" and "deepest", which no curve should be without.
        store: A store or its folder, where every evaluated cut is kept and found again.
        progress: Show bars.
        **settings: Of `tasks.encode_questions`.

    Returns:
        The curves: `.to_pandas()`, `.plot()`, `.compare("margin", "random", step=4)`.

    Raises:
        InputError: If something does not fit, before anything runs.

    Example:
        >>> curves = prune("tiny-gpt2", as_set("facts", limit=40), by="margin", up_to=2, draws=1)
        >>> curves.strategies
        ('margin', 'random', 'deepest')
    """
    access = as_model(model)
    wanted = [by] if isinstance(by, str) else list(by)
    names = list(dict.fromkeys([*wanted, *(("random", "deepest") if controls else ())]))
    for name in names:
        find_strategy(name)
    search, evaluation = divide(access, questions, split, seed=seed, **settings)
    setting = make_setting(
        access, search, evaluation, up_to=up_to, protect=protect, draws=draws, seed=seed, store=store
    )
    done = [(name, prune_one(setting, name, progress=progress)) for name in names]
    return gather(setting, (step for _, steps in done for step in steps), names)


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


def gather(setting: Setting, steps: Iterable[Step], names: Sequence[str]) -> Curves:
    """Put rows together with what must be known about them.

    Args:
        setting: What all strategies shared.
        steps: The rows.
        names: Strategies asked for.

    Returns:
        The curves.
    """
    obstacles = {name: setting.obstacle(find_strategy(name)) for name in names}
    split = setting.search.key != setting.evaluation.key
    notes = ["Intervals are over questions and conditional on the cuts that were chosen."]
    if not split:
        notes.append("The same questions chose the cuts and measured them: searched curves are optimistic.")
    short = {
        name: len(setting.scope(find_strategy(name)))
        for name in names
        if not obstacles[name] and len(setting.scope(find_strategy(name))) < setting.up_to
    }
    notes += [
        f"The strategy {name} ends at {n} blocks: its phase has no more that are not protected."
        for name, n in short.items()
    ]
    return Curves(
        tuple(steps),
        setting.intact.chance,
        len(setting.search),
        len(setting.evaluation),
        split,
        {name: why for name, why in obstacles.items() if why},
        tuple(notes),
    )


def _values(found: Sequence[Found]) -> dict[tuple[int, ...], float]:
    order = [step.removed for step in found]
    return {tuple(order[: i + 1]): step.value for i, step in enumerate(found)}


def _measure(
    setting: Setting,
    name: str,
    orders: dict[int | None, tuple[int, ...]],
    values: dict[tuple[int, ...], float],
    *,
    progress: bool,
) -> tuple[Step, ...]:
    rows = [(seed, order[:k]) for seed, order in orders.items() for k in range(1, len(order) + 1)]
    variants = [skip(*cut) for _, cut in rows]
    runs = evaluate(
        setting.model,
        setting.evaluation,
        variants,
        [DecisionObserver(), StateObserver()],
        store=setting.store,
        progress=progress,
    )
    row = _describer(setting)
    steps = [row(name, seed, (), setting.intact, setting.states, None) for seed in orders]
    for (seed, cut), run in zip(rows, runs, strict=True):
        steps.append(row(name, seed, cut, run["decisions"], run["states"], values.get(cut)))
    return tuple(sorted(steps, key=lambda step: (-1 if step.seed is None else step.seed, step.step)))


def _describer(setting: Setting) -> Callable[..., Step]:
    intact = setting.intact.final.scores[:, None]

    def describe(
        name: str,
        seed: int | None,
        cut: tuple[int, ...],
        decisions: Decisions,
        states: np.ndarray,
        value: float | None,
    ) -> Step:
        phases = find_phases(decisions, seed=setting.seed, n_boot=500, n_perm=1000)
        similar = decision_similarity(decisions.final.scores[:, None], intact)
        shared = decisions.encoded.shared_identities() is not None
        return Step(
            strategy=name,
            step=len(cut),
            removed=cut[-1] if cut else None,
            cut=cut,
            seed=seed,
            margin=float(decisions.final.margin.mean()),
            accuracy=decisions.final.accuracy,
            margin_by_layer=decisions.margin.mean(axis=0),
            accuracy_by_layer=decisions.accuracy,
            transition=phases.transition,
            transition_ci=phases.ci,
            outcome=phases.outcome,
            cka=_cka(states, setting.states, setting.seed),
            decision_similarity=float(similar.divergence[0, 0]),
            decision_agreement=float(similar.agreement[0, 0]),
            search_value=value,
            correct=decisions.final.correct,
            margins=decisions.final.margin,
            option_frequency=_frequency(decisions) if shared else None,
        )

    return describe


def _cka(states: np.ndarray, intact: np.ndarray, seed: int) -> dict[str, float]:
    """Alignment of the last residuals; empty where it is undefined, as with few questions or states all alike."""
    try:
        found = alignment(states, intact, n_shuffles=100, seed=seed)
    except InputError:
        return {}
    return {
        "debiased": found.debiased,
        "biased": found.biased,
        "null_mean": found.null_mean,
        "null_high": found.null_high,
        "p_value": found.p_value,
    }


def _frequency(decisions: Decisions) -> dict[str, list[float | None]]:
    table = decisions.option_frequency().drop(index="gold")
    return {
        str(name): [None if np.isnan(value) else float(value) for value in column]
        for name, column in table.items()
    }
