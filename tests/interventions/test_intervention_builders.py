"""What each builder lowers to."""

import numpy as np
import pytest
import torch

from decision_phases.interventions import (
    Array,
    Captured,
    Edit,
    Intervention,
    Noise,
    PerQuestion,
    Weights,
    cut_from_flags,
    format_layers,
    insert,
    mean,
    noise,
    parse_layers,
    patch,
    resample,
    scale,
    skip,
    steer,
    weights,
    zero,
)

ROWS = np.arange(12.0).reshape(3, 4)


def only(intervention):
    (edit,) = intervention
    return edit


def test_skip_takes_layers_and_iterables_of_any_integer_type():
    expected = Intervention(tuple(Edit("skip", "block", layer) for layer in (5, 6, 7, 8)))
    for given in (
        (5, 6, 7, 8),
        (range(5, 9),),
        ([5], (6, 7), 8),
        (np.arange(5, 9),),
        (np.int32(5), iter([6, 7, 8])),
    ):
        assert skip(*given) == expected
    assert type(skip(np.int64(5)).edits[0].layer) is int
    assert skip(20, part="mlp") == Intervention((Edit("skip", "mlp", 20),))


def test_zero_mean_and_patch_set_and_steer_adds():
    assert only(zero("attn_out", 3)) == Edit("set", "attn_out", 3, value=0.0)
    assert only(mean("attn_out", 3, ROWS[0])) == Edit("set", "attn_out", 3, value=Array(ROWS[0]))
    assert only(patch("attn_out", 3, ROWS)) == Edit(
        "set", "attn_out", 3, positions="answer", value=PerQuestion(Array(ROWS))
    )
    assert only(steer("resid_post", 3, ROWS[1], strength=-2)) == Edit(
        "add", "resid_post", 3, value=Array(np.array([-8.0, -10.0, -12.0, -14.0]))
    )
    assert only(scale("mlp_out", 3, 2)) == Edit("scale", "mlp_out", 3, value=2.0)
    assert [only(built).label for built in (zero("mlp_out", 1), mean("mlp_out", 1, [1.0]), skip(1))] == [
        "zero",
        "mean",
        "",
    ]


def test_the_other_ops():
    assert only(noise(3, 0.02, seed=4)) == Edit(
        "noise", "resid_post", 3, value=Noise(0.02, "token_std"), seed=4
    )
    assert only(resample("mlp_out", 3, ROWS, seed=2)) == Edit(
        "resample", "mlp_out", 3, positions="answer", value=PerQuestion(Array(ROWS)), seed=2
    )
    mapped = only(insert(3, np.eye(4), ROWS[0]))
    assert (mapped.op, mapped.site, mapped.positions) == ("map", "resid_pre", "all")
    np.testing.assert_array_equal(mapped.value.weight.data, np.eye(4))
    np.testing.assert_array_equal(mapped.value.bias.data, ROWS[0])
    mask = np.array([True, False])
    value = Weights((("a", Array(mask)), ("b", Array(ROWS))))
    assert only(weights(3, {"b": ROWS, "a": mask})) == Edit("weights", "block", 3, value=value)


def test_captures_give_their_values_and_their_positions():
    heads = np.arange(24.0).reshape(3, 2, 4)
    captured = Captured.from_arrays({("mlp_out", 2): ROWS, ("head_out", 2): heads}, positions="question")
    assert only(patch("mlp_out", 2, captured)).positions == "question"
    assert only(mean("mlp_out", 2, captured)) == Edit(
        "set", "mlp_out", 2, positions="question", value=Array(np.array([4.0, 5.0, 6.0, 7.0]))
    )
    assert only(patch("mlp_out", 2, captured, positions="answer")) == only(patch("mlp_out", 2, ROWS))
    assert only(resample("head_out", 2, captured, head=1)).value == PerQuestion(Array(heads[:, 1]))
    np.testing.assert_array_equal(
        only(mean("head_out", 2, captured, head=0)).value.data, heads[:, 0].mean(axis=0)
    )


def test_every_position_can_be_patched_from_sequences_of_different_length():
    source = [np.ones((5, 4)), np.zeros((2, 4))]
    value = only(patch("resid_pre", 2, source, positions="all")).value
    assert (value.lengths, value.n_questions, value.width) == ((5, 2), 2, 4)
    np.testing.assert_array_equal(value.of(1), np.zeros((2, 4)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_tensors_are_taken_from_their_graph(dtype):
    direction = torch.tensor([1.0, -2.5], dtype=dtype, requires_grad=True)
    value = only(steer("resid_post", 3, direction, 2.0)).value
    assert value.data.tolist() == [2.0, -5.0]
    assert value.data.dtype == (np.float16 if dtype == torch.float16 else np.float32)


def test_byte_order_and_memory_order_do_not_matter():
    array = Array(ROWS)
    assert Array(ROWS.astype(">f8")) == array
    assert Array(np.asfortranarray(ROWS)) == array
    assert Array(ROWS.T) != array
    assert Array(ROWS.reshape(4, 3)) != array


def test_flags():
    assert cut_from_flags() == Intervention()
    assert cut_from_flags(skip="5,8", skip_attention="3", skip_mlp="20") == (
        skip(5, 8) + skip(3, part="attention") + skip(20, part="mlp")
    )
    assert cut_from_flags(skip=" 5-8, 12 ") == skip(range(5, 9), 12)


@pytest.mark.parametrize(
    ("layers", "text"),
    [((), "{}"), ((3,), "{3}"), ((4, 3), "{3, 4}"), ((5, 6, 7), "{5..7}"), ((0, 2, 3, 4, 9), "{0, 2..4, 9}")],
)
def test_sets_of_layers_as_text(layers, text):
    assert format_layers(layers) == text


def test_layers_are_listed_in_the_order_of_the_text():
    assert parse_layers("9,2-4,3") == (9, 2, 3, 4, 3)
