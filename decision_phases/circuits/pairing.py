"""`pairs`: prompts of different content, or one prompt in two forms, that differ in their right answer."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from decision_phases.circuits.answers import read_answers
from decision_phases.circuits.letter_pairs import letter_pairs
from decision_phases.circuits.matching import layout, match
from decision_phases.circuits.paired import KINDS, Pairs, limited, some_of
from decision_phases.errors import InputError, unknown_name
from decision_phases.models import ModelAccess, as_model
from decision_phases.readout.ask import Questions, ask
from decision_phases.tasks import EncodedQuestions


def pairs(
    model: object,
    questions: Questions,
    *,
    kind: str = "content",
    limit: int | None = None,
    least: int = 8,
    other_symbols: str | Sequence[str] = "QZXJKVWY",
    seed: int = 0,
    **settings: Any,
) -> Pairs:
    """Pair prompts whose tokens are aligned and which the model answers right.

    Args:
        model: What `load` gives or takes.
        questions: A name, a file, questions, or (for content pairs) encoded questions.
        kind: A name in `KINDS`.
        limit: Most pairs, drawn at random.
        least: Fewest pairs: an interval over fewer says nothing.
        other_symbols: For symbol pairs: the symbols of the corrupted prompt, as for `tasks.encode_questions`.
        seed: Of who is paired with whom, of the limit and of the order of options.
        **settings: Of `tasks.encode_questions`. Letter-order and symbol pairs are scored by letter.

    Returns:
        The pairs, with a report of what became of the other questions. Where the model does not bind letters,
        letter-order and symbol pairs are not testable, and say so.

    Raises:
        InputError: If the questions cannot be put so, or there are fewer than `least` pairs; with the report.

    Example:
        >>> found = pairs("tiny-llama", "facts", least=2)
        >>> found.positions
        ('answer', 'question')
    """
    if kind not in KINDS:
        raise unknown_name("kind of pairs", kind, KINDS)
    if least < 2 or (limit is not None and limit < least):
        msg = f"least={least}, limit={limit}: at least two pairs are needed, and no smaller limit than that"
        raise InputError(msg)
    access = as_model(model)
    if kind == "content":
        found = _content(access, ask(access, questions, **settings), seed)
    else:
        found = letter_pairs(access, questions, kind, other_symbols, seed, settings)
    if found.testable and len(found) < least:
        msg = f"{len(found)} pairs are too few for an interval, {least} are needed; give more questions.\n{found}"
        raise InputError(msg)
    return found if limit is None or len(found) <= limit else limited(found, limit, seed)


def _content(model: ModelAccess, encoded: EncodedQuestions, seed: int) -> Pairs:
    if not encoded.option_ids:
        msg = f"pairs are of prompts that one token answers; {encoded.scoring} scoring reads texts, use first_token"
        raise InputError(msg)
    groups: list[Hashable] = [
        (q.category, layout(s)) for q, s in zip(encoded.questions, encoded.sequences, strict=True)
    ]
    shared: dict[Hashable, dict[int, None]] = {}
    for group, ids in zip(groups, encoded.option_ids, strict=True):
        shared.setdefault(group, {}).update(dict.fromkeys(ids))
    tokens = tuple(tuple(shared[group]) for group in groups)
    logits = read_answers(model, encoded, tokens)
    gold = [ids[g] for ids, g in zip(encoded.option_ids, encoded.gold.tolist(), strict=True)]
    best = [dict(zip(own, row.tolist(), strict=False)) for own, row in zip(tokens, logits, strict=True)]

    def ahead(i: int, j: int) -> bool:
        """Whether question i is answered right among the options of i and j."""
        others = {*encoded.option_ids[i], *encoded.option_ids[j]} - {gold[i]}
        return bool(best[i][gold[i]] > max(best[i][token] for token in others))

    right = np.array([ahead(i, i) for i in range(len(encoded))])
    together: Bool[np.ndarray, "question question"] = np.zeros((len(encoded),) * 2, dtype=bool)
    for i in range(len(encoded)):
        for j in range(i):
            if groups[i] == groups[j]:
                together[i, j] = together[j, i] = ahead(i, j) and ahead(j, i)
    chosen, dropped = match(groups, gold, right, together, seed=seed)
    if not chosen:
        return Pairs("content", None, None, (), len(encoded), dropped, model.name)
    clean, corrupted = (some_of(encoded, side) for side in zip(*chosen, strict=True))
    return Pairs.of(clean, corrupted, n_questions=len(encoded), dropped=dropped, model=model.name)
