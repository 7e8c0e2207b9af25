"""Prompt templates: how a question, its options and the cue for the answer become one text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from decision_phases.errors import InputError, unknown_name
from decision_phases.tasks.question import Question

SYMBOL_SETS: Mapping[str, str] = {
    "letters": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "lower": "abcdefghijklmnopqrstuvwxyz",
    "digits": "123456789",
}


@dataclass(frozen=True)
class Rendered:
    """A prompt's text and where its parts stand.

    Attributes:
        text: The prompt.
        spans: Half-open character ranges of "question" and, where options are shown, "option:0" and so on.
    """

    text: str
    spans: Mapping[str, tuple[int, int]]

    def after(self, preface: str) -> "Rendered":
        """Return the prompt with `preface` in front of it."""
        moved = {
            name: (start + len(preface), stop + len(preface)) for name, (start, stop) in self.spans.items()
        }
        return Rendered(preface + self.text, moved)


@dataclass(frozen=True)
class PromptTemplate:
    """How a question is written for the model.

    The lines are the question, the options if they are shown, and the cue, joined by line breaks; an empty
    cue is left out. The prompt ends where the answer would begin, without a space: scoring puts one space
    in front of each option.

    Attributes:
        name: Name in results.
        question_format: Contains `{question}` once.
        option_line: A shown option with its symbol; contains `{symbol}` and `{option}` once each.
        plain_option_line: A shown option where no symbols are in play; contains `{option}` once.
        cue: Invites the answer. `cloze_pmi` takes it alone as the unconditional prompt.
        instruction: Stands once in front of everything, if not empty.
        between: Separates solved examples from what follows them.

    Raises:
        InputError: If a field is not in a format exactly once, or the prompt would end in white space.

    Example:
        >>> question = Question(("Paris", "Rome"), 0, "Capital of France?")
        >>> print(PromptTemplate("mine").render(question, symbols="AB", show_options=True).text)
        Question: Capital of France?
        A. Paris
        B. Rome
        Answer:
    """

    name: str
    question_format: str = "Question: {question}"
    option_line: str = "{symbol}. {option}"
    plain_option_line: str = "- {option}"
    cue: str = "Answer:"
    instruction: str = ""
    between: str = "\n\n"

    def __post_init__(self) -> None:
        needs = {
            "question_format": ("{question}",),
            "option_line": ("{symbol}", "{option}"),
            "plain_option_line": ("{option}",),
        }
        for attribute, fields in needs.items():
            for field in fields:
                if getattr(self, attribute).count(field) != 1:
                    raise InputError(
                        f"template {self.name!r} has {attribute}={getattr(self, attribute)!r}; "
                        f"expected {field} in it exactly once."
                    )
        if self.cue != self.cue.rstrip():
            raise InputError(
                f"template {self.name!r} has cue={self.cue!r}, which ends in white space; leave it out, "
                "because every option gets one leading space."
            )

    def render(
        self, question: Question, *, symbols: Sequence[str] = (), show_options: bool = False
    ) -> Rendered:
        """Return the prompt of `question`, without instruction and examples.

        A verbatim prompt comes back as it is, all of it counted as "question".

        Args:
            question: The question.
            symbols: One symbol per option; without symbols, shown options are written plainly.
            show_options: Whether the options stand in the prompt.
        """
        if question.prompt is not None:
            return Rendered(question.prompt, {"question": (0, len(question.prompt))})
        lines = [("question", self.question_format, "{question}", question.text)]
        for index, option in enumerate(question.options if show_options else ()):
            pattern = (
                self.option_line.replace("{symbol}", symbols[index]) if symbols else self.plain_option_line
            )
            lines.append((f"option:{index}", pattern, "{option}", option))
        text = ""
        spans = {}
        for name, pattern, field, value in lines:
            before, behind = pattern.split(field)
            start = len(text) + len(before)
            spans[name] = (start, start + len(value))
            text += f"{before}{value}{behind}\n"
        return Rendered(text + self.cue if self.cue else text.removesuffix("\n"), spans)

    def solved(
        self, question: Question, *, reply: str, symbols: Sequence[str] = (), show_options: bool = False
    ) -> str:
        """Return the prompt of `question` followed by one space and the reply, as a solved example."""
        return f"{self.render(question, symbols=symbols, show_options=show_options).text} {reply}"

    def preface(self, examples: Sequence[str]) -> str:
        """Return what stands in front of the prompt: the instruction and the solved examples."""
        parts = ([self.instruction] if self.instruction else []) + list(examples)
        return "".join(part + self.between for part in parts)


TEMPLATES: Mapping[str, PromptTemplate] = {
    template.name: template
    for template in (
        PromptTemplate("question_answer"),
        PromptTemplate("q_a", question_format="Q: {question}", cue="A:"),
        PromptTemplate("answer", question_format="{question}"),
        PromptTemplate("continuation", question_format="{question}", cue=""),
        PromptTemplate(
            "exam",
            question_format="{question}",
            instruction="The following are multiple choice questions (with answers).",
        ),
    )
}


def find_template(template: str | PromptTemplate) -> PromptTemplate:
    """Return the template of that name, or the given template itself; `InputError` for an unknown name.

    Named templates: "question_answer" (`Question: … Answer:`, the default), "q_a" (`Q: … A:`), "answer" (the
    text as it is, then `Answer:`), "continuation" (the text alone; the option continues it) and "exam"
    (MMLU's instruction, then the text and `Answer:`; Hendrycks et al. 2021).

    Example:
        >>> find_template("q_a").cue
        'A:'
    """
    if isinstance(template, PromptTemplate):
        return template
    if template not in TEMPLATES:
        raise unknown_name("template", template, TEMPLATES)
    return TEMPLATES[template]


def find_symbols(symbols: str | Sequence[str], count: int) -> tuple[str, ...]:
    """Return the first `count` symbols.

    Args:
        symbols: "letters" (A, B, …), "lower" (a, b, …), "digits" (1, 2, …), a string whose characters are
            the symbols ("QZXJ"), or a sequence of strings.
        count: How many are needed: the largest number of options.

    Raises:
        InputError: If there are too few, two are equal, or one is empty or contains white space.

    Example:
        >>> find_symbols("QZXJ", 2)
        ('Q', 'Z')
    """
    found = tuple(SYMBOL_SETS.get(symbols, symbols) if isinstance(symbols, str) else symbols)
    if len(found) < count:
        raise InputError(
            f"{len(found)} symbols ({''.join(found)}) for {count} options; give at least {count}."
        )
    if len(set(found)) < len(found):
        raise InputError(f"the symbols {list(found)} are not all different; give every option its own.")
    if any(not symbol or symbol.split() != [symbol] for symbol in found):
        raise InputError(f"the symbols {list(found)} include an empty one or white space; leave it out.")
    return found[:count]
