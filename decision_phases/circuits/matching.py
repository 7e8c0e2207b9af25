"""Which questions go together as a pair: pure functions of what is known about each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from decision_phases.stats import permutation_p
from decision_phases.tasks import TokenSequence


def layout(sequence: TokenSequence) -> Hashable:
    """What two prompts must have in common for every named position to be at the same tokens in both.

    Args:
        sequence: A prompt.

    Returns:
        Its length and the ranges of its named positions.

    Example:
        >>> a, b = (TokenSequence((5, t, 7), (2,), (), 0, spans={"answer": (2, 3)}) for t in (1, 2))
        >>> layout(a) == layout(b)
        True
    """
    return len(sequence), tuple(sorted(sequence.spans.items()))


def match(
    groups: Sequence[Hashable],
    gold: Sequence[int],
    right: Bool[np.ndarray, " question"],
    together: Bool[np.ndarray, "question question"],
    *,
    seed: int,
) -> tuple[list[tuple[int, int]], dict[str, int]]:
    """Pair questions of one group with different right answers, every question at most once.

    Whoever has fewest partners chooses first, so that few are left over; ties are broken at random.

    Args:
        groups: What must be equal within a pair.
        gold: The right answer of each question, as anything that tells answers apart.
        right: Whether the model is right about it.
        together: Whether the model is right about both of two questions among the options of both.
        seed: Of the order.

    Returns:
        Pairs, ascending; and for every reason, how many questions are in none for it.

    Example:
        >>> both = np.ones((3, 3), bool)
        >>> match(["a", "a", "b"], [7, 8, 7], np.ones(3, bool), both, seed=0)
        ([(0, 1)], {'no partner in its category with a prompt of the same layout': 1})
    """
    rng = np.random.default_rng([seed, 0])
    members: dict[Hashable, list[int]] = defaultdict(list)
    for i in np.flatnonzero(right).tolist():
        members[groups[i]].append(i)
    dropped: dict[str, int] = defaultdict(int)
    dropped["the model is wrong"] = int((~right).sum())
    pairs: list[tuple[int, int]] = []
    for group in members.values():
        others = {i: [j for j in group if gold[j] != gold[i]] for i in group}
        partners = {i: {j for j in others[i] if together[i, j]} for i in group}
        for i in group:
            if len(group) == 1:
                dropped["no partner in its category with a prompt of the same layout"] += 1
            elif not others[i]:
                dropped["no such partner with another right answer"] += 1
            elif not partners[i]:
                dropped["no such partner, with the model right about both among the options of both"] += 1
        found = _greedy(partners, rng)
        pairs += found
        dropped["left over"] += sum(bool(p) for p in partners.values()) - 2 * len(found)
    return sorted(pairs), {reason: count for reason, count in dropped.items() if count}


def _greedy(partners: Mapping[int, set[int]], rng: np.random.Generator) -> list[tuple[int, int]]:
    left = {i: set(js) for i, js in partners.items() if js}
    order = {int(i): place for place, i in enumerate(rng.permutation(sorted(left)))}
    found = []
    while left:
        i = min(left, key=lambda k: (len(left[k]), order[k]))
        j = min(left[i], key=lambda k: (len(left[k]), order[k]))
        found.append((i, j) if order[i] < order[j] else (j, i))
        for gone in (i, j):
            for k in left.pop(gone):
                if k in left:
                    left[k].discard(gone)
        left = {k: js for k, js in left.items() if js}
    return found


def letter_p(
    choice: Int[np.ndarray, " question"],
    gold: Int[np.ndarray, " question"],
    n_options: Int[np.ndarray, " question"],
    *,
    seed: int,
    n_perm: int = 2000,
) -> float:
    """Test whether chosen letters follow right letters, against right letters dealt anew among the questions.

    Dealing keeps how often each letter is right, so that a model with a favourite letter gains nothing by it.

    Args:
        choice: Letter chosen, as a number.
        gold: Letter that is right.
        n_options: Letters are dealt among questions of as many options.
        seed: Of the dealing.
        n_perm: Deals.

    Returns:
        The one-sided p-value.

    Example:
        >>> gold = np.tile(np.arange(4), 10)
        >>> always_a = np.zeros(40, int)
        >>> letter_p(gold, gold, np.full(40, 4), seed=0) < 0.01, letter_p(always_a, gold, np.full(40, 4), seed=0)
        (True, 1.0)
    """
    rng = np.random.default_rng([seed, 1])
    null: Float[np.ndarray, " permutation"] = np.zeros(n_perm)
    for count in np.unique(n_options):
        rows = np.flatnonzero(n_options == count)
        for k in range(n_perm):
            null[k] += (choice[rows] == rng.permutation(gold[rows])).sum()
    return permutation_p(float((choice == gold).sum()), null)
