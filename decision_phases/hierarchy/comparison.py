"""What `compare_spaces` gives: how far a pruned model is from the dense one, in every space, layer and cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from decision_phases.errors import InputError, unknown_name
from decision_phases.hierarchy.distances import ESTIMATES
from decision_phases.hierarchy.settings import NO_DISTANCE, Column, SpaceSettings, find_column
from decision_phases.interventions import Intervention
from decision_phases.pruning.criteria.data import summed
from decision_phases.stats import Interval, resample_weights

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Kind = Literal["accumulated", "local"]
KINDS = {
    "accumulated": "the pruned model throughout",
    "local": "the dense model with one layer changed, measured at that layer",
    "final": "what the pruned model ends with, whatever was removed",
}
_BOOT = 1000


@dataclass(frozen=True, eq=False)
class SpaceComparison:
    """A pruned model against the dense one; removed layers are NaN where it runs throughout.

    Attributes:
        accumulated: Deviations with the pruned model throughout.
        local: Deviations at each edited layer with only that layer changed, on the dense context; NaN elsewhere.
        final: Deviations of what the pruned model ends with.
        between: Mean distance between different prompts in the dense model: the scale of each space.
        columns: What is measured.
        groups: For every cell, its question, text or window.
        labels: Their names.
        settings: What decides the numbers.
        under: The intervention.
        name: Its name.
        data: Name of the questions or texts.
        resampled: What intervals are over: "question", "text" or "window".
        confidence: Nominal coverage of the intervals.
        provenance: Model, weights, inputs, versions.

    Raises:
        InputError: If shapes do not agree.
    """

    accumulated: Float[np.ndarray, "layer cell column"] = field(repr=False)
    local: Float[np.ndarray, "layer cell column"] = field(repr=False)
    final: Float[np.ndarray, "cell column"] = field(repr=False)
    between: Float[np.ndarray, "layer cell column"] = field(repr=False)
    columns: tuple[Column, ...] = field(repr=False)
    groups: Int[np.ndarray, " cell"] = field(repr=False)
    labels: tuple[str, ...] = field(repr=False)
    settings: SpaceSettings
    under: Intervention
    name: str
    data: str
    resampled: str
    confidence: float
    provenance: Mapping[str, Any] = field(repr=False)

    def __post_init__(self) -> None:
        shape = (self.n_layers, len(self.groups), len(self.columns))
        found = [a.shape for a in (self.accumulated, self.local, self.between)]
        if found != [shape] * 3 or self.final.shape != shape[1:]:
            msg = f"deviations {found} and {self.final.shape} do not go with {shape} [layer, cell, column]"
            raise InputError(msg)

    @property
    def n_layers(self) -> int:
        """Layers of the intact model."""
        return int(self.accumulated.shape[0])

    @cached_property
    def survivors(self) -> tuple[int, ...]:
        """Layers that were not removed, ascending."""
        gone = set(self.under.removed_blocks)
        return tuple(layer for layer in range(self.n_layers) if layer not in gone)

    @cached_property
    def edited(self) -> tuple[int, ...]:
        """Layers that the intervention edits, ascending; those that `local` has."""
        return tuple(sorted({edit.layer for edit in self.under.edits}))

    @property
    def subspaces(self) -> tuple[str, ...]:
        """Sets of tokens that were looked at by themselves."""
        return tuple(dict.fromkeys(column.tokens for column in self.columns if column.tokens != "all"))

    def column(self, space: str, measure: str = "cosine", tokens: str = "all") -> int:
        """Where a column is in the arrays.

        Args:
            space: A name in `SPACES`.
            measure: What is measured there.
            tokens: Among which tokens.

        Returns:
            Its index.

        Raises:
            InputError: If there is none, with the near names.
        """
        return self.columns.index(find_column(self.columns, space, measure, tokens))

    def values(
        self, space: str, measure: str = "cosine", tokens: str = "all", *, kind: str = "accumulated"
    ) -> Float[np.ndarray, "layer cell"]:
        """One column in every cell.

        Args:
            space: A name in `SPACES`.
            measure: What is measured there.
            tokens: Among which tokens.
            kind: A name in `KINDS`.

        Returns:
            The numbers; one layer only for "final".
        """
        return self._of(kind)[..., self.column(space, measure, tokens)]

    def deviation(
        self,
        space: str,
        measure: str = "cosine",
        tokens: str = "all",
        *,
        kind: str = "accumulated",
        relative: bool = False,
    ) -> Interval:
        """The mean over cells, layer by layer, with a bootstrap interval over questions or texts.

        Args:
            space: A name in `SPACES`.
            measure: What is measured there.
            tokens: Among which tokens.
            kind: A name in `KINDS`.
            relative: In units of the mean distance between different prompts, without which spaces cannot be compared.

        Returns:
            Estimate and ends, one a layer.
        """
        place = self.column(space, measure, tokens)
        means = self._means(kind, [place], relative=relative)
        return self._interval(means[..., 0])

    def ratio(
        self,
        above: tuple[str, str, str],
        below: tuple[str, str, str],
        *,
        kind: str = "accumulated",
        relative: bool = True,
    ) -> Interval:
        """One column over another, layer by layer, with a bootstrap interval over questions or texts.

        Args:
            above: Space, measure and tokens of the one.
            below: Those of the other.
            kind: A name in `KINDS`.
            relative: Each in units of its mean distance between different prompts.

        Returns:
            Estimate and ends, one a layer; NaN where nothing moves.
        """
        places = [self.column(*above), self.column(*below)]
        means = self._means(kind, places, relative=relative)
        return self._interval(_over(means[..., 0], means[..., 1]))

    def amplification(
        self,
        start: str = "z_centred",
        end: str = "p",
        measure: str = "cosine",
        *,
        kind: str = "accumulated",
        relative: bool = True,
    ) -> Interval:
        """By how much a deviation grows from one space to the next; above 1 it is amplified.

        Args:
            start: A name in `SPACES`.
            end: Another.
            measure: Measured in both.
            kind: A name in `KINDS`.
            relative: In units of the mean distance between different prompts in each space. Raw cosines of different
                spaces have no common unit, so their ratio says nothing by itself.

        Returns:
            Estimate and ends, one a layer; NaN where nothing moves.
        """
        return self.ratio((end, measure, "all"), (start, measure, "all"), kind=kind, relative=relative)

    def to_pandas(self) -> pd.DataFrame:
        """One row for each kind, layer and column that has a value.

        Returns:
            Columns under, kind, layer, tokens, space, measure, value, low, high, between (mean distance between
            different prompts), relative (value / between), relative_low, relative_high; the last four are missing where
            the measure is no distance.
        """
        tables = []
        for kind in KINDS:
            every = list(range(len(self.columns)))
            raw = self._interval(self._means(kind, every, relative=False))
            scaled = self._interval(self._means(kind, every, relative=True))
            between = self._mean(self._scale(kind, every))[0]
            layers = [self.n_layers - 1] if kind == "final" else list(range(self.n_layers))
            for row, layer in enumerate(layers):
                table = pd.DataFrame(
                    {
                        "under": self.name,
                        "kind": kind,
                        "layer": layer,
                        "tokens": [column.tokens for column in self.columns],
                        "space": [column.space for column in self.columns],
                        "measure": [column.measure for column in self.columns],
                        "value": raw.estimate[row],
                        "low": raw.low[row],
                        "high": raw.high[row],
                        "between": between[row],
                        "relative": scaled.estimate[row],
                        "relative_low": scaled.low[row],
                        "relative_high": scaled.high[row],
                    }
                )
                if np.isfinite(raw.estimate[row]).any():
                    tables.append(table)
        return pd.concat(tables, ignore_index=True)

    def plot(self, *, kind: str = "accumulated") -> Figure:
        """Draw the deviation by layer in h, z and p, raw and relative, and what the softmax does to it.

        Args:
            kind: "accumulated" or "local".

        Returns:
            A matplotlib figure, which Jupyter shows by itself.
        """
        from decision_phases.hierarchy.drawing import draw

        return draw(self, kind=kind)

    def plot_options(self, *, kind: str = "accumulated") -> Figure:
        """Draw the deviation among the options beside that among random tokens of like rank.

        Args:
            kind: "accumulated" or "local".

        Returns:
            A matplotlib figure.

        Raises:
            InputError: If there are no options.
        """
        from decision_phases.hierarchy.drawing import draw_options

        return draw_options(self, kind=kind)

    # -- means and intervals ------------------------------------------------------------------------------------

    def _of(self, kind: str) -> Float[np.ndarray, "layer cell column"]:
        if kind not in KINDS:
            raise unknown_name("kind", kind, KINDS)
        return self.final[None] if kind == "final" else getattr(self, kind)

    @cached_property
    def _scaled_by(self) -> Int[np.ndarray, " column"]:
        """The column whose distance between prompts is the unit of each; −1 where there is none."""
        found = []
        for column in self.columns:
            exact = ESTIMATES.get(column.measure, column.measure)
            alone = column.measure in NO_DISTANCE
            found.append(-1 if alone else self.columns.index(Column(column.tokens, column.space, exact)))
        return np.array(found, dtype=np.int64)

    def _scale(self, kind: str, places: list[int]) -> Float[np.ndarray, "layer cell column"]:
        own = self._scaled_by[places]
        between = self.between[-1:] if kind == "final" else self.between
        return np.where(own >= 0, between[..., own], np.nan)

    def _means(
        self, kind: str, places: list[int], *, relative: bool
    ) -> Float[np.ndarray, "boot layer column"]:
        """The means over cells; first of all groups, then of every resample."""
        means = self._mean(self._of(kind)[..., places])
        return _over(means, self._mean(self._scale(kind, places))) if relative else means

    def _mean(self, values: Float[np.ndarray, "layer cell column"]) -> Float[np.ndarray, "boot layer column"]:
        sums = summed(np.moveaxis(values, 1, 2), self.groups, len(self.labels))  # [layer, column, group]
        means = (
            sums @ self._weights.T / (self._weights @ np.bincount(self.groups, minlength=len(self.labels)))
        )
        return np.moveaxis(means, 2, 0)

    @cached_property
    def _weights(self) -> Float[np.ndarray, "boot group"]:
        n = len(self.labels)
        every = np.full((1, n), 1 / n)
        return np.concatenate([every, resample_weights(n, _BOOT, seed=self.settings.seed)])

    def _interval(self, means: Float[np.ndarray, "boot ..."]) -> Interval:
        estimate, drawn = means[0], means[1:]
        if len(self.labels) < 2:
            low = high = np.full(estimate.shape, np.nan)
        else:
            ends = [(1 - self.confidence) / 2, (1 + self.confidence) / 2]
            low, high = np.quantile(drawn, ends, axis=0)
        return Interval(estimate, low, high, self.confidence, f"percentile bootstrap over {self.resampled}s")

    # -- words --------------------------------------------------------------------------------------------------

    def __str__(self) -> str:
        """Where it ends, in every space, and what the softmax does to it."""
        rows = []
        for space in ("h_normed", "z_centred", "p"):
            raw = self.deviation(space, kind="final").estimate[0]
            scaled = self.deviation(space, kind="final", relative=True)
            interval = "" if np.isnan(scaled.low[0]) else f" [{scaled.low[0]:.2g}, {scaled.high[0]:.2g}]"
            rows.append(
                f"  {space}: 1 − cos = {raw:.3g}, {scaled.estimate[0]:.2g}{interval} of the distance between prompts"
            )
        kl = self.deviation("p", "kl_dense_from_pruned", kind="final").estimate[0]
        grown = self.amplification(kind="final").estimate[0]
        where = "" if "options" in self.subspaces else "; no options"
        return "\n".join(
            [
                f"Spaces of {self.provenance['model']} under {self.name}, on {len(self.labels)} {self.resampled}s of "
                f"{self.data} ({len(self.groups)} cells, T = {self.settings.temperature:g}, norm {self.settings.norm}"
                f"{where}); at the end:",
                *rows,
                f"  KL(dense ‖ pruned) = {kl:.3g} nats; the softmax changes the relative deviation by a factor of "
                f"{grown:.2g}",
            ]
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """A table of what it ends with, for Jupyter."""
        table = self.to_pandas()
        last = table[(table["kind"] == "final") & (table["measure"] == "cosine")]
        shown = last[["tokens", "space", "value", "low", "high", "between", "relative"]]
        return str(shown.to_html(index=False, float_format="{:.3g}".format))


@dataclass(frozen=True, eq=False)
class SpaceComparisons(Mapping[str, SpaceComparison]):
    """Comparisons of several interventions with one dense run, by name.

    Attributes:
        members: The comparisons, in the order asked for.
    """

    members: tuple[SpaceComparison, ...]

    def __getitem__(self, name: str) -> SpaceComparison:
        """One of them; `InputError` with near names if there is none."""
        for comparison in self.members:
            if comparison.name == name:
                return comparison
        raise unknown_name("intervention of these comparisons", name, list(self))

    def __iter__(self) -> Iterator[str]:
        return (comparison.name for comparison in self.members)

    def __len__(self) -> int:
        return len(self.members)

    def __contains__(self, name: object) -> bool:
        return any(comparison.name == name for comparison in self.members)

    def to_pandas(self) -> pd.DataFrame:
        """The tables of all, one after the other."""
        return pd.concat([comparison.to_pandas() for comparison in self.members], ignore_index=True)

    def __str__(self) -> str:
        """One after the other."""
        return "\n".join(str(comparison) for comparison in self.members)

    __repr__ = __str__


def _over(
    above: Float[np.ndarray, "*shape"], below: Float[np.ndarray, "*shape"]
) -> Float[np.ndarray, "*shape"]:
    """A ratio that is NaN where there is nothing below."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(below > 0, above / below, np.nan))
