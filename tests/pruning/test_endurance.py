"""Area, collapse and comparisons by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from decision_phases.errors import InputError
from decision_phases.pruning import Curves, Step
from decision_phases.pruning.endurance import last_above_chance, normalised_area, trapezoid_weights
from decision_phases.stats import holm, paired_difference

N = 20
NOTHING = np.empty(0)


def step(strategy, number, correct, *, seed=None):
    right = np.array(correct, dtype=bool)
    return Step(
        strategy, number, number or None, tuple(range(1, number + 1)), seed, 0.0, float(right.mean()), NOTHING, NOTHING,
        None, None, "no transition", {}, 1.0, 1.0, None, right, np.zeros(len(right)),
    )  # fmt: skip


def curves(*steps):
    return Curves(steps, 0.25, 4, len(steps[0].correct), True, {})


def row(strategy, number, right, seed=None):
    return step(strategy, number, [1] * right + [0] * (N - right), seed=seed)


def line(strategy, counts, seed=None):
    return [row(strategy, number, right, seed) for number, right in enumerate(counts)]


def test_the_area_of_straight_lines_is_that_of_numpy():
    rng = np.random.default_rng(0)
    x = np.array([0.0, 1.0, 1.5, 4.0])
    y = rng.normal(size=4)
    assert trapezoid_weights(x) @ y == pytest.approx(np.trapezoid(y, x) / 4)
    assert trapezoid_weights(np.array([3.0])).tolist() == [1.0]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([17, 17, 17], 1.0),  # nothing lost
        ([17, 5, 5], 0.25),  # all lost at once: a triangle over one of two steps, height 1
        ([17, 11, 5], 0.5),  # a straight line to chance
        ([5, 10, 15], np.nan),  # the intact model is at chance
        ([17], 1.0),
    ],
)
def test_areas_by_hand(counts, expected):
    found = curves(*line("a", counts)).area("a")
    assert float(found.estimate) == pytest.approx(expected, nan_ok=True)


def test_the_interval_of_an_area_is_the_bootstrap_over_questions():
    """Against resampling row by row."""
    rng = np.random.default_rng(1)
    right = (rng.random((4, 40)) < np.array([0.9, 0.8, 0.5, 0.3])[:, None]).astype(float)
    found = normalised_area(right, 0.25, seed=3)
    heights = np.trapezoid(right, axis=0) / 3
    drawn = np.random.default_rng(7).integers(40, size=(20000, 40))
    ratios = (heights[drawn].mean(axis=1) - 0.25) / (right[0][drawn].mean(axis=1) - 0.25)
    low, high = np.quantile(ratios, [0.025, 0.975])
    assert float(found.low) == pytest.approx(low, abs=0.02)
    assert float(found.high) == pytest.approx(high, abs=0.02)
    assert found.low < found.estimate < found.high
    with pytest.raises(InputError, match="at least one of each"):
        normalised_area(np.empty((2, 0)), 0.25)


def test_draws_are_averaged_and_areas_end_with_the_shortest():
    rows = [*line("a", [16, 12, 8], 0), *line("a", [16, 16], 1)]
    found = curves(*rows)
    assert found.last_step("a") == 1
    assert float(found.area("a").estimate) == pytest.approx(((16 + 14) / 2 / N - 0.25) / (16 / N - 0.25))
    assert float(found.area("a", up_to=0).estimate) == 1.0


def test_the_last_cut_above_chance_is_before_the_first_that_fails():
    p = [stats.binomtest(k, N, 0.25, alternative="greater").pvalue for k in range(N + 1)]
    least = next(k for k in range(N + 1) if p[k] <= 0.05)
    assert least == 9
    for counts, expected in (
        ([17, 9, 9], 2), ([17, 9, 8], 1), ([17, 8, 17], 0), ([8, 17, 17], None), ([9], 0),
    ):  # fmt: skip
        assert last_above_chance(np.array(counts), N, 0.25) == expected
        assert curves(*line("a", counts)).last_above_chance("a") == expected
    assert last_above_chance(np.array([9]), N, 0.25, alpha=0.01) is None


def test_of_draws_the_median_lasts():
    rows = [*line("a", [17, 17, 17], 0), *line("a", [17, 3, 3], 1), *line("a", [17, 17, 3], 2)]
    assert curves(*rows).last_above_chance("a") == 1
    assert curves(*rows[:6]).last_above_chance("a") == 0  # of two draws the worse


def test_half_is_lost_before_three_quarters():
    """Chance 5 of 20, intact 17: half is lost at 11, three quarters at 8."""
    found = curves(*line("a", [17, 12, 11, 9, 8]))
    assert (found.collapse("a", share=0.5), found.collapse("a")) == (2, 4)


@pytest.fixture
def several():
    rng = np.random.default_rng(0)

    def rows(name, chances, seed=None):
        return [
            step(name, k, (rng.random(60) < chance).astype(int), seed=seed)
            for k, chance in enumerate(chances)
        ]

    return curves(
        *rows("good", [0.9, 0.9, 0.85]), *rows("bad", [0.9, 0.2, 0.2]), *rows("like", [0.9, 0.6, 0.4]),
        *rows("random", [0.9, 0.6, 0.4], 0), *rows("random", [0.9, 0.5, 0.5], 1),
    )  # fmt: skip


def test_comparisons_with_random_are_paired_and_adjusted_for_their_number(several):
    table = several.against_random().set_index("strategy")
    assert list(table.index) == ["good", "bad", "like"]
    heights = {
        name: np.trapezoid(several.right(name), axis=0) / 2 for name in ("good", "bad", "like", "random")
    }
    p = []
    for name in table.index:
        expected = paired_difference(heights[name], heights["random"])
        assert table.loc[name, "difference"] == pytest.approx(expected.difference)
        assert table.loc[name, "minimum_detectable"] == pytest.approx(expected.minimum_detectable)
        p.append(expected.p_value)
    assert table["p_value"].tolist() == pytest.approx(p)
    assert table["p_holm"].tolist() == pytest.approx(holm(np.array(p)).tolist())
    assert table.loc["good", "p_holm"] < 0.05 < table.loc["like", "p_holm"]
    assert table.loc["good", "difference"] > 0 > table.loc["bad", "difference"]
    at_one = several.against_random(1).set_index("strategy")
    assert at_one.loc["bad", "difference"] == pytest.approx(several.compare("bad", "random", 1).difference)
    assert several.against_random(3).empty


def test_holm_by_hand():
    """Three tests: the least is tripled, the next doubled, and none falls below one before it."""
    assert holm(np.array([0.02, 0.03, 0.01])).tolist() == pytest.approx([0.04, 0.04, 0.03])


def test_every_kind_of_unit_has_its_own_control():
    made = Curves(
        (*line("mine", [17, 12]), *line("random", [17, 5]), *line("random_mlp", [17, 12])),
        0.25, 4, N, True, {}, controls={"mine": "random_mlp", "random_mlp": "random_mlp"},
    )  # fmt: skip
    table = made.against_random().set_index("strategy")
    assert table["control"].to_dict() == {"mine": "random_mlp"}
    assert table.loc["mine", "difference"] == 0
    assert made.control_of("random") is None


def test_the_spread_over_splits_stands_beside_the_interval_within_one():
    def one(*rights):
        return curves(*line("a", rights), *line("random", [16, 4]))

    made = Curves(one(16, 12).steps, 0.25, 4, N, True, {}, repeats=(one(16, 8), one(18, 10)))
    table = made.by_step().set_index(["strategy", "step"])
    cell = table.loc[("a", 1)]
    assert (cell["accuracy"], cell["splits"]) == (0.6, 3)
    assert cell["split_mean"] == pytest.approx(np.mean([0.6, 0.4, 0.5]))
    assert cell["split_sd"] == pytest.approx(np.std([0.6, 0.4, 0.5], ddof=1))
    assert (cell["split_low"], cell["split_high"]) == (0.4, 0.6)
    assert cell["low"] < 0.6 < cell["high"]
    assert cell["difference"] == pytest.approx(0.4)
    assert pd.isna(table.loc[("random", 1), "difference"])
    areas = [float(one.area("a").estimate) for one in (made, *made.repeats)]
    total = made.summary().set_index("strategy").loc["a"]
    assert total["area_split_mean"] == pytest.approx(np.mean(areas))
    assert total["area_split_sd"] == pytest.approx(np.std(areas, ddof=1))
    assert total["splits"] == 3
    assert made.to_pandas()["split"].unique().tolist() == [0, 1, 2]
    assert "2 other splits" in str(made)


def test_a_summary_has_a_row_for_every_strategy(several):
    table = several.summary()
    assert table["strategy"].tolist() == ["good", "bad", "like", "random"]
    assert table["area"].tolist() == pytest.approx(
        [float(several.area(n).estimate) for n in several.strategies]
    )
    assert table["half"].tolist()[1] == 1
    assert pd.isna(table.loc[3, "p_holm"])
