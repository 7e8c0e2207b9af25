"""What activations of the intact model bring back of a pruned model's decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from decision_phases.circuits.cells import HEADS, Cell
from decision_phases.circuits.recovery import recovery
from decision_phases.interventions import Intervention
from decision_phases.stats import Interval, bootstrap_ci
from decision_phases.tasks import EncodedQuestions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Which parts of its own layer are behind a place in the stream.
_BEHIND: Mapping[str, tuple[str, ...]] = {
    "resid_pre": ("attention", "mlp"),
    "resid_mid": ("mlp",),
    "resid_post": (),
}


def _ahead(cell: Cell, cut: Intervention) -> bool:
    first = min(edit.layer for edit in cut.edits)
    if cell.layer != first or cell.site == "resid_pre":
        return cell.layer <= first
    takes_mlp_only = first in cut.removed("mlp") and first not in cut.removed("attention")
    return takes_mlp_only and cell.site in ("attn_out", HEADS, "resid_mid")


@dataclass(frozen=True, eq=False)
class Restored:
    """One cut, with one place after the other given the intact model's activations.

    The margin is the logit of the right option minus that of the wrong one which the intact model likes best.

    Attributes:
        cut: The cut.
        cells: The places that it leaves.
        pruned: Margin of the pruned model.
        own: With activations of the same prompt in each place.
        wrong: With activations of a wrong prompt.
        correct: Whether the right option is chosen, by the pruned model and then with each place of the same prompt.
        check: Largest difference from the intact model's margin with its whole residual behind the last removal, which
            should be rounding; None if nothing is left behind it.
    """

    cut: Intervention
    cells: tuple[Cell, ...] = field(repr=False)
    pruned: Float[np.ndarray, " question"] = field(repr=False)
    own: Float[np.ndarray, "question cell"] = field(repr=False)
    wrong: Float[np.ndarray, "question cell"] = field(repr=False)
    correct: Bool[np.ndarray, "question cell_and_pruned"] = field(repr=False)
    check: float | None = None


@dataclass(frozen=True, eq=False)
class Restoration:
    """Which layer and site bring a pruned model's decision back.

    Evidence is what the same prompt's activations bring back beyond a wrong prompt's (`specific`), and beyond what they
    do in random cuts. Of some places it is known beforehand that they bring back nothing, or all (`by_construction`).
    Intervals are of one place each; the best of many places is better than it would be on other questions.

    Attributes:
        given: The cut that was asked about.
        random: Random cuts of the same parts.
        dense: Margin of the intact model.
        dense_correct: Whether it chooses the right option.
        encoded: The questions.
        model: Name of the model.
        n_layers: Its layers.
        seed: Of intervals.
    """

    given: Restored
    random: tuple[Restored, ...]
    dense: Float[np.ndarray, " question"] = field(repr=False)
    dense_correct: Bool[np.ndarray, " question"] = field(repr=False)
    encoded: EncodedQuestions
    model: str
    n_layers: int
    seed: int = 0

    @cached_property
    def cuts(self) -> Mapping[str, Restored]:
        """All cuts by name: "given", "random 0" and so on."""
        return {"given": self.given, **{f"random {i}": found for i, found in enumerate(self.random)}}

    def lost(self, cut: str = "given") -> Interval:
        """What the cut takes of the mean margin, with its interval over questions.

        Args:
            cut: A name in `cuts`.

        Returns:
            Estimate and ends.
        """
        return bootstrap_ci(self.dense - self.cuts[cut].pruned, seed=self.seed)

    def specific(self, cut: str = "given") -> Interval:
        """What the same prompt's activations bring back beyond a wrong prompt's, as a share of what is lost.

        Args:
            cut: A name in `cuts`.

        Returns:
            One share a place; NaN where the cut's loss is not told from none.
        """
        found = self.cuts[cut]
        return self._share(found.own - found.wrong, cut)

    def recovered(self, cut: str = "given", *, wrong: bool = False) -> Interval:
        """What activations bring back, as a share of what is lost: 1 is the intact model, 0 the pruned one.

        Args:
            cut: A name in `cuts`.
            wrong: Of a wrong prompt's activations.

        Returns:
            One share a place; NaN where the cut's loss is not told from none.
        """
        found = self.cuts[cut]
        return self._share((found.wrong if wrong else found.own) - found.pruned[:, None], cut)

    def _share(self, gained: Float[np.ndarray, "question cell"], cut: str) -> Interval:
        shares = recovery(gained, self.dense - self.cuts[cut].pruned, seed=self.seed)
        if not float(self.lost(cut).low) > 0:  # a share of what may be nothing says nothing
            for end in (shares.estimate, shares.low, shares.high):
                end[:] = np.nan
        return shares

    def to_pandas(self) -> pd.DataFrame:
        """One row a cut and place.

        Returns:
            Columns cut, removed, site, layer, head, position, gain (of the margin) with low and high, wrong_gain,
            recovered, specific with specific_low and specific_high, accuracy, by_construction.
        """
        tables = []
        for name, found in self.cuts.items():
            gain = bootstrap_ci(found.own - found.pruned[:, None], seed=self.seed)
            specific = self.specific(name)
            tables.append(
                pd.DataFrame(
                    {
                        "cut": name,
                        "removed": str(found.cut),
                        "site": [cell.site for cell in found.cells],
                        "layer": [cell.layer for cell in found.cells],
                        "head": [cell.head for cell in found.cells],
                        "position": [cell.position for cell in found.cells],
                        "gain": gain.estimate,
                        "low": gain.low,
                        "high": gain.high,
                        "wrong_gain": (found.wrong - found.pruned[:, None]).mean(axis=0),
                        "recovered": self.recovered(name).estimate,
                        "specific": specific.estimate,
                        "specific_low": specific.low,
                        "specific_high": specific.high,
                        "accuracy": found.correct[:, 1:].mean(axis=0),
                        "by_construction": [self.by_construction(cell, name) for cell in found.cells],
                    }
                )
            )
        return pd.concat(tables, ignore_index=True)

    def by_construction(self, cell: Cell, cut: str = "given") -> bool:
        """Whether what a place brings back is known beforehand: nothing, or all.

        Ahead of the first removal the pruned model's activations are the intact model's, so the same prompt changes
        nothing. All comes back where nothing is removed behind the stream that is replaced: at all positions that is
        anywhere behind the last removal, at the answer alone behind the last attention, which would look at other
        positions.

        Args:
            cell: The place.
            cut: A name in `cuts`.

        Returns:
            True if what it brings back is no evidence.
        """
        removed = self.cuts[cut].cut
        if _ahead(cell, removed):
            return True
        if cell.site not in _BEHIND or cell.position not in ("answer", "all"):
            return False
        last = max(edit.layer for edit in removed.edits)
        if last > cell.layer or any(cell.layer in removed.removed(part) for part in _BEHIND[cell.site]):
            return False
        return cell.position == "all" or (
            cell.layer == self.n_layers - 1 and "attention" not in _BEHIND[cell.site]
        )

    def plot(self) -> Figure:
        """Draw what is brought back of the margin by layer, one panel a site, beside wrong prompts and random cuts.

        Returns:
            A matplotlib figure, which Jupyter shows by itself.
        """
        from decision_phases.plots import LinePanel, line_panels

        places = dict.fromkeys((c.site, c.position) for c in self.given.cells if c.site != HEADS)
        panels = []
        for site, position in places:
            lines = {}
            for name, found in self.cuts.items():
                for source, margins in (("own prompt", found.own), ("wrong prompt", found.wrong)):
                    if name == "given" or source == "own prompt":
                        label = source if name == "given" else f"{name} cut"
                        lines[label] = self._by_layer(found, margins, site, position)
            panels.append(LinePanel("gain of the margin", lines, title=f"{site} at {position}"))
        heads = None
        if any(cell.site == HEADS for cell in self.given.cells):
            heads = np.full((self.n_layers, 1 + max(cell.head for cell in self.given.cells)), np.nan)
            gain = (self.given.own - self.given.pruned[:, None]).mean(axis=0)
            for i, cell in enumerate(self.given.cells):
                if cell.site == HEADS:
                    heads[cell.layer, cell.head] = gain[i]
        return line_panels(
            panels,
            n_layers=self.n_layers,
            heads=heads,
            edited=[edit.layer for edit in self.given.cut.edits],
            title=f"The intact model's activations in {self.given.cut}",
        )

    def _by_layer(
        self, found: Restored, margins: Float[np.ndarray, "question cell"], site: str, position: str
    ) -> Interval:
        values = np.full((len(margins), self.n_layers), np.nan)
        for i, cell in enumerate(found.cells):
            if (cell.site, cell.position) == (site, position):
                values[:, cell.layer] = margins[:, i] - found.pruned
        return bootstrap_ci(values, seed=self.seed)

    def __str__(self) -> str:
        """What is lost, and what brings most of it back."""
        lost = self.lost()
        lines = [
            f"Restoring {self.given.cut} in {self.model} on {len(self.dense)} questions "
            f"({self.encoded.questions.name}): margin {self.dense.mean():+.2f} intact, "
            f"{self.given.pruned.mean():+.2f} pruned"
        ]
        if not float(lost.low) > 0:
            lines.append(f"  the loss of {lost.estimate:.2f} is not told from none: nothing to restore")
        else:
            share = self.specific().estimate
            evidence = [i for i, cell in enumerate(self.given.cells) if not self.by_construction(cell)]
            best = sorted(evidence, key=lambda i: -share[i])[:3]
            told = ", ".join(f"{share[i]:.2f} at {self.given.cells[i]}" for i in best)
            told = told or "no place is evidence: what each brings back is known beforehand"
            lines.append(f"  brought back beyond a wrong prompt, as a share of the loss: {told}")
        if self.given.check is not None:
            lines.append(
                f"  whole residuals behind the last removal restore it, by construction, to {self.given.check:.1e}"
            )
        return "\n".join(lines)

    __repr__ = __str__
