"""`causal_transition`: from which layer on the answer follows a residual that is taken from another prompt."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy.special import softmax

from decision_phases.circuits.answers import AnswerObserver
from decision_phases.circuits.cells import Cell, cells_of, sources_of
from decision_phases.circuits.paired import Pairs
from decision_phases.circuits.recovery import N_BOOT, TAILS
from decision_phases.engine import Store, evaluate
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess, as_model
from decision_phases.readout.phases import Phases, locate
from decision_phases.readout.phases.detectors import zero_crossing
from decision_phases.readout.read import read
from decision_phases.stats import Interval, bootstrap_ci, resample_weights
from decision_phases.tasks import EncodedQuestions

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class CausalTransition:
    """What becomes of the answer when the residual at the answer is another prompt's, layer by layer.

    Each prompt of a pair is run with the residual of the other. Before the layer where the decision reaches the answer
    position the answer stays the prompt's own, after it the answer is the other's: of an informed decision there is
    always such a layer, and what is found is where. The lens transition says from which layer on the decision can be
    read off; this one, from which layer on the answer position carries it, readable or not.

    Attributes:
        margin: p(the other prompt's answer) − p(the prompt's own) among the options of both, mean of the two
            directions; NaN in removed layers.
        follows: Share of the two directions in which the other prompt's answer is ahead of all others.
        stays: The same of the prompt's own answer.
        lens: The phases that the logit lens sees on the same prompts, unpatched.
        lens_margin: The Decision Margin of that lens, mean of the two prompts of a pair.
        pairs: The pairs.
        under: The intervention that all runs are under.
        model: Name of the model.
        seed: Of intervals.
    """

    margin: Float[np.ndarray, "pair layer"] = field(repr=False)
    follows: Float[np.ndarray, "pair layer"] = field(repr=False)
    stays: Float[np.ndarray, "pair layer"] = field(repr=False)
    lens: Phases
    lens_margin: Float[np.ndarray, "pair layer"] = field(repr=False)
    pairs: Pairs
    under: Intervention
    model: str
    seed: int = 0

    @property
    def n_layers(self) -> int:
        """Layers of the intact model."""
        return int(self.margin.shape[1])

    @property
    def survivors(self) -> tuple[int, ...]:
        """Layers that were not removed, ascending."""
        return tuple(k for k in range(self.n_layers) if k not in self.under.removed_blocks)

    @cached_property
    def transition(self) -> int | None:
        """First layer from which the mean margin stays above zero, or None."""
        layers = np.array(self.survivors)
        found = float(zero_crossing(self.margin[:, layers].mean(axis=0), layers))
        return None if np.isnan(found) else int(found)

    @cached_property
    def _resampled(self) -> Float[np.ndarray, " boot"]:
        layers = np.array(self.survivors)
        weights = resample_weights(len(self.margin), N_BOOT, seed=self.seed)
        return zero_crossing(weights @ self.margin[:, layers], layers)

    @cached_property
    def ci(self) -> tuple[int, int] | None:
        """Interval of the transition over resampled pairs, of those that have one; None if none has."""
        found = self._resampled[~np.isnan(self._resampled)]
        if not len(found):
            return None
        low, high = np.quantile(found, TAILS, method="inverted_cdf")
        return int(low), int(high)

    @property
    def share(self) -> float:
        """Share of resamples that have a transition."""
        return float((~np.isnan(self._resampled)).mean())

    @property
    def lead(self) -> int | None:
        """Layers by which the lens sees the decision later than the answer follows it; None if either has none."""
        if self.transition is None or self.lens.transition is None:
            return None
        return self.lens.transition - self.transition

    def to_pandas(self) -> pd.DataFrame:
        """One row a surviving layer.

        Returns:
            Columns layer, margin, low, high (interchange margin), follows, stays, lens_margin, lens_low, lens_high;
            means over pairs.
        """
        layers = list(self.survivors)
        own, lens = (bootstrap_ci(v, seed=self.seed) for v in (self.margin, self.lens_margin))
        return pd.DataFrame(
            {
                "layer": layers,
                "margin": own.estimate[layers],
                "low": own.low[layers],
                "high": own.high[layers],
                "follows": self.follows[:, layers].mean(axis=0),
                "stays": self.stays[:, layers].mean(axis=0),
                "lens_margin": lens.estimate[layers],
                "lens_low": lens.low[layers],
                "lens_high": lens.high[layers],
            }
        )

    def plot(self) -> Figure:
        """Draw the margin under interchange and that of the lens by layer, each with its transition.

        Returns:
            A matplotlib figure, which Jupyter shows by itself.
        """
        from decision_phases.plots import LinePanel, line_panels

        lines: dict[str, Interval] = {
            "interchange": bootstrap_ci(self.margin, seed=self.seed),
            "logit lens": bootstrap_ci(self.lens_margin, seed=self.seed),
        }
        marks = {"interchange": self.transition, "logit lens": self.lens.transition}
        return line_panels(
            [LinePanel("mean margin", lines, 0.0, "dotted: transition", marks)],
            n_layers=self.n_layers,
            edited=self.under.removed_blocks,
            title=f"Where the answer follows the residual: {len(self.pairs)} {self.pairs.kind} pairs",
        )

    def __str__(self) -> str:
        """The two transitions."""
        where = f", under {self.under}" if self.under else ""
        low, high = self.ci or ("undefined", "undefined")
        of = "" if self.share == 1 else f", of the {self.share:.0%} of resamples that have one"
        own = f"the answer follows the residual from layer {self.transition} on (95% interval {low} to {high}{of})"
        if self.transition is None:
            own = "the answer does not come to follow the residual"
        seen = f"the logit lens sees the decision from layer {self.lens.transition} on"
        if self.lens.ci is not None:
            seen += f" (95% interval {self.lens.ci[0]} to {self.lens.ci[1]})"
        if self.lens.transition is None:
            seen = f"the logit lens finds no transition ({self.lens.outcome})"
        return f"Interchange on {len(self.pairs)} {self.pairs.kind} pairs, {self.model}{where}: {own}; {seen}"

    __repr__ = __str__


def causal_transition(
    model: object,
    pairs: Pairs,
    *,
    under: Intervention | None = None,
    seed: int = 0,
    store: Store = None,
    progress: bool = False,
) -> CausalTransition:
    """Interchange the residual at the answer between the prompts of each pair, at every layer.

    Args:
        model: What `load` gives or takes.
        pairs: What `pairs` gave.
        under: An intervention that all runs are under; none by default.
        seed: Of intervals.
        store: A store or its folder, where results are kept and found again.
        progress: Show a bar.

    Returns:
        From which layer on the answer follows, beside the transition that the logit lens sees.

    Raises:
        InputError: Before anything runs, if pairs are not testable or the intervention does not fit.

    Source: interchange interventions, Geiger et al., arXiv 2106.02997.

    Example:
        >>> from decision_phases.circuits.pairing import pairs
        >>> found = causal_transition("tiny-llama", pairs("tiny-llama", "facts", least=2))
        >>> bool((found.follows[:, -1] == 1).all())  # what leaves the last block at the answer is the answer
        True
    """
    access, variant = as_model(model), under or Intervention()
    clean, corrupted = pairs.enough(access)
    cells = cells_of(access, variant, ["resid_post"], None, ["answer"])
    first = _interchanged(access, corrupted, clean, pairs, variant, cells, store=store, progress=progress)
    second = _interchanged(access, clean, corrupted, pairs, variant, cells, store=store, progress=progress)
    # The first logit is the clean prompt's answer, the second the corrupted one's.
    margins, other, own = [], [], []
    for logits, source in ((first, 0), (second, 1)):
        p = softmax(np.where(np.isnan(logits), -np.inf, logits), axis=2)
        margins.append(p[..., source] - p[..., 1 - source])
        other.append(_ahead(logits, source))
        own.append(_ahead(logits, 1 - source))
    layers = [cell.layer for cell in cells]

    def over_layers(values: list[np.ndarray]) -> Float[np.ndarray, "pair layer"]:
        table = np.full((len(pairs), access.n_layers), np.nan)
        table[:, layers] = np.mean(values, axis=0)
        return table

    scores, gold, lens_margin = _lens(access, (clean, corrupted), variant, store=store)
    return CausalTransition(
        margin=over_layers(margins),
        follows=over_layers(other),
        stays=over_layers(own),
        lens=locate(scores, gold, seed=seed),
        lens_margin=lens_margin,
        pairs=pairs,
        under=variant,
        model=access.name,
        seed=seed,
    )


def _interchanged(
    model: ModelAccess,
    base: EncodedQuestions,
    source: EncodedQuestions,
    pairs: Pairs,
    under: Intervention,
    cells: tuple[Cell, ...],
    *,
    store: Store,
    progress: bool,
) -> Float[np.ndarray, "pair cell token"]:
    """Logits of the pairs' tokens in the base prompts, with the residual of the source at each place."""
    taken = sources_of(model, source, under, cells)
    variants = [under + taken.patch(cell) for cell in cells]
    looks = [AnswerObserver(pairs.tokens)]
    runs = evaluate(model, base, variants, looks, store=store, progress=progress)
    return np.stack([run["answers"] for run in runs], axis=1)


def _ahead(logits: Float[np.ndarray, "pair cell token"], column: int) -> Bool[np.ndarray, "pair cell"]:
    return np.asarray(logits[..., column] > np.nanmax(np.delete(logits, column, axis=2), axis=2))


def _lens(
    model: ModelAccess, sides: tuple[EncodedQuestions, EncodedQuestions], under: Intervention, *, store: Store
) -> tuple[Float[np.ndarray, "question layer option"], np.ndarray, Float[np.ndarray, "pair layer"]]:
    """Option scores of both sides at every layer, right options, and the mean margin of each pair."""
    found = [read(model, side, under=under, store=store) for side in sides]
    width = max(decisions.scores.shape[2] for decisions in found)
    scores = [
        np.pad(d.scores, ((0, 0), (0, 0), (0, width - d.scores.shape[2])), constant_values=np.nan)
        for d in found
    ]
    margin = np.mean([decisions.margin for decisions in found], axis=0)
    return np.concatenate(scores), np.concatenate([d.gold for d in found]), margin
