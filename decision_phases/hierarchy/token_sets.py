"""Sets of tokens to look at by themselves: the options, and random sets of tokens that are as probable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from decision_phases.errors import InputError


def padded(options: Sequence[tuple[int, ...]]) -> Int[np.ndarray, "cell option"]:
    """Put the options of all cells into one array.

    Args:
        options: For every cell, the token of each option.

    Returns:
        Token ids, −1 where a cell has fewer options than another.

    Example:
        >>> padded([(5, 6, 7), (8, 9)]).tolist()
        [[5, 6, 7], [8, 9, -1]]
    """
    width = max(map(len, options))
    return np.array([[*row, *[-1] * (width - len(row))] for row in options], dtype=np.int64)


def by_size(ids: Int[np.ndarray, "cell option"]) -> Iterator[tuple[Int[np.ndarray, " row"], int]]:
    """Cells that have equally many options.

    Args:
        ids: What `padded` gave.

    Yields:
        Rows, and how many options each of them has.

    Example:
        >>> [(rows.tolist(), size) for rows, size in by_size(np.array([[5, 6, 7], [8, 9, -1], [1, 2, 3]]))]
        [([1], 2), ([0, 2], 3)]
    """
    sizes = (ids >= 0).sum(axis=1)
    for size in np.unique(sizes).tolist():
        yield np.flatnonzero(sizes == size), size


def rank_matched(
    logits: Float[np.ndarray, " vocab"],
    options: Int[np.ndarray, " option"],
    *,
    n_sets: int,
    rng: np.random.Generator,
) -> Int[np.ndarray, "set option"]:
    """Draw sets of tokens that stand where the options stand among all tokens, and are none of them.

    Beside an option of rank r (0 is the most probable) a token of a rank within r ± max(4K, r/2) is drawn, for K
    options, no token twice in a set.

    Args:
        logits: Of the dense model.
        options: Token of each option; −1 for none.
        n_sets: Number of sets.
        rng: Of the draws.

    Returns:
        Token ids; −1 where an option is −1.

    Example:
        >>> logits = -np.arange(100.0)
        >>> drawn = rank_matched(logits, np.array([50, 3]), n_sets=5, rng=np.random.default_rng(0))
        >>> drawn.shape, bool((abs(drawn[:, 0] - 50) <= 25).all()), bool((drawn[:, 1] <= 11).all()), 50 in drawn
        ((5, 2), True, True, False)
    """
    order = np.argsort(-logits, kind="stable")
    own = options[options >= 0].tolist()
    ranks = [int(np.flatnonzero(order == token)[0]) for token in own]
    drawn = np.full((n_sets, len(options)), -1, dtype=np.int64)
    for row in drawn:
        taken = set(own)
        for place, rank in enumerate(ranks):
            reach = max(4 * len(own), rank // 2)
            low, high = max(0, rank - reach), min(len(order), rank + reach + 1)
            token = own[place]
            while token in taken:  # at most half of what is near
                token = int(order[rng.integers(low, high)])
            row[place] = token
            taken.add(token)
    return drawn


def named_options(texts: Sequence[str], tokenizer: Any) -> tuple[int, ...]:
    """Turn words into the tokens that stand for them.

    Args:
        texts: Each of them one token, leading space included.
        tokenizer: A Hugging Face tokenizer.

    Returns:
        Token ids.

    Raises:
        InputError: If there is no tokenizer, fewer than two words, one that is no single token of the vocabulary, or
            two that are the same.

    Example:
        >>> from decision_phases.models.tiny import tiny_tokenizer
        >>> len(named_options([" A", " B"], tiny_tokenizer()))
        2
    """
    if tokenizer is None:
        msg = "options were given as words, but the model has no tokenizer; load it with one"
        raise InputError(msg)
    found: dict[int, str] = {}
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False)
        if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
            what = "not in the vocabulary" if tokenizer.unk_token_id in ids else f"{len(ids)} tokens"
            msg = f"option {text!r} is {what}; give options that are one token each, leading space included"
            raise InputError(msg)
        if ids[0] in found:
            msg = f"options {found[ids[0]]!r} and {text!r} are the same token; give each once"
            raise InputError(msg)
        found[ids[0]] = text
    if len(found) < 2:
        msg = f"options={list(texts)} were given; at least two are needed"
        raise InputError(msg)
    return tuple(found)
