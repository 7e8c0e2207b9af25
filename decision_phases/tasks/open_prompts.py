"""Prompts that a model continues freely: strings, the beginnings of texts, or questions asked without their options."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from decision_phases.errors import InputError, unknown_name
from decision_phases.tasks.encode import check_settings, encode_questions
from decision_phases.tasks.question import Question, QuestionSet
from decision_phases.tasks.sequences import EncodedQuestions
from decision_phases.tasks.sources import BUNDLED, HUB_QUESTIONS, questions
from decision_phases.tasks.text_sources import HUB_TEXTS, texts
from decision_phases.tasks.textset import TextSet
from decision_phases.tasks.tokenise import Tokenizer, check_pieces, pieces_of, tokenise
from decision_phases.tasks.windows import window_head


@dataclass(frozen=True)
class OpenPrompts:
    """Prompts as token sequences.

    Attributes:
        name: Name in results.
        tokens: Token ids of each prompt, BOS included where the tokenizer's own rule puts one.
        labels: What messages and tables call each of them.
        pieces: The token of every id, as the vocabulary that encoded them writes it; empty where it is not known.

    Raises:
        InputError: If there is no prompt, or one without tokens.

    Example:
        >>> len(OpenPrompts("two", ((5, 6), (7,)), ("#0", "#1")))
        2
    """

    name: str
    tokens: tuple[tuple[int, ...], ...]
    labels: tuple[str, ...]
    pieces: Mapping[int, str | None] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not self.tokens or len(self.tokens) != len(self.labels):
            msg = f"{len(self.tokens)} prompts and {len(self.labels)} labels given; give at least one of each"
            raise InputError(msg)
        for label, row in zip(self.labels, self.tokens, strict=True):
            if not row:
                msg = f"prompt {label} of {self.name!r} is empty; give it at least one token of text"
                raise InputError(msg)

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def key(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of all tokens in order."""
        return hashlib.sha256(repr(self.tokens).encode()).hexdigest()[:16]


def encode_prompts(
    given: object,
    tokenizer: Tokenizer | None,
    *,
    prompt_tokens: int = 64,
    limit: int | None = None,
    seed: int = 0,
    context_length: int | None = None,
    **settings: Any,
) -> OpenPrompts:
    """Return prompts as token sequences.

    A list of strings is put verbatim, under the tokenizer's own BOS rule. Of texts, the first tokens of every document
    are the prompt. Questions are asked openly: through their template, without options.

    Args:
        given: Strings; texts, or "pydoc"; questions, or the name of a question set; encoded questions; prompts.
        tokenizer: A Hugging Face tokenizer.
        prompt_tokens: Tokens taken of each text, BOS included.
        limit: How many prompts to keep: questions stratified by category, others drawn; in their order.
        seed: Of that draw, and of the solved examples.
        context_length: Longest sequence that the model takes.
        **settings: For questions: those of `encode_questions`, such as `shots` and `template`.

    Raises:
        InputError: If there is no tokenizer, nothing is given, a prompt is empty or its options are in it, or the
            number of tokens is below one; if what is encoded already has ids that mean something else here.

    Example:
        >>> from decision_phases.models import tiny_tokenizer
        >>> encode_prompts(["Is water wet?", "Is ice cold?"], tiny_tokenizer()).labels
        ('#0', '#1')
    """
    if isinstance(given, OpenPrompts | EncodedQuestions):
        what = given.name if isinstance(given, OpenPrompts) else given.questions.name
        check_pieces(given.pieces, tokenizer, f"the prompts {what!r}")
    if isinstance(given, OpenPrompts):
        return given
    if tokenizer is None:
        msg = "the model has no tokenizer, so prompts cannot be put to it; give a tokenizer"
        raise InputError(msg)
    if prompt_tokens < 1 or (limit is not None and limit < 1):
        msg = f"prompt_tokens={prompt_tokens}, limit={limit} given; both must be at least 1"
        raise InputError(msg)
    found = _find(given)
    check_settings(settings, asked=isinstance(found, EncodedQuestions | QuestionSet))
    if isinstance(found, EncodedQuestions):
        if settings or limit is not None:
            msg = "the questions are encoded already; set limit and the like where they are encoded"
            raise InputError(msg)
        return _of_encoded(found)
    if isinstance(found, QuestionSet):
        asked = found if limit is None else found.limit(limit, seed)
        open_settings = {"scoring": "cloze", "show_options": False, "seed": seed, **settings}
        return _of_encoded(encode_questions(asked, tokenizer, context_length=context_length, **open_settings))
    name, strings, cut = (found.name, found.documents, True) if isinstance(found, TextSet) else found
    for place, text in enumerate(strings):
        if not text.strip():
            msg = f"prompt #{place} of {name!r} is empty; give it some text"
            raise InputError(msg)
    table = tokenise(strings, tokenizer, special=not cut)
    head = window_head(tokenizer, bos=None) if cut else ()
    rows = [(*head, *table[text].ids)[: prompt_tokens if cut else None] for text in strings]
    kept: Sequence[int] = range(len(rows))
    if limit is not None and limit < len(rows):
        kept = sorted(np.random.default_rng(seed).choice(len(rows), size=limit, replace=False).tolist())
    chosen = tuple(rows[i] for i in kept)
    return OpenPrompts(
        name, chosen, tuple(f"#{i}" for i in kept), pieces_of(chain.from_iterable(chosen), tokenizer)
    )


def _find(given: Any) -> EncodedQuestions | QuestionSet | TextSet | tuple[str, tuple[str, ...], bool]:
    """What was given: questions, texts, or strings that are put verbatim."""
    if isinstance(given, EncodedQuestions | QuestionSet | TextSet):
        return given
    if isinstance(given, str) and given in {*BUNDLED, *HUB_QUESTIONS}:
        return questions(given)
    if isinstance(given, str) and given in {"pydoc", *HUB_TEXTS}:
        return texts(given)
    if isinstance(given, str | Path):
        known = ["pydoc", *HUB_TEXTS, *BUNDLED, *HUB_QUESTIONS]
        error = unknown_name("prompts", str(given), known)
        msg = f"{error} Give strings as a list, and files as dp.texts(path) or dp.questions(path)."
        raise InputError(msg)
    items = tuple(given) if isinstance(given, Iterable) else ()
    if items and all(isinstance(item, Question) for item in items):
        return questions(items)
    if not items or not all(isinstance(item, str) for item in items):
        msg = f"prompts are strings, texts or questions; got {type(given).__name__} ({len(items)} entries)"
        raise InputError(msg)
    return "prompts", items, False


def _of_encoded(encoded: EncodedQuestions) -> OpenPrompts:
    """The prompts of questions, as far as the answer."""
    if encoded.show_options:
        msg = "the questions have their options in the prompt; encode them with show_options=False to ask openly"
        raise InputError(msg)
    first = {s.owner: s for s in reversed(encoded.sequences) if not s.unconditional}
    owners = range(len(encoded))
    rows = tuple(first[owner].tokens[: first[owner].read[0] + 1] for owner in owners)
    labels = tuple(encoded.questions[owner].id or f"#{owner}" for owner in owners)
    return OpenPrompts(encoded.questions.name, rows, labels, encoded.pieces)
