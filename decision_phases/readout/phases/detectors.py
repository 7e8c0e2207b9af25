"""Rules that find the layer at which a curve over depth changes.

A curve holds one value per surviving layer, and ``layers`` their intact indices, ascending. The rules take
one curve or a batch of them (bootstrap resamples) and return intact indices, NaN where there is nothing to
find. The layer found is the first one *after* the change. They only locate: whether there is anything to
locate is the business of :func:`decision_phases.readout.phases.locate`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Float, Int

ROUNDING = 1e-12
"""Differences of margins (at most 2) below this are rounding."""


def zero_crossing(
    curve: Float[np.ndarray, "*batch layer"], layers: Int[np.ndarray, " layer"]
) -> Float[np.ndarray, "*batch"]:
    """Return the first layer from which the curve stays above zero to the end (persistent crossing).

    A curve above zero throughout gives the first layer.

    Source: arXiv 2605.07271 (the gap goes from negative to positive); persistence is ours.

    Example:
        >>> zero_crossing(np.array([-1.0, 0.5, -0.2, 0.1, 0.6]), np.arange(5)).item()
        3.0
    """
    return _first(_persistent(curve > 0), layers)


def change_point(
    curve: Float[np.ndarray, "*batch layer"], layers: Int[np.ndarray, " layer"]
) -> Float[np.ndarray, "*batch"]:
    """Return the first layer of the upper segment of the best two-segment constant fit that rises.

    Of all splits into a lower and then a higher mean, the one with the least squared error (ties: earliest).

    Example:
        >>> change_point(np.array([-0.4, -0.3, -0.4, 0.5, 0.7]), np.arange(5)).item()
        3.0
    """
    gain = _split_gains(curve)
    best = np.argmax(gain, axis=-1) if gain.shape[-1] else np.zeros(curve.shape[:-1], dtype=int)
    found = (gain > ROUNDING).any(axis=-1)
    return np.where(found, layers[np.minimum(best + 1, len(layers) - 1)].astype(np.float64), np.nan)


def change_ratio(curve: Float[np.ndarray, " layer"]) -> float:
    """Return the F ratio of the best rising split against no split, with 1 and n − 2 degrees of freedom.

    F = (SSE₀ − SSE₁) / (SSE₁ / (n − 2)). The split is chosen as the best, so F says how clear it is and has
    no F distribution. Infinite for an exact step; NaN without a rising split or with fewer than three layers.

    Example:
        >>> round(change_ratio(np.array([0.0, 0.2, 0.0, 1.0, 1.2])), 1)
        82.4
    """
    gains = _split_gains(curve)
    if len(curve) < 3 or not (gains > ROUNDING).any():
        return float("nan")
    gain = float(gains.max())
    left = float(((curve - curve.mean()) ** 2).sum()) - gain
    return gain / (left / (len(curve) - 2)) if left > ROUNDING else float("inf")


def max_jump(
    curve: Float[np.ndarray, "*batch layer"], layers: Int[np.ndarray, " layer"]
) -> Float[np.ndarray, "*batch"]:
    """Return the layer that raises the curve most over the surviving layer before it (ties: earliest).

    Example:
        >>> max_jump(np.array([-0.4, -0.3, 0.4, 0.7]), np.arange(4)).item()
        2.0
    """
    jumps = np.diff(curve, axis=-1)
    best = np.max(jumps, axis=-1, keepdims=True, initial=-np.inf)
    return _first((jumps == best) & (jumps > ROUNDING), layers[1:])


def half_committed(
    curve: Float[np.ndarray, "*batch layer"], layers: Int[np.ndarray, " layer"]
) -> Float[np.ndarray, "*batch"]:
    """Return the median commitment layer from the share of questions committed by each layer.

    Example:
        >>> half_committed(np.array([0.1, 0.5, 1.0]), np.arange(3)).item()
        1.0
    """
    return _first(curve >= 0.5 - ROUNDING, layers)


def crossing_depth(
    curve: Float[np.ndarray, " layer"], layers: Int[np.ndarray, " layer"], *, level: float = 0.0
) -> float:
    """Return where, between two surviving layers, the curve persistently crosses a level, by interpolation.

    In units of intact layers: 22.4 is between the outputs of layers 22 and 23. NaN if it never does; the
    first layer if it is above throughout.

    Example:
        >>> crossing_depth(np.array([-0.5, -0.25, 0.75]), np.arange(3))
        1.25
    """
    above = _persistent(curve > level)
    return _interpolate(curve, layers, int(np.argmax(above)), level) if above.any() else float("nan")


def sharpness(curve: Float[np.ndarray, " layer"], layers: Int[np.ndarray, " layer"]) -> float:
    """Return the 10–90 width: layers from 10 % to 90 % of the rise from the lowest value to the last one.

    From where the curve last leaves the 10 % level to where it next reaches the 90 % level, interpolated; one
    block that does it all has width 0.8. NaN if the last value is the lowest.

    Example:
        >>> round(sharpness(np.array([0.0, 0.0, 1.0, 1.0]), np.arange(4)), 12)
        0.8
    """
    floor, rise = float(curve.min()), float(curve[-1] - curve.min())
    if rise <= ROUNDING:
        return float("nan")
    low, high = floor + 0.1 * rise, floor + 0.9 * rise
    start = int(np.argmax(_persistent(curve > low)))
    end = start + int(np.argmax(curve[start:] >= high))
    return _interpolate(curve, layers, end, high) - _interpolate(curve, layers, start, low)


@dataclass(frozen=True)
class Detector:
    """A rule and the mean curve that it looks at: ``margin``, ``excess`` or ``committed``."""

    curve: str
    find: Callable[
        [Float[np.ndarray, "*batch layer"], Int[np.ndarray, " layer"]], Float[np.ndarray, "*batch"]
    ]


DETECTORS: Mapping[str, Detector] = MappingProxyType(
    {
        "zero_crossing": Detector("margin", zero_crossing),
        "change_point": Detector("excess", change_point),
        "change_point_margin": Detector("margin", change_point),
        "max_jump": Detector("margin", max_jump),
        "commitment": Detector("committed", half_committed),
    }
)
"""The detectors by name. ``committed`` is the share of questions whose choice no longer changes."""


def _split_gains(curve: Float[np.ndarray, "*batch layer"]) -> Float[np.ndarray, "*batch split"]:
    """SSE₀ − SSE₁ of every split into the first k and the rest, 0 where the rest is not higher."""
    n = curve.shape[-1]
    centred = curve - curve.mean(axis=-1, keepdims=True)
    first = np.cumsum(centred, axis=-1)[..., :-1]
    k = np.arange(1, n)
    # With the total centred to zero the gain is S²/k + S²/(n−k), S the sum of the first k; rising is S < 0.
    return np.where(first < 0, first**2 * n / (k * (n - k)), 0.0)


def _persistent(condition: Bool[np.ndarray, "*batch layer"]) -> Bool[np.ndarray, "*batch layer"]:
    """True where the condition holds from there to the end."""
    return np.flip(np.logical_and.accumulate(np.flip(condition, axis=-1), axis=-1), axis=-1)


def _first(condition: Bool[np.ndarray, "*batch layer"], layers: Int[np.ndarray, " layer"]) -> np.ndarray:
    """The layer of the first True, NaN without one."""
    if not len(layers):
        return np.full(condition.shape[:-1], np.nan)
    return np.where(condition.any(axis=-1), layers[np.argmax(condition, axis=-1)].astype(np.float64), np.nan)


def _interpolate(curve: np.ndarray, layers: np.ndarray, position: int, level: float) -> float:
    """Depth at which the straight line into ``position`` reaches the level."""
    if position == 0:
        return float(layers[0])
    before, after = curve[position - 1], curve[position]
    return float(
        layers[position - 1] + (layers[position] - layers[position - 1]) * (level - before) / (after - before)
    )
