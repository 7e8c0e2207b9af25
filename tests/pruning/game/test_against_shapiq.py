"""The same games through shapiq: other people's code, written for the same definitions."""

import numpy as np
import pytest
import shapiq

from decision_phases.pruning.game import Setup, all_masks, estimate
from decision_phases.pruning.game.polynomial import fit_polynomial

N = 8
BUDGET, SEEDS = 120, range(12)


class Drawn:
    """Values that grow with the number of kept units, as a model's do, with noise for every mask."""

    def __init__(self, n_units=N, seed=5):
        rng = np.random.default_rng(seed)
        masks = all_masks(n_units)
        strength = rng.normal(0.3, 0.3, n_units)
        self.values = np.tanh(masks @ strength) + rng.normal(0, 0.1, len(masks))
        self.places = 1 << np.arange(n_units)
        self.baseline = self.values[0]

    def __call__(self, masks):
        return self.values[np.atleast_2d(masks).astype(bool) @ self.places]

    def normalised(self, masks):
        """As shapiq wants it: no unit is worth nothing."""
        return self(masks) - self.baseline


@pytest.fixture(scope="module")
def game():
    return Drawn()


@pytest.fixture(scope="module")
def computed(game):
    return shapiq.ExactComputer(game=game.normalised, n_players=N)


def singles(found):
    return np.array([found[(i,)] for i in range(N)])


def pairs(found):
    matrix = np.zeros((N, N))
    for i in range(N):
        for j in range(i):
            matrix[i, j] = matrix[j, i] = found[(j, i)]
    return matrix


@pytest.mark.parametrize(("index", "theirs"), [("shapley", "SV"), ("banzhaf", "BV")])
def test_values_by_enumeration(index, theirs, game, computed):
    mine = estimate(game, N, Setup(method="exact", index=index)).values
    np.testing.assert_allclose(mine, singles(computed(theirs, order=1)), atol=1e-10)


def test_interactions_by_enumeration(game, computed):
    mine = estimate(game, N, Setup(method="exact")).interactions
    np.testing.assert_allclose(mine, pairs(computed("BII", order=2)), atol=1e-10)


def test_the_best_polynomial_of_pairs_is_the_faithful_banzhaf_index(game, computed):
    found = computed("FBII", order=2)
    fitted = fit_polynomial(all_masks(N), game.normalised(all_masks(N))[:, None], pairs=True)
    np.testing.assert_allclose(fitted.coefficients[1 : 1 + N, 0], singles(found), atol=1e-8)
    np.testing.assert_allclose(fitted.interactions()[:, :, 0], pairs(found), atol=1e-8)


def test_kernel_shap_with_all_masks(game):
    theirs = shapiq.KernelSHAP(n=N, random_state=0).approximate(2**N, game.normalised)
    mine = estimate(game, N, Setup(method="kernel", n_masks=2**N)).values
    np.testing.assert_allclose(mine, singles(theirs), atol=1e-6)


@pytest.mark.parametrize(
    ("method", "theirs"), [("permutation", shapiq.PermutationSamplingSV), ("kernel", shapiq.KernelSHAP)]
)
def test_estimates_are_as_near_with_as_many_masks(method, theirs, game):
    """Means over seeds, at one budget of asked masks; half as much error again would be a worse estimator."""
    exact = estimate(game, N, Setup(method="exact")).values

    def error(values):
        return float(np.sqrt(((values - exact) ** 2).mean()))

    mine = [
        error(estimate(game, N, Setup(method=method, n_masks=BUDGET, n_boot=2, seed=seed)).values)
        for seed in SEEDS
    ]
    other = [
        error(singles(theirs(n=N, random_state=seed).approximate(BUDGET, game.normalised))) for seed in SEEDS
    ]
    assert np.mean(mine) < 1.5 * np.mean(other)
    assert np.mean(mine) < 0.5 * exact.std()
