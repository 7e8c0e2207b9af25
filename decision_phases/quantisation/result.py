"""Quantised weights: an intervention that knows what it costs in precision and saves in bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from decision_phases.interventions import Intervention
from decision_phases.quantisation.scheme import Scheme

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: From this share of weights on the grid on, rounding them says nothing about rounding weights of full precision.
ARTEFACT = 0.5


@dataclass(frozen=True, eq=False)
class Quantisation:
    """What rounding the matrices of a model's blocks does to them.

    Attributes:
        scheme: How they were rounded.
        layers: The layer of each matrix, or stack of matrices.
        names: The name of each, as in `weights` edits.
        parts: "attention", "mlp" or "" of each.
        sizes: Number of weights in each.
        nonzero: Number of weights other than 0.
        on_grid: Number of these that lay on the grid before.
        lost_zeros: Number of zeros that are none any more.
        squared_error: Σ (w − ŵ)².
        squared: Σ w².
        n_bytes: Bytes of each, quantised.
        whole: Bytes of the model under the intervention with these matrices quantised; the rest in its own format.
        before: The same without quantisation.
        intact: Bytes of the intact model.
        n_layers: Layers of the intact model.
        under: What else is done to the model.
        model: Name of the model.
        weights: What its weights are, in words.
        dtype: Their number format.
    """

    scheme: Scheme
    layers: tuple[int, ...] = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    parts: tuple[str, ...] = field(repr=False)
    sizes: Int[np.ndarray, " matrix"] = field(repr=False)
    nonzero: Int[np.ndarray, " matrix"] = field(repr=False)
    on_grid: Int[np.ndarray, " matrix"] = field(repr=False)
    lost_zeros: Int[np.ndarray, " matrix"] = field(repr=False)
    squared_error: Float[np.ndarray, " matrix"] = field(repr=False)
    squared: Float[np.ndarray, " matrix"] = field(repr=False)
    n_bytes: Int[np.ndarray, " matrix"] = field(repr=False)
    whole: int
    before: int
    intact: int
    n_layers: int
    under: Intervention
    model: str
    weights: str
    dtype: str = "float32"

    @property
    def relative_error(self) -> float:
        """‖w − ŵ‖ / ‖w‖ over all quantised weights."""
        return float(np.sqrt(self.squared_error.sum() / self.squared.sum()))

    @property
    def bits(self) -> float:
        """Bits a quantised weight, scales included."""
        return float(8 * self.n_bytes.sum() / self.sizes.sum())

    @property
    def share_on_grid(self) -> float:
        """Share of the weights other than 0 that lay on the grid before, and so cost nothing.

        NaN in half precision, which moves a weight further off its grid than chance would leave it near one.
        """
        if self.dtype in ("bfloat16", "float16"):
            return float("nan")
        return float(self.on_grid.sum() / max(self.nonzero.sum(), 1))

    @property
    def is_artefact(self) -> bool:
        """Whether most weights lay on the grid, so that they must have been quantised on it before."""
        return self.share_on_grid > ARTEFACT

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know."""
        found = []
        share = f"{self.share_on_grid:.1%} of the {int(self.nonzero.sum())} weights other than 0"
        if self.is_artefact:
            found.append(
                f"{share} lay exactly on the grid of {self.scheme} before: they were quantised on it "
                f"({self.weights}). That rounding them again costs little is an artefact, and says nothing about "
                "weights of full precision."
            )
        elif np.isnan(self.share_on_grid):
            found.append(
                f"Whether the weights ({self.weights}) lay on the grid of {self.scheme} before cannot be told in "
                f"{self.dtype}; load the model in float32 to see."
            )
        elif "quantised" in self.weights:
            found.append(
                f"The weights were quantised before ({self.weights}); {share} lay on the grid of {self.scheme}. What "
                "rounding costs here need not hold for weights of full precision."
            )
        if self.lost_zeros.sum():
            found.append(
                f"{int(self.lost_zeros.sum())} weights that were 0 are no longer: the grid of {self.scheme} does not "
                "pass through 0. A symmetric scheme keeps them."
            )
        return tuple(found)

    def to_pandas(self) -> pd.DataFrame:
        """One row a matrix.

        Returns:
            Columns layer, part, matrix, weights, bytes, relative_error, on_grid (a share).
        """
        return pd.DataFrame(
            {
                "layer": self.layers,
                "part": self.parts,
                "matrix": self.names,
                "weights": self.sizes,
                "bytes": self.n_bytes,
                "relative_error": np.sqrt(self.squared_error / np.where(self.squared > 0, self.squared, 1.0)),
                "on_grid": np.nan
                if np.isnan(self.share_on_grid)
                else self.on_grid / np.maximum(self.nonzero, 1),
            }
        )

    def plot(self) -> Figure:
        """Draw the relative error of every layer.

        Returns:
            A matplotlib figure.
        """
        from decision_phases.plots import rounding_by_layer

        errors, squares = (
            np.bincount(self.layers, weights=values, minlength=self.n_layers)
            for values in (self.squared_error, self.squared)
        )
        shares = np.full(self.n_layers, np.nan)
        np.divide(errors, squares, out=shares, where=squares > 0)
        return rounding_by_layer(np.sqrt(shares), title=f"What {self.scheme} rounds away, {self.model}")

    def __str__(self) -> str:
        """How large the model would be, how far weights moved, and what a reader must know."""
        where = f" under {self.under}" if self.under else ""
        lines = [
            f"{self.scheme} of {self.model}{where}: {int(self.sizes.sum())} weights of blocks in {self.bits:.2f} bits "
            f"each, relative error {self.relative_error:.3g}; {_size(self.whole)} instead of {_size(self.before)} "
            f"(intact {_size(self.intact)})"
        ]
        return "\n".join([*lines, *self.notes])


@dataclass(frozen=True, repr=False, eq=False)
class Quantised(Intervention):
    """Rounded weights in place of the model's own, as an intervention: `cut + quantised` is the quantised model.

    Equal to another intervention if the edits are; `report` says what it costs, and is lost in a sum.

    Attributes:
        edits: One edit a layer.
        report: What rounding does, and the bytes that it saves.
    """

    report: Quantisation | None = field(default=None, compare=False)

    def __eq__(self, other: object) -> bool:
        return self.edits == other.edits if isinstance(other, Intervention) else NotImplemented

    __hash__ = Intervention.__hash__

    def __repr__(self) -> str:
        return f"<Quantised: {self.report or self}>"


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes >= 1e5 else f"{n_bytes / 1e3:.1f} kB"
