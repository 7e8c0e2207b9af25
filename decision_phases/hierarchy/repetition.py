"""How much a text repeats itself, and how long two texts are the same."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from decision_phases.errors import InputError


def distinct_ngrams(tokens: Sequence[int], n: int) -> float:
    """Return the share of a text's n-grams that are different; 1 if the text has fewer than n tokens.

    Source: distinct-n of Li et al., A Diversity-Promoting Objective Function (2016), of one text.

    Raises:
        InputError: If n is below 1.

    Example:
        >>> distinct_ngrams([1, 2, 1, 2, 1], 2)
        0.5
    """
    if n < 1:
        msg = f"n={n}: an n-gram has at least one token"
        raise InputError(msg)
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 1.0


def repeated_ngrams(tokens: Sequence[int], n: int = 4) -> float:
    """Return the share of a text's n-grams that occurred before in it; 0 if the text has fewer than n tokens.

    Source: seq-rep-n of Welleck et al., Neural Text Generation with Unlikelihood Training (2020), eq. 9.

    Example:
        >>> repeated_ngrams([1, 2, 1, 2, 1], 2)
        0.5
    """
    return 1.0 - distinct_ngrams(tokens, n)


def shared_prefix(
    a: Int[np.ndarray, "prompt step"], b: Int[np.ndarray, "prompt step"]
) -> Int[np.ndarray, " prompt"]:
    """Return how many tokens two texts have in common before the first that differs.

    That is also the step at which they differ first; the number of steps if they never do.

    Example:
        >>> shared_prefix(np.array([[1, 2, 3], [4, 5, 6]]), np.array([[1, 2, 9], [4, 5, 6]])).tolist()
        [2, 3]
    """
    differs = a != b
    return np.asarray(np.where(differs.any(axis=1), differs.argmax(axis=1), a.shape[1]))
