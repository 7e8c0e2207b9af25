"""What is known of the drift of generation: deviations by prompt and step, and the texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from decision_phases.engine import Generation
from decision_phases.errors import InputError, unknown_name
from decision_phases.hierarchy.repetition import shared_prefix
from decision_phases.hierarchy.steps import MEASURES
from decision_phases.interventions import Intervention
from decision_phases.stats import Interval, PairedDifference, bootstrap_ci, paired_difference

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What is compared with what.
MODES: Mapping[str, str] = MappingProxyType(
    {
        "teacher_forced": "both models read the text that the intact one wrote",
        "free": "each model reads the text that it wrote itself",
        "changed_text": "both models read the text that the changed one wrote",
        "paths": "the intact model reads its own text, and the text of the changed one",
    }
)
REPEATED = 4  # tokens of the n-grams whose repetition is counted
DISTINCT = (1, 2, 3)
Steps = Float[np.ndarray, "prompt step"]


@dataclass(frozen=True, eq=False)
class TextQuality:
    """What can be said of texts without knowing what was asked; each text as far as its end.

    Attributes:
        repetition: Share of the 4-grams of each text that occurred before in it.
        distinct: Share of the n-grams of each text that are different, for n = 1, 2, 3.
        log_perplexity: Nats a token of each text under the intact model.
        tokens: Number of tokens of each text.
    """

    repetition: Float[np.ndarray, " prompt"]
    distinct: Float[np.ndarray, "prompt 3"]
    log_perplexity: Float[np.ndarray, " prompt"]
    tokens: Int[np.ndarray, " prompt"]


@dataclass(frozen=True, eq=False)
class GenerationDrift:
    """How far a changed model is from the intact one while text is written, over prompts and steps.

    Step 0 is the first token written: there both models read the same prompt in every mode.

    Attributes:
        deviations: Mode → measure → one value for each prompt and step; see `MODES` and `steps.MEASURES`.
        intact: What the intact model wrote.
        changed: What the changed model wrote; None if it did not write.
        quality: "intact" and, if it wrote, "changed" → repetition, distinctness and perplexity of the texts.
        under: The intervention.
        notes: What a reader must know.
        seed: Of sampling and of the bootstrap over prompts.
    """

    deviations: Mapping[str, Mapping[str, Steps]] = field(repr=False)
    intact: Generation = field(repr=False)
    changed: Generation | None = field(repr=False)
    quality: Mapping[str, TextQuality] = field(repr=False)
    under: Intervention
    notes: tuple[str, ...]
    seed: int

    @property
    def steps(self) -> int:
        """Tokens written."""
        return self.intact.steps

    @property
    def modes(self) -> tuple[str, ...]:
        """What was compared."""
        return tuple(self.deviations)

    @property
    def shared_prefix(self) -> Int[np.ndarray, " prompt"]:
        """Tokens that both models wrote alike before the first that differs; the number of steps if none does.

        Raises:
            InputError: If the changed model did not write.
        """
        return shared_prefix(self.intact.tokens, self._free().tokens)

    @property
    def first_difference(self) -> Float[np.ndarray, " prompt"]:
        """The step of the first token that differs; NaN where none does."""
        found = self.shared_prefix.astype(np.float64)
        found[found == self.steps] = np.nan
        return found

    def values(self, mode: str, measure: str) -> Steps:
        """One measure in one mode, for every prompt and step.

        Args:
            mode: One of `modes`.
            measure: One of `steps.MEASURES`.

        Returns:
            The values.

        Raises:
            InputError: If the mode was not compared, or there is no such measure.
        """
        if mode not in self.deviations:
            raise unknown_name("mode of this comparison", mode, self.deviations)
        if measure not in MEASURES:
            raise unknown_name("measure", measure, MEASURES)
        return self.deviations[mode][measure]

    def interval(self, mode: str, measure: str) -> Interval:
        """The mean over prompts at every step, with its bootstrap interval; ends are NaN for a single prompt.

        Args:
            mode: One of `modes`.
            measure: One of `steps.MEASURES`.

        Returns:
            Estimates and ends, one a step.
        """
        return mean_interval(self.values(mode, measure), self.seed)

    def growth(self, mode: str, measure: str) -> PairedDifference:
        """Whether the deviation grows: its mean over the last quarter of the steps minus that over the first quarter.

        Args:
            mode: One of `modes`.
            measure: One of `steps.MEASURES`.

        Returns:
            The difference, paired by prompt.

        Raises:
            InputError: With fewer than two steps or two prompts.
        """
        first, last = self.quarters(mode, measure)
        return paired_difference(last, first, seed=self.seed)

    def quarters(
        self, mode: str, measure: str
    ) -> tuple[Float[np.ndarray, " prompt"], Float[np.ndarray, " prompt"]]:
        """What `growth` compares: the deviation of each prompt, at first and at last.

        Args:
            mode: One of `modes`.
            measure: One of `steps.MEASURES`.

        Returns:
            Means over the first and over the last quarter of the steps.

        Raises:
            InputError: With fewer than two steps.
        """
        values = self.values(mode, measure)
        if self.steps < 2:
            msg = "there is one step only; growth needs at least two"
            raise InputError(msg)
        quarter = max(1, self.steps // 4)
        return values[:, :quarter].mean(axis=1), values[:, -quarter:].mean(axis=1)

    def to_pandas(self) -> pd.DataFrame:
        """One row for each mode, measure and step.

        Returns:
            Columns mode, measure, step, value, low, high.
        """
        tables = []
        for mode in self.modes:
            for measure in MEASURES:
                found = self.interval(mode, measure)
                columns = {"value": found.estimate, "low": found.low, "high": found.high}
                table = pd.DataFrame({"mode": mode, "measure": measure, "step": range(self.steps), **columns})
                tables.append(table)
        return pd.concat(tables, ignore_index=True)

    def texts_to_pandas(self) -> pd.DataFrame:
        """What can be said of the texts themselves, as means over prompts with bootstrap intervals.

        Perplexity is under the intact model, every text counting equally; repetition is low or high with it, as a text
        that goes round in circles is easy to predict.

        Returns:
            Columns run ("intact", "changed"), what, value, low, high.
        """
        rows = []
        for run, quality in self.quality.items():
            found = {
                "repetition": mean_interval(quality.repetition, self.seed),
                **{f"distinct-{n}": mean_interval(quality.distinct[:, n - 1], self.seed) for n in DISTINCT},
            }
            if run == "changed":
                found["shared prefix"] = mean_interval(self.shared_prefix.astype(np.float64), self.seed)
            for what, one in found.items():
                rows.append((run, what, float(one.estimate), float(one.low), float(one.high)))
            log = mean_interval(quality.log_perplexity, self.seed)
            rows.append((run, "perplexity", *np.exp([log.estimate, log.low, log.high]).tolist()))
        return pd.DataFrame(rows, columns=["run", "what", "value", "low", "high"])

    def plot(self) -> Figure:
        """Draw the deviation in h, z and p and the KL divergence against steps, one line a mode.

        Returns:
            A matplotlib figure, which Jupyter shows by itself.
        """
        from decision_phases.plots import drift_by_step

        panels = {
            MEASURES[measure]: {mode: self.interval(mode, measure) for mode in self.modes}
            for measure in ("h", "z", "p", "kl_dense_from_pruned")
        }
        return drift_by_step(panels)

    def _free(self) -> Generation:
        if self.changed is None:
            msg = f"the changed model did not write (modes: {', '.join(self.modes)}); ask for mode='free'"
            raise InputError(msg)
        return self.changed

    def __str__(self) -> str:
        """What drifts how far."""
        how = "greedy" if self.intact.temperature is None else f"temperature {self.intact.temperature:g}"
        lines = [
            f"Drift of {self.intact.model} under {self.under}: {self.steps} steps after {len(self.intact.prompts)} "
            f"prompts ({self.intact.prompts.name}, {how})"
        ]
        for mode, found in self.deviations.items():
            first, last = (
                ", ".join(
                    f"{name} {found[name][:, at].mean():.3g}"
                    for name in ("h", "z", "p", "kl_dense_from_pruned")
                )
                for at in (0, -1)
            )
            lines.append(f"  {mode}: {first} at the first step; {last} at the last")
        if self.changed is not None:
            same = int((self.shared_prefix == self.steps).sum())
            lines.append(
                f"  the texts share {self.shared_prefix.mean():.1f} tokens; {same} of {len(self.intact.prompts)} are "
                "the same throughout"
            )
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])

    __repr__ = __str__


def mean_interval(values: Float[np.ndarray, "prompt ..."], seed: int) -> Interval:
    """The mean over prompts with its bootstrap interval; ends are NaN for a single prompt.

    Args:
        values: One row a prompt.
        seed: Of the resamples.

    Returns:
        Estimates and ends.
    """
    if len(values) > 1:
        return bootstrap_ci(values, seed=seed)
    mean = values.mean(axis=0)
    unknown = np.full(mean.shape, np.nan)
    return Interval(mean, unknown, unknown, 0.95, "none")
