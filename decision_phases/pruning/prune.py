"""`prune`: several strategies, one budget, one set of questions that chooses and another that measures."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

from decision_phases.engine import Store
from decision_phases.engine import texts as as_texts
from decision_phases.errors import InputError
from decision_phases.models import ModelAccess, as_model
from decision_phases.pruning.budget import Budget
from decision_phases.pruning.checks import all_names, check_request, parts_of, with_controls
from decision_phases.pruning.criteria.data import Texts, text_data
from decision_phases.pruning.curves import Curves
from decision_phases.pruning.ground import Known
from decision_phases.pruning.measure import measure
from decision_phases.pruning.orders import choose
from decision_phases.pruning.savings import Savings
from decision_phases.pruning.screener import Screener
from decision_phases.pruning.setting import Setting, divide, make_setting
from decision_phases.pruning.step import Step
from decision_phases.pruning.strategies import (
    STRATEGIES,
    find_strategy,
    goes_by_texts,
    searched_by,
    with_starts,
)
from decision_phases.pruning.strategy import Strategy
from decision_phases.pruning.timing import Timing, find_timing
from decision_phases.readout.ask import Questions
from decision_phases.tasks import TextSet


def prune_one(setting: Setting, name: str, *, progress: bool = False) -> tuple[Step, ...]:
    """Run one strategy: choose on the search questions, measure on the evaluation questions.

    Args:
        setting: What all strategies share.
        name: Name of the strategy.
        progress: Show a bar.

    Returns:
        One row a draw and step, step 0 included; empty if it is not applicable, or refuses what it finds: scores or
            logits that are not finite, a surrogate that knows too little (see `Setting.obstacle`).

    Raises:
        InputError: If there is no such strategy.
    """
    strategy = find_strategy(name)
    if setting.obstacle(strategy):
        return ()
    try:
        for begun in with_starts(strategy)[1:]:
            _check_obstacle(setting, begun)
        return measure(setting, name, choose(setting, strategy, progress=progress), progress=progress)
    except InputError as error:  # of what it is measured on: what was asked for has been checked
        setting.refused[name] = str(error)
        return ()


def _check_obstacle(setting: Setting, strategy: Strategy) -> None:
    why = setting.obstacle(strategy)
    if why:
        msg = f"it starts from {strategy.name}, and {why}"
        raise InputError(msg)


def prune(
    model: object,
    questions: Questions,
    *,
    by: str | Sequence[str] = "margin",
    search: str | None = None,
    up_to: int | str | Budget = 6,
    protect: Collection[int] | None = None,
    split: float | None = 0.5,
    splits: int = 1,
    draws: int = 3,
    seed: int = 0,
    controls: bool = True,
    objective: str = "margin",
    width: int = 4,
    evaluate: Collection[str] = (),
    timing: str | Timing | None = None,
    texts: Texts | None = None,
    window: int = 128,
    limit: int | None = 64,
    store: Store = None,
    screen: str | None = None,
    every_layer: bool = True,
    progress: bool = False,
    **settings: Any,
) -> Curves:
    """Remove blocks, attentions or MLPs by several strategies, and watch what becomes of the decision.

    Iterative Pruning (arXiv 2605.07271): after every step, accuracy, margins and Option Frequency at the surviving
    layers, the transition, CKA and the similarity of decisions with the intact model are kept.

    Args:
        model: What `load` gives or takes.
        questions: A name, a file or questions.
        by: Names in `STRATEGIES`; or a criterion, an objective or a strategy and how to search by it ("kl:iterative",
            "block_influence:window", "margin:beam", "sleb:swaps"), and behind that what to remove
            ("margin:greedy:attention").
        search: How to search by all of them that do not say it themselves, a name in `SEARCHES`: "one_shot",
            "iterative" and "window" go by criteria, "greedy" and "beam" by objectives, "swaps" by either.
        up_to: Most units to remove; or "30%", a share of the model's parameters; or "20% latency" or "20% memory", a
            share of the time or of the peak memory of a forward pass as measured here, every unit counting with what
            its kind saves; or a `Budget`.
        protect: Layers never touched; the first and the last by default.
        split: Share of the questions that choose; the others measure. None uses all for both, and says so.
        splits: Choose and measure again on so many splits in all, by the seeds that follow `seed`; the others are in
            `.repeats`, and `.by_step()` has the spread over splits beside the interval within one.
        draws: Number of random orders.
        seed: Of the split, the pool, the bootstrap and the permutations.
        controls: Also run "random" and "deepest", which no curve should be without, and random attentions or MLPs
            beside strategies that remove such.
        objective: What searches make best that have no objective of their own ("greedy", "beam", "swaps",
            "within_silent", "within_decisive"): a name in `OBJECTIVES`.
        width: How many cuts of each size a beam search keeps.
        evaluate: What else is measured of every cut, on what did not choose: names in `OBJECTIVES`.
        timing: Time forward passes of every cut: "1x128" for one sequence of 128 tokens, or a `Timing`.
        texts: What criteria and objectives that need no labels are measured on, as `dp.texts` takes it: one half
            chooses, the other measures. The questions by default, which `notes` then say.
        window: Tokens in a window of the texts.
        limit: At most this many windows choose, and as many others measure; None for all. A greedy search by perplexity
            ("sleb") runs nearly all of them for every candidate of every step.
        store: A store or its folder, where every evaluated cut is kept and found again.
        screen: "bfloat16" or "float16": greedy searches look at all candidates in it and confirm in the model's own
            precision those that its errors leave open; `notes` say how many and with what chance of another choice.
        every_layer: Read every cut at all of its layers. Without, only what it says in the end: margins, accuracy, CKA
            and agreement, but no transition and no Option Frequency. In cloze scorings, where every token of every
            option has to be unembedded at every layer, a step then takes a fraction of the time.
        progress: Show bars.
        **settings: Of `tasks.encode_questions`.

    Returns:
        The curves: `.to_pandas()`, `.plot()`, `.summary()`, `.compare("margin", "random", step=4)`.

    Raises:
        InputError: If something does not fit, before anything runs. What a strategy finds undefined as it runs ends
            that strategy only, and stands in `.not_applicable`.

    Example:
        >>> from decision_phases.tasks import questions as as_set
        >>> curves = prune("tiny-gpt2", as_set("facts", limit=40), by="margin", up_to=2, draws=1)
        >>> curves.strategies
        ('margin', 'random', 'deepest')
        >>> prune("tiny-gpt2", as_set("facts", limit=40), by="kl", search="iterative", up_to=1, draws=1).strategies
        ('kl:iterative', 'random', 'deepest')
    """
    access, timed = as_model(model), find_timing(timing)
    names = with_controls(searched_by(all_names(by), search), wanted=controls)
    if not names:
        msg = f"no strategy is asked for; give by= one or more of {', '.join(STRATEGIES)}"
        raise InputError(msg)
    check_request(
        names,
        model=access,
        objective=objective,
        width=width,
        evaluate=evaluate,
        timing=timed,
        texts=texts,
        split=split,
        splits=splits,
        screen=screen,
    )
    divided = [divide(access, questions, split, seed=seed + i, **settings) for i in range(splits)]
    choosing, measuring = halves(texts, access, window=window, limit=limit, seed=seed)
    made: list[Curves] = []
    known: Known = {}
    savings: Savings | None = None
    screener: str | Screener | None = screen
    for asked, evaluation in divided:
        setting = make_setting(
            access,
            asked,
            evaluation,
            up_to=up_to,
            protect=protect,
            draws=draws,
            seed=seed,
            texts=choosing,
            held_out=measuring,
            store=store,
            screen=screener,
            parts=parts_of(names),
            removed=[find_strategy(name).part for name in names],
            objective=objective,
            width=width,
            evaluate=tuple(evaluate),
            timing=timed,
            window=window,
            limit=limit,
            known=known,
            savings=savings,
            every_layer=every_layer,
        )
        savings, screener = setting.savings, setting.screener
        done = [step for name in names for step in prune_one(setting, name, progress=progress)]
        made.append(gather(setting, done, names))
    return replace(made[0], repeats=tuple(made[1:]))


def halves(
    given: Texts | None, model: ModelAccess, *, window: int = 128, limit: int | None = 64, seed: int = 0
) -> tuple[TextSet | None, TextSet | None]:
    """Divide texts into those that choose and those that measure.

    Args:
        given: What `dp.texts` takes, or None. A half of a set chooses, and nothing is left to measure on.
        model: Whose windows they are put in, and which writes "self".
        window: Tokens in a window.
        limit: At most so many windows are used; None for all.
        seed: Of their draw.

    Returns:
        Texts that choose, texts that measure.

    Raises:
        InputError: If one half has nothing to predict, or the model cannot take such windows.
    """
    if given is None:
        return None, None
    found = as_texts(given, model=model if given == "self" else None)
    parts = (found, None) if found.half else (found.fit, found.evaluation)
    for half in parts:
        if half is not None:
            text_data(model, half, window=window, limit=limit, seed=seed)
    return parts


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
    notes += _without_texts(setting, [name for name in names if not obstacles[name]])
    notes += [note for name in names if not obstacles[name] for note in _ended(setting, name)]
    notes += [note for name in names for note in _screened(name, rows)]
    if setting.timing is not None:
        notes.append(
            f"Times and memory are of forward passes of {setting.timing}, on {setting.model.device} as it then was."
        )
    if setting.savings is not None:
        notes.append(
            f"The budget, {setting.budget}, is of a forward pass of the intact model on this machine at that moment, "
            f"{setting.savings}, and counts every unit with what its kind saved; latency_ms and peak_mib are of whole "
            "cuts."
        )
    parts = {name: find_strategy(name).part for name in names}
    controls = {name: f"random_{part}" for name, part in parts.items() if part != "block"}
    return Curves(
        rows,
        setting.intact.chance,
        len(setting.search),
        len(setting.evaluation),
        split,
        {name: why for name, why in obstacles.items() if why},
        tuple(notes),
        setting.model.n_params,
        controls,
        removes=parts,
    )


def _without_texts(setting: Setting, names: Sequence[str]) -> list[str]:
    """What stood for texts where none were given."""
    found = [name for name in names if goes_by_texts(find_strategy(name), setting.objective)]
    if setting.texts is not None or not found:
        return []
    return [
        f"No texts were given (texts=), so {', '.join(found)} went by the questions that choose: by their prompts, and "
        "where tokens are to be predicted by those of the right answers."
    ]


def _ended(setting: Setting, name: str) -> list[str]:
    """That a strategy cannot use up a budget of units."""
    strategy, budget = find_strategy(name), setting.budget.units
    there = len(setting.units(strategy))
    if budget is None or there >= budget:
        return []
    noun = "blocks" if strategy.part == "block" else "units"
    where = "its phase has" if strategy.scope != "all" else "there are"
    return [f"The strategy {name} ends at {there} {noun}: {where} no more that are not protected."]


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
