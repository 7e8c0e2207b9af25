"""Random cuts as the null, and swaps as a last improvement."""

from itertools import combinations

import numpy as np
import pytest

from decision_phases.errors import InputError
from decision_phases.pruning import RandomPool
from decision_phases.pruning.game import better_than_luck, improve_by_swaps


def table(n_units, seed):
    values = np.random.default_rng(seed).normal(size=2**n_units)
    return lambda masks: values[masks @ (1 << np.arange(n_units))]


def mask_of(kept, n_units):
    return np.isin(np.arange(n_units), list(kept))


def test_the_null_is_the_pool():
    game, mask = table(6, 0), mask_of({1, 4}, 6)
    found = better_than_luck(game, mask, draws=20, seed=5)
    pool = RandomPool(tuple(range(6)), seed=5)
    cuts = [mask_of(set(range(6)) - set(pool.order(draw)[:4]), 6) for draw in range(20)]
    np.testing.assert_array_equal(found.null, game(np.array(cuts)))
    assert found.value == game(mask[None])[0]
    assert found.p_value == (1 + (found.null >= found.value - 1e-12).sum()) / 21
    assert f"p = {found.p_value:.2g}" in repr(found)


def test_the_best_mask_is_better_than_luck_and_the_worst_is_not():
    game = table(8, 1)
    masks = np.array([mask_of(kept, 8) for kept in combinations(range(8), 4)])
    order = np.argsort(game(masks))
    assert better_than_luck(game, masks[order[-1]], draws=99).p_value < 0.06
    assert better_than_luck(game, masks[order[0]], draws=99).p_value == 1.0


@pytest.mark.parametrize(("kept", "draws"), [((), 9), (range(6), 9), ((1, 2), 0)])
def test_nothing_to_compare_with_is_refused(kept, draws):
    with pytest.raises(InputError, match="of 6 units"):
        better_than_luck(table(6, 0), mask_of(kept, 6), draws=draws)


@pytest.mark.parametrize("seed", range(5))
def test_swaps_end_where_no_swap_improves(seed):
    game, start = table(7, seed), mask_of({0, 1, 2, 3}, 7)
    found = improve_by_swaps(game, start, rounds=50)
    assert found.settled
    assert found.mask.sum() == 4
    assert found.start == game(start[None])[0] <= found.value == game(found.mask[None])[0]
    kept = set(np.flatnonzero(found.mask).tolist())
    near = [kept - {gone} | {back} for gone in kept for back in set(range(7)) - kept]
    assert all(game(mask_of(other, 7)[None])[0] <= found.value for other in near)
    again = start.copy()
    for back, gone in found.swaps:
        assert again[gone]
        assert not again[back]
        again[[back, gone]] = True, False
    np.testing.assert_array_equal(again, found.mask)


def test_a_pair_that_no_ranking_finds_is_found():
    """Every unit alone says: remove 0 and 1. Together they are needed; 2 and 3 stand in for one another with 4."""

    def game(masks):
        keeps = masks.astype(float)
        return keeps @ np.array([0.0, 0.1, 0.2, 0.3, 5.0]) - 4.0 * (~masks[:, 0] & ~masks[:, 1])

    found = improve_by_swaps(game, mask_of({2, 3, 4}, 5))
    assert set(np.flatnonzero(~found.mask)) == {0, 2}
    assert len(found.swaps) == 1


def test_rounds_end_the_search():
    found = improve_by_swaps(lambda masks: masks @ np.arange(6.0), mask_of({0, 1, 2}, 6), rounds=1)
    assert found.swaps == ((5, 0),)
    assert not found.settled
    assert improve_by_swaps(lambda masks: masks.sum(axis=1) * 1.0, np.ones(4, dtype=bool)).settled
