"""Beam search and swaps against trying everything."""

from itertools import combinations

import numpy as np
import pytest

from decision_phases.errors import InputError
from decision_phases.pruning import OBJECTIVES, SEARCHES, Unit, greedy
from decision_phases.pruning.criteria import removal
from decision_phases.pruning.ground import Ground
from decision_phases.pruning.objectives import Valuer
from decision_phases.pruning.orders import choose
from decision_phases.pruning.search import best_cuts, swap_cut, weighing
from decision_phases.pruning.setting import make_setting
from decision_phases.pruning.strategies import find_strategy
from decision_phases.readout import ask

UNITS = tuple(Unit((layer,)) for layer in range(6))


def interacting(seed, n=6):
    """Worth of every cut: units interact, so that single units mislead."""
    rng = np.random.default_rng(seed)
    alone, pairs = rng.normal(size=n), np.triu(rng.normal(size=(n, n)), 1)

    def worth(cut):
        gone = np.zeros(n)
        gone[[unit.layer for unit in cut]] = 1
        return float(alone @ gone + gone @ pairs @ gone)

    return lambda cuts: (np.array([worth(cut) for cut in cuts]), None)


def exhaustive(weigh, size):
    cuts = list(combinations(UNITS, size))
    worth, _ = weigh(cuts)
    return set(cuts[int(worth.argmax())]), worth.max()


@pytest.mark.parametrize("seed", range(8))
def test_a_beam_that_keeps_all_is_exhaustive(seed):
    weigh = interacting(seed)
    for size, found in enumerate(best_cuts(UNITS, weigh, width=20), 1):
        best, worth = exhaustive(weigh, size)
        assert set(found.cut) == best
        assert found.value == pytest.approx(worth)


def test_a_wider_beam_finds_what_greedy_misses_somewhere():
    weighs = [interacting(seed) for seed in range(8)]
    narrow, wide = (
        sum(found.value for weigh in weighs for found in best_cuts(UNITS, weigh, width=width))
        for width in (1, 20)
    )
    assert wide > narrow + 1


@pytest.mark.parametrize("seed", range(4))
def test_width_one_is_greedy(seed):
    weigh = interacting(seed)
    gone = ()
    for found in best_cuts(UNITS, weigh, width=1, steps=4):
        tried = [(*gone, unit) for unit in UNITS if unit not in gone]
        worth, _ = weigh(tried)
        gone = tried[int(worth.argmax())]
        assert found.cut == gone
        assert dict(found.candidates) == pytest.approx(dict(zip(tried, worth.tolist(), strict=True)))


@pytest.mark.parametrize("width", [1, 3, 20])
def test_of_cuts_worth_the_same_the_deepest_is_taken(width):
    found = best_cuts(UNITS, lambda cuts: (np.zeros(len(cuts)), None), width=width)
    assert [{unit.layer for unit in one.cut} for one in found] == [
        set(range(6 - size, 6)) for size in range(1, 7)
    ]


def test_what_does_not_fit_is_not_even_tried():
    tried = []

    def weigh(cuts):
        tried.extend(cuts)
        return np.array([sum(unit.layer for unit in cut) for cut in cuts], dtype=float), None

    found = best_cuts(UNITS, weigh, width=2, fits=lambda cut: sum(unit.layer for unit in cut) <= 7)
    assert all(sum(unit.layer for unit in cut) <= 7 for cut in tried)
    assert [one.value for one in found] == [
        5,
        7,
        7,
    ]  # 5; with 2; with 0; then neither 1, 3 nor 4 fits any more


@pytest.mark.parametrize("seed", range(8))
def test_swaps_never_worsen_and_end_where_no_swap_helps(seed):
    weigh = interacting(seed)
    rng = np.random.default_rng(seed)
    start = tuple(UNITS[i] for i in rng.permutation(6)[:3])
    (before,), _ = weigh([start])
    found, worth = swap_cut(UNITS, start, weigh)
    assert worth >= before
    assert worth == pytest.approx(weigh([found])[0][0])
    assert len(found) == 3
    around = [
        (*(unit for unit in found if unit != back), gone)
        for back in found
        for gone in UNITS
        if gone not in found
    ]
    assert weigh(around)[0].max() <= worth


def test_swaps_find_a_planted_pair_that_greedy_cannot():
    """Every unit costs 1 but 3, which is free; 1 and 2 together are free too, as no ranking of single units says."""

    def weigh(cuts):
        def worth(cut):
            gone = {unit.layer for unit in cut}
            return -float(len(gone - {3})) if gone != {1, 2} else 1.0

        return np.array([worth(cut) for cut in cuts]), None

    found = best_cuts(UNITS, weigh, steps=2)[-1]
    assert Unit((3,)) in found.cut
    assert swap_cut(UNITS, (UNITS[3], UNITS[1]), weigh) == ((UNITS[1], UNITS[2]), 1.0)
    assert exhaustive(weigh, 2) == ({UNITS[1], UNITS[2]}, 1.0)


def test_swaps_stay_within_the_budget():
    weigh = interacting(0)
    start = (UNITS[0], UNITS[1])
    found, worth = swap_cut(UNITS, start, weigh, fits=lambda cut: UNITS[5] not in cut and UNITS[4] not in cut)
    inside = list(combinations(UNITS[:4], 2))
    assert set(found) <= set(UNITS[:4])
    assert weigh([start])[0][0] <= worth <= weigh(inside)[0].max()


@pytest.fixture(scope="module")
def encoded(tiny, facts):
    return ask(tiny, facts[:16])


@pytest.mark.parametrize("objective", ["margin", "self_margin", "kl"])
def test_on_a_model_a_full_beam_is_brute_force_over_all_cuts(tiny, encoded, objective):
    known = {}
    wide = greedy(tiny, encoded, objective=objective, candidates=(1, 2, 3, 4), steps=3, width=6, known=known)
    valuer = Valuer(OBJECTIVES[objective], Ground(tiny, encoded))
    pick = np.argmax if OBJECTIVES[objective].higher else np.argmin
    for size, found in enumerate(wide, 1):
        cuts = list(combinations([Unit((layer,)) for layer in (1, 2, 3, 4)], size))
        values = valuer([removal(cut) for cut in cuts])
        assert set(found.cut) == set(cuts[int(pick(values))])
        assert found.value == pytest.approx(values[int(pick(values))], abs=1e-6)
    narrow = greedy(tiny, encoded, objective=objective, candidates=(1, 2, 3, 4), steps=3, known=known)
    sign = 1 if OBJECTIVES[objective].higher else -1
    assert all(sign * a.value >= sign * b.value - 1e-9 for a, b in zip(wide, narrow, strict=True))


def test_parts_of_blocks_can_be_searched(tiny, encoded):
    units = [Unit((layer,), part) for layer in (1, 2) for part in ("attention", "mlp")]
    (found,) = greedy(tiny, encoded, objective="kl", candidates=units, steps=1)
    values = Valuer(OBJECTIVES["kl"], Ground(tiny, encoded))([unit.cut for unit in units])
    assert found.removed == units[int(values.argmin())]


@pytest.fixture(scope="module")
def setting(tiny, facts):
    search, evaluation = facts.split(0.5, 0)
    return make_setting(tiny, ask(tiny, search), ask(tiny, evaluation), up_to=3, draws=1, width=6)


@pytest.mark.parametrize("start", ["margin", "deepest", "block_influence"])
def test_refined_cuts_are_worth_as_much_as_those_refined_and_no_more_than_the_best(setting, start):
    begun, refined, best = (
        choose(setting, find_strategy(name)).cuts[None] for name in (start, f"{start}:swaps", "margin:beam")
    )
    weigh = weighing(setting.valuer("margin"))
    worths = np.array([weigh(cuts)[0] for cuts in (begun, refined, best)])
    assert (np.diff(worths, axis=0) >= -1e-9).all()
    assert [len(cut) for cut in refined] == [1, 2, 3]


def test_searches_by_the_comparisons_objective_follow_it(setting):
    from dataclasses import replace

    assert choose(setting, find_strategy("greedy")) == choose(setting, find_strategy("margin"))
    by_kl = replace(setting, objective="kl")
    assert choose(by_kl, find_strategy("beam")).values == choose(setting, find_strategy("kl:beam")).values
    assert choose(by_kl, find_strategy("margin")) == choose(setting, find_strategy("margin"))


def test_names_combine_as_they_are_read():
    assert find_strategy("kl:greedy").objective == "kl"
    assert find_strategy("within_silent:beam").scope == "silent"
    assert find_strategy("cosine_joint:iterative").part == "joint"
    assert find_strategy("sleb:swaps").start == "sleb"
    assert find_strategy("margin:swaps:mlp") == find_strategy("margin:swaps:mlp")
    refined = find_strategy("margin:swaps:mlp")
    assert (refined.part, refined.objective, find_strategy(refined.start).part) == ("mlp", "margin", "mlp")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("block_influence:beam", "ranks single units; use .*block_influence:swaps, or an objective: margin"),
        ("random:swaps", "draws several orders"),
        ("klx:beam", "did you mean 'kl'"),
        ("margin:gready", "unknown search 'gready'; did you mean 'greedy'"),
        ("margin:deepest", "unknown search 'deepest'"),
        ("angular:window:mlp", "only whole blocks have runs"),
        ("margin:greedy:head", "unknown part 'head'"),
        ("margin:greedy:mlp:x", "too many colons"),
    ],
)
def test_names_that_cannot_be_are_refused(name, message):
    with pytest.raises(InputError, match=message):
        find_strategy(name)


def test_every_search_says_what_it_does():
    for name, search in SEARCHES.items():
        assert search.name == name
        assert search.what


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"width": 0}, "width=0"), ({"width": 2, "screen": "bfloat16"}, "confirms the best candidate")],
)
def test_widths_that_cannot_be_are_refused(tiny, encoded, settings, message):
    with pytest.raises(InputError, match=message):
        greedy(tiny, encoded, candidates=(1, 2), steps=1, **settings)
