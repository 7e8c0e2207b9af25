"""`decision-phases questions`: what can be asked, and whether a file is in order."""

from __future__ import annotations

from collections import Counter
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from decision_phases.cli import options
from decision_phases.cli.job import load_model
from decision_phases.errors import InputError

if TYPE_CHECKING:
    from decision_phases.tasks import QuestionSet


@click.command(short_help="Question sets, or a look at one; checks files.")
@click.argument("name", required=False, metavar="[NAME|FILE]")
@click.option(
    "--examples",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    metavar="N",
    help="Prompts to print.",
)
@click.option(
    "--check", is_flag=True, help="Put the questions into the tokens of --model, and report what fails."
)
@options.wording
@options.model
@options.hardware
@options.debug
def questions(name: str | None, examples: int, check: bool, **given: Any) -> None:
    """List the question sets, or look at one: categories, chance, scoring, a prompt, closed sets of options.

    A file has one record a line, {"question": ..., "options": [...], "answer": ...}, or "prompt" instead of "question"
    for a prompt that is left exactly as it is; "answer" is an index from 0, the option's text or its letter. CSV and
    Parquet have the same columns. With --check, every question is put into tokens as a run would; without a scoring,
    each scoring is tried, and those that fit are listed.

    \b
    Examples:
      decision-phases questions
      decision-phases questions facts --scoring letter --examples 3
      decision-phases questions mine.jsonl --check
      decision-phases questions mine.jsonl --check --scoring first_token --model openai-community/gpt2
    """  # noqa: D301 - \b is click's mark for lines to be left as they are
    from decision_phases.tasks import questions as find

    if name is None:
        if check:
            raise click.UsageError("--check needs a name or a file.")
        click.echo(_list())
        return
    found = find(name, scoring=given["scoring"])
    click.echo(_describe(found, given, examples))
    if check:
        click.echo(f"\n{_check(found, given)}")


def _list() -> str:
    from decision_phases.tasks import BUNDLED, HUB_QUESTIONS
    from decision_phases.tasks import questions as find

    rows = [[name, scoring, f"bundled, {len(find(name))} questions"] for name, scoring in BUNDLED.items()]
    rows += [[name, known.scoring, f"hub, {known.source}"] for name, known in HUB_QUESTIONS.items()]
    width, middle = (max(len(row[i]) for row in rows) for i in (0, 1))
    lines = [f"{name.ljust(width)}  {scoring.ljust(middle)}  {what}" for name, scoring, what in rows]
    extra = (
        "is installed"
        if find_spec("datasets")
        else "is not installed: pip install 'decision-phases[datasets]'"
    )
    return "\n".join(
        [
            *lines,
            "",
            f"Sets of the hub come through the package datasets, which {extra}.",
            "Also: owner/name:config on the hub, or a .jsonl, .csv or .parquet file; see --help.",
        ]
    )


def _describe(found: QuestionSet, given: dict[str, Any], examples: int) -> str:
    counts = Counter(item.category for item in found)
    rows = []
    for category in found.categories:
        closed = found.closed_options(category)
        rows.append(
            (category or "(none)", str(counts[category]), "" if closed is None else ", ".join(closed))
        )
    width = max(8, *(len(row[0]) for row in rows))
    whole = found.closed_options()
    lines = [
        f"{found.name}: {len(found)} questions ({found.source or 'given'}), hash {found.content_hash}",
        f"chance {found.chance:.3f}, scoring {found.scoring or 'none of its own: give --scoring'}, "
        f"template {given['template'] or found.template}",
        "all questions share one set of options: " + ", ".join(whole)
        if whole is not None
        else "the questions do not all share one set of options",
        "",
        f"{'category'.ljust(width)}  {'questions'}  one set of options, where the category has one",
        *(f"{name.ljust(width)}  {number.rjust(9)}  {closed}".rstrip() for name, number, closed in rows),
    ]
    for index in range(min(examples, len(found))):
        lines += ["", *_example(found, index, given)]
    return "\n".join(lines)


def _example(found: QuestionSet, index: int, given: dict[str, Any]) -> list[str]:
    from decision_phases.tasks import find_symbols, find_template

    item = found[index]
    letters = found.scoring == "letter"
    show = letters if given["show_options"] is None else given["show_options"]
    form = find_template(given["template"] or found.template)
    if given["template"] is None and show and not form.cue:
        form = find_template("question_answer")
    symbols = find_symbols("letters", len(item.options)) if letters else ()
    prompt = form.render(item, symbols=symbols, show_options=show).text
    options = [
        f"  {'*' if i == item.answer else ' '} {f'{symbols[i]}. ' if symbols else ''}{option}"
        for i, option in enumerate(item.options)
    ]
    title = f"question {found.label(index)} (after --shots {given['shots']} solved examples):"
    return [title if given["shots"] else f"question {found.label(index)}:", _indent(prompt), *options]


def _indent(text: str) -> str:
    return "\n".join(f"  | {line}" for line in text.split("\n"))


def _check(found: QuestionSet, given: dict[str, Any]) -> str:
    from decision_phases.tasks import SCORINGS

    model = load_model(given)
    if found.scoring is not None:
        return _fits(found, found.scoring, model, given)
    rows, fitting = [], 0
    for scoring in SCORINGS:
        try:
            rows.append((scoring, _fits(found, scoring, model, given)))
            fitting += 1
        except InputError as error:
            rows.append((scoring, f"no: {error}"))
    width = max(len(scoring) for scoring, _ in rows)
    text = "\n".join(f"{scoring.ljust(width)}  {what}" for scoring, what in rows)
    if not fitting:
        msg = f"the questions cannot be put to {model.name} in any scoring:\n{text}"
        raise InputError(msg)
    return text


def _fits(found: QuestionSet, scoring: str, model: Any, given: dict[str, Any]) -> str:
    from decision_phases.readout import ask

    encoded = ask(
        model,
        found,
        scoring=scoring,
        shots=given["shots"],
        template=given["template"],
        show_options=given["show_options"],
    )
    longest = max(len(sequence) for sequence in encoded.sequences)
    begin = "with" if encoded.bos else "without"
    return (
        f"in order: {len(encoded)} questions are {len(encoded.sequences)} sequences of at most {longest} tokens for "
        f"{model.name}, {begin} a token that begins the text"
    )
