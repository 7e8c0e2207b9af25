"""What can be put to a model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from decision_phases.errors import InputError
from decision_phases.models import ModelAccess
from decision_phases.tasks import EncodedQuestions, TokenSequence, check_pieces


@runtime_checkable
class Inputs(Protocol):
    """Anything with token sequences, a key that identifies them and a number of questions (or texts).

    `EncodedQuestions` is one; a list of `TokenSequence` is made into one.
    """

    @property
    def sequences(self) -> tuple[TokenSequence, ...]:
        """What is run."""

    @property
    def key(self) -> str:
        """Hash of everything that decides what is computed."""

    def __len__(self) -> int:
        """Number of questions or texts that the sequences belong to."""


@dataclass(frozen=True)
class Sequences:
    """Bare token sequences as inputs.

    Attributes:
        sequences: What is run.
    """

    sequences: tuple[TokenSequence, ...]

    @property
    def key(self) -> str:
        """Hash of tokens, read positions, targets, owners and spans."""
        digest = hashlib.sha256()
        for s in self.sequences:
            digest.update(
                repr((s.tokens, s.read, s.targets, s.owner, s.option, sorted(s.spans.items()))).encode()
            )
        return digest.hexdigest()[:16]

    def __len__(self) -> int:
        return 1 + max(s.owner for s in self.sequences)


def as_inputs(given: Inputs | Sequence[TokenSequence]) -> Inputs:
    """Give inputs as `Inputs`.

    Args:
        given: Encoded questions, or token sequences.

    Returns:
        The inputs.

    Raises:
        InputError: If there is nothing to run.
    """
    inputs = given if isinstance(given, Inputs) else Sequences(tuple(given))
    if not inputs.sequences:
        msg = "there is nothing to run: no question and no text was given"
        raise InputError(msg)
    return inputs


def check_inputs(model: ModelAccess, inputs: Inputs) -> None:
    """Refuse inputs that the model cannot run, before anything runs.

    Args:
        model: The model.
        inputs: What is put to it.

    Raises:
        InputError: If a sequence is empty, longer than the model's context, or has a token that the model lacks; if
            another vocabulary encoded the questions.
    """
    if isinstance(inputs, EncodedQuestions):
        check_pieces(inputs.pieces, model.tokenizer, f"the questions {inputs.questions.name!r}")
    for sequence in inputs.sequences:
        size, whose = len(sequence), f"a sequence of question {sequence.owner}"
        if not size:
            msg = f"{whose} has no tokens; give at least one"
            raise InputError(msg)
        if model.context_length is not None and size > model.context_length:
            msg = f"{whose} has {size} tokens, but {model.name} takes {model.context_length}; shorten it"
            raise InputError(msg)
        if not 0 <= min(sequence.tokens) <= max(sequence.tokens) < model.d_vocab:
            msg = (
                f"{whose} has tokens {min(sequence.tokens)}..{max(sequence.tokens)}, but the vocabulary of "
                f"{model.name} is 0..{model.d_vocab - 1}; encode the questions with this model's own tokenizer"
            )
            raise InputError(msg)
