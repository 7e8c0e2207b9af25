"""Steering: directions of the decision move it where it is made, random ones of the same length do not."""

import numpy as np
import pytest

from decision_phases.engine import capture
from decision_phases.errors import InputError
from decision_phases.interventions import skip, steer
from decision_phases.readout import ask, read
from decision_phases.studies.steering import directions, sides, steering
from decision_phases.tasks import questions


@pytest.fixture(scope="module")
def found(reader, reading):
    return steering(reader, reading, strengths=(-3.0, -1.0, 1.0), controls=2)


def test_the_decision_is_moved_from_where_it_is_made(found):
    assert found.phases.transition == 4
    assert (found.intact > 0.9).all()
    for layer in (4, 5):
        effect = found.effect(layer, -3.0)
        assert effect.difference < -1.0
        assert effect.high < 0
        assert effect.p_value < 0.01
    assert abs(found.effect(0, -3.0).difference) < 0.2
    assert found.control[:, 4:].mean() > 0.5


def test_slopes_are_told_before_and_after_the_transition(found):
    assert [found.phase_of(layer) for layer in found.layers] == ["before"] * 4 + ["after"] * 2
    compared = found.compare_phases()
    assert compared.low > 0
    slopes = found.slopes()
    beyond = (found.margin - found.control.mean(axis=0))[4, :, 0]
    assert slopes[4, 0] == pytest.approx(np.linalg.lstsq(np.array([[-3.0], [-1.0], [1.0]]), beyond)[0][0])
    assert "more margin after the transition (layer 4)" in str(found)


def test_results_can_be_tabulated_and_drawn(found):
    table = found.to_pandas()
    assert len(table) == 6 * 3
    row = table[(table["layer"] == 4) & (table["strength"] == -3.0)].iloc[0]
    assert row["margin"] == pytest.approx(found.margin[4, 0].mean())
    assert row["difference"] == pytest.approx(row["margin"] - row["control"])
    assert len(found.plot().axes) == 2


def test_each_question_is_steered_by_the_direction_of_its_right_option(reader, reading):
    found = steering(reader, reading, layers=[3], strengths=(-2.0,), controls=1, seed=3)
    search, evaluation = (ask(reader, part) for part in reading.split(0.5, 3))
    states = capture(reader, search, layers=[3]).at("resid_post", 3)
    gold = np.array([item.answer for item in search.questions])
    for i, item in enumerate(evaluation.questions):
        own = gold == item.answer
        direction = states[own].mean(axis=0) - states[~own].mean(axis=0)
        one = ask(reader, [item], scoring="letter")
        margin = read(
            reader, one, under=steer("resid_post", 3, direction, -2.0, positions="answer")
        ).final.margin
        assert found.margin[0, 0, i] == pytest.approx(float(margin[0]), abs=1e-4)


def test_directions_are_differences_of_means_within_their_set():
    right = [("a", "x"), ("a", "y"), ("b", "x"), None, ("a", "x")]
    states = np.array([[1.0], [5.0], [100.0], [1000.0], [2.0]])
    assert directions(states, right, [("a", "x")])["a", "x"].tolist() == [1.5 - 5.0]


def test_random_directions_have_the_same_length(reader, reading):
    from decision_phases.studies.steering import _random

    own = {("", "A"): np.array([3.0, 4.0]), ("", "B"): np.array([0.0, 1.0])}
    drawn = _random(own, [0, 1])
    assert {side: float(np.linalg.norm(v)) for side, v in drawn.items()} == pytest.approx(
        {("", "A"): 5.0, ("", "B"): 1.0}
    )
    assert _random(own, [0, 2])["", "A"].tolist() != drawn["", "A"].tolist()


def test_categories_with_a_closed_set_keep_their_identity(tiny):
    every = questions("facts").filter("animals", "colors", "seasons")
    found = sides(ask(tiny, every), every)
    closed = {"colors", "seasons"}
    for item, side in zip(every, found, strict=True):
        assert side == ((item.category, item.gold) if item.category in closed else None)
    left = steering(tiny, every, layers=[1], strengths=[1.0], controls=1)
    assert len(left.intact) + left.left_out == 24
    assert 8 <= left.left_out < 24  # the animals at least


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"layers": [6]}, "layer 6 is not there"),
        ({"layers": [2], "under": skip(2)}, "layer 2 is not there"),
        ({"layers": [1, 1]}, "each once"),
        ({"strengths": [0.0]}, "other than 0"),
        ({"strengths": []}, "other than 0"),
        ({"controls": 0}, "controls=0"),
        ({"scoring": "cloze"}, "several sequences a question"),
    ],
)
def test_bad_input_is_refused(settings, text, reader, reading):
    with pytest.raises(InputError, match=text):
        steering(reader, reading, **settings)


def test_options_without_identity_are_refused(tiny):
    with pytest.raises(InputError, match="use scoring='letter', or questions with a closed set in each"):
        steering(tiny, questions("facts").filter("capitals", "jobs"))


def test_too_few_questions_are_refused(tiny):
    with pytest.raises(InputError, match="there is no difference of means"):
        steering(tiny, questions("facts").filter("colors").limit(4))
