"""The named surrogates: cheap functions of a mask, fitted to what the model said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

from decision_phases.errors import unknown_name
from decision_phases.pruning.game.learned import fit_ridge, fit_trees, sklearn_package
from decision_phases.pruning.game.network import OURS, PUBLISHED, Training, fit_network
from decision_phases.pruning.game.polynomial import fit_polynomial, n_terms


@runtime_checkable
class Fitted(Protocol):
    """Surrogates of several games, one a column."""

    def __call__(self, masks: Bool[np.ndarray, "mask unit"]) -> Float[np.ndarray, "mask column"]:
        """The value of every mask."""
        ...

    def values(
        self, chances: Float[np.ndarray, " others"], *, seed: int = 0
    ) -> Float[np.ndarray, "unit column"]:
        """The value of every unit."""
        ...

    def interactions(self, *, seed: int = 0) -> Float[np.ndarray, "unit unit column"] | None:
        """What pairs of units add together, beyond what each adds; None for a line, which knows of no pairs."""
        ...


@dataclass(frozen=True)
class Surrogate:
    """A family of functions, and how one is fitted.

    Attributes:
        name: Its name.
        fit: Takes masks, values [mask, column], weights [mask, column] or None, and the seed.
        least: Takes the number of units; gives the least number of different masks to fit on.
        paired: Whether masks come with their complements where the caller does not say. Then interactions of two units
            cannot be taken for values, but half of the masks are lost to whatever fits interactions.
        n_boot: Resamples for an interval where the caller names no number: a network must be trained for each.
        what: A sentence.
        check: Raises what keeps it from being fitted here.
    """

    name: str
    fit: Callable[..., Fitted]
    least: Callable[[int], int]
    paired: bool
    n_boot: int
    what: str
    check: Callable[[], None] = lambda: None


def _polynomial(
    masks: Bool[np.ndarray, "mask unit"],
    values: Float[np.ndarray, "mask column"],
    weights: Float[np.ndarray, "mask column"] | None,
    seed: int,
    *,
    pairs: bool,
) -> Fitted:
    del seed  # nothing is drawn
    return fit_polynomial(masks, values, weights, pairs=pairs)


def _network(
    masks: Bool[np.ndarray, "mask unit"],
    values: Float[np.ndarray, "mask column"],
    weights: Float[np.ndarray, "mask column"] | None,
    seed: int,
    *,
    training: Training,
) -> Fitted:
    return fit_network(masks, values, weights, training=training, seed=seed)


def _as_a_line(n_units: int) -> int:
    return n_terms(n_units, pairs=False)


SURROGATES: Mapping[str, Surrogate] = MappingProxyType(
    {
        s.name: s
        for s in (
            Surrogate(
                "linear",
                partial(_polynomial, pairs=False),
                _as_a_line,
                paired=True,
                n_boot=200,
                what="a + Σ w_i m_i",
            ),
            Surrogate(
                "ridge",
                fit_ridge,
                _as_a_line,
                paired=True,
                n_boot=50,
                what="a + Σ w_i m_i with a penalty on w chosen by cross-validation (scikit-learn)",
                check=sklearn_package,
            ),
            Surrogate(
                "pairwise",
                partial(_polynomial, pairs=True),
                partial(n_terms, pairs=True),
                paired=False,
                n_boot=200,
                what="a + Σ w_i m_i + Σ w_ij m_i m_j",
            ),
            Surrogate(
                "network",
                partial(_network, training=OURS),
                _as_a_line,
                paired=False,
                n_boot=40,
                what="n → 2n → 1 with CELU, trained for few masks",
            ),
            Surrogate(
                "published",
                partial(_network, training=PUBLISHED),
                _as_a_line,
                paired=False,
                n_boot=40,
                what="the same ended by a sigmoid, trained as in the release of arXiv 2602.07804",
            ),
            Surrogate(
                "trees",
                fit_trees,
                _as_a_line,
                paired=False,
                n_boot=20,
                what="gradient-boosted regression trees (scikit-learn)",
                check=sklearn_package,
            ),
        )
    }
)


def find_surrogate(name: str) -> Surrogate:
    """Look a surrogate up.

    Args:
        name: Its name.

    Returns:
        The surrogate.

    Raises:
        InputError: If there is none of that name.
        MissingPackageError: If it needs a package that is not installed.

    Example:
        >>> find_surrogate("pairwise").least(30)
        466
    """
    if name not in SURROGATES:
        raise unknown_name("surrogate", name, SURROGATES)
    SURROGATES[name].check()
    return SURROGATES[name]
