import numpy as np
import pytest

from decision_phases.errors import InputError
from decision_phases.tasks import (
    EncodedQuestions,
    Question,
    QuestionSet,
    TokenSequence,
    cloze_scores,
    is_cloze,
)


def encoded(scoring):
    """Two questions whose options have 2, 1, 3 and 1, 2 tokens; 2, 4, 5 and 8, 10 characters."""
    questions = QuestionSet(
        "q",
        (Question(("ab", "abcd", "abcde"), 0, "1?"), Question(("abcdefgh", "abcdefghij"), 1, "2?")),
    )
    sequences = []
    for owner, tokens in enumerate([(2, 1, 3), (1, 2)]):
        for unconditional in (False, True) if scoring == "cloze_pmi" else (False,):
            for option, count in enumerate(tokens):
                read, targets = tuple(range(4, 4 + count)), (7,) * count
                sequences.append(
                    TokenSequence(
                        (7,) * (5 + count), read, targets, owner, option, unconditional=unconditional
                    )
                )
    return EncodedQuestions(
        questions, scoring, tuple(sequences), (), np.array([0, 1]), np.array([3, 2]), ((2, 4, 5), (8, 10)),
        "question_answer", 0, False, (), False,
    )  # fmt: skip


SUMS = np.array([[-4.0, -2.0], [-4.0, -1.0], [-6.0, -3.0], [-8.0, -2.0], [-8.0, -1.0]])
NAN = np.nan


@pytest.mark.parametrize(
    ("scoring", "expected"),
    [
        ("cloze", [[[-4, -4, -6], [-2, -1, -3]], [[-8, -8, NAN], [-2, -1, NAN]]]),
        ("cloze_mean", [[[-2, -4, -2], [-1, -1, -1]], [[-8, -4, NAN], [-2, -0.5, NAN]]]),
        ("cloze_char", [[[-2, -1, -1.2], [-1, -0.25, -0.6]], [[-1, -0.8, NAN], [-0.25, -0.1, NAN]]]),
    ],
)
def test_scores_worked_by_hand(scoring, expected):
    np.testing.assert_allclose(cloze_scores(SUMS, encoded(scoring)), expected, rtol=1e-15)


def test_pmi_subtracts_what_the_option_has_without_the_question():
    alone = np.array([[-1.0, -1.0], [-3.0, -3.0], [-6.0, 0.0], [-5.0, -5.0], [-10.0, -2.0]])
    sums = np.concatenate([SUMS[:3], alone[:3], SUMS[3:], alone[3:]])
    expected = [[[-3, -1, 0], [-1, 2, -3]], [[-3, 2, NAN], [3, 1, NAN]]]
    np.testing.assert_array_equal(cloze_scores(sums, encoded("cloze_pmi")), expected)


def test_a_removed_layer_stays_absent():
    sums = SUMS.copy()
    sums[:, 0] = NAN
    scores = cloze_scores(sums, encoded("cloze"))
    assert np.isnan(scores[:, 0]).all()
    np.testing.assert_array_equal(scores[:, 1], [[-2, -1, -3], [-2, -1, NAN]])


def test_scores_are_float64_whatever_comes_in():
    assert cloze_scores(SUMS.astype(np.float32), encoded("cloze")).dtype == np.float64


def test_another_number_of_rows_and_another_scoring_are_refused():
    with pytest.raises(InputError, match="4 rows of log-probabilities for 5 sequences"):
        cloze_scores(SUMS[:4], encoded("cloze"))
    with pytest.raises(InputError, match="'letter' reads tokens, not texts"):
        cloze_scores(SUMS, encoded("letter"))
    assert [is_cloze(s) for s in ("letter", "first_token", "cloze", "cloze_pmi")] == [
        False,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("read", "targets", "message"),
    [((1, 2), (5,), "2 read positions and 1 targets"), ((3,), (), "lie outside a sequence of 3 tokens")],
)
def test_a_sequence_that_cannot_be_read_is_refused(read, targets, message):
    with pytest.raises(InputError, match=message):
        TokenSequence((1, 2, 3), read, targets, 0)
