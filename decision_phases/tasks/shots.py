"""Which solved examples stand in front of which question."""

import numpy as np

from decision_phases.errors import InputError
from decision_phases.tasks.question import Question, QuestionSet


def draw_examples(
    questions: QuestionSet, shots: int, *, seed: int = 0, pool: QuestionSet | None = None
) -> tuple[tuple[Question, ...], ...]:
    """Return for every question the `shots` solved examples that precede it, never the question itself.

    `shots + 1` examples with different texts are drawn once by `seed`, whatever their category. A question
    whose text is among them is preceded by the others; every other question by the first `shots`. So all
    questions but a few share one preface, which needs to be computed only once, and a rotated copy of a
    question never gives its answer away.

    Args:
        questions: The questions to be asked.
        shots: Number of examples, 0 or more.
        seed: Seed of the draw.
        pool: Where examples come from; the questions themselves by default.

    Raises:
        InputError: If `shots` is negative or the pool has not `shots + 1` questions with different texts.

    Example:
        >>> items = tuple(Question(("a", "b"), 0, f"{i}?") for i in range(5))
        >>> [len(examples) for examples in draw_examples(QuestionSet("q", items), 2)]
        [2, 2, 2, 2, 2]
    """
    if shots < 0:
        raise InputError(f"shots is {shots}; expected 0 or more.")
    if shots == 0:
        return ((),) * len(questions)
    source = questions if pool is None else pool
    distinct = list({item.text: item for item in source}.values())
    if len(distinct) <= shots:
        raise InputError(
            f"{shots} shots need at least {shots + 1} different questions to draw from; "
            f"{source.name!r} has {len(distinct)}. Use fewer shots or a larger set."
        )
    order = np.random.default_rng(seed).permutation(len(distinct))[: shots + 1]
    drawn = [distinct[int(i)] for i in order]
    by_text = {left_out.text: tuple(e for e in drawn if e is not left_out) for left_out in drawn}
    common = tuple(drawn[:shots])
    return tuple(by_text.get(item.text, common) for item in questions)
