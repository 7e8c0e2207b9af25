"""Masks and orders: how many are kept, which, and what goes with what."""

from collections import Counter

import numpy as np
import pytest
from scipy.stats import binom, chisquare

from decision_phases.errors import InputError
from decision_phases.pruning import RandomPool
from decision_phases.pruning.game import SAMPLERS, all_masks, draw_masks, draw_orders
from decision_phases.pruning.game.indices import published_counts, size_chances
from decision_phases.pruning.game.masks import distinct_masks, nested_masks


def sizes(draws):
    return np.bincount(draws.masks.sum(axis=1), minlength=draws.masks.shape[1] + 1).tolist()


@pytest.mark.parametrize("antithetic", [True, False])
@pytest.mark.parametrize(("n_units", "n_masks"), [(5, 48), (6, 50), (8, 70)])
def test_stratified_masks_keep_every_number_equally_often(n_units, n_masks, antithetic):
    draws = draw_masks(n_units, n_masks, antithetic=antithetic)
    assert sizes(draws) == [0, *[n_masks // (n_units - 1)] * (n_units - 1), 0]


def test_what_is_left_over_is_spread_and_differs_by_one():
    counts = sizes(draw_masks(8, 40, antithetic=False))
    assert sum(counts) == 40
    assert set(counts[1:-1]) == {5, 6}
    spare = Counter()
    for seed in range(200):
        spare.update(
            np.flatnonzero(np.array(sizes(draw_masks(8, 8, antithetic=False, seed=seed))) > 1).tolist()
        )
    assert chisquare([spare[k] for k in range(1, 8)]).pvalue > 1e-3


def test_strata_can_be_chosen():
    assert sizes(draw_masks(10, 30, kept=[4, 9])) == [0, 0, 0, 0, 15, 0, 0, 0, 0, 15, 0]
    assert sizes(draw_masks(32, 100, sampler="published"))[18:31:3] == [20] * 5


def test_within_a_number_every_mask_is_as_likely():
    masks = draw_masks(5, 4000, kept=[2], antithetic=False, seed=3).masks
    counts = Counter(map(bytes, masks))
    assert len(counts) == 10
    assert chisquare(list(counts.values())).pvalue > 1e-3


def test_uniform_masks_keep_each_unit_half_of_the_time():
    draws = draw_masks(6, 6000, sampler="uniform", antithetic=False, seed=1)
    np.testing.assert_allclose(draws.chances, binom.pmf(range(7), 6, 0.5))
    counts = Counter(map(bytes, draws.masks))
    assert len(counts) == 64
    assert chisquare(list(counts.values())).pvalue > 1e-3


@pytest.mark.parametrize("sampler", ["kernel", "uniform"])
def test_sizes_are_drawn_with_the_chances_that_are_told(sampler):
    draws = draw_masks(6, 6000, sampler=sampler, antithetic=False, seed=2)
    seen, expected = np.array(sizes(draws)), 6000 * draws.chances
    assert expected.sum() == pytest.approx(6000)
    assert (seen[expected == 0] == 0).all()
    assert chisquare(seen[expected > 0], expected[expected > 0]).pvalue > 1e-3


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "published"])
def test_antithetic_draws_hold_every_mask_with_its_complement(sampler):
    draws = draw_masks(7, 60, sampler=sampler, antithetic=True)
    for group in range(draws.n_groups):
        own = draws.masks[draws.group == group]
        assert {bytes(mask) for mask in own} == {bytes(~mask) for mask in own}
    assert draws.n_groups == (5 if sampler == "permutation" else 30)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_draws_follow_the_seed(sampler):
    first, again, other = (draw_masks(9, 64, sampler=sampler, seed=seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first.masks, again.masks)
    assert not np.array_equal(first.masks, other.masks)
    assert len(first.masks) == len(first.group) == 64


def test_masks_of_orders_are_the_cuts_of_the_random_pool():
    draws = draw_masks(5, 12, sampler="permutation", antithetic=False, seed=7)
    pool = RandomPool((0, 1, 2, 3, 4), seed=7)
    cuts = [set(np.flatnonzero(~mask).tolist()) for mask in draws.masks]
    expected = [set(pool.order(draw)[:removed]) for draw in range(3) for removed in (4, 3, 2, 1)]
    assert cuts == expected
    assert draws.group.tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_pools_of_layers_and_of_places_go_the_same_way():
    """So that the cuts of a game over blocks are the random curves' own."""
    layers = RandomPool(tuple(range(1, 7)), seed=3)
    orders = draw_orders(6, 4, antithetic=False, seed=3)
    assert [layers.order(draw) for draw in range(4)] == [tuple(order + 1) for order in orders]


def test_reversed_orders_follow_the_orders():
    orders = draw_orders(6, 8, seed=1)
    np.testing.assert_array_equal(orders[4:], orders[:4, ::-1])
    assert all(sorted(order) == list(range(6)) for order in orders.tolist())


def test_nested_masks_remove_one_unit_at_a_time():
    orders = draw_orders(6, 10, antithetic=False)
    masks = nested_masks(orders)
    assert (masks.sum(axis=2) == np.arange(7)).all()
    for order, way in zip(orders, masks, strict=True):
        gone = [int(np.flatnonzero(way[k + 1] & ~way[k])[0]) for k in reversed(range(6))]
        assert gone == order.tolist()


def test_all_masks_are_all_and_distinct_masks_are_found_again():
    masks = all_masks(5)
    assert len({bytes(mask) for mask in masks}) == len(masks) == 32
    some = masks[[3, 7, 3, 30, 7]]
    once, places = distinct_masks(some)
    assert len(once) == 3
    np.testing.assert_array_equal(once[places], some)


@pytest.mark.parametrize(("n_layers", "published"), [(32, (18, 21, 24, 27, 30)), (64, (36, 42, 48, 54, 60))])
def test_published_counts_are_those_of_the_release(n_layers, published):
    assert published_counts(n_layers) == published


@pytest.mark.parametrize("index", ["shapley", "banzhaf", "published"])
@pytest.mark.parametrize("n_units", [2, 7, 30])
def test_chances_of_joining_sum_to_one(index, n_units):
    chances = size_chances(index, n_units)
    assert chances.shape == (n_units,)
    assert chances.sum() == pytest.approx(1)
    assert (chances >= 0).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sampler": "sobol"}, "unknown sampler 'sobol'"),
        ({"n_units": 1}, "1 unit"),
        ({"n_masks": 1}, "n_masks=1 is less than one pair of masks"),
        ({"n_masks": 0, "antithetic": False}, "n_masks=0 is less than one mask"),
        (
            {"sampler": "permutation", "n_masks": 9},
            "not enough for one pair of orders of 8 units, which takes 14",
        ),
        ({"sampler": "uniform", "kept": [3]}, "only 'stratified' takes them"),
        ({"kept": [3, 3]}, "different numbers from 1 to 7"),
        ({"kept": [8]}, "different numbers from 1 to 7"),
        ({"kept": []}, "different numbers from 1 to 7"),
        ({"kept": [2, 5], "antithetic": True}, "antithetic pairs need kept counts"),
        ({"sampler": "published", "antithetic": True}, "antithetic pairs need kept counts"),
    ],
)
def test_what_cannot_be_drawn_is_refused(given, message):
    settings = {"n_units": 8, "n_masks": 40, **given}
    with pytest.raises(InputError, match=message):
        draw_masks(settings.pop("n_units"), settings.pop("n_masks"), **settings)
