"""Values from every mask there is."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.special import comb

from decision_phases.errors import InputError

MOST_UNITS = 12
"""With more units than these, 4096 masks are not all of them."""


def exact_values(
    values: Float[np.ndarray, "mask column"], chances: Float[np.ndarray, " others"]
) -> Float[np.ndarray, "unit column"]:
    """Return the values of all units from the values of all masks.

    φ_i = Σ_{S ∌ i} chance(|S|) / C(n − 1, |S|) · (v(S ∪ i) − v(S)).

    Args:
        values: Of every mask, in the order of `all_masks`; columns are games.
        chances: Of `size_chances`.

    Returns:
        The value of every unit in every game.

    Raises:
        InputError: If there is not one value for each of 2^n masks.

    Source: Shapley, A Value for n-Person Games (1953); Weber, Probabilistic values for games (1988).

    Example:
        >>> from decision_phases.pruning.game.indices import size_chances
        >>> gloves = np.array([0.0, 0, 0, 0, 0, 1, 1, 1])[:, None]  # units 0 and 1 are left gloves, 2 is the right one
        >>> exact_values(gloves, size_chances("shapley", 3))[:, 0].round(3).tolist()
        [0.167, 0.167, 0.667]
    """
    n = len(chances)
    if len(values) != 2**n:
        msg = f"{len(values)} values given for {n} units; exact values need all {2**n} masks"
        raise InputError(msg)
    masks = np.arange(2**n)
    size = np.bitwise_count(masks)
    found = np.empty((n, values.shape[1]))
    for unit in range(n):
        without = masks[masks >> unit & 1 == 0]
        weight = chances[size[without]] / comb(n - 1, size[without])
        found[unit] = weight @ (values[without | 1 << unit] - values[without])
    return found


def exact_interactions(values: Float[np.ndarray, "mask column"]) -> Float[np.ndarray, "unit unit column"]:
    """Return what all pairs of units add together beyond what each adds, from the values of all masks.

    I_ij = mean over S that lack both of v(S ∪ i ∪ j) − v(S ∪ i) − v(S ∪ j) + v(S).

    Args:
        values: Of every mask, in the order of `all_masks`; columns are games.

    Returns:
        Symmetric in the units, 0 on the diagonal.

    Source: Grabisch and Roubens, An axiomatic approach to the concept of interaction among players (1999), the Banzhaf
        interaction index.

    Example:
        >>> exact_interactions(np.array([0.0, 0.0, 0.0, 1.0])[:, None])[0, 1].tolist()
        [1.0]
    """
    masks = np.arange(len(values))
    n = len(values).bit_length() - 1
    found = np.zeros((n, n, values.shape[1]))
    for i in range(n):
        for j in range(i):
            first, second = 1 << i, 1 << j
            without = masks[masks & (first | second) == 0]
            differences = (
                values[without | first | second]
                - values[without | first]
                - values[without | second]
                + values[without]
            )
            found[i, j] = found[j, i] = differences.mean(axis=0)
    return found


def check_exact(n_units: int) -> None:
    """Refuse more units than can be enumerated.

    Args:
        n_units: Number of units.

    Raises:
        InputError: If there are more than `MOST_UNITS`.

    Example:
        >>> check_exact(12)
    """
    if n_units > MOST_UNITS:
        msg = (
            f"{n_units} units have 2^{n_units} = {2**n_units} masks; the exact method takes at most {MOST_UNITS}. Put "
            "units into groups, or use method='permutation', 'kernel' or 'surrogate'"
        )
        raise InputError(msg)
