"""What was found about the phases of a readout, as a value."""

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Literal

import pandas as pd

from decision_phases.errors import InputError, unknown_name

LEVEL = 0.05
"""The final decision counts as informed below this p-value."""

_NOT_FOUND = {"zero_crossing": "the mean margin does not stay above zero up to the last layer"}

Outcome = Literal["transition", "no transition", "not located"]


@dataclass(frozen=True)
class Detection:
    """What one detector found.

    Attributes:
        name: The detector's name.
        curve: The mean curve that it looked at: ``margin``, ``excess`` or ``committed``.
        layer: Intact index of the first layer after the change, or None.
        ci: Percentile interval over resampled questions, of the resamples in which it found a layer.
        share: Share of resamples in which it found one.
    """

    name: str
    curve: str
    layer: int | None
    ci: tuple[int, int] | None
    share: float


@dataclass(frozen=True, repr=False)
class Phases:
    """Where the decision forms. The transition layer is itself the first layer of the Decisive Phase.

    Attributes:
        outcome: ``"transition"``; ``"no transition"``: the final decision is not told from shuffled gold
            labels (p ≥ 0.05), or the rise is within two standard errors; ``"not located"``: informed and
            risen, but the method finds no layer (the default: the mean margin does not stay above zero).
        method: Name of the detector whose layer is the transition.
        detections: What every detector found, whatever the outcome; evidence only with ``"transition"``.
        layers: Every surviving layer (intact indices).
        n_layers: Layers of the intact model.
        p_value: Within-question gold-shuffle test of the final mean excess margin, one-sided.
        rise: Mean excess margin at the last layer minus its mean over the first quarter of surviving layers.
        rise_se: Its standard error over questions.
        rise_detectable: Smallest true rise that a two-sided test at 5 % finds with power 0.8.
        depth: Interpolated depth at which the mean margin persistently crosses zero, in intact layers.
        width: 10–90 width of the rise of the mean margin, in intact layers.
        change_ratio: F ratio of the change point of the mean excess margin (see ``change_ratio``).
        commitment: Share of questions whose choice becomes final at each surviving layer; sums to 1.
        n_questions: Number of questions.
        lens_name: Name of another lens whose transition the caller gave; empty if none was.
        lens_transition: Its transition, or None.
        confidence: Nominal coverage of the intervals.
        n_boot: Number of bootstrap resamples.
        n_perm: Number of gold shuffles.
        seed: Of both.
    """

    outcome: Outcome
    method: str
    detections: tuple[Detection, ...]
    layers: tuple[int, ...]
    n_layers: int
    p_value: float
    rise: float
    rise_se: float
    rise_detectable: float
    depth: float | None
    width: float | None
    change_ratio: float | None
    commitment: tuple[float, ...]
    n_questions: int
    lens_name: str
    lens_transition: int | None
    confidence: float
    n_boot: int
    n_perm: int
    seed: int

    def __post_init__(self) -> None:
        if self.method not in self.detectors:
            raise unknown_name("detector", self.method, self.detectors)
        if self.found and self.decider.layer is None:
            raise InputError(f"a transition needs a layer, but {self.method} found none.")

    @property
    def decider(self) -> Detection:
        """What the deciding detector found, whatever the outcome."""
        return next(d for d in self.detections if d.name == self.method)

    @property
    def transition(self) -> int | None:
        """The first layer of the Decisive Phase, None unless the outcome is ``"transition"``."""
        return self.decider.layer if self.found else None

    @property
    def ci(self) -> tuple[int, int] | None:
        """Interval of the transition over resampled questions, of those in which the method found a layer."""
        return self.decider.ci if self.found else None

    @property
    def silent(self) -> tuple[int, ...]:
        """Surviving layers before the transition; empty without one."""
        t = self.transition
        return () if t is None else tuple(layer for layer in self.layers if layer < t)

    @property
    def decisive(self) -> tuple[int, ...]:
        """Surviving layers from the transition on; empty without one."""
        t = self.transition
        return () if t is None else tuple(layer for layer in self.layers if layer >= t)

    @property
    def found(self) -> bool:
        """Whether there is a transition."""
        return self.outcome == "transition"

    @property
    def detectors(self) -> Mapping[str, int | None]:
        """The layer that each detector found, by name."""
        return MappingProxyType({d.name: d.layer for d in self.detections})

    @property
    def phases(self) -> dict[str, list[int]] | None:
        """The two phases as lists of layers, or None without a transition."""
        return {"silent": list(self.silent), "decisive": list(self.decisive)} if self.found else None

    @property
    def verdict(self) -> str:
        """What was found, in words."""
        evidence = f"p = {self.p_value:.2g} against shuffled gold labels"
        rise = f"the excess margin changes by {self.rise:+.3f} (standard error {self.rise_se:.3f})"
        if self.outcome == "no transition":
            why = (
                f"the final decision is informed ({evidence}), but {rise}, not more than two standard errors"
            )
            if self.p_value >= LEVEL:
                why = f"the final decision is not told from chance ({evidence})"
            missed = f"a rise of {self.rise_detectable:.3f} would have been found with power 0.8"
            return f"No transition over {self.n_questions} questions: {why}; {missed}."
        informed = f"the final decision is informed ({evidence}) and {rise}"
        if self.outcome == "not located":
            why = _NOT_FOUND.get(self.method, f"{self.method} finds no layer")
            return f"No transition located: {informed}, but {why}."
        how = f"{self.method} over {self.n_questions} questions, {self.confidence:.0%} interval"
        low, high = self.ci or ("undefined", "undefined")
        first = " The Silent Phase is empty: this is the first surviving layer." if not self.silent else ""
        unsure = ""
        if self.decider.share < self.confidence:
            unsure = f" Only {self.decider.share:.0%} of the resamples have one; the interval is of those."
        return f"Transition at layer {self.transition} ({how} {low} to {high}): {informed}.{first}{unsure}"

    @property
    def agreement(self) -> str:
        """How the other detectors, and the other lens, compare with the deciding one, in words.

        They agree if at most one surviving layer apart.
        """
        own = self.decider.layer
        found = [(d.name, d.layer) for d in self.detections if d.name != self.method]
        found += [(f"the {self.lens_name} lens", self.lens_transition)] if self.lens_name else []
        near = [f"{name} {layer}" for name, layer in found if self._near(own, layer)]
        far = [
            f"{name} {'none' if layer is None else layer}"
            for name, layer in found
            if not self._near(own, layer)
        ]
        parts = [f"within one layer: {', '.join(near)}"] if near else []
        parts += [f"elsewhere: {', '.join(far)}"] if far else []
        gate = "" if self.found else " None of them is evidence of a transition by itself."
        return f"{self.method} {'none' if own is None else own}; {'; '.join(parts)}.{gate}"

    def _near(self, a: int | None, b: int | None) -> bool:
        if a is None or b is None:
            return a is b
        return abs(bisect_left(self.layers, a) - bisect_left(self.layers, b)) <= 1

    def __str__(self) -> str:
        if not self.found:
            return f"Phases(transition=None: {self.outcome}, p={self.p_value:.2g}, rise={self.rise:.2g})"
        ends = f"silent={spell_layers(self.silent)}, decisive={spell_layers(self.decisive)}"
        return f"Phases(transition={self.transition}, ci={self.ci}, {ends})"

    __repr__ = __str__

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values; NaN and infinity become null.

        ``transition`` holds ``layer``, ``ci_low``, ``ci_high`` and ``method``; ``phases`` the two lists or
        null.
        """
        low, high = self.ci or (None, None)
        return {
            "transition": {"layer": self.transition, "ci_low": low, "ci_high": high, "method": self.method},
            "phases": self.phases,
            "outcome": self.outcome,
            "verdict": self.verdict,
            "agreement": self.agreement,
            "ci_share": self.decider.share,
            "layers": list(self.layers),
            "n_layers": self.n_layers,
            "p_value": self.p_value,
            "rise": self.rise,
            "rise_se": self.rise_se,
            "rise_detectable": self.rise_detectable,
            "depth": self.depth,
            "width": self.width,
            "change_ratio": self.change_ratio if math.isfinite(self.change_ratio or 0.0) else None,
            "detectors": [_row(d) for d in self.detections],
            "commitment": list(self.commitment),
            "lens": {"name": self.lens_name, "transition": self.lens_transition} if self.lens_name else None,
            "n_questions": self.n_questions,
            "confidence": self.confidence,
            "n_boot": self.n_boot,
            "n_perm": self.n_perm,
            "seed": self.seed,
        }

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per detector: name, curve, layer, ci_low, ci_high, share, method.

        ``method`` is True for the detector that decides. Layers are nullable integers.
        """
        rows = pd.DataFrame([{**_row(d), "method": d.name == self.method} for d in self.detections])
        return rows.astype(dict.fromkeys(["layer", "ci_low", "ci_high"], "Int64"))


def _row(detection: Detection) -> dict[str, Any]:
    low, high = detection.ci or (None, None)
    return {
        "detector": detection.name,
        "curve": detection.curve,
        "layer": detection.layer,
        "ci_low": low,
        "ci_high": high,
        "share": detection.share,
    }


def spell_layers(layers: tuple[int, ...]) -> str:
    """Return ascending layers with runs written first..last.

    Example:
        >>> spell_layers((0, 1, 2, 5, 8, 9))
        '0..2,5,8..9'
    """
    breaks = [i for i, (a, b) in enumerate(pairwise(layers), start=1) if b != a + 1]
    runs = [layers[i:j] for i, j in pairwise([0, *breaks, len(layers)])] if layers else []
    return ",".join(f"{r[0]}..{r[-1]}" if len(r) > 1 else f"{r[0]}" for r in runs) or "none"
