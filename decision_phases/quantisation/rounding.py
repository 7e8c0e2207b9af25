"""Rounding to the nearest point of a grid, group by group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from decision_phases.quantisation.scheme import Scheme

#: How far from the grid, in steps, a weight still counts as lying on it: float32 rounds what was dequantised.
NEAR = 1e-4
_LET_PASS = 1e-6


@dataclass(frozen=True, eq=False)
class Rounded:
    """A matrix on the grid.

    Attributes:
        values: The rounded weights.
        integers: The integer of each.
        steps: The step of each group, s.
        starts: Where the grid of each group begins, m; None where it is symmetric.
        on_grid: Number of weights other than 0 that were there before.
    """

    values: Float[Tensor, "row column"]
    integers: Int[Tensor, "row column"]
    steps: Float[Tensor, "row group"]
    starts: Float[Tensor, "row group"] | None
    on_grid: int


def rounded(weight: Float[Tensor, "row column"], scheme: Scheme) -> Rounded:
    """Round a matrix to the nearest; no weight moves by more than half a step.

    Args:
        weight: The matrix; its columns are divided into whole groups.
        scheme: How.

    Returns:
        The rounded matrix, in float64.

    Example:
        >>> found = rounded(torch.tensor([[-4.0, 1.1, 0.0, 3.0]]), Scheme(3))
        >>> found.steps.item(), found.integers.tolist(), found.values.tolist()
        (1.0, [[-4, 1, 0, 3]], [[-4.0, 1.0, 0.0, 3.0]])
    """
    rows, width = weight.shape
    w = weight.double().reshape(rows, -1, scheme.group or width)
    least, most = w.amin(-1), w.amax(-1)
    if scheme.symmetric:
        low, high = -(2 ** (scheme.bits - 1)), 2 ** (scheme.bits - 1) - 1
        steps, starts = _kept(torch.maximum(most / high, least / low).clamp(min=0), scheme, np.inf), None
    else:
        low, high = 0, 2**scheme.bits - 1
        starts = _kept(least, scheme, -np.inf)
        steps = _kept((most - starts) / high, scheme, np.inf)
    start = torch.zeros_like(steps) if starts is None else starts
    scaled = torch.where(steps[..., None] > 0, (w - start[..., None]) / steps[..., None], 0.0)
    integers = scaled.round().clamp(low, high)
    values = start[..., None] + integers * steps[..., None]
    moved = (w - values).abs()
    near = (moved <= NEAR * steps[..., None]) & (w != 0)
    return Rounded(
        values.reshape(rows, width),
        integers.long().reshape(rows, width),
        steps,
        starts,
        int(near.sum()),
    )


def _kept(values: Float[Tensor, "row group"], scheme: Scheme, towards: float) -> Float[Tensor, "row group"]:
    """Values as they are kept, rounded up (or down), so that the grid still holds its group.

    A part in a million is let pass: what was on a grid before has been rounded to float32 since.
    """
    exact = values.cpu().numpy()
    with np.errstate(over="ignore"):
        found = exact.astype(scheme.scales)
    sign = np.sign(towards)
    short = sign * (exact - found) > np.abs(exact) * _LET_PASS
    found = np.where(short, np.nextafter(found, found.dtype.type(towards)), found)
    return torch.from_numpy(found.astype(np.float64)).to(values.device)
