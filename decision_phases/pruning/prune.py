"""`prune`: several strategies, one budget, one set of questions that chooses and another that measures."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from decision_phases.engine import Store
from decision_phases.engine import texts as as_texts
from decision_phases.errors import UntrustedError
from decision_phases.models import ModelAccess, as_model
from decision_phases.pruning.criteria.data import Texts
from decision_phases.pruning.curves import Curves, Step
from decision_phases.pruning.measure import measure
from decision_phases.pruning.orders import choose
from decision_phases.pruning.setting import Setting, divide, make_setting
from decision_phases.pruning.strategies import find_strategy
from decision_phases.readout.ask import Questions
from decision_phases.tasks import TextSet


def prune_one(setting: Setting, name: str, *, progress: bool = False) -> tuple[Step, ...]:
    """Run one strategy: choose on the search questions, measure on the evaluation questions.

    Args:
        setting: What all strategies share.
        name: Name of the strategy.
        progress: Show a bar.

    Returns:
        One row a draw and step, step 0 included; empty if it is not applicable, or refuses what it found itself (see
        `Setting.obstacle`).

    Raises:
        InputError: If there is no such strategy.
    """
    strategy = find_strategy(name)
    if setting.obstacle(strategy):
        return ()
    try:
        chosen = choose(setting, strategy, progress=progress)
    except UntrustedError as error:
        setting.refused[name] = str(error)
        return ()
    return measure(setting, name, chosen, progress=progress)


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
    texts: Texts | None = None,
    store: Store = None,
    screen: str | None = None,
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
        texts: What criteria that need no labels are measured on, as `dp.texts` takes it (its fitting half); the search
            questions by default.
        store: A store or its folder, where every evaluated cut is kept and found again.
        screen: "bfloat16" or "float16": searches look at all candidates in it and confirm in the model's own precision
            those that its errors leave open; `notes` say how many and with what chance of another choice.
        progress: Show bars.
        **settings: Of `tasks.encode_questions`.

    Returns:
        The curves: `.to_pandas()`, `.plot()`, `.compare("margin", "random", step=4)`.

    Raises:
        InputError: If something does not fit, before anything runs.

    Example:
        >>> from decision_phases.tasks import questions as as_set
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
        access,
        search,
        evaluation,
        up_to=up_to,
        protect=protect,
        draws=draws,
        seed=seed,
        texts=fitting(texts, access),
        store=store,
        screen=screen,
    )
    done = [(name, prune_one(setting, name, progress=progress)) for name in names]
    return gather(setting, (step for _, steps in done for step in steps), names)


def fitting(given: Texts | None, model: ModelAccess) -> TextSet | None:
    """Give texts to choose on: the half that fits, so that the other stays for measuring.

    Args:
        given: What `dp.texts` takes, or None.
        model: For texts that it writes itself.

    Returns:
        The texts, or None.
    """
    if given is None:
        return None
    found = as_texts(given, model=model if given == "self" else None)
    return found if found.half else found.fit


def gather(setting: Setting, steps: Iterable[Step], names: Sequence[str]) -> Curves:
    """Put rows together with what must be known about them.

    Args:
        setting: What all strategies shared.
        steps: The rows.
        names: Strategies asked for.

    Returns:
        The curves.
    """
    rows = tuple(steps)
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
    notes += [note for name in names for note in _screened(name, rows)]
    return Curves(
        rows,
        setting.intact.chance,
        len(setting.search),
        len(setting.evaluation),
        split,
        {name: why for name, why in obstacles.items() if why},
        tuple(notes),
    )


def _screened(name: str, steps: Sequence[Step]) -> list[str]:
    """What screening left to chance in one strategy."""
    found = [step.screening for step in steps if step.strategy == name and step.screening]
    if not found:
        return []
    confirmed, candidates = sum(len(s.confirmed) for s in found), sum(s.candidates for s in found)
    chance = min(1.0, sum(s.chance for s in found))
    return [
        f"The strategy {name} looked at its candidates in {found[0].precision} and confirmed {confirmed} of "
        f"{candidates}; the chance that confirming all would have chosen otherwise is put at {chance:.1e} at most."
    ]
