"""What directions of the decision do to the margin, layer by layer, beside random ones of the same length."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.readout import Phases
from decision_phases.stats import Interval, PairedDifference, bootstrap_ci, paired_difference

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Steering:
    """Margins of the evaluation questions, steered towards their right option at one layer.

    Attributes:
        margin: With the direction of the right option.
        control: With random directions of the same length.
        intact: Without.
        layers: Where it was added.
        strengths: How often.
        phases: Of the search questions.
        model: Name of the model.
        questions: Name of the questions.
        n_search: Questions that directions and phases were found on.
        left_out: Evaluation questions whose right option has no direction.
        n_layers: Layers of the intact model.
        under: The intervention that was steered under.
        seed: Of everything random.

    Raises:
        InputError: If shapes do not agree.
    """

    margin: Float[np.ndarray, "layer strength question"] = field(repr=False)
    control: Float[np.ndarray, "draw layer strength question"] = field(repr=False)
    intact: Float[np.ndarray, " question"] = field(repr=False)
    layers: tuple[int, ...]
    strengths: tuple[float, ...]
    phases: Phases
    model: str
    questions: str
    n_search: int
    left_out: int
    n_layers: int
    under: Intervention
    seed: int

    def __post_init__(self) -> None:
        shape = (len(self.layers), len(self.strengths), len(self.intact))
        if self.margin.shape != shape or self.control.shape[1:] != shape:
            msg = f"margins {self.margin.shape} and controls {self.control.shape} do not go with {shape}"
            raise InputError(msg)

    def interval(self) -> Interval:
        """Mean margin with its interval over questions, by layer and strength."""
        return bootstrap_ci(np.moveaxis(self.margin, 2, 0), seed=self.seed)

    def effect(self, layer: int, strength: float) -> PairedDifference:
        """The direction against random ones, on the same questions.

        Args:
            layer: Where it was added.
            strength: How often.

        Returns:
            Margin with the direction minus the mean margin with random ones.

        Raises:
            InputError: If that was not run.
        """
        if layer not in self.layers or strength not in self.strengths:
            msg = f"layers {self.layers} and strengths {self.strengths} were run, not {layer} and {strength}"
            raise InputError(msg)
        at = (self.layers.index(layer), self.strengths.index(strength))
        return paired_difference(self.margin[at], self.control[:, at[0], at[1]].mean(axis=0), seed=self.seed)

    def phase_of(self, layer: int) -> str:
        """Whether a layer is before the transition.

        Args:
            layer: Where it was added.

        Returns:
            "before" or "after" (the transition layer included); "" without a transition.
        """
        transition = self.phases.transition
        return "" if transition is None else "before" if layer < transition else "after"

    def slopes(self) -> Float[np.ndarray, "layer question"]:
        """How much margin a unit of strength gives beyond a random direction, by least squares through strength 0.

        Returns:
            One slope for each layer and question.
        """
        beyond = self.margin - self.control.mean(axis=0)
        strengths = np.array(self.strengths)
        return np.asarray(np.einsum("lsq,s->lq", beyond, strengths) / float(strengths @ strengths))

    def compare_phases(self) -> PairedDifference | None:
        """Slopes after the transition minus slopes before it, on the same questions; None without layers on both sides.

        Returns:
            The difference of the mean slopes.
        """
        after, before = (
            [i for i, layer in enumerate(self.layers) if self.phase_of(layer) == side]
            for side in ("after", "before")
        )
        if not after or not before:
            return None
        slopes = self.slopes()
        return paired_difference(slopes[after].mean(axis=0), slopes[before].mean(axis=0), seed=self.seed)

    def to_pandas(self) -> pd.DataFrame:
        """One row for each layer and strength.

        Returns:
            Columns layer, phase, strength, margin, low, high, control (mean over random directions), difference,
            difference_low, difference_high, p_value.
        """
        interval = self.interval()
        rows: list[dict[str, Any]] = []
        for i, layer in enumerate(self.layers):
            for j, strength in enumerate(self.strengths):
                found = asdict(self.effect(layer, strength))
                rows.append(
                    {
                        "layer": layer,
                        "phase": self.phase_of(layer),
                        "strength": strength,
                        "margin": float(interval.estimate[i, j]),
                        "low": float(interval.low[i, j]),
                        "high": float(interval.high[i, j]),
                        "control": float(self.control[:, i, j].mean()),
                        "difference": found["difference"],
                        "difference_low": found["low"],
                        "difference_high": found["high"],
                        "p_value": found["p_value"],
                    }
                )
        return pd.DataFrame(rows)

    def plot(self) -> Figure:
        """Draw the margin by layer at every strength, beside the random directions.

        Returns:
            A matplotlib figure.
        """
        from decision_phases.plots import steering_by_layer

        return steering_by_layer(
            self.layers,
            self.strengths,
            self.margin.mean(axis=2),
            self.control.mean(axis=(0, 3)),
            intact=float(self.intact.mean()),
            n_layers=self.n_layers,
            transition=self.phases.transition,
        )

    def __str__(self) -> str:
        """What steering does before and after the transition."""
        where = f", under {self.under}" if self.under else ""
        head = (
            f"Steering of {self.model} on {len(self.intact)} questions of {self.questions}{where}, {len(self.layers)} "
            f"layers, strengths {', '.join(f'{s:g}' for s in self.strengths)}: intact margin {self.intact.mean():+.3f}"
        )
        found = self.compare_phases()
        if found is None:
            return f"{head}; no comparison of phases ({self.phases.outcome})"
        return (
            f"{head}; a unit of strength gives {found.difference:+.3f} more margin after the transition (layer "
            f"{self.phases.transition}) than before it [{found.low:+.3f}, {found.high:+.3f}]"
        )

    __repr__ = __str__
