"""`sparsity_of`: how many weights of a model are zero, matrix by matrix."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from decision_phases.engine.lower import check_variant, replaced_weights
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import as_model
from decision_phases.models.matrices import weight_matrices
from decision_phases.models.parts import PARTS
from decision_phases.plots import sparsity_by_layer


@dataclass(frozen=True, eq=False)
class Sparsity:
    """Zeros among the weights of the matrices of all blocks that are there.

    Attributes:
        layers: The layer of each matrix.
        names: The name of each, as in `weights` edits.
        parts: "attention", "mlp" or "" of each.
        zeros: Number of zeros in each.
        sizes: Number of weights in each.
        n_layers: Number of layers of the intact model.
        under: The intervention that they were counted under.
        model: Name of the model.
    """

    layers: tuple[int, ...]
    names: tuple[str, ...]
    parts: tuple[str, ...]
    zeros: Int[np.ndarray, " matrix"] = field(repr=False)
    sizes: Int[np.ndarray, " matrix"] = field(repr=False)
    n_layers: int
    under: Intervention
    model: str

    @property
    def overall(self) -> float:
        """Share of zeros among the weights of all matrices."""
        return float(self.zeros.sum() / self.sizes.sum())

    @property
    def by_layer(self) -> Float[np.ndarray, " layer"]:
        """Share of zeros in each layer; NaN where it is removed."""
        zeros, sizes = (
            np.bincount(self.layers, weights=counts, minlength=self.n_layers)
            for counts in (self.zeros, self.sizes)
        )
        shares: Float[np.ndarray, " layer"] = np.full(self.n_layers, np.nan)
        np.divide(zeros, sizes, out=shares, where=sizes > 0)
        return shares

    def __float__(self) -> float:
        """The share over all matrices."""
        return self.overall

    def __str__(self) -> str:
        """The share, and what it is a share of."""
        where = f" under {self.under}" if self.under else ""
        low, high = np.nanmin(self.by_layer), np.nanmax(self.by_layer)
        return (
            f"Sparsity of {self.model}{where}: {self.overall:.2%} of {int(self.sizes.sum())} weights in "
            f"{len(self.names)} matrices of blocks are zero, {low:.2%} to {high:.2%} by layer"
        )

    def to_pandas(self) -> pd.DataFrame:
        """One row a matrix.

        Returns:
            Columns layer, part, matrix, weights, zeros, sparsity.
        """
        return pd.DataFrame(
            {
                "layer": self.layers,
                "part": self.parts,
                "matrix": self.names,
                "weights": self.sizes,
                "zeros": self.zeros,
                "sparsity": self.zeros / self.sizes,
            }
        )

    def plot(self) -> Figure:
        """Draw the share of zeros by layer.

        Returns:
            The figure.
        """
        return sparsity_by_layer(
            self.by_layer, title=f"Weights set to zero: {self.overall:.1%} of {self.model}'s blocks"
        )


def sparsity_of(model: object, under: Intervention | None = None) -> Sparsity:
    """Count the zeros among the weights of a model's blocks.

    Args:
        model: What `load` gives or takes.
        under: An intervention, such as `sparsify` gives; none by default. Matrices of removed blocks, attentions and
            MLPs are not counted.

    Returns:
        The counts: `.overall`, `.by_layer`, `.to_pandas()`, `.plot()`.

    Raises:
        InputError: If the intervention does not fit the model, or leaves no matrix.

    Example:
        >>> from decision_phases.pruning.sparsity import sparsify
        >>> print(sparsity_of("tiny-llama", sparsify("tiny-llama", "magnitude:2:4", layers=[0, 1, 2])))
        Sparsity of tiny-llama under magnitude:2:4 {0..2}: 25.00% of 46080 weights in 42 matrices of blocks ...
    """
    access, variant = as_model(model), under or Intervention()
    check_variant(access, variant)
    rows = []
    for layer in range(access.n_layers):
        if layer in variant.removed_blocks:
            continue
        without = {part for part in PARTS if layer in variant.removed(part)}
        with replaced_weights(access, variant.at(layer)):
            rows += [
                (layer, m.name, m.part, int((m.parameter == 0).sum()), m.parameter.numel())
                for m in weight_matrices(access, layer)
                if m.part not in without
            ]
    if not rows:
        msg = f"{access.name} under {variant} has no weight matrix left to count zeros in"
        raise InputError(msg)
    layers, names, parts, zeros, sizes = zip(*rows, strict=True)
    return Sparsity(
        layers, names, parts, np.array(zeros), np.array(sizes), access.n_layers, variant, access.name
    )
