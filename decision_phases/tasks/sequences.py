"""What the engine runs: token sequences, and the questions they were made from."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Int

from decision_phases.errors import InputError
from decision_phases.tasks.question import QuestionSet


@dataclass(frozen=True)
class TokenSequence:
    """One sequence of tokens with the positions that are read out.

    Attributes:
        tokens: Token ids, BOS included where the tokenizer puts one.
        read: Positions that are read out, ascending.
        targets: The token that follows each read position; empty if nothing is to be predicted.
        owner: Index of the question or text that the sequence belongs to.
        option: Index of the option whose text is predicted, -1 if none.
        spans: Half-open token ranges by name: "question", "option:0" … (where shown), "answer" (the last
            token of the prompt).
        unconditional: Whether the prompt is the cue alone, without the question (`cloze_pmi`).
    """

    tokens: tuple[int, ...]
    read: tuple[int, ...]
    targets: tuple[int, ...]
    owner: int
    option: int = -1
    spans: Mapping[str, tuple[int, int]] = field(default_factory=dict, hash=False)
    unconditional: bool = False

    def __post_init__(self) -> None:
        if self.targets and len(self.targets) != len(self.read):
            raise InputError(
                f"a sequence has {len(self.read)} read positions and {len(self.targets)} targets; "
                "expected one target for each, or none."
            )
        if any(not 0 <= position < len(self.tokens) for position in self.read):
            raise InputError(
                f"read positions {self.read} lie outside a sequence of {len(self.tokens)} tokens."
            )

    def __len__(self) -> int:
        return len(self.tokens)

    def span(self, name: str) -> tuple[int, int]:
        """Return the half-open token range of a named position; `InputError` if it is not known.

        Example:
            >>> TokenSequence((5, 6, 7), (2,), (), 0, spans={"answer": (2, 3)}).span("answer")
            (2, 3)
        """
        if name not in self.spans:
            known = ", ".join(self.spans) or "none"
            raise InputError(
                f"position {name!r} is not known in a sequence of question or text {self.owner}; "
                f"known: {known}. "
                "Positions in the question need a tokenizer with character offsets (a fast one), "
                "positions of options also show_options=True."
            )
        return self.spans[name]


@dataclass(frozen=True, eq=False)
class EncodedQuestions:
    """Questions as token sequences, with all that scoring needs to know.

    Attributes:
        questions: The questions.
        scoring: One of `SCORINGS`.
        sequences: One per question (letter, first_token), else one per option, question by question; in
            `cloze_pmi` the options of a question are followed by their unconditional counterparts.
        option_ids: Per question, the token id that stands for each option; empty for cloze scorings.
        gold: Index of the right option.
        n_options: Number of options.
        option_chars: Per question, the number of characters of each option, without the leading space.
        template: Name of the prompt template.
        shots: Number of solved examples in front of each question.
        show_options: Whether the options stand in the prompt.
        symbols: The symbols of the options; empty except for letter scoring.
        bos: Whether every sequence begins with the tokenizer's BOS token, by the tokenizer's own rule.
        pieces: The token of every id in use, as the vocabulary that encoded them writes it: by it, a model with
            another vocabulary refuses them. Empty where it is not known.
    """

    questions: QuestionSet
    scoring: str
    sequences: tuple[TokenSequence, ...]
    option_ids: tuple[tuple[int, ...], ...]
    gold: Int[np.ndarray, " question"]
    n_options: Int[np.ndarray, " question"]
    option_chars: tuple[tuple[int, ...], ...]
    template: str
    shots: int
    show_options: bool
    symbols: tuple[str, ...]
    bos: bool
    pieces: Mapping[int, str | None] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.questions)

    def __repr__(self) -> str:
        return (
            f"EncodedQuestions({self.questions.name!r}, {len(self)} questions, {self.scoring}, "
            f"{len(self.sequences)} sequences, at most {max(map(len, self.sequences))} tokens)"
        )

    @cached_property
    def key(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of all that decides the result.

        These are the questions, the scoring, and every sequence's tokens, read positions, targets and spans.
        """
        parts = [
            self.questions.content_hash,
            self.scoring,
            self.option_ids,
            [
                [s.tokens, s.read, s.targets, s.owner, s.option, dict(s.spans), s.unconditional]
                for s in self.sequences
            ],
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def identities(self) -> tuple[tuple[str, ...], ...]:
        """What each option is across questions: its symbol in letter scoring, its text otherwise."""
        if self.scoring == "letter":
            return tuple(self.symbols[: len(item.options)] for item in self.questions)
        return tuple(item.options for item in self.questions)

    def shared_identities(self, category: str | None = None) -> tuple[str, ...] | None:
        """Return the identities that Option Frequency is keyed by, or None where it is undefined.

        In letter scoring these are the symbols. Otherwise they are the texts of the one closed set of
        options that all questions (of the category) share, sorted. `frequency_undefined_reason` says why
        there are none.
        """
        if self.scoring == "letter":
            chosen = self.questions if category is None else self.questions.filter(category)
            return self.symbols[: max(len(item.options) for item in chosen)]
        return self.questions.closed_options(category)

    def frequency_undefined_reason(self, category: str | None = None) -> str | None:
        """Return why Option Frequency is undefined, or None where it is defined."""
        if self.shared_identities(category) is not None:
            return None
        which = "the questions" if category is None else f"the questions of category {category!r}"
        return (
            f"{which} do not share one closed set of options, so under {self.scoring} scoring "
            "an option has no identity across questions; letter scoring has one, the symbol"
        )

    def identity_columns(self, category: str | None = None) -> Int[np.ndarray, "question option"]:
        """Return, for each option, its index among `shared_identities(category)`.

        Absent options, and questions outside the category, hold -1. Raises `InputError` where Option
        Frequency is undefined.
        """
        shared = self.shared_identities(category)
        if shared is None:
            raise InputError(f"Option Frequency is undefined: {self.frequency_undefined_reason(category)}.")
        columns = np.full((len(self), int(self.n_options.max())), -1, dtype=np.int64)
        place = {identity: index for index, identity in enumerate(shared)}
        for row, (item, names) in enumerate(zip(self.questions, self.identities, strict=True)):
            if category is None or item.category == category:
                columns[row, : len(names)] = [place[name] for name in names]
        return columns
