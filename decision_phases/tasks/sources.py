"""One door to questions: a name, a file, rows, or questions made by hand."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from decision_phases.errors import InputError, unknown_name
from decision_phases.tasks.hub import HubSource, load_hub, parse_hub
from decision_phases.tasks.question import Question, QuestionSet
from decision_phases.tasks.rows import ROW_ENDINGS, Row, read_rows
from decision_phases.tasks.schemas import recognise, to_question
from decision_phases.tasks.scoring import find_scoring


@dataclass(frozen=True)
class _Known:
    """A question set of the hub with the scoring that lm-evaluation-harness gives it."""

    source: HubSource
    scoring: str


BUNDLED: Mapping[str, str] = {"facts": "first_token"}
"""The question sets inside this package, with their scoring."""

HUB_QUESTIONS: Mapping[str, _Known] = {
    "arc_easy": _Known(HubSource("allenai/ai2_arc", "ARC-Easy", "test"), "cloze"),
    "arc_challenge": _Known(HubSource("allenai/ai2_arc", "ARC-Challenge", "test"), "cloze_char"),
    "mmlu": _Known(HubSource("cais/mmlu", "all", "test"), "letter"),
    "hellaswag": _Known(HubSource("Rowan/hellaswag"), "cloze_char"),
    "openbookqa": _Known(HubSource("allenai/openbookqa", "main", "test"), "cloze_char"),
    "commonsense_qa": _Known(HubSource("tau/commonsense_qa"), "letter"),
    "boolq": _Known(HubSource("google/boolq"), "cloze"),
    "piqa": _Known(HubSource("baber/piqa"), "cloze"),
    "winogrande": _Known(HubSource("allenai/winogrande", "winogrande_xl"), "cloze"),
    "anli": _Known(HubSource("facebook/anli", None, "test_r1"), "cloze"),
}
"""The question sets that are loaded by name through the package `datasets`."""


def questions(
    source: str | Path | QuestionSet | Iterable[Question | Mapping[str, Any]],
    *,
    name: str | None = None,
    scoring: str | None = None,
    category: str | Sequence[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    hub_split: str | None = None,
) -> QuestionSet:
    """Return a question set.

    Args:
        source: "facts" (bundled); a set of the hub ("arc_easy", "arc_challenge", "mmlu", "hellaswag",
            "openbookqa", "commonsense_qa", "boolq", "piqa", "winogrande", "anli", or "owner/name:config" in
            one of their layouts); a .jsonl, .csv or .parquet file; questions; rows; or a question set.
        name: Name of the set in results; by default its own, or the file's.
        scoring: One of `SCORINGS`, instead of the set's own.
        category: One or more categories to keep.
        limit: How many questions to keep, stratified by category.
        seed: Seed of that draw.
        hub_split: Split of a hub data set, instead of the usual one ("test" or "validation").

    Raises:
        InputError: If the name is unknown, the file malformed, or the data set neither cached nor reachable.
        MissingPackageError: If a hub data set is asked for and `datasets` is not installed.

    Example:
        >>> questions([Question(("Paris", "Rome"), 0, "Capital of France?")], scoring="cloze").name
        'questions'
    """
    found = _find(source, hub_split)
    if name is not None:
        found = replace(found, name=name)
    if scoring is not None:
        found = replace(found, scoring=find_scoring(found, scoring))
    if category is not None:
        found = found.filter(*([category] if isinstance(category, str) else category))
    return found if limit is None else found.limit(limit, seed)


def read_questions(path: str | Path, *, name: str | None = None) -> QuestionSet:
    """Return the questions of a .jsonl, .csv or .parquet file.

    A row is `{"question", "options", "answer"}` or `{"prompt", "options", "answer"}`, with "category" and
    "id" if you like, or has the layout of ARC, MMLU, HellaSwag, OpenBookQA, CommonsenseQA, BoolQ, PIQA,
    WinoGrande or ANLI. `answer` is an index from 0, the option's text or its letter. In a CSV file the
    column `options` holds a JSON list. The set has no scoring of its own.

    Args:
        path: The file.
        name: Name of the set; the file's name without its ending by default.

    Raises:
        InputError: If the file or a row is malformed, with its line, or an id occurs twice.
    """
    path = Path(path)
    return _from_rows(read_rows(path), name=name or path.stem, source=str(path))


def _find(source: Any, hub_split: str | None) -> QuestionSet:
    if isinstance(source, QuestionSet):
        return source
    if isinstance(source, str) and source in BUNDLED:
        return _bundled(source)
    if isinstance(source, str) and source in HUB_QUESTIONS:
        known = HUB_QUESTIONS[source]
        where = replace(known.source, split=hub_split or known.source.split)
        return replace(_from_hub(source, where), scoring=known.scoring)
    if isinstance(source, Path) or (isinstance(source, str) and _is_path(source)):
        return read_questions(source)
    if isinstance(source, str):
        if source.count("/") == 1:
            return _from_hub(source, parse_hub(source, hub_split))
        raise unknown_name(
            "question set", source, [*BUNDLED, *HUB_QUESTIONS, *(f"*{e}" for e in ROW_ENDINGS)]
        )
    items = list(source)
    if all(isinstance(item, Question) for item in items):
        return QuestionSet("questions", tuple(items), source="given")
    if not all(isinstance(item, Mapping) for item in items):
        raise InputError("questions were given as neither Question objects nor rows; give one kind of these.")
    rows = [Row(f"row {number}", number, dict(item)) for number, item in enumerate(items, start=1)]
    return _from_rows(rows, name="questions", source="given")


def _is_path(source: str) -> bool:
    return source.endswith(ROW_ENDINGS) or Path(source).exists()


def _bundled(name: str) -> QuestionSet:
    with resources.as_file(resources.files("decision_phases.tasks") / "bundled" / f"{name}.jsonl") as path:
        return replace(read_questions(path), scoring=BUNDLED[name], source="bundled")


def _from_rows(rows: Sequence[Row], *, name: str, source: str) -> QuestionSet:
    """The questions of rows that all have the first row's layout."""
    try:
        layout = recognise(rows[0].fields)
    except InputError as error:
        raise InputError(f"{rows[0].place}: {error}") from error
    items: dict[str, Question] = {}
    for row in rows:
        item = to_question(row, layout)
        if item.id in items:
            raise InputError(
                f"{row.place}: id {item.id!r} occurs a second time; give every question its own."
            )
        items[item.id] = item
    return QuestionSet(name, tuple(items.values()), source=source, template=layout.template)


def _from_hub(name: str, source: HubSource) -> QuestionSet:
    """The usable questions of a hub data set; the others (MMLU has repeated options) are reported."""
    records = load_hub(source)
    if not records:
        raise InputError(f"{source} has no rows; choose another split.")
    layout = recognise(records[0])
    items, problems = [], []
    for number, record in enumerate(records, start=1):
        try:
            items.append(to_question(Row(f"{source}, row {number}", number, dict(record)), layout))
        except InputError as error:
            problems.append(error)
    if not items:
        raise InputError(f"no row of {source} is usable; the first: {problems[0]}") from problems[0]
    left_out = ""
    if problems:
        left_out = f", {len(problems)} of {len(records)} rows left out"
        warnings.warn(f"{source}{left_out}; the first: {problems[0]}", stacklevel=4)
    return QuestionSet(name, tuple(items), source=f"{source}{left_out}", template=layout.template)
