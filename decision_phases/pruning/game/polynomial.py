"""Surrogates that are polynomials in the mask: what units add, and what pairs of units add."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

_MOST_CELLS = 8_000_000
"""Cells of a design that are held at a time when predicting: 64 MB."""


@dataclass(frozen=True, eq=False)
class Polynomial:
    """f(m) = a + Σ w_i m_i, and with pairs + Σ_{i<j} w_ij m_i m_j.

    Attributes:
        coefficients: a, then all w_i, then all w_ij by row; columns are games.
        n_units: Number of units.
        pairs: Whether there are pairs.
    """

    coefficients: Float[np.ndarray, "term column"]
    n_units: int
    pairs: bool

    def __call__(self, masks: Bool[np.ndarray, "mask unit"]) -> Float[np.ndarray, "mask column"]:
        """The value of every mask."""
        step = max(1, _MOST_CELLS // len(self.coefficients))
        parts = [masks[start : start + step] for start in range(0, len(masks), step)]
        return np.concatenate([_design(part, pairs=self.pairs) @ self.coefficients for part in parts])

    def interactions(self, *, seed: int = 0) -> Float[np.ndarray, "unit unit column"] | None:
        """What units *i* and *j* add together, beyond what each adds: w_ij.

        Args:
            seed: Not used: nothing is drawn.

        Returns:
            Symmetric in the units, 0 on the diagonal; None for a line, which knows of no pairs.
        """
        return self._together() if self.pairs else None

    def values(
        self, chances: Float[np.ndarray, " others"], *, seed: int = 0
    ) -> Float[np.ndarray, "unit column"]:
        """The value of every unit, in closed form.

        Joining *s* others, a unit meets each of them with probability s / (n − 1); so its value is
        w_i + E[s] / (n − 1) · Σ_j w_ij, and E[s] = (n − 1) / 2 for Shapley and Banzhaf.

        Args:
            chances: Of `size_chances`.
            seed: Not used: nothing is drawn.

        Returns:
            The value of every unit in every game.

        Source: Grabisch and Roubens, An axiomatic approach to the concept of interaction (1999), for 2-additive games.
        """
        n = self.n_units
        share = float(chances @ np.arange(n)) / (n - 1)
        return np.asarray(self.coefficients[1 : 1 + n] + share * self._together().sum(axis=1))

    def _together(self) -> Float[np.ndarray, "unit unit column"]:
        n = self.n_units
        matrix = np.zeros((n, n, self.coefficients.shape[1]))
        if self.pairs:
            first, second = _pairs(n)
            matrix[first, second] = matrix[second, first] = self.coefficients[1 + n :]
        return matrix


def n_terms(n_units: int, *, pairs: bool) -> int:
    """Return the number of coefficients.

    Args:
        n_units: Number of units.
        pairs: Whether there are pairs.

    Returns:
        1 + n, and with pairs n (n − 1) / 2 more.

    Example:
        >>> n_terms(30, pairs=False), n_terms(30, pairs=True)
        (31, 466)
    """
    return 1 + n_units + (n_units * (n_units - 1) // 2 if pairs else 0)


def fit_polynomial(
    masks: Bool[np.ndarray, "mask unit"],
    values: Float[np.ndarray, "mask column"],
    weights: Float[np.ndarray, "mask column"] | None = None,
    *,
    pairs: bool,
) -> Polynomial:
    """Fit a polynomial by least squares.

    Where masks do not determine all coefficients, the smallest solution is taken.

    Args:
        masks: Masks.
        values: Their values; columns are games.
        weights: Weight of each mask in each game; equal by default.
        pairs: Whether to fit pairs.

    Returns:
        The polynomial.

    Source: Hammer and Holzman, Approximations of pseudo-Boolean functions (1992): on all masks alike, the linear one's
        coefficients are the Banzhaf values.

    Example:
        >>> from decision_phases.pruning.game.masks import all_masks
        >>> product = all_masks(2).all(axis=1)[:, None].astype(float)
        >>> np.allclose(fit_polynomial(all_masks(2), product, pairs=True).coefficients[:, 0], [0, 0, 0, 1])
        True
    """
    design = _design(masks, pairs=pairs)
    if weights is None:
        found = np.linalg.lstsq(design, values, rcond=None)[0]
    else:
        found = np.empty((design.shape[1], values.shape[1]))
        for column in range(values.shape[1]):
            used = weights[:, column] > 0
            scale = np.sqrt(weights[used, column])
            target = values[used, column] * scale
            found[:, column] = np.linalg.lstsq(design[used] * scale[:, None], target, rcond=None)[0]
    return Polynomial(found, masks.shape[1], pairs)


def _pairs(n_units: int) -> tuple[Int[np.ndarray, " pair"], Int[np.ndarray, " pair"]]:
    first, second = np.triu_indices(n_units, 1)
    return first, second


def _design(masks: Bool[np.ndarray, "mask unit"], *, pairs: bool) -> Float[np.ndarray, "mask term"]:
    blocks = [np.ones((len(masks), 1), dtype=bool), masks]
    if pairs:
        first, second = _pairs(masks.shape[1])
        blocks.append(masks[:, first] & masks[:, second])
    return np.concatenate(blocks, axis=1).astype(np.float64)
