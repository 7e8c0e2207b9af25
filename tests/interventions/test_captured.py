"""Captured activations, by hand."""

import copy
import pickle
import re

import numpy as np
import pytest
from safetensors.numpy import save_file

from decision_phases.errors import InputError
from decision_phases.interventions import Array, Captured, PerQuestion

ANSWER = np.arange(6.0).reshape(3, 2)
RAGGED = [np.array([[0.0, 1.0]]), np.array([[2.0, 3.0], [4.0, 5.0], [6.0, 7.0]])]
HEADS = np.arange(12.0).reshape(3, 2, 2)


def at_answer():
    return Captured.from_arrays(
        {("resid_post", 4): ANSWER, ("head_out", 1): HEADS}, "answer", question_key="abc"
    )


def at_all():
    return Captured.from_arrays({("resid_post", 4): RAGGED}, "all")


def test_one_vector_for_each_question():
    captured = at_answer()
    np.testing.assert_array_equal(captured.at("resid_post", 4), ANSWER)
    np.testing.assert_array_equal(captured.at("head_out", 1), HEADS)
    np.testing.assert_array_equal(captured.at("head_out", 1, head=1), [[2, 3], [6, 7], [10, 11]])
    np.testing.assert_array_equal(captured.mean("resid_post", 4), [2.0, 3.0])
    np.testing.assert_array_equal(captured.mean("head_out", 1, head=0), [4.0, 5.0])
    assert (captured.sites, captured.layers, captured.n_questions) == (("head_out", "resid_post"), (1, 4), 3)
    assert repr(captured) == "<Captured: 3 questions at answer, head_out, resid_post of layers {1, 4}>"


def test_one_row_for_each_token():
    captured = at_all()
    found = captured.at("resid_post", 4)
    assert isinstance(found, tuple)
    for one, expected in zip(found, RAGGED, strict=True):
        np.testing.assert_array_equal(one, expected)
    np.testing.assert_array_equal(
        captured.mean("resid_post", 4), [3.0, 4.0]
    )  # tokens, not questions, count once
    assert captured.lengths == (1, 3)


def test_the_mean_is_summed_in_double_precision():
    values = np.full((100_000, 1), 0.1, np.float32)
    mean = Captured.from_arrays({("mlp_out", 0): values}).mean("mlp_out", 0)
    assert mean.dtype == np.float32
    assert mean[0] == np.float32(0.1)


def test_reordered_gives_each_question_the_values_of_another():
    captured = at_answer().reordered([2, 0, 1])
    np.testing.assert_array_equal(captured.at("resid_post", 4), [[4, 5], [0, 1], [2, 3]])
    np.testing.assert_array_equal(captured.at("head_out", 1), HEADS[[2, 0, 1]])
    assert captured.question_key.startswith("abc/reordered-")
    ragged = at_all().reordered(np.array([1, 0, 1]))
    assert ragged.lengths == (3, 1, 3)
    np.testing.assert_array_equal(ragged.at("resid_post", 4)[2], RAGGED[1])


def test_rows_are_written_at_positions():
    one, many = at_answer().rows("resid_post", 4), at_all().rows("resid_post", 4)
    np.testing.assert_array_equal(one.at_positions(1, 3), [[2, 3]] * 3)
    np.testing.assert_array_equal(many.at_positions(1, 3), RAGGED[1])
    message = (
        "the source has 3 positions for question 1, but the edit writes at 2; capture the source at these"
    )
    with pytest.raises(InputError, match=re.escape(message)):
        many.at_positions(1, 2)
    with pytest.raises(
        InputError, match="question 3 is out of range: there are values for 3 questions of one vector"
    ):
        one.at_positions(3, 1)


@pytest.mark.parametrize("make", [at_answer, at_all])
def test_files_copies_and_pickles_are_equal(make, tmp_path):
    captured = make()
    captured.save(tmp_path / "captured.safetensors")
    for twin in (
        Captured.load(tmp_path / "captured.safetensors"),
        copy.deepcopy(captured),
        pickle.loads(pickle.dumps(captured)),
    ):
        assert twin == captured
        assert (hash(twin), twin.key, twin.question_key) == (
            hash(captured),
            captured.key,
            captured.question_key,
        )


def test_equality_is_by_content():
    assert at_answer() == at_answer()
    assert at_answer() != at_answer().reordered([1, 0, 2])
    assert at_answer() != Captured(at_answer().values, "question", "abc")
    assert at_answer() != at_all()


def test_captures_cannot_be_changed():
    source = ANSWER.copy()
    captured = Captured.from_arrays({("resid_post", 4): source})
    source[:] = 9
    np.testing.assert_array_equal(captured.at("resid_post", 4), ANSWER)
    with pytest.raises(ValueError, match="read-only"):
        captured.at("resid_post", 4)[0, 0] = 1
    with pytest.raises(TypeError):
        captured.values["resid_post", 5] = PerQuestion(Array(ANSWER))


@pytest.mark.parametrize(
    ("values", "positions", "message"),
    [
        ({}, "answer", "nothing is captured; give the values of at least one site and layer."),
        ({("resid_pst", 4): ANSWER}, "answer", "unknown site 'resid_pst'; did you mean 'resid_post'"),
        ({("resid_post", -4): ANSWER}, "answer", "layer -4 is negative"),
        ({("resid_post", 4): ANSWER}, "end", "unknown position 'end'"),
        (
            {("resid_post", 4): HEADS},
            "answer",
            "resid_post.4 has the shape (3, 2, 2); it must be [row, d_model].",
        ),
        (
            {("head_out", 4): ANSWER},
            "answer",
            "head_out.4 has the shape (3, 2); it must be [row, head, d_head].",
        ),
        (
            {("resid_post", 4): ANSWER, ("resid_post", 5): ANSWER[:2]},
            "answer",
            "resid_post.5 holds 2 questions of one vector each, width 2, but resid_post.4 holds 3 questions "
            "of one vector each, width 2; all must have the same questions and positions.",
        ),
        (
            {("resid_post", 4): RAGGED, ("mlp_out", 4): RAGGED[::-1]},
            "all",
            "all must have the same questions",
        ),
        (
            {("resid_post", 4): [[1.0], [np.nan]]},
            "answer",
            "resid_post.4 holds 1 values that are NaN or infinite",
        ),
    ],
)
def test_captures_that_do_not_agree(values, positions, message):
    with pytest.raises(InputError, match=re.escape(message)):
        Captured.from_arrays(values, positions)


def test_what_was_not_captured_and_orders_that_do_not_fit():
    captured = at_answer()
    with pytest.raises(
        InputError, match=re.escape("resid_post.5 was not captured; there are head_out.1, resid_post.4.")
    ):
        captured.at("resid_post", 5)
    with pytest.raises(InputError, match="unknown site 'residpost'"):
        captured.at("residpost", 4)
    with pytest.raises(
        InputError, match=re.escape("values of the shape (3, 2) have no heads; head 1 cannot be")
    ):
        captured.at("resid_post", 4, head=1)
    with pytest.raises(InputError, match="question 3 is out of range"):
        captured.reordered([0, 1, 3])
    with pytest.raises(InputError, match="question -1 is out of range"):
        captured.reordered([0, 1, -1])
    with pytest.raises(InputError, match="the order is empty"):
        captured.reordered([])


def test_files_that_are_no_captures(tmp_path):
    path = tmp_path / "captured.safetensors"
    at_answer().save(path)
    with pytest.raises(InputError, match="exists already; choose another name"):
        at_answer().save(path)
    foreign, broken, changed, partial = (
        tmp_path / name for name in ("foreign", "broken", "changed", "partial")
    )
    save_file({"a": ANSWER}, foreign)
    with pytest.raises(InputError, match="is no capture of this release"):
        Captured.load(foreign)
    broken.write_bytes(b"nothing")
    with pytest.raises(InputError, match="is not a safetensors file"):
        Captured.load(broken)
    metadata = {
        "format": "decision_phases.captured.1",
        "positions": "answer",
        "question_key": "",
        "lengths": "null",
    }
    save_file({"resid_post.4": ANSWER}, changed, metadata=metadata | {"key": "0"})
    with pytest.raises(InputError, match="has another content than its key says; it was changed"):
        Captured.load(changed)
    save_file({"resid_post.4": ANSWER}, partial, metadata={"format": "decision_phases.captured.1"})
    with pytest.raises(InputError, match="is a malformed capture: KeyError"):
        Captured.load(partial)
