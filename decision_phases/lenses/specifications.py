"""What every specification found, and what they say together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Int

from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.readout.phases import Detection

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHOICES = ("lens", "detector", "normalisation")


@dataclass(frozen=True)
class Specification:
    """One combination of choices and what it finds.

    Attributes:
        lens: Name of the lens.
        detector: Name of the detector.
        normalisation: What it looks at.
        detection: What it finds, whether or not there is evidence of a transition.
        informed: Whether the final decision is told from shuffled labels.
        risen: Whether this curve rises by more than two standard errors.
    """

    lens: str
    detector: str
    normalisation: str
    detection: Detection
    informed: bool
    risen: bool

    @property
    def found(self) -> bool:
        """Whether it finds a transition: evidence and a layer."""
        return self.informed and self.risen and self.detection.layer is not None

    @property
    def layer(self) -> int | None:
        """The transition, None if it finds none."""
        return self.detection.layer if self.found else None

    @property
    def outcome(self) -> str:
        """What it finds, in words."""
        if self.found:
            return "transition"
        return "not located" if self.informed and self.risen else "no transition"


@dataclass(frozen=True, eq=False)
class SpecificationCurve:
    """The transition under every specification.

    The specifications share model and questions and are no independent samples: how many agree says how much the
    finding depends on choices, not how probable it is.

    Attributes:
        specifications: All of them.
        model: Name of the model.
        questions: Name of the questions.
        n_questions: Number of questions.
        scoring: How options were scored.
        under: The intervention that the model ran under.
        n_layers: Layers of the intact model.
        confidence: Nominal coverage of the intervals.
        seed: Of everything random.

    Raises:
        InputError: If there is none.
    """

    specifications: tuple[Specification, ...] = field(repr=False)
    model: str
    questions: str
    n_questions: int
    scoring: str
    under: Intervention
    n_layers: int
    confidence: float
    seed: int

    def __post_init__(self) -> None:
        if not self.specifications:
            msg = "a specification curve needs at least one specification"
            raise InputError(msg)

    def __len__(self) -> int:
        return len(self.specifications)

    def __iter__(self) -> Iterator[Specification]:
        return iter(self.specifications)

    @property
    def layers(self) -> Int[np.ndarray, " found"]:
        """The transitions of the specifications that find one, ascending."""
        return np.sort(np.array([s.layer for s in self if s.layer is not None], dtype=np.int64))

    @property
    def share_found(self) -> float:
        """Share of the specifications that find a transition."""
        return len(self.layers) / len(self)

    @property
    def range(self) -> tuple[int, int] | None:
        """The earliest and the latest transition, None if no specification finds one."""
        found = self.layers
        return (int(found[0]), int(found[-1])) if len(found) else None

    @property
    def median(self) -> int | None:
        """The middle transition (the earlier of two), None if no specification finds one."""
        found = self.layers
        return int(np.quantile(found, 0.5, method="inverted_cdf")) if len(found) else None

    @property
    def middle_half(self) -> tuple[int, int] | None:
        """The quartiles of the transitions, None if no specification finds one."""
        if not len(self.layers):
            return None
        low, high = np.quantile(self.layers, [0.25, 0.75], method="inverted_cdf")
        return int(low), int(high)

    def by_choice(self) -> pd.DataFrame:
        """What depends on each choice.

        Returns:
            One row for every value of lens, detector and normalisation: choice, value, specifications, found (share),
            earliest, median, latest.
        """
        table = self.to_pandas()
        rows = []
        for choice in CHOICES:
            for value, own in table.groupby(choice, sort=False):
                layers = own.loc[own["found"], "layer"].to_numpy(dtype=np.int64)
                rows.append(
                    {
                        "choice": choice,
                        "value": value,
                        "specifications": len(own),
                        "found": float(own["found"].mean()),
                        "earliest": int(layers.min()) if len(layers) else None,
                        "median": int(np.quantile(layers, 0.5, method="inverted_cdf"))
                        if len(layers)
                        else None,
                        "latest": int(layers.max()) if len(layers) else None,
                    }
                )
        return pd.DataFrame(rows).astype(dict.fromkeys(["earliest", "median", "latest"], "Int64"))

    def to_pandas(self) -> pd.DataFrame:
        """One row a specification.

        Returns:
            Columns lens, detector, normalisation, outcome, found, layer, ci_low, ci_high (of the resamples in which the
            detector finds a layer), share (of these resamples), located (what the detector finds without evidence).
        """
        rows = []
        for s in self:
            low, high = (s.detection.ci or (None, None)) if s.found else (None, None)
            rows.append(
                {
                    "lens": s.lens,
                    "detector": s.detector,
                    "normalisation": s.normalisation,
                    "outcome": s.outcome,
                    "found": s.found,
                    "layer": s.layer,
                    "ci_low": low,
                    "ci_high": high,
                    "share": s.detection.share,
                    "located": s.detection.layer,
                }
            )
        return pd.DataFrame(rows).astype(dict.fromkeys(["layer", "ci_low", "ci_high", "located"], "Int64"))

    def plot(self) -> Figure:
        """Draw the estimates in order, with their intervals, above a grid of the choices that led to each.

        Returns:
            A matplotlib figure.
        """
        from decision_phases.plots import specification_panels

        table = self.to_pandas().sort_values("layer", kind="stable", na_position="last")
        numbers = {
            name: table[name].astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
            for name in ("layer", "ci_low", "ci_high")
        }
        return specification_panels(
            numbers["layer"],
            np.stack([numbers["ci_low"], numbers["ci_high"]], axis=1),
            {choice: table[choice].tolist() for choice in CHOICES},
            n_layers=self.n_layers,
            title=f"Transition of {self.model} on {self.questions}, {len(self)} specifications",
        )

    def __str__(self) -> str:
        """How many find a transition, and how far apart."""
        where = f", under {self.under}" if self.under else ""
        head = (
            f"{len(self)} specifications of the transition of {self.model} on {self.n_questions} questions "
            f"({self.questions}, {self.scoring}){where}: {self.share_found:.0%} find one"
        )
        if self.range is None or self.middle_half is None:
            return f"{head}."
        low, high = self.middle_half
        return (
            f"{head}, between layers {self.range[0]} and {self.range[1]} of {self.n_layers}; median {self.median}, "
            f"middle half {low} to {high}."
        )

    __repr__ = __str__
