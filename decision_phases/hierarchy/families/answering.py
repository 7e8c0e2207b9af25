"""Answers that the model writes itself: facts asked openly, and small sums."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from decision_phases.engine import generate
from decision_phases.engine.generating import check_generation
from decision_phases.errors import InputError
from decision_phases.hierarchy.families.contract import Measured, Task, TaskFamily
from decision_phases.hierarchy.repetition import repeated_ngrams
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.readout.ask import Questions
from decision_phases.tasks import EncodedQuestions, OpenPrompts, Question, QuestionSet, encode_prompts
from decision_phases.tasks import questions as read_questions


class _Answering(Task):
    """Prompts whose likeliest continuation is judged."""

    def __init__(self, model: ModelAccess, prompts: OpenPrompts, steps: int) -> None:
        super().__init__(model)
        self.prompts, self.steps = prompts, steps
        self.key = f"{type(self).__name__} {steps} {prompts.key}"
        check_generation(model, prompts, Intervention(), steps=steps, temperature=None)

    def check(self, under: Intervention) -> None:
        check_generation(self.model, self.prompts, under, steps=self.steps, temperature=None)

    def measure(self, under: Intervention) -> Measured:
        written = generate(self.model, self.prompts, steps=self.steps, under=under)
        right = np.array([self.right(i, text) for i, text in enumerate(written.texts)], dtype=np.float64)
        repeated = np.array([repeated_ngrams(written.written(i), 2) for i in range(len(self.prompts))])
        return Measured(right, self.floor(written.texts), {"repetition": repeated})

    @abstractmethod
    def right(self, item: int, text: str) -> bool:
        """Whether a text answers an item."""

    @abstractmethod
    def floor(self, texts: Sequence[str]) -> Float[np.ndarray, " item"]:
        """What each item would be expected to give without knowledge."""


@dataclass(frozen=True)
class OpenAnswers(TaskFamily):
    """The questions of multiple choice, asked without their options; an answer may take several tokens.

    Right is an answer whose first line contains the right option as whole words, and none of the others; case,
    punctuation and articles do not count.

    Attributes:
        name: Under which results are found.
        questions: A name, a file, questions, or a question set.
        steps: Tokens that an answer may have.
        shots: Solved examples in front, which show a model that was not asked so before that an answer is wanted.
    """

    name: str = "open_answers"
    questions: Questions = "facts"
    steps: int = 8
    shots: int = 4
    what: str = "accuracy of answers written without options"
    floor: str = "measured: the answers to other questions of the same category"

    def prepare(self, model: ModelAccess, *, limit: int | None, seed: int) -> Task:
        """Encode the questions without their options."""
        if isinstance(self.questions, EncodedQuestions):
            return _Facts(
                model, encode_prompts(self.questions, model.tokenizer), self.steps, self.questions.questions
            )
        every = read_questions(self.questions)
        asked = every if limit is None else every.limit(limit, seed)
        prompts = encode_prompts(
            asked, model.tokenizer, shots=self.shots, examples=every, seed=seed,
            context_length=model.context_length,
        )  # fmt: skip
        return _Facts(model, prompts, self.steps, asked)


class _Facts(_Answering):
    def __init__(self, model: ModelAccess, prompts: OpenPrompts, steps: int, questions: QuestionSet) -> None:
        super().__init__(model, prompts, steps)
        self.questions = questions
        self.key += f" {questions.content_hash}"

    def right(self, item: int, text: str) -> bool:
        return answers(text, self.questions[item])

    def floor(self, texts: Sequence[str]) -> Float[np.ndarray, " item"]:
        """Every answer put to every other question of its category; of all, if it is the only one there."""
        categories = [item.category for item in self.questions]
        found = []
        for i, category in enumerate(categories):
            others = [j for j, other in enumerate(categories) if j != i and other == category]
            others = others or [j for j in range(len(categories)) if j != i]
            found.append(np.mean([self.right(i, texts[j]) for j in others]) if others else 0.0)
        return np.array(found, dtype=np.float64)


@dataclass(frozen=True)
class Arithmetic(TaskFamily):
    """Sums and differences of small numbers, after some solved ones.

    Attributes:
        name: Under which results are found.
        count: Number of problems.
        largest: Largest number in them.
        steps: Tokens that an answer may have.
        shots: Solved problems in front, which are not asked.
    """

    name: str = "arithmetic"
    count: int = 60
    largest: int = 12
    steps: int = 4
    shots: int = 4
    what: str = "share of sums whose first number is right"
    floor: str = "exact: always the commonest result"

    def prepare(self, model: ModelAccess, *, limit: int | None, seed: int) -> Task:
        """Draw the problems."""
        every = [
            (f"{a} {sign} {b} =", a + b if sign == "+" else a - b)
            for a in range(1, self.largest + 1)
            for b in range(1, self.largest + 1)
            for sign in "+-"
            if sign == "+" or b <= a
        ]
        count = self.count if limit is None else min(limit, self.count)
        if count < 1 or not 0 <= self.shots <= len(every) - count:
            msg = (
                f"{count} problems after {self.shots} solved ones; there are {len(every)} different ones with numbers "
                f"up to {self.largest}"
            )
            raise InputError(msg)
        order = np.random.default_rng(seed).permutation(len(every))[: self.shots + count]
        drawn = [every[i] for i in order.tolist()]
        solved = "".join(f"{text} {result}\n" for text, result in drawn[: self.shots])
        asked = drawn[self.shots :]
        prompts = encode_prompts([solved + text for text, _ in asked], model.tokenizer)
        return _Sums(model, prompts, self.steps, [result for _, result in asked])


class _Sums(_Answering):
    def __init__(self, model: ModelAccess, prompts: OpenPrompts, steps: int, results: Sequence[int]) -> None:
        super().__init__(model, prompts, steps)
        self.results = list(results)
        self.key += f" {self.results}"

    def right(self, item: int, text: str) -> bool:
        return first_number(text) == self.results[item]

    def floor(self, texts: Sequence[str]) -> Float[np.ndarray, " item"]:
        ((commonest, _),) = Counter(self.results).most_common(1)
        return np.array([float(result == commonest) for result in self.results])


def answers(text: str, question: Question) -> bool:
    """Whether a text gives the right option of a question, and no other one.

    Args:
        text: What was written; its first line counts.
        question: The question.

    Returns:
        Whether the right option is in it as whole words, and none of the others is.

    Example:
        >>> asked = Question(("Paris", "Rome"), 0, "Capital of France?")
        >>> [answers(text, asked) for text in (" It is Paris.", " Paris or Rome", " Parisian", "")]
        [True, False, False, False]
    """
    said = _words(text.strip().split("\n")[0])
    given = [_contains(said, _words(option)) for option in question.options]
    return given[question.answer] and sum(given) == 1


def first_number(text: str) -> int | None:
    """The first whole number of a text, None without one.

    Args:
        text: The text.

    Returns:
        The number.

    Example:
        >>> first_number(" -3. 7"), first_number("none")
        (-3, None)
    """
    found = re.search(r"-?\d+", text)
    return None if found is None else int(found.group())


def _words(text: str) -> list[str]:
    return [word for word in re.findall(r"\w+", text.lower()) if word not in ("a", "an", "the")]


def _contains(said: Sequence[str], option: Sequence[str]) -> bool:
    size = len(option)
    return size > 0 and any(list(said[i : i + size]) == list(option) for i in range(len(said) - size + 1))
