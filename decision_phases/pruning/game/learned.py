"""Surrogates of scikit-learn: a line with a penalty, and boosted trees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from decision_phases.errors import MissingPackageError
from decision_phases.pruning.game.of_function import ByAsking
from decision_phases.pruning.game.polynomial import Polynomial

PENALTIES = 10.0 ** np.arange(-3.0, 4.0)
"""Penalties of ridge regression, of which the best is taken."""
_TREES: dict[str, Any] = {"n_estimators": 300, "learning_rate": 0.1, "max_depth": 3, "subsample": 0.7}


def sklearn_package() -> None:
    """Make sure that scikit-learn is there.

    Raises:
        MissingPackageError: If it is not installed.
    """
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        msg = (
            "the surrogates ridge and trees need the package scikit-learn; install it with: "
            "pip install 'decision-phases[surrogates]'"
        )
        raise MissingPackageError(msg) from error


def fit_ridge(
    masks: Bool[np.ndarray, "mask unit"],
    values: Float[np.ndarray, "mask column"],
    weights: Float[np.ndarray, "mask column"] | None = None,
    seed: int = 0,
) -> Polynomial:
    """Fit a line a column with the penalty that does best when each mask is left out.

    Args:
        masks: Masks.
        values: Their values; columns are games.
        weights: Weight of each mask in each game; equal by default.
        seed: Not used: nothing is drawn.

    Returns:
        The lines.

    Source: Hoerl and Kennard, Ridge regression (1970); generalised cross-validation of scikit-learn's `RidgeCV`.

    Example:
        >>> from decision_phases.pruning.game.masks import all_masks
        >>> masks = all_masks(4)
        >>> fitted = fit_ridge(masks, masks @ np.array([[1.0], [2.0], [3.0], [4.0]]))
        >>> fitted.coefficients[1:, 0].round(2).tolist()
        [1.0, 2.0, 3.0, 4.0]
    """
    del seed  # every surrogate is given one
    from sklearn.linear_model import RidgeCV

    found = np.empty((1 + masks.shape[1], values.shape[1]))
    for column in range(values.shape[1]):
        rows, own = _used(weights, column, len(masks))
        fitted = RidgeCV(alphas=PENALTIES).fit(masks[rows], values[rows, column], sample_weight=own)
        found[:, column] = [fitted.intercept_, *fitted.coef_]
    return Polynomial(found, masks.shape[1], pairs=False)


@dataclass(frozen=True, eq=False)
class Trees(ByAsking):
    """Boosted regression trees, one ensemble a game.

    Attributes:
        ensembles: What scikit-learn fitted.
    """

    ensembles: tuple[Any, ...]

    @property
    def n_units(self) -> int:
        """Number of units."""
        return int(self.ensembles[0].n_features_in_)

    def __call__(self, masks: Bool[np.ndarray, "mask unit"]) -> Float[np.ndarray, "mask column"]:
        """The value of every mask."""
        return np.stack([ensemble.predict(masks) for ensemble in self.ensembles], axis=1)


def fit_trees(
    masks: Bool[np.ndarray, "mask unit"],
    values: Float[np.ndarray, "mask column"],
    weights: Float[np.ndarray, "mask column"] | None = None,
    seed: int = 0,
) -> Trees:
    """Fit gradient-boosted regression trees, each on a random share of the masks.

    Args:
        masks: Masks.
        values: Their values; columns are games.
        weights: Weight of each mask in each game; equal by default.
        seed: Of the shares.

    Returns:
        The trees: the same for the same seed.

    Source: Friedman, Greedy function approximation (2001); Stochastic gradient boosting (2002).

    Example:
        >>> from decision_phases.pruning.game.masks import all_masks
        >>> masks = all_masks(5)
        >>> both = masks[:, :2].all(axis=1)[:, None].astype(float)
        >>> bool(abs(fit_trees(masks, both)(masks) - both).max() < 0.1)
        True
    """
    from sklearn.ensemble import GradientBoostingRegressor

    ensembles = []
    for column in range(values.shape[1]):
        rows, own = _used(weights, column, len(masks))
        ensemble = GradientBoostingRegressor(**_TREES, random_state=seed)
        ensembles.append(ensemble.fit(masks[rows], values[rows, column], sample_weight=own))
    return Trees(tuple(ensembles))


def _used(
    weights: Float[np.ndarray, "mask column"] | None, column: int, n_masks: int
) -> tuple[Any, Float[np.ndarray, " used"] | None]:
    """Masks that count in a game, and their weights."""
    if weights is None:
        return np.arange(n_masks), None
    rows = np.flatnonzero(weights[:, column] > 0)
    return rows, weights[rows, column]
