"""`compare_repairs`: what several repairs give back of what one cut costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from decision_phases.engine import Store, as_store, evaluate
from decision_phases.engine import texts as read_texts
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention, check_intervention
from decision_phases.models import ModelAccess, as_model
from decision_phases.readout import DecisionObserver, Decisions, Perplexity, ask, find_phases, perplexities
from decision_phases.readout.ask import Questions
from decision_phases.repairs.comparison import INTACT, NOTHING, RepairComparison, RepairRow
from decision_phases.repairs.components import (
    COMPENSATIONS,
    Compensation,
    check_compensable,
    compensate,
    find_compensation,
)
from decision_phases.repairs.contract import Repair, Task
from decision_phases.repairs.dispatch import check_all, fit_all
from decision_phases.repairs.places import places_of
from decision_phases.repairs.registry import MAPS, find_repair
from decision_phases.repairs.repair import Texts, check_draw, folder_of, source_of
from decision_phases.repairs.result import FittedRepair
from decision_phases.tasks import EncodedQuestions

Method: TypeAlias = Repair | Compensation
Methods: TypeAlias = Sequence[str | Method] | None


def compare_repairs(
    model: object,
    cut: Intervention,
    *,
    methods: Methods = None,
    questions: Questions = "facts",
    texts: Texts = "pydoc",
    window: int = 128,
    limit: int | None = 128,
    held_out: int | None = 64,
    sequential: bool = True,
    seed: int = 0,
    store: Store = None,
    checkpoint: str | Path | None = None,
    progress: bool = False,
    **settings: Any,
) -> RepairComparison:
    """Fit several repairs of one cut or of changed weights, and measure them beside doing nothing and the intact model.

    All of them see the same questions, and perplexity is measured on the half of the texts that none was fitted to.

    Args:
        model: What `load` gives or takes.
        cut: The removals, or an intervention that changes weights.
        methods: Names in `REPAIRS`, for changed weights in `COMPENSATIONS`, or repairs with names of their own; by
            default `MAPS`, which take seconds, for changed weights all.
        questions: A name, a file, questions, or encoded questions. They fit nothing: all of them measure.
        texts: What `dp.texts` takes, as a whole set: one half fits, the other measures.
        window: Tokens in a window of the texts.
        limit: Fit to at most this many windows.
        held_out: Measure perplexity on at most this many windows.
        sequential: As in `repair`.
        seed: Of everything random.
        store: Where what is measured is kept and found again.
        checkpoint: As in `repair`.
        progress: Show bars.
        **settings: Of `tasks.encode_questions`.

    Returns:
        One row a model: accuracy, margin, perplexity, transition, parameters, seconds, and what is given back.

    Raises:
        InputError: Before anything runs, if model, cut, texts and questions do not fit.

    Example:
        >>> from decision_phases.interventions import skip
        >>> from decision_phases.tasks import questions
        >>> some = questions("facts", limit=20)
        >>> found = compare_repairs("tiny-llama", skip(2), methods=["ghost"], questions=some, limit=8, held_out=4)
        >>> [row.method for row in found.rows]
        ['intact', 'nothing', 'ghost']
    """
    check_intervention("cut", cut)
    if isinstance(methods, str):
        msg = f"methods={methods!r} is one name; give a list, such as methods=[{methods!r}]"
        raise InputError(msg)
    check_draw(held_out=held_out)
    folder = folder_of(checkpoint)
    access = as_model(model)
    asked = methods_for(access, cut, methods)
    drawn = {} if isinstance(questions, EncodedQuestions) else {"seed": seed}
    encoded = ask(access, questions, **drawn, **settings)
    check_enough(encoded)
    whole = read_texts(texts, model=access)
    if whole.half:
        msg = f"{whole.name} is the {whole.half} half only; give the whole set, of which one half fits and one measures"
        raise InputError(msg)
    source = source_of(access, whole, window=window, limit=limit, seed=seed)
    known = as_store(store)
    fitted = _fitted(Task(access, cut, source, Intervention(), sequential, seed, folder, progress), asked)
    variants = [Intervention(), cut, *(cut + maps for maps in fitted)]
    runs = evaluate(access, encoded, variants, [DecisionObserver()], store=known, progress=progress)
    decisions = [run["decisions"] for run in runs]
    surprise = perplexities(
        access,
        whole.evaluation,
        variants,
        window=window,
        limit=held_out,
        seed=seed,
        store=known,
        progress=progress,
    )
    rows = [
        _row(method, found, ppl, repair, seed)
        for method, found, ppl, repair in zip(
            (INTACT, NOTHING, *(how.name for how in asked)),
            decisions,
            surprise,
            (None, None, *fitted),
            strict=True,
        )
    ]
    notes = (
        "Intervals are over questions or texts, and conditional on the cut.",
        f"Repairs were fitted to {source.tokens} tokens of {whole.name} without labels; perplexity is measured on "
        f"{surprise[0].n_tokens} tokens of its other half.",
    )
    return RepairComparison(
        tuple(rows), cut, access.name, encoded.questions.name, encoded.questions.chance, seed, notes
    )


def check_enough(questions: EncodedQuestions) -> None:
    """Refuse a single question, on which nothing can be compared, before anything is fitted.

    Args:
        questions: What is to measure.

    Raises:
        InputError: If there are fewer than two.
    """
    if len(questions.questions) < 2:
        msg = (
            "repairs are compared question by question, with intervals over questions, and 1 question was given; give "
            "at least 2"
        )
        raise InputError(msg)


def methods_for(model: ModelAccess, cut: Intervention, methods: Methods = None) -> list[Method]:
    """Find what makes up for a cut, or for changed weights.

    Args:
        model: The model.
        cut: The cut; if it changes weights, only that is made up for.
        methods: As in `compare_repairs`.

    Returns:
        The methods, in the order given.

    Raises:
        InputError: If one is not known, or cannot make up for this.
    """
    asked: list[Method]
    if any(edit.op == "weights" for edit in cut):
        made_up = [find_compensation(method) for method in (COMPENSATIONS if methods is None else methods)]
        for how in made_up:
            check_compensable(model, cut, how)
        asked = [*made_up]
    else:
        places_of(model, cut)
        asked = [find_repair(method) for method in (MAPS if methods is None else methods)]
    names = [one.name for one in asked]
    if not names or len({*names, INTACT, NOTHING}) != len(names) + 2:
        msg = (
            f"the repairs are named {names}; give at least one, each with its own name, and neither 'intact' nor "
            "'nothing'"
        )
        raise InputError(msg)
    return asked


def check_methods(task: Task, methods: Sequence[Method]) -> None:
    """Refuse what one of the methods cannot do, before anything runs.

    Args:
        task: What is asked.
        methods: What `methods_for` found.

    Raises:
        InputError: Naming what is missing.
        MissingPackageError: If a package is.
    """
    check_all(task, [how for how in methods if not isinstance(how, Compensation)])
    for how in methods:
        if isinstance(how, Compensation):
            how.check_checkpoint(task)


def _fitted(task: Task, methods: Sequence[Method]) -> tuple[FittedRepair, ...]:
    check_methods(task, methods)
    repairs = [how for how in methods if not isinstance(how, Compensation)]
    if repairs:
        return fit_all(task, places_of(task.model, task.cut), repairs)
    return tuple(compensate(task, how) for how in methods if isinstance(how, Compensation))


def _row(
    method: str, decisions: Decisions, perplexity: Perplexity, repair: FittedRepair | None, seed: int
) -> RepairRow:
    phases = find_phases(decisions, seed=seed, n_boot=500, n_perm=1000)
    return RepairRow(
        method,
        decisions.under,
        decisions.final.correct,
        decisions.final.margin,
        perplexity,
        phases.transition,
        phases.ci,
        phases.outcome,
        repair,
    )
