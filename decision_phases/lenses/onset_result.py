"""At which depths a decision can be read in its several forms."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from decision_phases.errors import unknown_name
from decision_phases.interventions import Intervention

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STAGES = {
    "content_at_options": "which option, read by a probe at the end of the last option",
    "content": "which option, read by a probe at the answer position",
    "symbol": "which symbol, read by a probe at the answer position",
    "letter": "which symbol, read by the logit lens at the answer position",
}


@dataclass(frozen=True, eq=False)
class Onset:
    """How well one form of the decision can be read at every layer, and from where on it can.

    Attributes:
        stage: Name of the form, in `STAGES`.
        accuracy: Balanced accuracy at each surviving layer.
        low: Lower ends of its interval.
        high: Upper ends.
        control: Mean balanced accuracy with shuffled decisions.
        ceiling: The highest that a layer reached with shuffled decisions.
        layers: The surviving layers.
        layer: The onset: the first of two layers in a row that reach half of the way from the control to the best
            layer; None if the best layer is not clearly above all controls.
        ci: Its interval over resampled answers, of those resamples that have an onset.
        share: Share of the resamples that have one.
    """

    stage: str
    accuracy: Float[np.ndarray, " layer"]
    low: Float[np.ndarray, " layer"]
    high: Float[np.ndarray, " layer"]
    control: Float[np.ndarray, " layer"]
    ceiling: float
    layers: Int[np.ndarray, " layer"]
    layer: int | None
    ci: tuple[int, int] | None
    share: float


@dataclass(frozen=True, eq=False)
class Onsets:
    """The depths at which content, symbol and letter of a decision appear.

    Attributes:
        curves: One a stage, in the order of `STAGES`; empty if the model cannot be tested.
        reason: Why it cannot; "" if it can.
        accuracy: Accuracy in letter scoring, the mean over questions, with its interval.
        chance: Accuracy of guessing.
        model: Name of the model.
        questions: Name of the questions.
        n_questions: Number of questions.
        n_prompts: Prompts put: questions times orders of the symbols times templates.
        dropped: Questions left out because they have another number of options.
        n_layers: Layers of the intact model.
        under: The intervention that the model ran under.
        seed: Of everything random.
    """

    curves: tuple[Onset, ...] = field(repr=False)
    reason: str
    accuracy: tuple[float, float, float]
    chance: float
    model: str
    questions: str
    n_questions: int
    n_prompts: int
    dropped: int
    n_layers: int
    under: Intervention
    seed: int

    @property
    def testable(self) -> bool:
        """Whether the model answers in letters well enough to be asked when it does."""
        return not self.reason

    def __getitem__(self, stage: str) -> Onset:
        """One stage.

        Args:
            stage: Its name.

        Returns:
            Its curve and onset.

        Raises:
            InputError: If there is none of that name.
        """
        for one in self.curves:
            if one.stage == stage:
                return one
        raise unknown_name("stage", stage, [one.stage for one in self.curves])

    @property
    def depths(self) -> dict[str, int | None]:
        """Stage → its onset; empty if the model cannot be tested."""
        return {one.stage: one.layer for one in self.curves}

    def to_pandas(self) -> pd.DataFrame:
        """One row for each stage and surviving layer.

        Returns:
            Columns stage, layer, accuracy, low, high, control, onset.
        """
        columns = ["stage", "layer", "accuracy", "low", "high", "control", "onset"]
        rows = [
            (one.stage, int(layer), *numbers, one.layer)
            for one in self.curves
            for layer, *numbers in zip(one.layers, one.accuracy, one.low, one.high, one.control, strict=True)
        ]
        return pd.DataFrame(rows, columns=columns).astype({"onset": "Int64"})

    def plot(self) -> Figure:
        """Draw how well every form of the decision can be read at each layer.

        Returns:
            A matplotlib figure.
        """
        from decision_phases.plots import onset_panels

        return onset_panels(
            {
                one.stage: (one.layers, one.accuracy, np.stack([one.low, one.high], axis=1))
                for one in self.curves
            },
            {one.stage: one.control for one in self.curves},
            {one.stage: one.layer for one in self.curves},
            n_layers=self.n_layers,
            reason=self.reason,
        )

    def __str__(self) -> str:
        """The depths, or why there are none."""
        estimate, low, high = self.accuracy
        head = (
            f"Onsets of {self.model} on {self.n_questions} questions of {self.questions} ({self.n_prompts} prompts; "
            f"accuracy {estimate:.2f} [{low:.2f}, {high:.2f}], chance {self.chance:.2f})"
        )
        if not self.testable:
            return f"{head}: not testable: {self.reason}"
        told = ", ".join(
            f"{one.stage} {'not found' if one.layer is None else one.layer}"
            + ("" if one.ci is None or one.layer is None else f" [{one.ci[0]}, {one.ci[1]}]")
            for one in self.curves
        )
        return f"{head}: {told}"

    __repr__ = __str__
