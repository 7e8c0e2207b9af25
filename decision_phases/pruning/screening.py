"""Choosing the best of many candidates from rough values, and exact values of as few of them as that takes.

Every candidate has a rough value (in low precision); exact ones are asked for. The errors, rough minus exact, of the
candidates whose exact values are known say how far off the others can be. Some of these are drawn at random, because
candidates that look best are those whose errors flatter them.

What is promised: if the errors of one step are alike in distribution and no wider than Student's t, the choice differs
from that by exact values with a chance of at most `risk`. It differs only if the truly best candidate was not
confirmed, and then its own error was outside its band. The chance that is reported besides adds up, over all candidates
that were not confirmed, how likely each is as good as the best. Where errors are as large as what candidates differ by,
that can be too low by a factor of a few, but then nearly all are confirmed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from decision_phases.errors import InputError, unknown_name

#: Number formats to screen in.
PRECISIONS = ("bfloat16", "float16")
#: Given places of candidates, ascending, their exact values.
Confirm = Callable[[Sequence[int]], Float[np.ndarray, " confirmed"]]


@dataclass(frozen=True, eq=False)
class Errors:
    """Rough minus exact values of what was confirmed in one step.

    Attributes:
        every: Of all confirmed candidates.
        drawn: Of those that were drawn at random.
    """

    every: Float[np.ndarray, " confirmed"]
    drawn: Float[np.ndarray, " drawn"]


@dataclass(frozen=True)
class Band:
    """Where the exact value of a candidate lies, given its rough one.

    `(rough − exact − bias) / width` is taken to follow Student's t.

    Attributes:
        bias: Mean error of the candidates drawn at random in this step.
        width: Standard error of predicting one more error.
        df: Degrees of freedom of the errors drawn at random; 0 if nothing is known of their spread yet.
    """

    bias: float
    width: float
    df: int

    def chance_above(
        self, rough: Float[np.ndarray, " candidate"], value: float
    ) -> Float[np.ndarray, " candidate"]:
        """How likely exact values are at least as high as a given one.

        Args:
            rough: Rough values.
            value: An exact value.

        Returns:
            Probabilities; 1 where nothing is known.
        """
        if not self.df:
            return np.ones(len(rough))
        return np.asarray(stats.t.sf((value - (rough - self.bias)) / self.width, self.df), dtype=np.float64)


@dataclass(frozen=True)
class Screening:
    """How one step of a search was screened in low precision and confirmed in the model's own.

    Attributes:
        precision: The low precision.
        candidates: Number of candidates.
        confirmed: Those that were measured in the model's own precision, ascending.
        bias: By how much low precision overrates a candidate, on average.
        band: How far above its unbiased low-precision value a candidate could be and still be passed over; 0 if none
            was.
        chance: At most how likely it is that all of them in the model's own precision would give another choice; see
            `pruning.screening` for what that rests on.
    """

    precision: str
    candidates: int
    confirmed: tuple[int, ...]
    bias: float
    band: float
    chance: float

    def __str__(self) -> str:
        """A line with what was confirmed and what is left to chance."""
        return (
            f"screened in {self.precision}: {len(self.confirmed)} of {self.candidates} confirmed, errors "
            f"{self.bias:+.1e} with a band of {self.band:.1e}, chance of another choice at most {self.chance:.1e}"
        )


@dataclass(frozen=True, eq=False)
class Choice:
    """The best candidate, and how it was found.

    Attributes:
        best: Its place; the last of several that are equal.
        exact: Exact values, NaN where they were not asked for.
        estimate: Exact values, and rough ones less their bias where there is none.
        band: Of the errors, as it was in the end.
        half_width: How far above its estimate an unconfirmed candidate was still looked at; 0 if all are confirmed.
        chance: At most how likely it is that a candidate that was not confirmed is as good as the best.
        errors: Those of the confirmed candidates, for the steps that follow.
    """

    best: int
    exact: Float[np.ndarray, " candidate"]
    estimate: Float[np.ndarray, " candidate"]
    band: Band
    half_width: float
    chance: float
    errors: Errors = field(repr=False)

    @property
    def confirmed(self) -> Bool[np.ndarray, " candidate"]:
        """Whether each candidate's exact value is known."""
        there: Bool[np.ndarray, " candidate"] = ~np.isnan(self.exact)
        return there


def error_band(now: Errors, before: Sequence[Errors] = (), *, resolution: float) -> Band:
    """Estimate the errors of candidates that were not confirmed.

    A step's errors have a mean of their own, because low precision shifts all cuts of one model alike. It is that of
    the k candidates drawn at random: those confirmed for looking good have errors above it. The errors of all steps
    spread around their means by `s² = (Σ_steps Σ (e − ē_step)² + r²) / Σ_steps (n_step − 1)`, where r is the
    resolution, so that errors that happen to be equal are not taken for errors that must be. That is computed of those
    drawn at random and of all, and the larger is taken, because good candidates may have smaller errors than bad ones;
    the degrees of freedom are those of the draw. One more error of this step is then `bias ± t · s √(1 + 1/k)`.

    Args:
        now: Errors of this step.
        before: Errors of earlier steps.
        resolution: A difference that one unit of measurement makes; above 0.

    Returns:
        The band.

    Source: the prediction interval for one more observation, with the variance pooled over groups; Hahn and Meeker,
        Statistical Intervals (1991), §4.7.

    Example:
        >>> error_band(Errors(np.array([0.1, 0.3, 0.2]), np.array([0.1, 0.3])), resolution=1e-9).df
        1
    """
    steps = [now, *before]
    drawn, df = _spread([step.drawn for step in steps], resolution)
    every, _ = _spread([step.every for step in steps], resolution)
    if not df:
        return Band(float(now.every.mean()), np.inf, 0)
    width = np.sqrt(max(drawn, every) * (1 + 1 / len(now.drawn)))
    return Band(float(now.drawn.mean()), float(width), df)


def _spread(groups: Sequence[Float[np.ndarray, " _"]], resolution: float) -> tuple[float, int]:
    """Variance around the mean of each group, and its degrees of freedom."""
    there = [group for group in groups if len(group)]
    df = sum(len(group) - 1 for group in there)
    square = sum(float(((group - group.mean()) ** 2).sum()) for group in there) + resolution**2
    return (square / df if df else np.inf), df


def choose(
    rough: Float[np.ndarray, " candidate"],
    confirm: Confirm,
    *,
    known: Float[np.ndarray, " candidate"] | None = None,
    before: Sequence[Errors] = (),
    resolution: float,
    at_random: int = 4,
    risk: float = 0.01,
    seed: int | Sequence[int] = 0,
) -> Choice:
    """Find the candidate of the highest exact value, confirming as few as the risk allows.

    The one that looks best is confirmed, and some drawn at random among the others. Then every candidate that is as
    good as the best confirmed one with a chance above `risk / (number not confirmed)` is confirmed as well, and the
    band measured anew, until there is none. By the union bound the chance that one of the rest is as good as the best
    is at most the sum of their chances, which is then at most `risk`.

    Args:
        rough: Rough values.
        confirm: Gives exact values.
        known: Exact values that are known beforehand, NaN elsewhere.
        before: Errors of earlier steps (`Choice.errors`).
        resolution: As for `error_band`.
        at_random: How many of the others are drawn, at least 2.
        risk: Accepted chance of another choice than all exact values would give.
        seed: Of the draw.

    Returns:
        The choice; ties go to the last candidate.

    Raises:
        InputError: If there are no candidates, or a number is out of range.

    Example:
        >>> exact = np.array([0.0, 3.0, 1.0, 2.9, -4.0, -5.0, -6.0, -7.0])
        >>> found = choose(exact + 0.5, lambda places: exact[list(places)], resolution=0.01, at_random=2)
        >>> found.best, int(found.confirmed.sum())
        (1, 3)
    """
    if not len(rough) or at_random < 2 or not 0 < risk < 1 or not resolution > 0:
        msg = (
            f"{len(rough)} candidates, at_random={at_random}, risk={risk}, resolution={resolution} given; there must "
            "be candidates, at least 2 drawn at random, a risk between 0 and 1 and a resolution above 0"
        )
        raise InputError(msg)
    exact = np.full(len(rough), np.nan) if known is None else np.array(known, dtype=np.float64)
    look = _last_highest(rough)
    others = np.flatnonzero(np.isnan(exact) & (np.arange(len(rough)) != look))
    drawn = np.random.default_rng(seed).permutation(others)[:at_random]
    todo = np.isnan(exact) & np.isin(np.arange(len(rough)), [look, *drawn])
    while True:
        places = np.flatnonzero(todo)
        if len(places):
            exact[places] = confirm(places.tolist())
        there = ~np.isnan(exact)
        left = int((~there).sum())
        best = _last_highest(np.where(there, exact, -np.inf))
        errors = Errors((rough - exact)[there], (rough - exact)[drawn])
        band = error_band(errors, before if len(drawn) else (), resolution=resolution)
        chances = np.where(there, 0.0, band.chance_above(rough, float(exact[best])))
        todo = chances > risk / max(left, 1)
        if not todo.any():
            break
    return Choice(
        best,
        exact,
        np.where(there, exact, rough - band.bias),
        band,
        float(stats.t.isf(risk / left, band.df) * band.width) if left else 0.0,
        min(1.0, float(chances.sum())),
        errors,
    )


def _last_highest(values: Float[np.ndarray, " candidate"]) -> int:
    return len(values) - 1 - int(np.argmax(values[::-1]))


def check_precision(precision: str) -> None:
    """Refuse what cannot be screened in.

    Args:
        precision: Name of a number format.

    Raises:
        InputError: If it is not in `PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise unknown_name("precision to screen in", precision, PRECISIONS)
