"""Two prompts that differ in one thing, aligned token by token, with the model right about both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from decision_phases.circuits.matching import layout
from decision_phases.errors import InputError
from decision_phases.models import ModelAccess
from decision_phases.readout.ask import ask
from decision_phases.tasks import EncodedQuestions

KINDS: Mapping[str, str] = {
    "content": "two questions of one category, whose prompts have the same layout and whose right answers differ",
    "letter_order": "one question with its options in another order: the right letter differs, its content does not",
    "symbol": "one question with other symbols: the right symbol differs, content and order do not",
}
LEVEL = 0.05
"""A model binds letters if letter scoring beats dealt letters at this p-value."""


@dataclass(frozen=True)
class LetterBinding:
    """Whether a model ties letters to what stands beside them.

    Attributes:
        accuracy: Of letter scoring, for each of the two prompts of a pair.
        p_value: Against right letters dealt anew among the questions, for each.
    """

    accuracy: tuple[float, ...]
    p_value: tuple[float, ...]

    @property
    def binds(self) -> bool:
        """Whether both prompts are answered better than by dealt letters."""
        return max(self.p_value) < LEVEL


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of prompts: pair *i* is question *i* of `clean` and question *i* of `corrupted`.

    The margin of a pair is the logit of the clean prompt's answer minus that of the corrupted one's, in whatever run:
    positive in the clean run, negative in the corrupted one.

    Attributes:
        kind: A name in `KINDS`.
        clean: The prompts whose activations say what should be restored; None if nothing can be tested.
        corrupted: Their counterparts.
        tokens: For every pair, the tokens of the clean and the corrupted answer, then all other options of the two.
        n_questions: Questions that were looked at.
        dropped: Why questions are in no pair, and how many.
        model: Name of the model that is right about all of them.
        letters: Whether the model binds letters, for kinds that need it.
        reason: Why nothing can be tested, else "".

    Raises:
        InputError: If the prompts of a pair are not aligned, or have the same answer.
    """

    kind: str
    clean: EncodedQuestions | None = field(repr=False)
    corrupted: EncodedQuestions | None = field(repr=False)
    tokens: tuple[tuple[int, ...], ...] = field(repr=False)
    n_questions: int
    dropped: Mapping[str, int]
    model: str
    letters: LetterBinding | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        if self.clean is None or self.corrupted is None:
            return
        if not len(self.clean) == len(self.corrupted) == len(self.tokens):
            msg = f"{len(self.clean)} clean and {len(self.corrupted)} corrupted prompts; give one of each a pair"
            raise InputError(msg)
        for i, (a, b) in enumerate(zip(self.clean.sequences, self.corrupted.sequences, strict=True)):
            if layout(a) != layout(b):
                msg = (
                    f"pair {i} is not aligned: its prompts have {len(a)} and {len(b)} tokens, with positions at "
                    f"{dict(a.spans)} and {dict(b.spans)}; pair prompts of one layout"
                )
                raise InputError(msg)
            if self.tokens[i][0] == self.tokens[i][1]:
                msg = f"both prompts of pair {i} have the same answer, so nothing can be restored"
                raise InputError(msg)

    @classmethod
    def of(
        cls,
        clean: EncodedQuestions,
        corrupted: EncodedQuestions,
        *,
        kind: str = "content",
        n_questions: int | None = None,
        dropped: Mapping[str, int] | None = None,
        model: str = "",
        letters: LetterBinding | None = None,
    ) -> Pairs:
        """Put pairs of your own together; nobody asks whether a model answers them right.

        Args:
            clean: One prompt a pair, in letter or first_token scoring.
            corrupted: Its counterpart.
            kind: A name in `KINDS`.
            n_questions: Questions that were looked at; by default those given.
            dropped: Why questions are in no pair, and how many.
            model: Name of the model that is right about them.
            letters: Whether the model binds letters.

        Returns:
            The pairs.

        Raises:
            InputError: If they are not aligned, have the same answer, or their scoring reads texts.
        """
        for side in (clean, corrupted):
            if not side.option_ids:
                msg = f"pairs are of prompts that one token answers; {side.scoring} scores texts, use first_token"
                raise InputError(msg)
        tokens = tuple(
            tuple(dict.fromkeys((a[g], b[h], *a, *b))) if a[g] != b[h] else (a[g], b[h])
            for a, g, b, h in zip(
                clean.option_ids, clean.gold, corrupted.option_ids, corrupted.gold, strict=False
            )
        )
        looked_at = n_questions or len(clean) + len(corrupted)
        return cls(kind, clean, corrupted, tokens, looked_at, dropped or {}, model, letters)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def testable(self) -> bool:
        """Whether there are pairs."""
        return not self.reason

    @property
    def sides(self) -> tuple[EncodedQuestions, EncodedQuestions]:
        """Clean and corrupted prompts.

        Raises:
            InputError: If nothing can be tested.
        """
        if self.clean is None or self.corrupted is None:
            msg = f"these {self.kind} pairs are not testable: {self.reason}"
            raise InputError(msg)
        return self.clean, self.corrupted

    def enough(self, model: ModelAccess) -> tuple[EncodedQuestions, EncodedQuestions]:
        """Clean and corrupted prompts, for what reports an interval over pairs.

        Args:
            model: The model that is to run them.

        Raises:
            InputError: If nothing can be tested, there are fewer than two pairs, or another vocabulary encoded them.
        """
        clean, corrupted = (ask(model, side) for side in self.sides)
        if len(self) < 2:
            msg = f"{len(self)} pair given; an interval over pairs needs at least two"
            raise InputError(msg)
        return clean, corrupted

    @property
    def positions(self) -> tuple[str, ...]:
        """Symbolic positions that every prompt has, at the same tokens within a pair."""
        every = [set(s.spans) for side in self.sides for s in side.sequences]
        return tuple(sorted(set.intersection(*every)))

    def check_position(self, position: str) -> None:
        """Refuse a position that not every prompt has.

        Args:
            position: A symbolic position.

        Raises:
            InputError: If it is missing somewhere.
        """
        known = ("all", *self.positions)
        if position not in known:
            msg = (
                f"the prompts have no position {position!r} in common; they have {', '.join(known)} (options have "
                "positions only where the prompt shows them)"
            )
            raise InputError(msg)

    def to_pandas(self) -> pd.DataFrame:
        """One row a pair.

        Returns:
            Columns category, clean, corrupted (the questions), clean_answer, corrupted_answer, tokens (of a prompt).
        """
        clean, corrupted = self.sides
        rows = [
            {
                "category": a.category,
                "clean": a.text,
                "corrupted": b.text,
                "clean_answer": clean.identities[i][a.answer],
                "corrupted_answer": corrupted.identities[i][b.answer],
                "tokens": len(clean.sequences[i]),
            }
            for i, (a, b) in enumerate(zip(clean.questions, corrupted.questions, strict=True))
        ]
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        """How many pairs there are, and what became of the other questions."""
        lines = [
            f"{len(self)} {self.kind} pairs of {self.n_questions} questions, which {self.model} answers right"
        ]
        if not self.testable:
            lines = [f"{self.kind} pairs: not testable, {self.reason}"]
        lines += [f"  {count} in none: {reason}" for reason, count in self.dropped.items()]
        if self.letters is not None:
            told = " and ".join(
                f"{a:.2f} (p = {p:.2g})"
                for a, p in zip(self.letters.accuracy, self.letters.p_value, strict=True)
            )
            lines.append(f"  letter scoring is right in {told}, against dealt letters")
        return "\n".join(lines)

    __repr__ = __str__


def limited(found: Pairs, limit: int, seed: int) -> Pairs:
    """Draw some of the pairs.

    Args:
        found: The pairs.
        limit: How many.
        seed: Of the draw.

    Returns:
        Those pairs, in their order.
    """
    rows = sorted(np.random.default_rng([seed, 3]).permutation(len(found))[:limit].tolist())
    clean, corrupted = (some_of(side, rows) for side in found.sides)
    beyond = (len(found) - limit) * (2 if found.kind == "content" else 1)
    return replace(
        found,
        clean=clean,
        corrupted=corrupted,
        tokens=tuple(found.tokens[i] for i in rows),
        dropped={**found.dropped, "beyond the limit": beyond},
    )


def some_of(encoded: EncodedQuestions, rows: Sequence[int]) -> EncodedQuestions:
    """Choose some of the questions of a scoring with one sequence a question.

    Args:
        encoded: The questions.
        rows: Which, in the order wanted.

    Returns:
        Those questions.
    """
    return replace(
        encoded,
        questions=replace(encoded.questions, items=tuple(encoded.questions[i] for i in rows)),
        sequences=tuple(replace(encoded.sequences[i], owner=owner) for owner, i in enumerate(rows)),
        option_ids=tuple(encoded.option_ids[i] for i in rows),
        gold=encoded.gold[list(rows)],
        n_options=encoded.n_options[list(rows)],
        option_chars=tuple(encoded.option_chars[i] for i in rows),
    )
