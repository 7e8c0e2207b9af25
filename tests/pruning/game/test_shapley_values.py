"""The result: orders, cuts, tables, words and figures."""

from dataclasses import replace

import numpy as np
import pytest

from decision_phases.errors import InputError
from decision_phases.interventions import Intervention, skip
from decision_phases.plots import LearningCurve, unit_values
from decision_phases.plots.style import LIGHT
from decision_phases.pruning.game import LearningPoint, ShapleyValues, SurrogateQuality, find_units

VALUES = np.array([0.5, -0.1, 0.25, -0.1, 0.0])
QUALITY = SurrogateQuality(
    "linear", 12, 0, (LearningPoint(10, 0.1, 0.3), LearningPoint(20, 0.45, 0.6), LearningPoint(40, 0.8, 0.9))
)


def result(**changes):
    given = {
        "units": find_units([1, 2, 3, 4, 5], 8),
        "values": VALUES,
        "low": VALUES - 0.05,
        "high": VALUES + 0.1,
        "method": "surrogate",
        "index": "shapley",
        "objective": "margin",
        "sampler": "stratified",
        "over": "masks",
        "confidence": 0.95,
        "intact": 0.7,
        "empty": 0.1,
        "n_masks": 54,
        "forward_passes": 540,
        "n_questions": 10,
        "seed": 0,
        "surrogate": QUALITY,
    }
    return ShapleyValues(**{**given, **changes})


def test_the_least_valuable_go_first_and_ties_go_to_the_last():
    found = result()
    assert found.order() == (3, 1, 4, 2, 0)
    assert [found.cut(n) for n in range(3)] == [Intervention(), skip(4), skip(2, 4)]
    assert found.mask(2).tolist() == [True, False, True, False, True]
    assert found.gap == pytest.approx(0.6 - VALUES.sum())


@pytest.mark.parametrize("r2", [0.2, float("nan")])
def test_a_surrogate_that_knows_nothing_orders_nothing(r2):
    found = result(surrogate=replace(QUALITY, curve=(LearningPoint(40, r2, 0.9),)))
    with pytest.raises(InputError, match="held-out R² of"):
        found.order()
    with pytest.raises(InputError, match="order nothing"):
        found.cut(2)
    assert found.to_pandas()["rank"].isna().all()
    assert "less than 0.5: these values order nothing" in str(found)
    assert result(surrogate=None).order() == (3, 1, 4, 2, 0)
    if r2 > 0:
        assert found.order(least_r2=0.1) == (3, 1, 4, 2, 0)


def test_more_units_than_there_are_cannot_go():
    with pytest.raises(InputError, match="6 units cannot be removed from 5"):
        result().cut(6)
    with pytest.raises(InputError, match="4 values given for 5 units"):
        result(values=VALUES[:4], low=VALUES[:4], high=VALUES[:4])


def test_the_table_has_a_row_a_unit():
    table = result().to_pandas()
    assert table.columns.tolist() == ["unit", "value", "low", "high", "rank"]
    assert table["unit"].tolist() == ["block 1", "block 2", "block 3", "block 4", "block 5"]
    assert table["rank"].tolist() == [4, 1, 3, 0, 2]
    np.testing.assert_array_equal(table["value"], VALUES)


def test_words_say_how_it_was_found():
    text = repr(result())
    for piece in (
        "Shapley values of 5 units for margin on 10 questions",
        "54 masks, 540 forward passes",
        "held-out R² 0.800, rank correlation 0.900 (fitted to 40 masks, measured on 12 others)",
        "left unexplained +0.0500",
        "block 1: +0.5000 (+0.4500 to +0.6000)",
        "95% intervals resample masks",
    ):
        assert piece in text
    assert "left out" not in text
    assert "4 left out, whose value is no number" in repr(result(surrogate=replace(QUALITY, n_dropped=4)))
    exact = repr(result(surrogate=None, sampler="", over="", low=VALUES * np.nan, high=VALUES * np.nan))
    assert "all masks" in exact
    assert "surrogate:" not in exact
    assert "to" not in exact.split("block 1: ")[1].splitlines()[0]
    assert "unexplained" not in repr(result(index="banzhaf"))
    many = result(units=find_units("block", 12), values=np.arange(12.0), low=np.zeros(12), high=np.ones(12))
    assert "… 4 units between" in repr(many)
    assert repr(many).count("block ") == 8


def test_values_and_learning_curve_are_drawn():
    values, curve = result().plot().axes[:2]
    bars = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in values.patches}
    assert list(bars.values()) == VALUES.tolist()
    lines = {line.get_label(): line for line in curve.lines}
    assert lines["R²"].get_ydata().tolist() == [0.1, 0.45, 0.8]
    assert lines["rank correlation"].get_ydata().tolist() == [0.3, 0.6, 0.9]
    assert lines["R²"].get_xdata().tolist() == [10, 20, 40]
    assert values.get_ylabel() == "Shapley values: margin"
    assert len(result(surrogate=None).plot().axes) == 1


def test_gains_and_losses_differ_in_colour_and_intervals_are_drawn():
    figure = unit_values(["a", "b"], np.array([1.0, -1.0]), np.array([0.5, -1.5]), np.array([2.0, -0.5]))
    axes = figure.axes[0]
    intervals = next(c for c in axes.collections if hasattr(c, "get_segments"))
    assert [segment[:, 1].tolist() for segment in intervals.get_segments()] == [[0.5, 2.0], [-1.5, -0.5]]
    from matplotlib.colors import to_hex

    assert [to_hex(bar.get_facecolor()) for bar in axes.patches] == [LIGHT.positive, LIGHT.negative]
    many = unit_values([f"block {k}" for k in range(30)], np.zeros(30), np.zeros(30), np.zeros(30))
    assert {tick.get_rotation() for tick in many.axes[0].get_xticklabels()} == {90.0}


def test_each_value_needs_a_name():
    with pytest.raises(InputError, match="1 names for 2 values"):
        unit_values(["a"], np.zeros(2), np.zeros(2), np.zeros(2))
    curve = LearningCurve("linear", np.array([5]), np.array([0.5]), np.array([0.5]))
    assert len(unit_values(["a"], np.zeros(1), np.zeros(1), np.zeros(1), curve=curve).axes) == 2
