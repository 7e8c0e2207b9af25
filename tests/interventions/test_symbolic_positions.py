"""Symbolic positions against positions worked out by hand."""

import re

import pytest

from decision_phases.errors import InputError
from decision_phases.interventions import POSITIONS, check_position, resolve

# "Q : what ? \n A . x \n B . y \n Answer :" as 14 tokens, the last of which is the answer position.
SPANS = {"question": (2, 4), "option:0": (7, 8), "option:1": (11, 12), "answer": (13, 14)}


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        ("all", tuple(range(14))),
        ("question", (2, 3)),
        ("option:0", (7,)),
        ("option:1", (11,)),
        ("answer", (13,)),
    ],
)
def test_positions_by_hand(position, expected):
    assert resolve(position, SPANS, length=14) == expected


def test_the_answer_position_stays_where_it_is_when_an_option_follows():
    assert resolve("answer", SPANS, length=16) == (13,)
    assert resolve("all", {}, length=3) == (0, 1, 2)


@pytest.mark.parametrize(
    ("position", "message"),
    [
        (
            "option:2",
            "this sequence has no position 'option:2'; it has: all, answer, option:0, option:1, question. "
            "Options have positions only if the prompt shows them.",
        ),
        ("last", "unknown position 'last'; it must be 'all', 'answer', 'question' or 'option:<i>'"),
        ("option:01", "unknown position 'option:01'"),
        ("option:-1", "unknown position 'option:-1'"),
        ("all ", "unknown position 'all '"),
    ],
)
def test_positions_that_are_not_there(position, message):
    with pytest.raises(InputError, match=re.escape(message)):
        resolve(position, SPANS, length=14)


@pytest.mark.parametrize("span", [(4, 4), (5, 4), (-1, 2), (12, 15)])
def test_spans_that_do_not_fit(span):
    message = (
        f"the span {span[0]}..{span[1]} of position 'question' does not lie within a sequence of 14 tokens"
    )
    with pytest.raises(InputError, match=re.escape(message)):
        resolve("question", {"question": span}, length=14)


def test_a_missing_question_gives_no_hint_about_options():
    with pytest.raises(InputError, match=re.escape("no position 'question'; it has: all, answer.") + "$"):
        resolve("question", {"answer": (0, 1)}, length=2)


def test_every_listed_position_is_valid():
    assert [check_position(name.replace("<i>", "10")) for name in POSITIONS] == [
        "all",
        "answer",
        "question",
        "option:10",
    ]
