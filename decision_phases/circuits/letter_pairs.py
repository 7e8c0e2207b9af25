"""Pairs of one question in two forms whose right letter differs; only for models that bind letters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from decision_phases.circuits.answers import read_answers
from decision_phases.circuits.matching import layout, letter_p
from decision_phases.circuits.paired import LEVEL, LetterBinding, Pairs, some_of
from decision_phases.errors import InputError
from decision_phases.models import ModelAccess
from decision_phases.readout.ask import Questions, ask
from decision_phases.tasks import EncodedQuestions, QuestionSet
from decision_phases.tasks import questions as find_questions


def letter_pairs(
    model: ModelAccess,
    given: Questions,
    kind: str,
    other_symbols: str | Sequence[str],
    seed: int,
    settings: dict[str, Any],
) -> Pairs:
    """Pair every question with itself, its options in another order or under other symbols.

    Args:
        model: The model.
        given: The questions, not encoded.
        kind: "letter_order" or "symbol".
        other_symbols: For "symbol": the symbols of the corrupted prompt.
        seed: Of the order of options, and of dealt letters.
        settings: Of `tasks.encode_questions`.

    Returns:
        The pairs, not testable where the model does not bind letters in both forms.

    Raises:
        InputError: If another scoring is asked for, or the questions are encoded already.
    """
    if settings.get("scoring", "letter") != "letter" or isinstance(given, EncodedQuestions):
        msg = f"{kind} pairs are put twice in letter scoring; give the questions themselves, and no other scoring"
        raise InputError(msg)
    settings = {**settings, "scoring": "letter"}
    items = find_questions(given)
    first = ask(model, items, **settings)
    if kind == "letter_order":
        second = ask(model, _reordered(items, seed), **settings)
    else:
        second = ask(model, items, **{**settings, "symbols": other_symbols})
    both = tuple(
        tuple(dict.fromkeys((*a, *b))) for a, b in zip(first.option_ids, second.option_ids, strict=True)
    )
    sides = (first, second)
    (one, one_right), (other, other_right) = (_answered(model, side, both) for side in sides)
    choices = tuple(zip((one, other), sides, strict=True))
    letters = LetterBinding(
        tuple(float((choice == side.gold).mean()) for choice, side in choices),
        tuple(letter_p(choice, side.gold, side.n_options, seed=seed) for choice, side in choices),
    )
    if not letters.binds:
        told = " and ".join(f"{a:.2f}" for a in letters.accuracy)
        why = (
            f"{model.name} does not bind letters: letter scoring is right in {told}, which dealt letters reach as well "
            f"(p = {' and '.join(f'{p:.2g}' for p in letters.p_value)}; below {LEVEL} is needed in both)"
        )
        return Pairs(kind, None, None, (), len(items), {}, model.name, letters, why)
    dropped: dict[str, int] = {}
    rows = []
    for i, (a, b) in enumerate(zip(first.sequences, second.sequences, strict=True)):
        reason = ""
        if not (one_right[i] and other_right[i]):
            reason = "the model is wrong about one of its two forms"
        elif layout(a) != layout(b):
            reason = "its two forms have different layouts"
        elif first.option_ids[i][first.gold[i]] == second.option_ids[i][second.gold[i]]:
            reason = "its two forms have the same right token"
        if reason:
            dropped[reason] = dropped.get(reason, 0) + 1
        else:
            rows.append(i)
    if not rows:
        return Pairs(kind, None, None, (), len(items), dropped, model.name, letters)
    return Pairs.of(
        some_of(first, rows), some_of(second, rows), kind=kind, n_questions=len(items), dropped=dropped,
        model=model.name, letters=letters,
    )  # fmt: skip


def _reordered(items: QuestionSet, seed: int) -> QuestionSet:
    rng = np.random.default_rng([seed, 2])
    moved = tuple(item.rotated(int(rng.integers(1, len(item.options)))) for item in items)
    return replace(items, items=moved)


def _answered(
    model: ModelAccess, side: EncodedQuestions, tokens: tuple[tuple[int, ...], ...]
) -> tuple[Int[np.ndarray, " question"], Bool[np.ndarray, " question"]]:
    """The option chosen, and whether the right one is ahead of all tokens that are named."""
    choice, right = [], []
    for row, named, own, gold in zip(
        read_answers(model, side, tokens), tokens, side.option_ids, side.gold, strict=True
    ):
        choice.append(int(np.argmax([row[named.index(token)] for token in own])))
        at = named.index(own[gold])
        right.append(bool(row[at] > np.delete(row[: len(named)], at).max()))
    return np.array(choice), np.array(right)
