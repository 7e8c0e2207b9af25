"""What follows from scores, worked by hand."""

import dataclasses
import math

import numpy as np
import pytest

from decision_phases.errors import InputError
from decision_phases.interventions import Intervention, skip
from decision_phases.readout import Decisions
from decision_phases.tasks import EncodedQuestions, Question, QuestionSet, TokenSequence

COLOURS = ("red", "blue")
LOG3 = math.log(3.0)


def made(scores: np.ndarray, under: Intervention | None = None, *, shared: bool = True) -> Decisions:
    """Decisions on two questions, gold red and gold blue, from given scores."""
    second = COLOURS if shared else ("yes", "no")
    items = (Question(COLOURS, 0, "Blood?", category="a", id="q1"), Question(second, 1, "Sky?", category="b"))
    encoded = EncodedQuestions(
        questions=QuestionSet("two", items, "first_token"),
        scoring="first_token",
        sequences=tuple(TokenSequence((1, 2), (1,), (), i) for i in range(2)),
        option_ids=((3, 4), (3, 4)),
        gold=np.array([0, 1]),
        n_options=np.array([2, 2]),
        option_chars=((3, 4), (3, 4)),
        template="question_answer",
        shots=0,
        show_options=False,
        symbols=(),
        bos=False,
    )
    return Decisions(scores, np.zeros((2, 2)), encoded, under or Intervention(), "hand")


@pytest.fixture
def decisions() -> Decisions:
    """Layer 0: both say red, p = 3/4; layer 1: the first ties, the second says blue; layer 2: both are right."""
    first = [[LOG3, 0.0], [1.0, 1.0], [LOG3, 0.0]]
    second = [[LOG3, 0.0], [0.0, LOG3], [0.0, LOG3]]
    return made(np.array([first, second]))


def test_margins_choices_and_accuracy(decisions: Decisions) -> None:
    np.testing.assert_allclose(decisions.margin, [[0.5, 0.0, 0.5], [-0.5, 0.5, 0.5]], atol=1e-12)
    np.testing.assert_allclose(decisions.logit_margin, [[LOG3, 0, LOG3], [-LOG3, LOG3, LOG3]], atol=1e-12)
    # With two options the mean over golds is 0, so that nothing is in excess of it but the margin itself.
    np.testing.assert_allclose(decisions.excess_margin, decisions.margin, atol=1e-12)
    np.testing.assert_allclose(decisions.self_margin, decisions.margin, atol=1e-12)
    assert decisions.choice.tolist() == [[0, 0, 0], [0, 1, 1]]
    assert decisions.accuracy.tolist() == [0.5, 1.0, 1.0]
    assert decisions.tie_rate.tolist() == [0.0, 0.5, 0.0]
    assert decisions.commitment_layer.tolist() == [0, 1]
    assert decisions.flips.tolist() == [0, 1]
    assert (decisions.final.accuracy, decisions.chance) == (1.0, 0.5)
    interval = decisions.accuracy_interval()
    assert np.asarray(interval.estimate).tolist() == [0.5, 1.0, 1.0]


def test_option_frequency_is_by_identity(decisions: Decisions) -> None:
    table = decisions.option_frequency()
    assert list(table.columns) == ["blue", "red"]
    assert table["red"].tolist() == [1.0, 0.5, 0.5, 0.5]
    assert table.loc["gold"].tolist() == [0.5, 0.5]
    assert decisions.option_frequency("b")["blue"].tolist() == [0.0, 1.0, 1.0, 1.0]


def test_option_frequency_needs_options_with_an_identity(decisions: Decisions) -> None:
    apart = made(decisions.scores, shared=False)
    with pytest.raises(InputError, match="do not share one closed set of options"):
        apart.option_frequency()
    assert apart.option_frequency("b")["no"].tolist() == [0.0, 1.0, 1.0, 1.0]


def test_to_pandas_has_a_row_for_each_question_and_surviving_layer(decisions: Decisions) -> None:
    scores = decisions.scores.copy()
    scores[:, 1] = np.nan
    table = made(scores, skip(1)).to_pandas()
    assert table["layer"].tolist() == [0, 2, 0, 2]
    assert table["question_id"].tolist() == ["q1", "q1", "#1", "#1"]
    assert table["category"].tolist() == ["a", "a", "b", "b"]
    assert table["choice_text"].tolist() == ["red", "red", "red", "blue"]
    assert table["gold_text"].tolist() == ["red", "red", "blue", "blue"]
    assert table["correct"].tolist() == [True, True, False, True]
    np.testing.assert_allclose(table["margin"], [0.5, 0.5, -0.5, 0.5])
    np.testing.assert_allclose(table["p_gold"], [0.75, 0.75, 0.25, 0.75])
    np.testing.assert_allclose(table["p_best_other"], [0.25, 0.25, 0.75, 0.25])
    assert list(table["options"].iloc[0]) == ["red", "blue"]


def test_without_any_layer_the_embedding_is_the_end() -> None:
    empty = made(np.full((2, 3, 2), np.nan), skip(0, 1, 2))
    empty = dataclasses.replace(empty, embed=np.array([[LOG3, 0.0], [LOG3, 0.0]]))
    assert (empty.survivors, empty.n_layers) == ((), 3)
    assert empty.final.accuracy == 0.5
    np.testing.assert_allclose(empty.final.margin, [0.5, -0.5])
    with pytest.raises(InputError, match="every layer is removed, so there is no layer to tabulate"):
        empty.to_pandas()
    assert "accuracy 0.500" in empty._repr_html_()
    assert "accuracy 0.500" in str(empty)
    assert "skip {0..2}" in repr(empty)


def test_it_prints_what_matters(decisions: Decisions) -> None:
    assert str(decisions) == (
        "Decisions of hand on 2 questions (two, first_token), 3 layers: accuracy 1.000 (chance 0.50), margin +0.500"
    )
    assert "<table" in decisions._repr_html_()
    hostile = dataclasses.replace(decisions, model="<script>")
    assert "<script>" not in hostile._repr_html_()


def test_shapes_must_agree(decisions: Decisions) -> None:
    with pytest.raises(InputError, match="scores of 1 questions do not belong to 2 questions"):
        dataclasses.replace(decisions, scores=decisions.scores[:1], embed=decisions.embed[:1])
