"""Every method on games whose values are known by hand, and on random games by enumeration."""

from itertools import combinations, permutations

import numpy as np
import pytest

from decision_phases.errors import InputError
from decision_phases.pruning.game import INDICES, METHODS, SAMPLERS, Setup, estimate

WEIGHTS = np.array([3.0, -1.0, 0.5, 0.0, 2.0])


def additive(masks):
    return masks @ WEIGHTS


def symmetric(masks):
    return masks.sum(axis=1).astype(float) ** 2


def product(masks):
    """Units 0 and 1 are worth 1 together, unit 2 is worth 2 by itself, units 3 and 4 nothing."""
    return (masks[:, 0] & masks[:, 1]) + 2.0 * masks[:, 2]


def gloves(masks):
    """Units 0 and 1 are left gloves, unit 2 is the right one, and a pair is worth 1. Units 3 and 4 are nothing."""
    return ((masks[:, 0] | masks[:, 1]) & masks[:, 2]).astype(float)


#: Game → its Shapley values, worked out by hand.
KNOWN = {
    "additive": (additive, WEIGHTS),
    "symmetric": (symmetric, np.full(5, 5.0)),  # 25 shared by five
    "product": (product, np.array([0.5, 0.5, 2.0, 0.0, 0.0])),
    "gloves": (gloves, np.array([1 / 6, 1 / 6, 2 / 3, 0.0, 0.0])),
}
PAIRWISE = ("additive", "symmetric", "product")
#: Methods that know every game exactly, and those that know every game without interactions of three units.
EVERY = {"exact": Setup(method="exact"), "kernel": Setup(method="kernel")}
PAIRS = {
    "orders and their reverses": Setup(method="permutation", n_masks=8),
    "pairwise surrogate": Setup(method="surrogate", surrogate="pairwise", n_masks=80, n_boot=20),
}
DRAWN = {
    "orders": Setup(method="permutation", n_masks=800, antithetic=False),
    "orders in pairs": Setup(method="permutation", n_masks=800),
    **{
        f"kernel by {sampler}": Setup(method="kernel", sampler=sampler, n_masks=600)
        for sampler in ("kernel", "stratified", "uniform", "permutation")
    },
    "kernel without pairs": Setup(method="kernel", sampler="kernel", n_masks=600, antithetic=False),
}


class TableGame:
    """Random values for all masks."""

    def __init__(self, n_units):
        self.n_units = n_units
        self.table = np.random.default_rng(n_units).normal(size=2**n_units)

    def __call__(self, masks):
        return self.table[masks @ (1 << np.arange(self.n_units))]

    def of(self, kept):
        return self.table[sum(1 << unit for unit in kept)]


def by_orders(game, counts):
    """Shapley values by their definition: the mean contribution over all n! orders."""
    found = np.zeros(game.n_units)
    orders = list(permutations(range(game.n_units)))
    for order in orders:
        for place, unit in enumerate(order):
            found[unit] += game.of(order[: place + 1]) - game.of(order[:place])
    return found / len(orders)


def by_sets(game, counts):
    """Banzhaf values by their definition: the mean contribution over all sets of others."""
    n = game.n_units
    found = np.zeros(n)
    for unit in range(n):
        others = [other for other in range(n) if other != unit]
        for size in range(n):
            for kept in combinations(others, size):
                found[unit] += (game.of((*kept, unit)) - game.of(kept)) / 2 ** (n - 1)
    return found


def by_masks(game, counts):
    """The published average by its definition: v(m with i) − v(m without i), every kept count alike."""
    n = game.n_units
    found = np.zeros(n)
    for unit in range(n):
        for count in counts:
            masks = [set(kept) for kept in combinations(range(n), count)]
            gains = [game.of(kept | {unit}) - game.of(kept - {unit}) for kept in masks]
            found[unit] += np.mean(gains) / len(counts)
    return found


DEFINITIONS = {"shapley": by_orders, "banzhaf": by_sets, "published": by_masks}


def test_every_index_has_its_definition_here():
    assert set(DEFINITIONS) == set(INDICES)


@pytest.mark.parametrize("index", DEFINITIONS)
@pytest.mark.parametrize("n_units", [2, 3, 4, 6])
def test_exact_values_are_those_of_the_definition(n_units, index):
    game = TableGame(n_units)
    counts = (1, n_units - 1) if n_units > 2 else (1,)
    kept = counts if index == "published" else None
    found = estimate(game, n_units, Setup(method="exact", index=index, kept=kept))
    np.testing.assert_allclose(found.values, DEFINITIONS[index](game, counts), atol=1e-12)
    assert (found.empty, found.full) == (game.table[0], game.table[-1])
    assert found.n_masks == 2**n_units


@pytest.mark.parametrize("n_units", [2, 3, 4, 6])
def test_kernel_with_all_masks_is_exact(n_units):
    game = TableGame(n_units)
    found = estimate(game, n_units, Setup(method="kernel"))
    np.testing.assert_allclose(found.values, by_orders(game, ()), atol=1e-12)
    assert found.sampler == ""


@pytest.mark.parametrize("index", ["shapley", "banzhaf"])
@pytest.mark.parametrize("antithetic", [True, False])
def test_all_orders_together_are_exact(index, antithetic):
    from decision_phases.pruning.game.designs import Permutations
    from decision_phases.pruning.game.indices import size_chances

    game = TableGame(4)
    forward = [order for order in permutations(range(4)) if not antithetic or order < order[::-1]]
    orders = np.array([*forward, *(order[::-1] for order in forward)] if antithetic else forward)
    design = Permutations(orders, size_chances(index, 4), antithetic=antithetic)
    found = design.solve(game(design.masks)[:, None]).values[:, 0]
    np.testing.assert_allclose(found, DEFINITIONS[index](game, ()), atol=1e-12)


@pytest.mark.parametrize("setup", EVERY.values(), ids=EVERY)
@pytest.mark.parametrize("name", KNOWN)
def test_known_values_with_all_masks(name, setup):
    game, values = KNOWN[name]
    found = estimate(game, 5, setup)
    np.testing.assert_allclose(found.values, values, atol=1e-10)
    assert np.isnan(found.low).all()  # there is neither a draw nor a question to resample
    assert found.over == ""


@pytest.mark.parametrize("setup", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("name", PAIRWISE)
def test_known_values_without_interactions_of_three(name, setup):
    game, values = KNOWN[name]
    found = estimate(game, 5, setup)
    np.testing.assert_allclose(found.values, values, atol=1e-8)
    assert found.values.sum() == pytest.approx(found.full - found.empty)


@pytest.mark.parametrize("setup", DRAWN.values(), ids=DRAWN)
@pytest.mark.parametrize("name", KNOWN)
def test_known_values_lie_in_the_intervals_of_drawn_masks(name, setup):
    game, values = KNOWN[name]
    found = estimate(game, 5, setup)
    slack = 1e-8
    # An interval of 95 % is some two standard errors each way, and this asks for four.
    middle, reach = (found.low + found.high) / 2, found.high - found.low
    assert (abs(values - middle) <= reach + slack).all()
    assert (found.low <= found.values + slack).all()
    assert (found.values <= found.high + slack).all()
    assert reach.max() < 2.0
    assert found.over == "masks"
    assert found.values.sum() == pytest.approx(found.full - found.empty)  # efficiency, whatever was drawn


def test_intervals_cover_as_often_as_they_say():
    """Single orders, another seed each time, 95 % intervals."""
    game = TableGame(4)
    values, hits = by_orders(game, ()), []
    for seed in range(150):
        setup = Setup(method="permutation", n_masks=150, antithetic=False, n_boot=150, seed=seed)
        found = estimate(game, 4, setup)
        hits.append((found.low <= values) & (values <= found.high))
    assert 0.9 < np.mean(hits) < 0.98


def test_pairs_of_orders_are_nearer_than_single_ones():
    game, values = KNOWN["symmetric"]
    errors = {
        antithetic: abs(
            estimate(game, 5, Setup(method="permutation", n_masks=40, antithetic=antithetic)).values - values
        ).max()
        for antithetic in (True, False)
    }
    assert errors[True] < 1e-9 < 0.1 < errors[False]


@pytest.mark.parametrize("index", INDICES)
def test_drawn_orders_find_every_index(index):
    game = TableGame(5)
    counts = (2, 3)
    kept = counts if index == "published" else None
    found = estimate(game, 5, Setup(method="permutation", index=index, kept=kept, n_masks=2000, n_boot=100))
    true = DEFINITIONS[index](game, counts)
    reach = found.high - found.low
    assert (abs(true - found.values) <= reach).all()
    assert reach.max() < 0.5
    assert abs(true - by_orders(game, ())).max() > 0.01 or index == "shapley"  # the indices differ here


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_values_and_another_does_not(method):
    game = TableGame(6)
    setup = Setup(method=method, n_masks=40, sampler="stratified" if method == "kernel" else None, n_boot=10)
    first, again = (estimate(game, 6, setup) for _ in range(2))
    for name in ("values", "low", "high"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    if method != "exact":
        other = estimate(game, 6, Setup(**{**vars(setup), "seed": 1}))
        assert not np.array_equal(first.values, other.values)


def test_masks_are_counted_once_each_with_both_ends():
    asked = []

    def game(masks):
        asked.extend(map(bytes, masks))
        return additive(masks)

    found = estimate(game, 5, Setup(method="permutation", n_masks=80))
    assert found.n_masks == len(set(asked)) <= 32


@pytest.mark.parametrize(
    ("setup", "message"),
    [
        (Setup(method="exact"), r"13 units have 2\^13 = 8192 masks; the exact method takes at most 12"),
        (Setup(method="guess"), "unknown method 'guess'"),
        (Setup(index="shaply"), "unknown index 'shaply'; did you mean 'shapley'"),
        (Setup(method="kernel", index="banzhaf"), "Shapley values only"),
        (Setup(method="kernel", sampler="stratified", kept=(3, 10)), r"never keep \[1, 2, 4"),
        (Setup(method="kernel", sampler="published"), "never keep"),
        (Setup(method="kernel", n_masks=8), "determine [0-9]+ values only; give more masks"),
        (
            Setup(method="permutation", n_masks=20),
            "n_masks=20 is not enough for one pair of orders of 13 units",
        ),
        (Setup(method="permutation", sampler="uniform"), "takes no sampler='uniform'"),
        (Setup(method="permutation", defects=("misaligned",)), "takes no defects="),
        (Setup(over="questions"), "need a game with questions"),
        (Setup(over="weeks"), "unknown resampling 'weeks'"),
        (Setup(confidence=95.0), "confidence=95.0: give a share above 0 and below 1"),
        (Setup(n_boot=0), "n_boot=0: an interval takes at least one resample"),
        (Setup(method="surrogate", surrogate="cubic"), "unknown surrogate 'cubic'"),
        (Setup(method="surrogate", sampler="sobol"), "unknown sampler 'sobol'"),
        (Setup(method="surrogate", kept=(0, 4)), "from 1 to 12"),
    ],
)
def test_what_does_not_fit_is_refused(setup, message):
    with pytest.raises(InputError, match=message):
        estimate(lambda masks: masks.sum(axis=1).astype(float), 13, setup)


def test_all_masks_leave_no_masks_to_resample():
    with pytest.raises(InputError, match="runs them all; use over='questions'"):
        estimate(additive, 5, Setup(method="exact", over="masks"))
    with pytest.raises(InputError, match="takes no sampler"):
        estimate(additive, 5, Setup(method="exact", sampler="uniform"))
    with pytest.raises(InputError, match="at least two"):
        estimate(additive, 1, Setup(method="exact"))


def test_one_draw_has_no_interval():
    found = estimate(additive, 5, Setup(method="permutation", n_masks=8))
    np.testing.assert_allclose(found.values, WEIGHTS)
    assert np.isnan(found.low).all()
    assert np.isnan(found.high).all()


@pytest.mark.parametrize("method", ["exact", "permutation", "kernel"])
def test_a_value_that_is_no_number_is_named(method):
    def broken(masks):
        return np.where(masks.sum(axis=1) == 4, np.nan, 1.0)

    with pytest.raises(InputError, match=r"the mask that keeps units \[.*\] is not a number"):
        estimate(broken, 5, Setup(method=method))


def test_every_sampler_says_what_it_does():
    assert all(name == sampler.name and sampler.what for name, sampler in SAMPLERS.items())
