"""A question with its options, and an immutable set of them."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import overload

import numpy as np
import pandas as pd

from decision_phases.errors import InputError, unknown_name


@dataclass(frozen=True)
class Question:
    """One multiple-choice question: its options and the index of the right one.

    Exactly one of `question` and `prompt` is given. A `question` goes through a prompt template; a `prompt`
    is verbatim: what stands there is what the model reads, up to the place where the option would follow.
    White space around an option is dropped, because scoring puts exactly one space in front of it.

    Attributes:
        options: The texts to choose from, at least two, all different.
        answer: Index of the right option.
        question: Text of the question, for a template.
        prompt: The whole prompt, verbatim.
        category: What the question is about; subsets are stratified by it.
        id: Name of the question in messages and tables.

    Raises:
        InputError: If the options are fewer than two, empty or repeated, the answer is out of range, or not
            exactly one of `question` and `prompt` holds text.

    Example:
        >>> Question(("Paris", "Rome"), 0, "What is the capital of France?").gold
        'Paris'
    """

    options: tuple[str, ...]
    answer: int
    question: str | None = None
    prompt: str | None = None
    category: str = ""
    id: str = ""

    def __post_init__(self) -> None:
        name = f"question {self.id!r}" if self.id else f"the question {self.question or self.prompt!r}"
        object.__setattr__(self, "options", tuple(option.strip() for option in self.options))
        if (self.question is None) == (self.prompt is None):
            given = "neither" if self.question is None else "both"
            raise InputError(f"{name} has {given} of question= and prompt=; give exactly one.")
        if not (self.question or self.prompt or "").strip():
            raise InputError(f"{name} has an empty text; give the question or the prompt.")
        if len(self.options) < 2:
            raise InputError(f"{name} has {len(self.options)} option(s); at least two are needed.")
        if not all(self.options):
            raise InputError(f"{name} has an empty option: {list(self.options)}; give every option a text.")
        repeated = sorted({option for option in self.options if self.options.count(option) > 1})
        if repeated:
            raise InputError(f"{name} has options that occur twice: {repeated}; make them different.")
        if isinstance(self.answer, bool) or not 0 <= self.answer < len(self.options):
            raise InputError(
                f"{name} has answer {self.answer!r}; expected an index from 0 to {len(self.options) - 1}, "
                f"one of its {len(self.options)} options."
            )

    @property
    def gold(self) -> str:
        """The text of the right option."""
        return self.options[self.answer]

    @property
    def text(self) -> str:
        """The question's text, or the verbatim prompt."""
        return self.prompt if self.prompt is not None else self.question or ""

    def rotated(self, steps: int) -> "Question":
        """Return the question with its options moved up cyclically by `steps` places; the gold follows.

        Option `i` of the result is option `(i + steps) mod K` of this question, so that K rotations give
        every option every letter once. Raises `InputError` for a verbatim prompt, in which options may be
        written out where they cannot be moved.

        Example:
            >>> Question(("a", "b", "c"), 0, "?").rotated(1)
            Question(options=('b', 'c', 'a'), answer=2, question='?', prompt=None, category='', id='')
        """
        count = len(self.options)
        if steps % count == 0:
            return self
        if self.prompt is not None:
            raise InputError(
                f"question {self.id!r} has a verbatim prompt, whose options cannot be rotated; "
                "give question= instead, so that a template writes the options."
            )
        options = tuple(self.options[(i + steps) % count] for i in range(count))
        return replace(self, options=options, answer=(self.answer - steps) % count)


@dataclass(frozen=True)
class QuestionSet(Sequence[Question]):
    """An immutable, named sequence of questions with the scoring that suits them.

    Indexing with a slice, `+`, `filter`, `limit`, `split` and `rotated` give question sets again.

    Attributes:
        name: Name of the set in results.
        items: The questions.
        scoring: The set's default scoring, or None if it has none and the caller must name one.
        source: Where the questions came from (a path, a hub name with its split, "bundled").
        template: Name of the prompt template that suits the set.

    Raises:
        InputError: If there is no question.
    """

    name: str
    items: tuple[Question, ...]
    scoring: str | None = None
    source: str = ""
    template: str = "question_answer"

    def __post_init__(self) -> None:
        if not self.items:
            raise InputError(f"question set {self.name!r} is empty; give at least one question.")

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> Question: ...
    @overload
    def __getitem__(self, index: slice) -> "QuestionSet": ...
    def __getitem__(self, index: int | slice) -> "Question | QuestionSet":
        if isinstance(index, slice):
            return replace(self, items=self.items[index])
        return self.items[index]

    def __add__(self, other: "QuestionSet") -> "QuestionSet":
        """Return both sets one after the other; a default scoring or template that differs is dropped."""
        return QuestionSet(
            name=self.name if self.name == other.name else f"{self.name}+{other.name}",
            items=self.items + other.items,
            scoring=self.scoring if self.scoring == other.scoring else None,
            source=self.source if self.source == other.source else f"{self.source}+{other.source}",
            template=self.template if self.template == other.template else "question_answer",
        )

    def __repr__(self) -> str:
        many = len(self.categories)
        return f"QuestionSet({self.name!r}, {len(self)} questions in {many} categories, {self.content_hash})"

    def label(self, index: int) -> str:
        """Return what messages call question `index`: its id, or its number where it has none."""
        return repr(self.items[index].id) if self.items[index].id else f"number {index}"

    @cached_property
    def content_hash(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the questions in order, without the set's name."""
        text = json.dumps([asdict(item) for item in self.items], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories in order of first appearance."""
        return tuple(dict.fromkeys(item.category for item in self.items))

    @property
    def chance(self) -> float:
        """Accuracy of guessing: the mean over questions of 1 / number of options."""
        return float(np.mean([1 / len(item.options) for item in self.items]))

    def closed_options(self, category: str | None = None) -> tuple[str, ...] | None:
        """Return the one set of options that all questions (of a category) share, sorted, or None.

        Example:
            >>> a, b = Question(("yes", "no"), 0, "1 < 2?"), Question(("no", "yes"), 0, "2 < 1?")
            >>> QuestionSet("order", (a, b)).closed_options()
            ('no', 'yes')
        """
        chosen = self if category is None else self.filter(category)
        distinct = {tuple(sorted(item.options)) for item in chosen.items}
        return distinct.pop() if len(distinct) == 1 else None

    def filter(self, *categories: str) -> "QuestionSet":
        """Return the questions of the named categories; `InputError` for a category that is not there."""
        for category in categories:
            if category not in self.categories:
                raise unknown_name(f"category of {self.name!r}", category, self.categories)
        return replace(self, items=tuple(item for item in self.items if item.category in categories))

    def limit(self, n: int, seed: int = 0) -> "QuestionSet":
        """Return `n` questions, drawn by `seed` and stratified by category, in their order here.

        A smaller limit with the same seed is contained in a larger one. With `n` at or above the size, the
        whole set comes back. Raises `InputError` if `n` is below 1.

        Example:
            >>> items = tuple(Question(("a", "b"), 0, f"{i}?", category="xy"[i % 2]) for i in range(8))
            >>> sorted(q.category for q in QuestionSet("q", items).limit(4, seed=1))
            ['x', 'x', 'y', 'y']
        """
        if n < 1:
            raise InputError(f"limit is {n}; at least one question is needed.")
        return self if n >= len(self) else self._take(_stratified_order(self, seed)[:n])

    def split(self, fraction: float = 0.5, seed: int = 0) -> "tuple[QuestionSet, QuestionSet]":
        """Return (search, evaluation): `fraction` of the questions, and the others.

        Drawn by `seed`, stratified by category, disjoint, together the whole set. Rotated sets split alike.

        Raises:
            InputError: If either part would be empty.
        """
        count = round(fraction * len(self))
        if not 0 < count < len(self):
            raise InputError(
                f"split {fraction} of {len(self)} questions leaves an empty part; expected a fraction "
                "between 0 and 1 that leaves at least one question for search and one for evaluation."
            )
        order = _stratified_order(self, seed)
        return self._take(order[:count]), self._take(order[count:])

    def rotated(self, steps: int) -> "QuestionSet":
        """Return the set with every question's options rotated; see `Question.rotated`."""
        return replace(self, items=tuple(item.rotated(steps) for item in self.items))

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per question: id, category, question, prompt, options, answer, gold."""
        return pd.DataFrame(
            [
                {
                    "id": item.id,
                    "category": item.category,
                    "question": item.question,
                    "prompt": item.prompt,
                    "options": list(item.options),
                    "answer": item.answer,
                    "gold": item.gold,
                }
                for item in self.items
            ]
        )

    def _take(self, indices: Sequence[int]) -> "QuestionSet":
        return replace(self, items=tuple(self.items[i] for i in sorted(indices)))


def _stratified_order(questions: QuestionSet, seed: int) -> list[int]:
    """Return all indices in an order whose every beginning holds the categories in proportion.

    The question of random rank r among the n of its category gets the key (r + 1/2) / n; the order is by
    key, ties at random. It depends on the order of the questions and their categories, not on their text.
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(questions))
    totals: dict[str, int] = {}
    for item in questions:
        totals[item.category] = totals.get(item.category, 0) + 1
    seen = dict.fromkeys(totals, 0)
    keys = np.empty(len(questions))
    for index in shuffled:
        category = questions[int(index)].category
        keys[index] = (seen[category] + 0.5) / totals[category]
        seen[category] += 1
    ties = rng.permutation(len(questions))
    return [int(i) for i in np.lexsort((ties, keys))]
