"""Curves by hand."""

import json
from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest

from decision_phases.errors import InputError
from decision_phases.pruning import Curves, Step, prune_one
from decision_phases.stats import bootstrap_ci, paired_difference, wilson_interval

NAN = float("nan")


def step(strategy, number, correct, *, seed=None, **changes):
    right = np.array(correct, dtype=bool)
    given = {
        "strategy": strategy,
        "step": number,
        "removed": number if number else None,
        "cut": tuple(range(1, number + 1)),
        "seed": seed,
        "margin": -0.125,
        "accuracy": float(right.mean()),
        "margin_by_layer": np.array([0.1, NAN, 1 / 3]),
        "accuracy_by_layer": np.array([0.5, NAN, 1.0]),
        "transition": 2,
        "transition_ci": (1, 2),
        "outcome": "transition",
        "cka": {"debiased": 0.7, "null_high": NAN},
        "decision_similarity": 0.9,
        "decision_agreement": 0.75,
        "search_value": None,
        "correct": right,
        "margins": np.linspace(-1, 1, len(right)) / 3,
        "option_frequency": {"A": [0.5, None, 1.0]},
    }
    return Step(**{**given, **changes})


def curves(*steps, chance=0.25, split=True):
    return Curves(tuple(steps), chance, 4, len(steps[0].correct) if steps else 4, split, {})


def same(a, b):
    for field in fields(Step):
        one, two = getattr(a, field.name), getattr(b, field.name)
        if isinstance(one, np.ndarray):
            assert one.dtype == two.dtype
            np.testing.assert_array_equal(one, two)
        elif field.name in ("cka", "metrics", "metrics_ci"):
            assert set(one) == set(two)
            np.testing.assert_array_equal(list(one.values()), [two[name] for name in one])
        else:
            assert one == two, field.name
            assert type(one) is type(two), field.name


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"transition": None, "transition_ci": None, "outcome": "no transition"},
        {"cka": {}, "option_frequency": None, "search_value": 0.1 + 0.2},
        {"seed": 3, "margin": 1 / 3},
        {
            "metrics": {"perplexity": np.inf, "kl": NAN, "accuracy": 1 / 3},
            "metrics_ci": {"perplexity": (2.5, np.inf), "kl": (NAN, NAN)},
        },
    ],
)
def test_a_record_gives_the_step_back_exactly(changes):
    given = step("margin", 2, [1, 0, 1], **changes)
    text = json.dumps(given.to_record(), allow_nan=False)
    same(given, Step.from_record(json.loads(text)))


def test_records_of_measured_steps_are_exact(fresh):
    for name in ("margin", "random"):
        for given in prune_one(fresh, name):
            same(given, Step.from_record(json.loads(json.dumps(given.to_record(), allow_nan=False))))


def test_values_for_a_report_carry_their_interval():
    given = step("margin", 1, [1, 1, 0, 1])
    interval = wilson_interval(3, 4)
    assert given.to_dict()["accuracy_ci"] == [float(interval.low), float(interval.high)]
    assert given.to_dict()["margin_by_layer"] == [0.1, None, 1 / 3]
    assert given.to_dict()["cka"] == {"debiased": 0.7, "null_high": None}
    assert "correct" not in given.to_dict()


def test_compare_is_the_paired_difference_over_questions():
    right = [1, 1, 0, 1, 0, 1, 1, 1]
    one, two = [1, 0, 0, 0, 0, 1, 0, 1], [0, 0, 0, 1, 0, 1, 1, 1]
    found = curves(
        step("margin", 0, right),
        step("margin", 2, right),
        step("random", 2, one, seed=0),
        step("random", 2, two, seed=1),
    ).compare("margin", "random", 2, seed=7)
    mean = (np.array(one) + np.array(two)) / 2
    assert found == paired_difference(np.array(right, dtype=float), mean, seed=7)
    assert found.difference == pytest.approx(6 / 8 - (3 + 4) / 16)


def test_compare_wants_a_step_that_both_have():
    found = curves(step("margin", 0, [1, 0]), step("random", 0, [1, 0]), step("random", 1, [1, 0]))
    with pytest.raises(InputError, match="margin has no step 1"):
        found.compare("margin", "random", 1)
    with pytest.raises(InputError, match="deepest"):
        found.compare("deepest", "random", 1)


def test_collapse_by_hand():
    """Chance 0.25, intact 0.85: the bar is 0.4."""
    rows = [
        step("a", 0, [1] * 17 + [0] * 3),
        step("a", 1, [1] * 9 + [0] * 11),
        step("a", 2, [1] * 8 + [0] * 12),
        step("a", 3, [1] * 2 + [0] * 18),
        step("b", 0, [1] * 17 + [0] * 3),
        step("b", 1, [1] * 9 + [0] * 11),
        step("c", 0, [1] * 17 + [0] * 3, seed=0),
        step("c", 0, [1] * 17 + [0] * 3, seed=1),
        step("c", 1, [1] * 2 + [0] * 18, seed=0),
        step("c", 1, [1] * 16 + [0] * 4, seed=1),
    ]
    found = curves(*rows)
    assert found.collapse("a") == 2
    assert found.collapse("b") is None
    assert found.collapse("c") is None  # the mean of the draws, 0.45


@pytest.mark.parametrize("right", [1, 2])
def test_what_is_at_chance_from_the_start_cannot_collapse(right):
    found = curves(step("a", 0, [1] * right + [0] * (8 - right)), step("a", 1, [0] * 8))
    assert found.collapse("a") is None


def test_the_table_has_the_columns_of_the_summary_and_the_strategy():
    table = curves(step("margin", 0, [1, 0]), step("random", 1, [1, 1], seed=2)).to_pandas()
    assert {"strategy", "step", "removed", "cut", "seed", "margin", "accuracy"} <= set(table)
    assert table["removed"].isna().tolist() == [True, False]
    assert table["seed"].isna().tolist() == [True, False]
    assert str(table["transition"].dtype) == "Int64"
    assert table.loc[1, "cut"] == [1]
    assert table.loc[1, "cka"] == 0.7


def test_rows_are_found_by_strategy_and_draw():
    found = curves(step("a", 0, [1]), step("b", 0, [1], seed=0), step("b", 0, [1], seed=1))
    assert found.strategies == ("a", "b")
    assert [row.seed for row in found.of("b")] == [0, 1]
    assert [row.seed for row in found.of("b", 1)] == [1]
    assert list(found.to_dict()) == ["a", "b"]


def test_curves_are_drawn_with_the_draws_as_a_band():
    found = curves(
        step("margin", 0, [1, 1, 1, 0]), step("margin", 1, [1, 1, 0, 0]),
        step("random", 0, [1, 1, 1, 0], seed=0), step("random", 1, [1, 0, 0, 0], seed=0),
        step("random", 0, [1, 1, 1, 0], seed=1), step("random", 1, [0, 0, 0, 0], seed=1),
    )  # fmt: skip
    axes = found.plot().axes[0]
    heights = {tuple(np.round(line.get_ydata(), 3)) for line in axes.get_lines()}
    assert (0.75, 0.5) in heights
    assert (0.75, 0.125) in heights


def two_kinds():
    right = np.array([[1] * 9 + [0], [1] * 8 + [0] * 2, [1] * 7 + [0] * 3])
    rows = [step("margin", k, right[k]) for k in range(3)]
    rows += [step("sleb", k, right[k][::-1]) for k in range(2)]
    rows += [step("cosine_mlp", k, right[k], parts=("mlp",) * k) for k in range(3)]
    return curves(*rows), right


def test_strategies_are_compared_with_any_of_them_over_the_steps_that_both_have():
    found, right = two_kinds()
    table = found.against("margin", seed=3)
    assert table["strategy"].tolist() == ["sleb"]  # a step of cosine_mlp is another thing
    assert table[["reference", "step"]].iloc[0].tolist() == ["margin", 1]
    heights = right[:2].mean(axis=0)
    expected = paired_difference(heights[::-1].copy(), heights, seed=3)
    assert table["difference"][0] == expected.difference
    assert table["p_holm"][0] == expected.p_value
    assert found.against("sleb", 2).empty
    with pytest.raises(InputError, match="deepest"):
        found.against("deepest")


def test_strategies_are_of_a_kind_by_what_they_may_remove():
    """Three attentions of a strategy that may remove MLPs, too."""
    rows = [step("cosine_joint", k, [1, 0, 1, 1], parts=("attention",) * k) for k in range(3)]
    rows += [step("random_joint", k, [1, 1, 0, 1], parts=("attention", "mlp")[:k]) for k in range(3)]
    rows += [step("cosine_attention", k, [1, 1, 0, 1], parts=("attention",) * k) for k in range(3)]
    removes = {"cosine_joint": "joint", "random_joint": "joint", "cosine_attention": "attention"}
    found = replace(curves(*rows), removes=removes)
    assert found.against("cosine_joint")["strategy"].tolist() == ["random_joint"]
    assert found.against("cosine_attention").empty


def test_draws_of_unequal_length_count_as_far_as_all_go():
    right = [[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    rows = [step("random_mlp", k, right[k], seed=0) for k in range(4)]
    rows += [step("random_mlp", k, right[k], seed=1) for k in range(3)]
    found = curves(*rows)
    assert found.last_step("random_mlp") == 2
    assert found.collapse("random_mlp") is None  # at 3 units there is one draw only
    assert found.summary().loc[0, ["last_step", "collapse"]].isna().tolist() == [False, True]
    assert "accuracy 0.500 with 2" in str(found)
    with pytest.raises(InputError, match="no step 3 in every draw; the last is 2"):
        found.compare("random_mlp", "random_mlp", 3)


def test_p_values_against_one_strategy_are_adjusted_for_the_others():
    rows = [step(name, 0, [1] * 8) for name in "abc"]
    rows += [step("a", 1, [1] * 8), step("b", 1, [0] * 8), step("c", 1, [1, 0] * 4)]
    table = curves(*rows).against("a", 1).set_index("strategy")
    assert table.loc["b", "p_holm"] == pytest.approx(2 * table.loc["b", "p_value"])
    assert table.loc["c", "p_holm"] == table.loc["c", "p_value"]


def test_the_interval_of_a_collapse_ends_where_the_steps_do():
    """All questions fall together at step 2, so every resample collapses there; a curve that does not has no number."""
    rows = [step("a", k, [int(k < 2)] * 20) for k in range(4)] + [step("b", k, [1] * 20) for k in range(4)]
    table = curves(*rows).summary().set_index("strategy")
    assert table.loc["a", ["collapse", "collapse_low", "collapse_high"]].tolist() == [2, 2, 2]
    assert table.loc["b", ["collapse", "collapse_low", "collapse_high"]].isna().all()


def test_the_interval_of_a_collapse_is_that_of_resampled_questions():
    rng = np.random.default_rng(0)
    right = rng.random((5, 60)) < np.array([0.95, 0.8, 0.55, 0.42, 0.3])[:, None]
    table = curves(*(step("a", k, right[k]) for k in range(5))).summary(seed=1)
    found = []
    for _ in range(2000):
        drawn = right[:, rng.integers(0, 60, 60)].mean(axis=1)
        below = drawn <= 0.25 + 0.25 * (drawn[0] - 0.25)
        found.append(int(below.argmax()) if below.any() else 5)
    low, high = np.quantile(found, [0.025, 0.975], method="inverted_cdf")
    assert table["collapse_low"][0] == low
    assert (5 if pd.isna(table["collapse_high"][0]) else table["collapse_high"][0]) == high
    assert low < high


def test_luck_stands_in_the_tables_with_the_draws_behind_it():
    rows = [step("a", k, [1] * 8, margins=np.full(8, 1.0), margin=1.0) for k in range(3)]
    rows += [
        step("random", k, [1] * 8, seed=seed, margins=np.full(8, height), margin=height)
        for k in range(3) for seed, height in enumerate([0.0, 0.5, 2.0])
    ]  # fmt: skip
    found = curves(*rows)
    summary = found.summary().set_index("strategy")
    assert summary.loc["a", ["p_luck", "draws"]].tolist() == [0.5, 3]
    assert summary.loc["random", ["p_luck", "draws"]].isna().all()
    steps = found.by_step().set_index(["strategy", "step"])
    assert steps.loc[("a", 2), "p_luck"] == found.better_than_luck("a", 2).p_value == 0.5
    assert pd.isna(steps.loc[("a", 0), "p_luck"])
    assert steps.loc[("random", 1), "margin"] == pytest.approx(2.5 / 3)


def test_margins_and_transitions_of_the_tables_carry_intervals():
    found = curves(
        step("margin", 0, [1, 0, 1]), step("margin", 1, [1, 0, 1], transition=None, transition_ci=None)
    )
    expected = bootstrap_ci(np.linspace(-1, 1, 3) / 3)
    for table in (found.to_pandas(), found.by_step()):
        assert table[["margin_low", "margin_high"]].iloc[0].tolist() == [expected.low, expected.high]
        assert table[["transition", "transition_low", "transition_high"]].iloc[0].tolist() == [2, 1, 2]
        assert table[["transition", "transition_low"]].iloc[1].isna().all()
