"""Positions by what they mean: every token, the answer position, the question, one option."""

import re
from collections.abc import Mapping

from decision_phases.errors import InputError

POSITIONS: Mapping[str, str] = {
    "all": "every token of the sequence",
    "answer": "the answer position: the last token of the prompt",
    "question": "the tokens of the question's own text",
    "option:<i>": "the tokens of option i, counted from 0, where the prompt shows the options",
}
_VALID = re.compile(r"all|answer|question|option:(0|[1-9][0-9]*)")


def check_position(position: str) -> str:
    """Return `position` if it is the name of positions.

    Args:
        position: `"all"`, `"answer"`, `"question"` or `"option:<i>"`.

    Returns:
        The same name.

    Raises:
        InputError: If it is none of these.

    Example:
        >>> check_position("option:2")
        'option:2'
    """
    if not _VALID.fullmatch(position):
        raise InputError(
            f"unknown position {position!r}; it must be 'all', 'answer', 'question' or 'option:<i>' "
            "with the option counted from 0, such as 'option:0'."
        )
    return position


def resolve(position: str, spans: Mapping[str, tuple[int, int]], length: int) -> tuple[int, ...]:
    """Return the token positions that a symbolic position means in one sequence.

    Args:
        position: `"all"`, `"answer"`, `"question"` or `"option:<i>"`.
        spans: Half-open token span of each symbolic position that the sequence has; `"all"` needs none.
        length: The number of tokens of the sequence, without padding.

    Returns:
        The positions, ascending, each in `[0, length)`.

    Raises:
        InputError: If the position is unknown, if the sequence does not have it, or if its span does not fit.

    Example:
        >>> resolve("question", {"question": (1, 4), "answer": (5, 6)}, length=6)
        (1, 2, 3)
    """
    check_position(position)
    if position == "all":
        return tuple(range(length))
    if position not in spans:
        known = ", ".join(["all", *sorted(spans)])
        hint = (
            " Options have positions only if the prompt shows them." if position.startswith("option") else ""
        )
        raise InputError(f"this sequence has no position {position!r}; it has: {known}.{hint}")
    start, stop = spans[position]
    if not 0 <= start < stop <= length:
        raise InputError(
            f"the span {start}..{stop} of position {position!r} does not lie within a sequence of {length} "
            "tokens; a span is half-open and not empty."
        )
    return tuple(range(start, stop))
