"""The row layouts of well-known question sets, and how each becomes a `Question`."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from decision_phases.errors import InputError
from decision_phases.tasks.question import Question
from decision_phases.tasks.rows import Row


@dataclass(frozen=True)
class Layout:
    """One layout of rows.

    Attributes:
        name: Name in messages.
        columns: Columns that must be there.
        convert: Makes the question's fields from a row.
        template: Name of the prompt template that suits it.
    """

    name: str
    columns: frozenset[str]
    convert: Callable[[Row], Mapping[str, Any]]
    template: str = "question_answer"


def recognise(columns: Collection[str]) -> Layout:
    """Return the first layout all of whose columns are there; `InputError`, listing the layouts, if none is.

    Example:
        >>> recognise(["goal", "sol1", "sol2", "label"]).name
        'PIQA'
    """
    for layout in LAYOUTS:
        if layout.columns <= set(columns):
            return layout
    known = "; ".join(f"{layout.name}: {', '.join(sorted(layout.columns))}" for layout in LAYOUTS)
    raise InputError(f"columns {', '.join(map(str, columns)) or 'none'} fit no known layout. Known: {known}.")


def to_question(row: Row, layout: Layout) -> Question:
    """Return the question of a row; `InputError`, with the row's place, if it is malformed.

    Args:
        row: The row. Its own "id" and "category", if any, are kept; without an id, "row <number>" is one.
        layout: Its layout.
    """
    missing = sorted(layout.columns - set(row.fields))
    if missing:
        raise InputError(f"{row.place}: {', '.join(missing)} missing; expected the columns of {layout.name}.")
    try:
        fields = {"id": _name(row, "id"), "category": str(row.fields.get("category") or "")}
        return Question(**{**fields, **layout.convert(row)})
    except InputError as error:
        raise InputError(f"{row.place}: {error}") from error


def find_answer(
    answer: Any, options: tuple[str, ...], labels: tuple[str, ...], *, untyped: bool = False
) -> int:
    """Return the index that an answer means: an index, an option's text, or a label.

    Args:
        answer: What the row says. An integer is an index from 0; a string is an option's text or a label.
        options: The options' texts.
        labels: Their labels.
        untyped: Whether a string of digits may be an index too (CSV).

    Raises:
        InputError: If it means nothing, or two different options.

    Example:
        >>> find_answer("B", ("yes", "no"), ("A", "B")), find_answer("yes", ("yes", "no"), ("A", "B"))
        (1, 0)
    """
    if isinstance(answer, int) and not isinstance(answer, bool):
        if 0 <= answer < len(options):
            return answer
        raise InputError(f"answer {answer} is out of range; expected an index from 0 to {len(options) - 1}.")
    meant = set()
    if isinstance(answer, str):
        text = answer.strip()
        meant = {i for i, option in enumerate(options) if option.strip() == text}
        meant |= {i for i, label in enumerate(labels[: len(options)]) if label == text}
        if untyped and text.isdecimal() and int(text) < len(options):
            meant.add(int(text))
    if len(meant) == 1:
        return meant.pop()
    if meant:
        raise InputError(
            f"answer {answer!r} can mean options {sorted(meant)} (as a text, a label or an index); "
            "give an answer that is only one of these."
        )
    raise InputError(
        f"answer {answer!r} is none of the options {list(options)}, no label "
        f"({', '.join(labels[: len(options)])}) "
        "and no index from 0; is this a split without answers?"
    )


def _name(row: Row, column: str) -> str:
    value = row.fields.get(column)
    return f"row {row.number}" if value is None or value == "" else str(value)


def _text(row: Row, column: str) -> str:
    value = row.fields[column]
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"column {column!r} holds {value!r}; expected a text.")
    return value


def _texts(value: Any, column: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InputError(f"column {column!r} holds {value!r}; expected a list of texts.")
    return tuple(value)


LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def _local(row: Row) -> Mapping[str, Any]:
    both = [column for column in ("question", "prompt") if row.fields.get(column)]
    if len(both) != 1:
        raise InputError(
            f"has {' and '.join(both) or 'neither question nor prompt'}; expected exactly one of them."
        )
    options = _texts(row.fields["options"], "options")
    answer = find_answer(row.fields["answer"], options, LETTERS, untyped=row.untyped)
    return {both[0]: _text(row, both[0]), "options": options, "answer": answer}


def _labelled(column: str) -> Callable[[Row], Mapping[str, Any]]:
    """ARC and its relatives: `choices` holds the lists `text` and `label`, `answerKey` a label."""

    def convert(row: Row) -> Mapping[str, Any]:
        choices = row.fields["choices"]
        if not isinstance(choices, dict) or not {"text", "label"} <= set(choices):
            raise InputError(f"column 'choices' holds {choices!r}; expected the lists text and label.")
        options, labels = _texts(choices["text"], "choices.text"), _texts(choices["label"], "choices.label")
        if len(options) != len(labels):
            raise InputError(f"column 'choices' has {len(options)} texts and {len(labels)} labels.")
        key = row.fields["answerKey"]
        if key not in labels:
            raise InputError(f"answerKey {key!r} is none of {list(labels)}; is this a split without answers?")
        return {"question": _text(row, column), "options": options, "answer": labels.index(key)}

    return convert


def _indexed(row: Row, column: str, options: tuple[str, ...], *, first: int = 0) -> Mapping[str, Any]:
    """The options, and the answer that a numeric label column means."""
    value = row.fields[column]
    number = int(value) if isinstance(value, str) and value.strip().isdecimal() else value
    if isinstance(number, bool) or not isinstance(number, int) or not first <= number < first + len(options):
        raise InputError(
            f"{column} is {value!r}; expected a number from {first} to {first + len(options) - 1} "
            "(a split without answers cannot be used)."
        )
    return {"options": options, "answer": number - first}


def _mmlu(row: Row) -> Mapping[str, Any]:
    options = _texts(row.fields["choices"], "choices")
    answer = find_answer(row.fields["answer"], options, LETTERS, untyped=row.untyped)
    found = {"question": _text(row, "question"), "options": options, "answer": answer}
    return found | ({"category": str(row.fields["subject"])} if row.fields.get("subject") else {})


def _hellaswag(row: Row) -> Mapping[str, Any]:
    """The activity and the context, with WikiHow's bracketed marks cleaned as lm-evaluation-harness does."""
    activity = str(row.fields.get("activity_label") or "")
    context = f"{activity}: {_text(row, 'ctx')}" if activity else _text(row, "ctx")
    endings = tuple(_without_marks(ending) for ending in _texts(row.fields["endings"], "endings"))
    return {
        "question": _without_marks(context),
        "category": activity,
        **_indexed(row, "label", endings),
    }


def _without_marks(text: str) -> str:
    return re.sub(r" {2,}", " ", re.sub(r"\[.*?\]", "", text.replace(" [title]", ". "))).strip()


def _boolq(row: Row) -> Mapping[str, Any]:
    says = {True: 1, False: 0, "true": 1, "false": 0}
    value = row.fields["answer"]
    key = value.strip().lower() if isinstance(value, str) else value
    if not isinstance(key, bool | str) or key not in says:
        raise InputError(f"answer is {value!r}; expected true or false.")
    question = f"{_text(row, 'passage')}\nQuestion: {_text(row, 'question').rstrip('?')}?"
    return {"question": question, "options": ("no", "yes"), "answer": says[key]}


def _piqa(row: Row) -> Mapping[str, Any]:
    return {
        "question": _text(row, "goal"),
        **_indexed(row, "label", (_text(row, "sol1"), _text(row, "sol2"))),
    }


def _winogrande(row: Row) -> Mapping[str, Any]:
    options = (_text(row, "option1"), _text(row, "option2"))
    question = f"Who or what is meant by the blank? {_text(row, 'sentence')}"
    return {"question": question, **_indexed(row, "answer", options, first=1)}


def _anli(row: Row) -> Mapping[str, Any]:
    question = f"{_text(row, 'premise')}\nQuestion: {_text(row, 'hypothesis')} True, False, or Neither?"
    return {
        "question": question,
        "id": _name(row, "uid"),
        **_indexed(row, "label", ("True", "Neither", "False")),
    }


LAYOUTS = (
    Layout("a question file (with question or prompt)", frozenset({"options", "answer"}), _local),
    Layout("ARC, CommonsenseQA", frozenset({"question", "choices", "answerKey"}), _labelled("question")),
    Layout("OpenBookQA", frozenset({"question_stem", "choices", "answerKey"}), _labelled("question_stem")),
    Layout("MMLU", frozenset({"question", "choices", "answer"}), _mmlu),
    Layout("HellaSwag", frozenset({"ctx", "endings", "label"}), _hellaswag, "continuation"),
    Layout("BoolQ", frozenset({"passage", "question", "answer"}), _boolq, "answer"),
    Layout("PIQA", frozenset({"goal", "sol1", "sol2", "label"}), _piqa),
    Layout("WinoGrande", frozenset({"sentence", "option1", "option2", "answer"}), _winogrande),
    Layout("ANLI", frozenset({"premise", "hypothesis", "label"}), _anli, "answer"),
)
