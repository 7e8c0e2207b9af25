"""Surrogates: what they can represent they find, and what they cannot is told."""

import sys

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from decision_phases.errors import InputError, MissingPackageError
from decision_phases.pruning.game import (
    DEFECTS,
    SURROGATES,
    Setup,
    all_masks,
    draw_masks,
    estimate,
    interaction_index,
)
from decision_phases.pruning.game.defects import training_pairs
from decision_phases.pruning.game.indices import published_counts, size_chances
from decision_phases.pruning.game.network import OURS, PUBLISHED, fit_network
from decision_phases.pruning.game.of_function import values_of_function
from decision_phases.pruning.game.polynomial import fit_polynomial
from decision_phases.pruning.game.quality import measure
from decision_phases.pruning.game.surrogates import find_surrogate

N_UNITS = 14
RNG = np.random.default_rng(11)
ALONE = RNG.normal(size=N_UNITS)
TOGETHER = np.triu(RNG.normal(size=(N_UNITS, N_UNITS)), 1)


def pairwise(masks):
    kept = masks.astype(float)
    return 1.5 + kept @ ALONE + np.einsum("mi,ij,mj->m", kept, TOGETHER, kept)


def additive(masks):
    return masks @ ALONE


def surrogate(name, **changes):
    return Setup(**{"method": "surrogate", "surrogate": name, "n_masks": 300, "n_boot": 8, **changes})


@pytest.mark.parametrize("sampler", ["stratified", "uniform", "kernel", "permutation"])
def test_pairwise_surrogate_finds_a_pairwise_game(sampler):
    found = estimate(pairwise, N_UNITS, surrogate("pairwise", sampler=sampler))
    truth = ALONE + (TOGETHER + TOGETHER.T).sum(axis=1) / 2
    np.testing.assert_allclose(found.values, truth, atol=1e-6)
    np.testing.assert_allclose(found.low, truth, atol=1e-6)  # whatever masks count most, the game is the same
    np.testing.assert_allclose(found.interactions, TOGETHER + TOGETHER.T, atol=1e-6)
    assert found.surrogate.r2 == pytest.approx(1)
    assert found.surrogate.rank_correlation == pytest.approx(1)


def test_linear_surrogate_says_that_it_cannot_know_a_pairwise_game():
    linear, pairs = (
        estimate(pairwise, N_UNITS, surrogate(name)).surrogate for name in ("linear", "pairwise")
    )
    assert linear.r2 < 0.9 < pairs.r2
    assert linear.rank_correlation < pairs.rank_correlation


@pytest.mark.parametrize("index", ["shapley", "banzhaf", "published"])
def test_closed_form_and_enumeration_and_orders_agree(index):
    masks = draw_masks(6, 120, kept=[1, 2, 3, 4, 5]).masks
    columns = np.random.default_rng(2).normal(size=(len(masks), 3))
    fitted = fit_polynomial(masks, columns, pairs=True)
    chances = size_chances(index, 6)
    closed = fitted.values(chances)
    np.testing.assert_allclose(values_of_function(fitted, 6, chances), closed, atol=1e-10)
    big = fit_polynomial(
        draw_masks(N_UNITS, 300).masks, pairwise(draw_masks(N_UNITS, 300).masks)[:, None], pairs=True
    )
    chances = size_chances(index, N_UNITS)
    drawn = values_of_function(big, N_UNITS, chances, n_orders=256)
    atol = 1e-8 if index == "shapley" else 0.6  # pairs of orders are exact for Shapley, other weights are not
    np.testing.assert_allclose(drawn, big.values(chances), atol=atol)


def test_linear_fit_on_all_masks_is_the_banzhaf_value():
    game = np.random.default_rng(5).normal(size=2**6)
    linear = fit_polynomial(all_masks(6), game[:, None], pairs=False).coefficients[1:, 0]
    found = estimate(
        lambda masks: game[masks @ (1 << np.arange(6))], 6, Setup(method="exact", index="banzhaf")
    )
    np.testing.assert_allclose(linear, found.values, atol=1e-10)


def test_weights_are_repetitions():
    masks = draw_masks(5, 40, antithetic=False).masks
    values = np.random.default_rng(1).normal(size=(len(masks), 2))
    counts = np.random.default_rng(2).integers(0, 4, size=(len(masks), 2))
    weighted = fit_polynomial(masks, values, counts.astype(float), pairs=False)
    for column in range(2):
        rows = np.repeat(np.arange(len(masks)), counts[:, column])
        alone = fit_polynomial(masks[rows], values[rows][:, [column]], pairs=False)
        np.testing.assert_allclose(weighted.coefficients[:, column], alone.coefficients[:, 0], atol=1e-10)


def test_network_learns_an_additive_game_and_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    found = estimate(additive, N_UNITS, surrogate("network", n_masks=120, n_boot=4))
    assert found.surrogate.r2 > 0.9
    assert found.surrogate.rank_correlation > 0.9
    np.testing.assert_allclose(found.values, ALONE, atol=0.25 * abs(ALONE).max())
    assert abs(found.interactions).max() < 0.3 * abs(ALONE).max()
    assert torch.equal(before, torch.get_rng_state())


def test_ridge_is_least_squares_where_there_is_no_noise_and_shrinks_where_there_is_nothing():
    rng = np.random.default_rng(7)
    masks, new = rng.random((80, N_UNITS)) < 0.6, rng.random((200, N_UNITS)) < 0.6
    found = estimate(additive, N_UNITS, surrogate("ridge"))
    np.testing.assert_allclose(found.values, ALONE, atol=1e-3)
    noise = rng.normal(size=(80, 1))
    flat = find_surrogate("ridge").fit(masks, noise, None, 0)(new)
    assert flat.std() < 0.5 * fit_polynomial(masks, noise, pairs=False)(new).std()


def test_ridge_counts_weights_as_repeats_and_columns_by_themselves():
    rng = np.random.default_rng(3)
    masks, values = rng.random((60, 6)) < 0.5, rng.normal(size=(60, 2))
    counts = rng.integers(0, 4, size=(60, 2))
    ridge = find_surrogate("ridge")
    weighted = ridge.fit(masks, values, counts.astype(float), 0)
    for column in range(2):
        alone = ridge.fit(masks, values[:, [column]], counts[:, [column]].astype(float), 0)
        np.testing.assert_allclose(weighted.coefficients[:, column], alone.coefficients[:, 0])
        own = counts[:, column] == 0
        changed = np.where(own[:, None], 1e6, values[:, [column]])  # what does not count changes nothing
        again = ridge.fit(masks, changed, counts[:, [column]].astype(float), 0)
        np.testing.assert_array_equal(again.coefficients, alone.coefficients)


def test_trees_learn_what_a_line_cannot_and_share_it_out():
    def either(masks):
        return (masks[:, 1] ^ masks[:, 4]).astype(float)

    found = estimate(either, N_UNITS, surrogate("trees", n_masks=400, n_boot=3))
    line = estimate(either, N_UNITS, surrogate("ridge", n_masks=400))
    assert found.surrogate.r2 > 0.9
    assert line.surrogate.r2 < 0.1
    # Each adds 1 to half of what the other can be, and takes 1 from the other half; together they are worth −2 more.
    np.testing.assert_allclose(found.values, 0, atol=0.05)
    together = np.zeros((N_UNITS, N_UNITS))
    together[1, 4] = together[4, 1] = -2
    np.testing.assert_allclose(found.interactions, together, atol=0.3)
    again = estimate(either, N_UNITS, surrogate("trees", n_masks=400, n_boot=3))
    np.testing.assert_array_equal(found.values, again.values)


@pytest.mark.parametrize("name", ["ridge", "trees"])
def test_without_scikit_learn_its_surrogates_say_so_before_anything_is_asked(name, monkeypatch):
    def never(masks):
        raise AssertionError

    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'decision-phases\[surrogates\]'"):
        estimate(never, N_UNITS, surrogate(name))


def test_networks_side_by_side_are_those_trained_alone():
    masks = draw_masks(6, 60, antithetic=False).masks
    values = np.stack([masks.sum(axis=1) * 1.0, masks[:, 0] * 2.0], axis=1)
    together = fit_network(masks, values, seed=3)(masks)
    np.testing.assert_allclose(
        together[:, 0], fit_network(masks, values[:, :1], seed=3)(masks)[:, 0], atol=1e-3
    )
    assert abs(together[:, 1] - values[:, 1]).max() < 0.3


def test_published_network_has_the_published_size_and_cannot_leave_zero_to_one():
    masks = draw_masks(32, 40, sampler="published").masks
    fitted = fit_network(masks, 5 * np.ones((40, 1)), training=PUBLISHED)
    assert sum(p.numel() for p in fitted.parameters) == 2177
    assert ((fitted(masks) > 0.9) & (fitted(masks) <= 1)).all()
    assert (PUBLISHED.rate, PUBLISHED.batch, PUBLISHED.epochs, PUBLISHED.decay_every) == (
        0.008,
        300,
        300,
        100,
    )
    assert not OURS.sigmoid


def test_published_settings_run_and_are_named():
    setup = surrogate(
        "published", sampler="published", index="published", n_masks=60, n_boot=2, defects=tuple(DEFECTS)
    )
    found = estimate(lambda masks: 1 / (1 + np.exp(-additive(masks))), N_UNITS, setup)
    assert found.sampler == "published"
    assert found.surrogate.name == "published"
    assert found.surrogate.n_train + found.surrogate.n_held_out <= 60 - N_UNITS


def test_learning_curve_rises_to_the_surrogate_that_is_used_on_masks_never_fitted():
    noise = np.random.default_rng(4).normal(size=2**N_UNITS)
    fitted_to = []

    def noisy(masks):
        return additive(masks) + 0.5 * noise[masks @ (1 << np.arange(N_UNITS))]

    found = estimate(noisy, N_UNITS, surrogate("linear", n_masks=200)).surrogate
    assert [point.n_masks for point in found.curve] == sorted(point.n_masks for point in found.curve)
    assert len(found.curve) == 4
    assert found.curve[0].r2 < found.r2 < 1
    assert 180 < found.n_train + found.n_held_out <= 200  # a held-out mask may be drawn twice
    assert found.n_held_out == pytest.approx(40, abs=4)
    assert found.to_pandas().columns.tolist() == ["n_masks", "r2", "rank_correlation"]

    draws = draw_masks(N_UNITS, 200)
    for seed in range(5):
        from decision_phases.pruning.game.trained import Trained

        design = Trained(draws, SURROGATES["linear"], size_chances("shapley", N_UNITS), seed=seed)
        fitted_to.append(frozenset(design.train.tolist()))
        seen = {bytes(mask) for mask in draws.masks[design.train]}
        assert not seen & {bytes(mask) for mask in draws.masks[design.held_out]}
        assert not set(draws.group[design.train]) & set(draws.group[design.held_out])
    assert len(set(fitted_to)) == 5


def test_quality_is_scipys_and_by_hand():
    rng = np.random.default_rng(0)
    true, predicted = rng.normal(size=30), rng.normal(size=30)
    point = measure(predicted, true, n_masks=7)
    assert point.rank_correlation == pytest.approx(spearmanr(predicted, true).statistic)
    assert point.r2 == pytest.approx(1 - ((true - predicted) ** 2).mean() / true.var())
    assert measure(true, true, n_masks=7).r2 == 1
    assert measure(np.full(30, true.mean()), true, n_masks=7).r2 == pytest.approx(0)
    assert np.isnan(measure(np.zeros(30), true, n_masks=7).rank_correlation)


@pytest.mark.parametrize("name", ["linear", "pairwise"])
def test_masks_without_a_value_are_left_out_and_counted(name):
    def broken(masks):
        gone = (masks @ (1 << np.arange(N_UNITS))) % 7 == 0
        return np.where(gone & ~masks.all(axis=1) & masks.any(axis=1), np.inf, additive(masks))

    found = estimate(broken, N_UNITS, surrogate(name, n_masks=600))
    np.testing.assert_allclose(found.values, ALONE, atol=1e-8)
    assert 40 < found.surrogate.n_dropped < 140


def test_misaligned_pairs_spoil_what_aligned_ones_find():
    def broken(masks):
        return np.where(masks.sum(axis=1) == 5, np.nan, additive(masks))

    spoilt = estimate(broken, N_UNITS, surrogate("linear", defects=("misaligned",)))
    assert spoilt.surrogate.r2 < 0.5
    assert abs(spoilt.values - ALONE).max() > 0.5
    sound = estimate(broken, N_UNITS, surrogate("linear", defects=("discarded",)))
    np.testing.assert_allclose(sound.values, ALONE, atol=1e-8)


def test_pairs_with_and_without_the_defects():
    finite = np.array([True, True, False, True, False, True])
    for defects, masks, values in [
        ((), [0, 1, 3, 5], [0, 1, 3, 5]),
        (("discarded",), [3, 5], [3, 5]),
        (("misaligned",), [0, 1, 2, 3], [0, 1, 3, 5]),
        (("discarded", "misaligned"), [2, 3], [3, 5]),
    ]:
        rows, targets = training_pairs(finite, 2, defects)
        assert (rows.tolist(), targets.tolist()) == (masks, values)
    with pytest.raises(InputError, match="unknown defect 'shuffled'"):
        training_pairs(finite, 2, ("shuffled",))


@pytest.mark.parametrize(
    ("name", "n_units", "n_masks", "least"),
    [
        ("linear", 30, 30, 31),
        ("pairwise", 30, 400, 466),
        ("network", 20, 20, 21),
        ("published", 20, 20, 21),
        ("ridge", 30, 30, 31),
        ("trees", 20, 20, 21),
    ],
)
def test_too_few_masks_are_refused_with_the_numbers(name, n_units, n_masks, least):
    def count(masks):
        return masks.sum(axis=1).astype(float)

    message = (
        rf"{n_masks} masks are too few for the {name} surrogate of {n_units} units.* at least {least} and 5"
    )
    with pytest.raises(InputError, match=message) as error:
        estimate(count, n_units, surrogate(name, n_masks=n_masks))
    advice = int(str(error.value).split("n_masks=")[1].split()[0])
    assert estimate(count, n_units, surrogate("linear", n_masks=advice)).surrogate.n_train >= least


def test_few_units_need_no_surrogate():
    with pytest.raises(InputError, match="There are 16 masks in all, so use method='exact'"):
        estimate(lambda masks: masks.sum(axis=1) * 1.0, 4, surrogate("linear"))


def test_too_few_numbers_are_refused_when_they_are_seen():
    def broken(masks):
        mixed = masks.any(axis=1) & ~masks.all(axis=1)
        return np.where(mixed, np.nan, 1.0)

    with pytest.raises(InputError, match=r"only 0 of 2[34]\d training masks can be used"):
        estimate(broken, N_UNITS, surrogate("linear"))


def test_interactions_of_a_product_are_its_second_differences():
    def game(masks):
        return 3.0 * (masks[:, 0] & masks[:, 2]) - 1.0 * (masks[:, 1] & masks[:, 2] & masks[:, 3])

    found = interaction_index(game, 4, n_masks=16)
    expected = np.zeros((4, 4))
    expected[0, 2] = expected[2, 0] = 3.0
    for i, j in [(1, 2), (1, 3), (2, 3)]:
        expected[i, j] = expected[j, i] = -0.5  # the third is there half of the time
    np.testing.assert_allclose(found, expected, atol=1e-12)
    exact = estimate(game, 4, Setup(method="exact"))
    np.testing.assert_allclose(exact.interactions, expected, atol=1e-12)
    drawn = interaction_index(game, 4, n_masks=15)
    np.testing.assert_allclose(drawn, expected, atol=0.5)


@pytest.mark.parametrize("name", ["pairwise", "network"])
def test_intervals_of_interactions_resample_what_those_of_values_do(name):
    """A game of pairs with noise: intervals over masks have a width, and mostly hold the truth."""
    rng = np.random.default_rng(11)
    noisy = {}

    def game(masks):
        return pairwise(masks) + [noisy.setdefault(m.tobytes(), rng.normal(scale=0.5)) for m in masks]

    found = estimate(game, N_UNITS, surrogate(name, n_masks=600, n_boot=40))
    upper = np.triu_indices(N_UNITS, 1)
    low, high = found.interactions_low[upper], found.interactions_high[upper]
    assert (low < high).all()
    np.testing.assert_array_equal(found.interactions_low, found.interactions_low.T)
    if name == "pairwise":  # of whose form the game is, but for the noise
        inside = (low <= TOGETHER[upper]) & (TOGETHER[upper] <= high)
        assert inside.mean() > 0.7


def test_a_line_knows_of_no_pairs():
    found = estimate(pairwise, N_UNITS, surrogate("linear"))
    assert found.interactions is found.interactions_low is found.interactions_high is None


def test_published_counts_leave_out_all_and_none():
    assert all(0 < count < n for n in (2, 3, 6, 30) for count in published_counts(n))
