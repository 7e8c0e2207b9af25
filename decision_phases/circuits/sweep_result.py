"""What patches at every place of a model bring back of a margin."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy import stats

from decision_phases.circuits.cells import HEADS, Cell
from decision_phases.circuits.paired import Pairs
from decision_phases.circuits.recovery import recovery
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.stats import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DIRECTIONS = {
    "denoise": "activations of the clean run are put into the corrupted one: what is enough to restore the answer?",
    "noise": "activations of the corrupted run are put into the clean one: what does the answer depend on?",
}


@dataclass(frozen=True, eq=False)
class PatchSweep:
    """The margin of every pair with one place patched, place by place.

    Recovery is (patched − corrupted) / (clean − corrupted), means over pairs of the logit of the clean answer minus
    that of the corrupted one: 1 is the clean run, 0 the corrupted one, in either direction.

    Attributes:
        cells: The places.
        margin: With each of them patched; of first order, what gradients foretell.
        clean: Of the clean run.
        corrupted: Of the corrupted run.
        answered: Whether the clean answer is ahead of all others; None of first order.
        direction: A name in `DIRECTIONS`.
        pairs: The pairs.
        under: The intervention that both runs are under.
        model: Name of the model.
        n_layers: Its layers.
        seed: Of intervals.
    """

    cells: tuple[Cell, ...] = field(repr=False)
    margin: Float[np.ndarray, "pair cell"] = field(repr=False)
    clean: Float[np.ndarray, " pair"] = field(repr=False)
    corrupted: Float[np.ndarray, " pair"] = field(repr=False)
    answered: Bool[np.ndarray, "pair cell"] | None = field(repr=False)
    direction: str
    pairs: Pairs
    under: Intervention
    model: str
    n_layers: int
    seed: int = 0

    @property
    def method(self) -> str:
        """Whether places were run, "exact", or foretold by gradients, "first order"."""
        return "first order" if self.answered is None else "exact"

    @cached_property
    def interval(self) -> Interval:
        """Recovery at every place with its bootstrap interval over pairs, in the order of `cells`."""
        return recovery(self.margin - self.corrupted[:, None], self.clean - self.corrupted, seed=self.seed)

    @property
    def recovery(self) -> Float[np.ndarray, " cell"]:
        """Recovery at every place, in the order of `cells`."""
        return self.interval.estimate

    def of(self, site: str, position: str = "answer") -> Interval:
        """Recovery at one site and position, by layer.

        Args:
            site: The site.
            position: The symbolic position.

        Returns:
            Estimate and ends, `[layer]`, for heads `[layer, head]`; NaN where nothing was patched.

        Raises:
            InputError: If nothing was patched there.
        """
        chosen = [i for i, cell in enumerate(self.cells) if (cell.site, cell.position) == (site, position)]
        if not chosen:
            known = sorted({f"{cell.site} at {cell.position}" for cell in self.cells})
            msg = f"nothing was patched at {site} at {position}; there are {', '.join(known)}"
            raise InputError(msg)
        heads = 1 + max(self.cells[i].head for i in chosen)
        shape = (self.n_layers, heads) if site == HEADS else (self.n_layers,)
        places = [
            (cell.layer, cell.head) if site == HEADS else (cell.layer,)
            for cell in (self.cells[i] for i in chosen)
        ]

        def spread(values: Float[np.ndarray, " cell"]) -> Float[np.ndarray, "layer ..."]:
            table = np.full(shape, np.nan)
            table[tuple(np.array(places).T)] = values[chosen]
            return table

        found = self.interval
        return Interval(
            spread(found.estimate), spread(found.low), spread(found.high), found.confidence, found.method
        )

    def agreement(self, other: PatchSweep) -> pd.DataFrame:
        """Correlate with another sweep over the same places, such as an exact one with one of first order.

        Args:
            other: The other.

        Returns:
            One row a site and position, and one of all: columns site, position, places, pearson, spearman (NaN with
            fewer than three places, or if one sweep is constant), largest_difference of recovery.

        Raises:
            InputError: If the two have no place in common, or are of different pairs, directions or interventions.
        """
        mine, theirs = (dict(zip(s.cells, s.recovery, strict=True)) for s in (self, other))
        shared = [cell for cell in self.cells if cell in theirs]
        mine_is, theirs_is = ((s.direction, s.under, s.pairs.tokens) for s in (self, other))
        if not shared or mine_is != theirs_is:
            msg = "the two sweeps have no place in common, or are of different pairs, directions or interventions"
            raise InputError(msg)
        groups = {(cell.site, cell.position): [c for c in shared if (c.site, c.position) == (cell.site, cell.position)]
                  for cell in shared}  # fmt: skip
        rows = []
        for (site, position), cells in [*groups.items(), (("all", "all"), shared)]:
            a, b = (np.array([table[cell] for cell in cells]) for table in (mine, theirs))
            usable = len(a) > 2 and np.ptp(a) > 0 and np.ptp(b) > 0
            rows.append(
                {
                    "site": site,
                    "position": position,
                    "places": len(a),
                    "pearson": float(stats.pearsonr(a, b).statistic) if usable else np.nan,
                    "spearman": float(stats.spearmanr(a, b).statistic) if usable else np.nan,
                    "largest_difference": float(np.abs(a - b).max()),
                }
            )
        return pd.DataFrame(rows)

    def to_pandas(self) -> pd.DataFrame:
        """One row a place.

        Returns:
            Columns site, layer, head (−1 where there is none), position, recovery, low, high, answered (share of pairs
            with the clean answer ahead of all others; NaN of first order).
        """
        found = self.interval
        return pd.DataFrame(
            {
                "site": [cell.site for cell in self.cells],
                "layer": [cell.layer for cell in self.cells],
                "head": [cell.head for cell in self.cells],
                "position": [cell.position for cell in self.cells],
                "recovery": found.estimate,
                "low": found.low,
                "high": found.high,
                "answered": np.nan if self.answered is None else self.answered.mean(axis=0),
            }
        )

    def plot(self) -> Figure:
        """Draw recovery by layer, one panel a site with one line a position, and a map of the heads.

        Returns:
            A matplotlib figure, which Jupyter shows by itself.
        """
        from decision_phases.plots import LinePanel, line_panels

        places = dict.fromkeys((cell.site, cell.position) for cell in self.cells)
        panels = []
        for site in dict.fromkeys(site for site, _ in places if site != HEADS):
            lines = {position: self.of(site, position) for own, position in places if own == site}
            panels.append(LinePanel("recovery", lines, title=site))
        heads = self.of(HEADS).estimate if (HEADS, "answer") in places else None
        return line_panels(
            panels, n_layers=self.n_layers, heads=heads, edited=self.under.removed_blocks, title=str(self)
        )

    def __str__(self) -> str:
        """What was patched, and where most is brought back."""
        best = np.argsort(-np.nan_to_num(self.recovery, nan=-np.inf), kind="stable")[:3]
        told = ", ".join(f"{self.recovery[i]:.2f} at {self.cells[i]}" for i in best)
        where = f", under {self.under}" if self.under else ""
        return (
            f"{self.direction} sweep of {self.model} over {len(self.cells)} places and {len(self.pairs)} "
            f"{self.pairs.kind} pairs ({self.method}){where}: recovery {told}"
        )

    __repr__ = __str__
