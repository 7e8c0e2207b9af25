"""The main job: where decisions form, and what pruning does to them, kept in a folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from decision_phases.engine.lower import check_variant
from decision_phases.models import ModelAccess
from decision_phases.pruning import Curves, Setting, Step, prune_one
from decision_phases.pruning.budget import check_budget
from decision_phases.pruning.checks import check_request, parts_of
from decision_phases.pruning.ground import Known
from decision_phases.pruning.prune import gather, halves
from decision_phases.pruning.savings import Savings
from decision_phases.pruning.screener import Screener
from decision_phases.pruning.setting import divide, make_setting
from decision_phases.pruning.sparsity import sparsify
from decision_phases.pruning.strategies import find_strategy
from decision_phases.pruning.timing import find_timing
from decision_phases.readout import Decisions, Phases, find_phases, read
from decision_phases.store import ResultStore, read_json, write_json, write_table
from decision_phases.studies.comparison import write_comparison
from decision_phases.studies.keeping import kept_folder
from decision_phases.studies.pictures import keep_pictures
from decision_phases.studies.settings import RunSettings
from decision_phases.studies.summary import summarise
from decision_phases.tasks import EncodedQuestions, QuestionSet, TextSet, questions


def run_study(
    model: ModelAccess,
    settings: RunSettings,
    *,
    out: Path | None = None,
    resume: bool = False,
    command: str = "",
    progress: bool = True,
) -> Path:
    """Read the decisions, find the phases, prune by every strategy, and keep all of it in a folder.

    Files appear as soon as they are complete: `manifest.json`, `decisions.parquet`, `summary.json`, `pictures.json`,
    then `pruning/<strategy>.json` after each strategy and `pruning.parquet`; `results/` has every variant that was run.
    Of further splits there is `pruning/split-<number>/<strategy>.json`; a comparison is written last. An interrupted
    run is a usable folder, and with `resume` no evaluated variant is run again.

    Args:
        model: The model.
        settings: What to do.
        out: The folder; `runs/<time>-<model>` by default.
        resume: Continue the run in `out` (or the newest under `runs/`).
        command: The command that was typed, for the report.
        progress: Show bars.

    Returns:
        The folder.

    Raises:
        InputError: If something does not fit, before anything runs.
    """
    settings = replace(settings, strategies=tuple(dict.fromkeys(settings.strategies)))
    settings.check()
    chosen = choose_questions(settings)
    divided = [divide_questions(model, chosen, settings, split) for split in range(settings.splits)]
    _, evaluation = divided[0]
    if settings.strategies:
        check_request(
            settings.strategies,
            model=model,
            timing=find_timing(settings.timing),
            texts=settings.texts,
            screen=settings.screen,
        )
        check_budget(
            model,
            up_to=settings.up_to,
            protect=settings.protect,
            draws=settings.draws,
            parts=parts_of(settings.strategies),
        )
    check_variant(model, settings.under, evaluation.sequences, len(evaluation))
    texts = halves(settings.texts, model, seed=settings.seed)
    if settings.sparsify is not None:
        made = sparsify(
            model,
            settings.sparsify,
            texts=settings.texts,
            under=settings.under,
            seed=settings.seed,
            progress=progress,
        )
        settings = replace(settings, under=settings.under + made)
    arguments = settings.arguments()
    if settings.texts is not None:  # a file of that name may hold something else by now
        arguments["texts_hash"] = [None if half is None else half.content_hash for half in texts]
    with kept_folder(
        model, arguments, chosen.content_hash, seed=settings.seed, out=out, resume=resume
    ) as folder:
        first = _first_command(folder) if resume else ""
        _run(model, settings, chosen, divided, texts, folder, first or command, progress=progress)
    return folder


def _first_command(folder: Path) -> str:
    """What was typed when the run began, not to continue it."""
    path = folder / "summary.json"
    return str(read_json(path).get("command", "")) if path.exists() else ""


def _run(
    model: ModelAccess,
    settings: RunSettings,
    chosen: QuestionSet,
    divided: Sequence[tuple[EncodedQuestions, EncodedQuestions]],
    texts: tuple[TextSet | None, TextSet | None],
    folder: Path,
    command: str,
    *,
    progress: bool,
) -> None:
    """Measure and write, once everything is checked."""
    (search, evaluation), *others = divided
    with closing(ResultStore(folder / "results")) as store:
        known: Known = {}
        make = partial(_setting, model, settings=settings, texts=texts, store=store, known=known)
        setting = make(search, evaluation) if settings.strategies else None
        if setting is not None:
            decisions, search_phases = setting.intact, setting.phases
        else:
            decisions = read(model, evaluation, under=settings.under, store=store, progress=progress)
            search_phases = None
        phases = _phases(model, decisions, settings, store)
        write_table(folder / "decisions.parquet", decisions.to_pandas())
        base = summarise(
            model,
            decisions,
            phases,
            search_phases=search_phases,
            questions=chosen,
            n_search=len(search) if settings.strategies else 0,
            split=settings.split,
            seed=settings.seed,
            command=command,
        )
        write_json(folder / "summary.json", base)
        keep_pictures(model, decisions, folder)
        if setting is None:
            return
        curves = _prune(setting, settings, folder, base, progress=progress)
        repeats = []
        for number, (choosing, measuring) in enumerate(others, 1):
            again = make(choosing, measuring, screen=setting.screener, savings=setting.savings)
            steps = _steps(again, settings, folder / "pruning" / f"split-{number}", progress=progress)
            repeats.append(gather(again, steps, settings.strategies))
        if repeats:
            curves = replace(curves, repeats=tuple(repeats))
            write_table(folder / "pruning.parquet", curves.to_pandas())
        if settings.compare:
            write_comparison(folder, curves, settings)


def choose_questions(settings: RunSettings) -> QuestionSet:
    """The questions of a run.

    Args:
        settings: What to do.

    Returns:
        The set, or a stratified subset of it.
    """
    every = questions(settings.questions)
    if settings.limit is None or settings.limit >= len(every):
        return every
    return every.limit(settings.limit, settings.seed)


def divide_questions(
    model: ModelAccess, chosen: QuestionSet, settings: RunSettings, number: int = 0
) -> tuple[EncodedQuestions, EncodedQuestions]:
    """Divide and encode the questions of a run; reading alone uses all of them.

    Args:
        model: The model.
        chosen: The questions.
        settings: What to do.
        number: Of the split; each has the seed that follows.

    Returns:
        Questions that choose, questions that measure.
    """
    return divide(
        model,
        chosen,
        settings.split if settings.strategies else None,
        seed=settings.seed + number,
        scoring=settings.scoring,
        shots=settings.shots,
        template=settings.template,
        show_options=settings.show_options,
    )


def _setting(
    model: ModelAccess,
    search: EncodedQuestions,
    evaluation: EncodedQuestions,
    *,
    settings: RunSettings,
    texts: tuple[TextSet | None, TextSet | None],
    store: ResultStore,
    known: Known,
    screen: Screener | None = None,
    savings: Savings | None = None,
) -> Setting:
    choosing, measuring = texts
    return make_setting(
        model,
        search,
        evaluation,
        up_to=settings.up_to,
        protect=settings.protect,
        draws=settings.draws,
        seed=settings.seed,
        texts=choosing,
        held_out=measuring,
        store=store,
        screen=screen or settings.screen,
        parts=parts_of(settings.strategies),
        removed=[find_strategy(name).part for name in settings.strategies],
        objective=settings.objective,
        width=settings.width,
        evaluate=settings.evaluate,
        timing=find_timing(settings.timing),
        known=known,
        savings=savings,
    )


def _phases(
    model: ModelAccess, decisions: Decisions, settings: RunSettings, store: ResultStore
) -> Phases | None:
    """The phases on the measuring questions, with the last-blocks lens beside."""
    if not decisions.survivors:
        return None
    beside = None
    if 0 < settings.last_blocks < len(decisions.survivors):
        beside = read(
            model,
            decisions.encoded,
            under=settings.under,
            lens="last_blocks",
            last=settings.last_blocks,
            store=store,
        )
    return find_phases(decisions, beside=beside, seed=settings.seed)


def _prune(
    setting: Setting, settings: RunSettings, folder: Path, base: Mapping[str, Any], *, progress: bool
) -> Curves:
    """Run what is not there yet, keeping each strategy as soon as it is through."""
    steps: list[Step] = []
    curves = gather(setting, steps, settings.strategies)
    for mine in _by_strategy(setting, settings, folder / "pruning", progress=progress):
        steps += mine
        curves = gather(setting, steps, settings.strategies)
        if steps:
            write_table(folder / "pruning.parquet", curves.to_pandas())
        pruned = {
            "pruning": curves.to_dict(),
            "not_applicable": dict(curves.not_applicable),
            "caveats": [*base["caveats"], *curves.notes],
        }
        write_json(folder / "summary.json", {**base, **pruned})
    return curves


def _steps(setting: Setting, settings: RunSettings, folder: Path, *, progress: bool) -> list[Step]:
    """Every row of every strategy on one split."""
    return [step for mine in _by_strategy(setting, settings, folder, progress=progress) for step in mine]


def _by_strategy(
    setting: Setting, settings: RunSettings, folder: Path, *, progress: bool
) -> Iterator[tuple[Step, ...]]:
    """The rows of one strategy after the other, from the folder where they are there already."""
    for name in settings.strategies:
        path = folder / f"{name.replace(':', '-')}.json"
        if path.exists():
            yield tuple(Step.from_record(record) for record in read_json(path))
            continue
        mine = prune_one(setting, name, progress=progress)
        if name not in setting.refused:  # which is found out anew, from what the store has
            write_json(path, [step.to_record() for step in mine])
        yield mine
