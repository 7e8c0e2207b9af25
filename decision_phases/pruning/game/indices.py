"""Which average of a unit's contributions is its value: Shapley, Banzhaf, and that of the published code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from jaxtyping import Float
from scipy.special import comb

from decision_phases.errors import InputError, unknown_name


@dataclass(frozen=True)
class Index:
    """A way of averaging contributions.

    Attributes:
        name: Its name.
        chances: Takes the number of units and the kept counts; gives the chance that a unit joins *s* others.
        efficient: Whether values add up to what all units together are worth.
        what: A sentence.
    """

    name: str
    chances: Callable[[int, Sequence[int]], Float[np.ndarray, " others"]]
    efficient: bool
    what: str


def published_counts(n_units: int) -> tuple[int, ...]:
    """Return the numbers of kept units that the published code draws masks of, at the same shares of any depth.

    Args:
        n_units: Number of units.

    Returns:
        30, 27, 24, 21 and 18 of 32, rounded; ascending, without those that would keep all or none.

    Source: release of arXiv 2602.07804, where the counts are written out for 32 layers.

    Example:
        >>> published_counts(32), published_counts(12)
        ((18, 21, 24, 27, 30), (7, 8, 9, 10, 11))
    """
    counts = {round(n_units * kept / 32) for kept in (30, 27, 24, 21, 18)}
    return tuple(sorted(counts & set(range(1, n_units))))


def _shapley(n: int, kept: Sequence[int]) -> Float[np.ndarray, " others"]:
    del kept
    return np.full(n, 1 / n)


def _banzhaf(n: int, kept: Sequence[int]) -> Float[np.ndarray, " others"]:
    del kept
    return np.asarray(comb(n - 1, np.arange(n)) / 2.0 ** (n - 1), dtype=np.float64)


def _published(n: int, kept: Sequence[int]) -> Float[np.ndarray, " others"]:
    chances = np.zeros(n)
    for k in kept:
        chances[k - 1] += k / n / len(kept)  # the unit is among the k: it joins k − 1 others
        chances[k] += (1 - k / n) / len(kept)
    return chances


#: Every index is Σ_s chance(s) · mean contribution to s others; they differ in the chances only.
INDICES: Mapping[str, Index] = MappingProxyType(
    {
        index.name: index
        for index in (
            Index("shapley", _shapley, efficient=True, what="every number of other units counts alike"),
            Index("banzhaf", _banzhaf, efficient=False, what="every set of other units counts alike"),
            Index(
                "published",
                _published,
                efficient=False,
                what="mean of f(m with the unit) − f(m without it) over masks of a few kept counts",
            ),
        )
    }
)


def size_chances(index: str, n_units: int, kept: Sequence[int] | None = None) -> Float[np.ndarray, " others"]:
    """Return the chance that a unit joins a coalition of 0, 1, … n − 1 others.

    The published code averages f(m with i) − f(m without i) over masks m of a few kept counts k. With probability k / n
    the unit is among the k and joins k − 1 others, else it joins k; so that average is of the same form.

    Args:
        index: A name in `INDICES`.
        n_units: Number of units.
        kept: Kept counts of the published average; `published_counts` by default.

    Returns:
        Chances that sum to 1.

    Raises:
        InputError: If there is no such index, or a kept count is out of range or given to another index.

    Source: Shapley (1953); Banzhaf (1965); Dubey, Neyman and Weber, Value theory without efficiency (1981);
        release of arXiv 2602.07804.

    Example:
        >>> size_chances("shapley", 4).tolist(), size_chances("banzhaf", 3).tolist()
        ([0.25, 0.25, 0.25, 0.25], [0.25, 0.5, 0.25])
    """
    if index not in INDICES:
        raise unknown_name("index", index, INDICES)
    counts = published_counts(n_units) if kept is None else check_kept(kept, n_units)
    return INDICES[index].chances(n_units, counts)


def check_kept(kept: Sequence[int], n_units: int) -> tuple[int, ...]:
    """Refuse numbers of kept units that say nothing about any unit.

    Args:
        kept: The numbers.
        n_units: Number of units.

    Returns:
        The numbers, ascending.

    Raises:
        InputError: If there is none, one is given twice, or one keeps all or none.

    Example:
        >>> check_kept([5, 3], 8)
        (3, 5)
    """
    counts = tuple(sorted(kept))
    if not counts or len(set(counts)) != len(counts) or counts[0] < 1 or counts[-1] >= n_units:
        msg = (
            f"kept counts {list(kept)} given for {n_units} units; give different numbers from 1 to {n_units - 1} (all "
            "and none are measured in any case)"
        )
        raise InputError(msg)
    return counts
