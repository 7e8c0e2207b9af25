"""Questions, as this model's tokenizer puts them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from decision_phases.errors import InputError
from decision_phases.models import ModelAccess
from decision_phases.tasks import (
    EncodedQuestions,
    Question,
    QuestionSet,
    check_pieces,
    check_settings,
    encode_questions,
    questions,
)

Questions = str | Path | QuestionSet | EncodedQuestions | Iterable[Question]


def ask(model: ModelAccess, given: Questions, **settings: Any) -> EncodedQuestions:
    """Encode questions for a model; what is encoded already is left as it is, if the model's vocabulary encoded it.

    Args:
        model: The model, whose tokenizer and context length hold.
        given: A name, a file, questions, or encoded questions.
        **settings: Of `tasks.encode_questions`: scoring, shots, template, symbols, show_options, seed.

    Returns:
        The encoded questions.

    Raises:
        InputError: If they cannot be put to this model in this scoring, a setting is unknown, or settings are given for
            encoded ones; if encoded ones have ids that mean something else to this model.

    Example:
        >>> from decision_phases.models import load
        >>> ask(load("tiny-gpt2", quiet=True), "facts").scoring
        'first_token'
    """
    if isinstance(given, EncodedQuestions):
        if settings:
            msg = (
                f"the questions are encoded already, so {', '.join(sorted(settings))} cannot be set; "
                "give the questions themselves"
            )
            raise InputError(msg)
        check_pieces(given.pieces, model.tokenizer, f"the questions {given.questions.name!r}")
        return given
    check_settings(settings)
    return encode_questions(
        questions(given), model.tokenizer, context_length=model.context_length, **settings
    )
