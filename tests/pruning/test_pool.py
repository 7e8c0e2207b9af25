"""Random cuts: one stored pool, nested, uniform."""

from collections import Counter

from scipy.stats import chisquare

from decision_phases.pruning import RandomPool

LAYERS = tuple(range(1, 7))


def test_a_draw_does_not_depend_on_what_else_is_drawn():
    pool = RandomPool(LAYERS, seed=5)
    orders = [pool.order(draw) for draw in range(6)]
    assert [RandomPool(LAYERS, seed=5).order(draw) for draw in (5, 2)] == [orders[5], orders[2]]
    assert len(set(orders)) > 1
    assert RandomPool(LAYERS, seed=6).order(0) != orders[0]


def test_an_order_holds_every_layer_once():
    for draw in range(20):
        assert sorted(RandomPool((2, 3, 7, 11)).order(draw)) == [2, 3, 7, 11]


def test_cuts_are_uniform():
    pool = RandomPool(LAYERS, seed=1)
    draws = 3000
    pairs = Counter(frozenset(pool.order(draw)[:2]) for draw in range(draws))
    assert len(pairs) == 15
    assert chisquare(list(pairs.values())).pvalue > 1e-3
    first = Counter(pool.order(draw)[0] for draw in range(draws))
    assert chisquare(list(first.values())).pvalue > 1e-3
