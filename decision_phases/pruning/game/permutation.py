"""Values from random orders: what each unit adds when its turn comes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from decision_phases.errors import InputError


def order_contributions(
    orders: Int[np.ndarray, "order unit"],
    values: Float[np.ndarray, "order size column"],
    chances: Float[np.ndarray, " others"],
) -> Float[np.ndarray, "order unit column"]:
    """Return one unbiased estimate of all units' values from each order.

    In a random order a unit joins 0, 1, … n − 1 others equally often, which is Shapley's average; for another index the
    contribution to *s* others is weighted by n · chance(s). An order and its reverse average to the exact Shapley and
    Banzhaf values of a game without interactions of three or more units.

    Args:
        orders: Units in the order of removal.
        values: Of the masks of `nested_masks`, from none kept to all kept; columns are games.
        chances: Of `size_chances`.

    Returns:
        An estimate an order, whose mean is the estimate from all of them.

    Raises:
        InputError: If there is not one value a size from 0 to n.

    Source: Castro et al., Polynomial calculation of the Shapley value based on sampling (2009); antithetic pairs:
        Mitchell et al., Sampling Permutations for Shapley Value Estimation (2022), §3.

    Example:
        >>> both = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])[:, :, None]  # worth 1 together, nothing alone
        >>> order_contributions(np.array([[0, 1], [1, 0]]), both, np.array([0.5, 0.5])).mean(axis=0)[:, 0].tolist()
        [0.5, 0.5]
    """
    n = orders.shape[1]
    if values.shape[:2] != (len(orders), n + 1):
        msg = (
            f"values {values.shape} [order, size, column] given for {len(orders)} orders of {n} units; sizes run "
            f"from 0 to {n}"
        )
        raise InputError(msg)
    steps = np.diff(values, axis=1) * (n * chances)[:, None]  # [order, others, column]
    others = n - 1 - np.argsort(orders, axis=1)  # how many are kept when a unit is put back
    return np.take_along_axis(steps, others[:, :, None], axis=1)
