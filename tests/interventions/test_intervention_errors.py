"""Bad interventions are refused with what was given, what was expected and what to do."""

import math
import re

import numpy as np
import pytest

from decision_phases.errors import InputError
from decision_phases.interventions import (
    Affine,
    Array,
    Bottleneck,
    Captured,
    Edit,
    Intervention,
    LowRank,
    Noise,
    PerQuestion,
    Weights,
    cut_from_flags,
    insert,
    mean,
    noise,
    patch,
    resample,
    scale,
    skip,
    steer,
    weights,
    zero,
)
from decision_phases.interventions.edit import whole_number

ONES = np.ones(4)
CAPTURED = Captured.from_arrays({("mlp_out", 2): np.ones((3, 4)), ("head_out", 2): np.ones((3, 2, 4))})

BAD = {
    "skip of nothing": (lambda: skip(), "no layer is given; give at least one, such as skip(5)"),
    "empty iterable": (lambda: skip([]), "no layer is given"),
    "negative layer": (
        lambda: skip(-1),
        "layer -1 is negative; a layer is counted from 0, in the intact model.",
    ),
    "layer as a bool": (lambda: skip(True), "layer True is not an integer."),
    "layer as a fraction": (lambda: whole_number(2.5, "layer"), "layer 2.5 is not an integer."),
    "layer as a text": (lambda: whole_number("5", "layer"), "layer '5' is not an integer."),
    "unknown part": (lambda: skip(3, part="atention"), "unknown part 'atention'; did you mean 'attention'?"),
    "unknown site": (lambda: zero("mlp_ou", 3), "unknown site 'mlp_ou'; did you mean 'mlp_out'"),
    "unknown op": (lambda: Edit("sett", "mlp_out", 3), "unknown op 'sett'; did you mean 'set'"),
    "unknown position": (
        lambda: zero("mlp_out", 3, positions="option:"),
        "unknown position 'option:'; it must be 'all', 'answer', 'question' or 'option:<i>'",
    ),
    "removed twice": (
        lambda: skip(5) + skip(3, 5),
        "layer 5 is removed twice, by 'skip block of layer 5' and 'skip block of layer 5'; keep one of them",
    ),
    "block and its attention": (
        lambda: skip(5, part="attention") + skip(5),
        "layer 5 is removed twice, by 'skip block of layer 5' and 'skip attention of layer 5'",
    ),
    "block and its MLP": (
        lambda: skip(5) + skip(5, part="mlp"),
        "layer 5 is removed twice, by 'skip block of layer 5' and 'skip mlp of layer 5'",
    ),
    "edit in a removed block": (
        lambda: zero("attn_out", 5, positions="answer") + skip(5),
        "'set attn_out of layer 5 at answer' has nothing to act on, because 'skip block of layer 5' removes "
        "it; drop one of the two.",
    ),
    "head of removed attention": (
        lambda: skip(5, part="attention") + zero("head_out", 5, head=1),
        "'set head 1 of layer 5' has nothing to act on, because 'skip attention of layer 5' removes it",
    ),
    "output of removed attention": (
        lambda: skip(5, part="attention") + mean("attn_out", 5, ONES),
        "'set attn_out of layer 5' has nothing to act on, because 'skip attention of layer 5' removes it",
    ),
    "output of a removed MLP": (
        lambda: skip(5, part="mlp") + scale("mlp_out", 5, 2.0),
        "'scale mlp_out of layer 5' has nothing to act on, because 'skip mlp of layer 5' removes it",
    ),
    "end of a removed block": (
        lambda: skip(5) + noise(5, 0.1),
        "'noise resid_post of layer 5' has nothing to act on, because 'skip block of layer 5' removes it",
    ),
    "edit of what enters a removed block": (
        lambda: skip(5) + scale("resid_pre", 5, 2.0),
        "'scale resid_pre of layer 5' has nothing to act on, because 'skip block of layer 5' removes it",
    ),
    "weights of a removed block": (
        lambda: skip(5) + weights(5, {"w": ONES}),
        "'weights block of layer 5 (w)' has nothing to act on, because 'skip block of layer 5' removes it",
    ),
    "two numbers of questions": (
        lambda: patch("resid_post", 1, np.ones((3, 4))) + patch("resid_post", 2, np.ones((5, 4))),
        "'set resid_post of layer 1 at answer' holds values for 3 questions and "
        "'set resid_post of layer 2 at answer' for 5; edits that go together must be made from equally many.",
    ),
    "head missing": (lambda: zero("head_out", 3), "set at head_out needs a head; give head=0, say."),
    "head elsewhere": (
        lambda: zero("mlp_out", 3, head=1),
        "head=1 is given at the site 'mlp_out'; only head_out has heads.",
    ),
    "negative head": (lambda: zero("head_out", 3, head=-1), "head -1 is negative; a head is counted from 0"),
    "op elsewhere": (
        lambda: Edit("map", "head_out", 3, head=0),
        "map does not act at 'head_out'; it acts at: resid_pre, attn_out, resid_mid, mlp_out, resid_post.",
    ),
    "skip of an activation": (
        lambda: Edit("skip", "mlp_out", 3),
        "skip does not act at 'mlp_out'; it acts at: block, attention, mlp.",
    ),
    "skip at positions": (
        lambda: Edit("skip", "mlp", 3, positions="answer"),
        "'skip mlp of layer 3 at answer' must act at all positions, not only at 'answer'.",
    ),
    "negative variance": (
        lambda: noise(3, -0.1),
        "the noise variance is -0.1; it must be a finite number, 0 or more.",
    ),
    "variance NaN": (lambda: noise(3, math.nan), "the noise variance is nan"),
    "unknown noise scale": (
        lambda: noise(3, 0.1, relative_to="tokenstd"),
        "unknown noise scale 'tokenstd'; did you mean 'token_std'?",
    ),
    "negative seed": (lambda: noise(3, 0.1, seed=-1), "seed -1 is negative."),
    "no seed": (
        lambda: Edit("noise", "resid_post", 3, value=Noise(0.1)),
        "'noise resid_post of layer 3' draws at random and needs a seed; give seed=0, say.",
    ),
    "idle seed": (
        lambda: Edit("skip", "block", 3, seed=1),
        "'skip block of layer 3' draws nothing at random; seed=1 has no meaning for it.",
    ),
    "factor infinite": (
        lambda: scale("mlp_out", 3, math.inf),
        "'scale mlp_out of layer 3' has the value inf; it must be finite.",
    ),
    "no value": (
        lambda: Edit("set", "mlp_out", 3),
        "'set mlp_out of layer 3' has a value of type NoneType; it must be float or Array or PerQuestion.",
    ),
    "value for a skip": (
        lambda: Edit("skip", "mlp", 3, value=1.0),
        "'skip mlp of layer 3' has a value of type float; it must be None.",
    ),
    "matrix to set": (
        lambda: Edit("set", "mlp_out", 3, value=Array(np.ones((2, 2)))),
        "'set mlp_out of layer 3' has a value of the shape (2, 2); it must be one vector of numbers, [d].",
    ),
    "mask to set": (
        lambda: Edit("set", "mlp_out", 3, value=Array(np.array([True]))),
        "'set mlp_out of layer 3' has a value of the shape (1,); it must be one vector of numbers, [d].",
    ),
    "steering matrix": (
        lambda: steer("resid_post", 3, np.ones((2, 2))),
        "the steering direction has the shape (2, 2); it must have 1 dimension.",
    ),
    "steering NaN": (
        lambda: steer("resid_post", 3, [1.0, math.nan, math.nan]),
        "the steering direction holds 2 values that are NaN or infinite, the first at index (1,)",
    ),
    "steering overflow": (
        lambda: steer("resid_post", 3, np.full(2, 3e38, np.float32), 10),
        "the steering direction times its strength holds 2 values that are NaN or infinite",
    ),
    "steering text": (
        lambda: steer("resid_post", 3, ["a"]),
        "the steering direction has the type <U1; it must be an array of real numbers.",
    ),
    "empty steering": (
        lambda: steer("resid_post", 3, []),
        "the steering direction has the shape (0,), without any",
    ),
    "ragged steering": (
        lambda: steer("resid_post", 3, [[1.0], [1.0, 2.0]]),
        "the steering direction is not a rectangular array of numbers",
    ),
    "mean of two dimensions": (
        lambda: mean("mlp_out", 3, np.ones((2, 4))),
        "the mean has the shape (2, 4); it must have 1 dimension.",
    ),
    "patch from one vector": (
        lambda: patch("mlp_out", 3, ONES),
        "they must be numbers of the shape [question, d], or one array [position, d] for each question.",
    ),
    "patch of unequal widths": (
        lambda: patch("mlp_out", 3, [np.ones((2, 4)), np.ones((2, 5))], positions="all"),
        "the source has the shapes [(2, 4), (2, 5)]; it must be one array [position, d] for each question.",
    ),
    "patch NaN": (
        lambda: patch("mlp_out", 3, [np.ones((1, 2)), np.full((1, 2), np.nan)], positions="all"),
        "the source, question 1 holds 2 values that are NaN or infinite, the first at index (0, 0)",
    ),
    "many rows at one position": (
        lambda: patch("mlp_out", 3, [np.ones((2, 4)), np.ones((3, 4))]),
        "'set mlp_out of layer 3 at answer' writes at one position, but its source holds 2 questions of 2 "
        "to 3 positions, width 4; capture it at positions='answer'",
    ),
    "patch from another layer": (
        lambda: patch("mlp_out", 3, CAPTURED),
        "mlp_out.3 was not captured; there are head_out.2, mlp_out.2.",
    ),
    "patch of a missing head": (
        lambda: patch("head_out", 2, CAPTURED, head=2),
        "head 2 is out of range: the values have heads 0..1.",
    ),
    "patch without a head": (lambda: patch("head_out", 2, CAPTURED), "set at head_out needs a head"),
    "patch of all heads": (
        lambda: patch("head_out", 2, np.ones((3, 2, 4)), head=0),
        "'set head 0 of layer 2 at answer' holds (3, 2, 4), values of every head; choose one with head=.",
    ),
    "resample from one": (
        lambda: resample("mlp_out", 3, np.ones((1, 4))),
        "'resample mlp_out of layer 3 at answer' draws from 1 questions of one vector each, width 4; "
        "it needs at least 2 questions of one vector each",
    ),
    "resample of many rows": (
        lambda: resample("mlp_out", 3, [np.ones((2, 4)), np.ones((2, 4))], positions="all"),
        "draws from 2 questions of 2 to 2 positions, width 4; it needs at least 2 questions of one vector",
    ),
    "map not square": (
        lambda: insert(3, np.ones((2, 3))),
        "the weight of the map is Array(float64[2, 3], ",
    ),
    "map of one dimension": (
        lambda: insert(3, ONES),
        "the weight of the map has the shape (4,); it must have 2 dim",
    ),
    "bias of another width": (
        lambda: Affine(Array(np.eye(3)), Array(np.ones(2))),
        "with this weight it must be [3].",
    ),
    "bottleneck that does not fit": (
        lambda: Bottleneck(*(Array(np.ones(shape)) for shape in ((3, 2), (2,), (3, 2), (3,)))),
        "of the shapes ((3, 2), (2,), (3, 2), (3,)); they must be numbers of the shapes [d, r], [r], [r, d] and [d].",
    ),
    "change of low rank that does not fit": (
        lambda: LowRank(Array(np.ones((3, 2))), Array(np.ones((3, 2)))),
        "left and right of the shapes (3, 2) and (3, 2); they must be numbers of the shapes [rows, rank] and [rank, ",
    ),
    "change of low rank of vectors": (
        lambda: LowRank(Array(ONES), Array(ONES)),
        "of the shapes (4,) and (4,)",
    ),
    "no parameters": (
        lambda: weights(3, {}),
        "no parameter is given; give at least one name with its array.",
    ),
    "nameless parameter": (
        lambda: weights(3, {"": ONES}),
        "the parameters are named ['']; each must have a name",
    ),
    "parameter twice": (
        lambda: Weights((("w", Array(ONES)), ("w", Array(ONES)))),
        "the parameters are named ['w', 'w']; each must have a name of its own.",
    ),
    "parameter NaN": (
        lambda: weights(3, {"mlp.w": [math.nan]}),
        "parameter 'mlp.w' holds 1 values that are NaN or infinite, the first at index (0,)",
    ),
    "lengths that do not add up": (
        lambda: PerQuestion(Array(np.ones((3, 2))), (1, 1)),
        "values per question have 3 rows, but their lengths are (1, 1)",
    ),
    "length of 0": (lambda: PerQuestion(Array(np.ones((3, 2))), (3, 0)), "the lengths must be positive"),
    "flag with a word": (
        lambda: cut_from_flags(skip="5,x"),
        "--skip: 'x' is not a layer or a range of layers; write 5,8 or 5-8.",
    ),
    "flag without a layer": (lambda: cut_from_flags(skip_mlp=""), "--skip-mlp: '' is not a layer or a range"),
    "flag with a negative": (
        lambda: cut_from_flags(skip="-3"),
        "--skip: '-3' is not a layer or a range of layers",
    ),
    "flag backwards": (
        lambda: cut_from_flags(skip_attention="8-5"),
        "--skip-attention: the range 8-5 runs backwards; write 5-8.",
    ),
    "flags that overlap": (lambda: cut_from_flags(skip="5", skip_mlp="4-6"), "layer 5 is removed twice"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused(name):
    build, message = BAD[name]
    with pytest.raises(InputError, match=re.escape(message)):
        build()


MODEL = {"n_layers": 30, "n_heads": 9, "d_model": 576, "d_head": 64}
SITES = {"resid_pre", "resid_post", "attn_out"}
UNFIT = {
    "layer": (skip(30), "'skip block of layer 30' is out of range: the model has layers 0..29."),
    "head": (
        zero("head_out", 3, head=9),
        "'set head 9 of layer 3' is out of range: the model has heads 0..8.",
    ),
    "width": (
        patch("resid_post", 12, np.ones((3, 512))),
        "'set resid_post of layer 12 at answer' holds values of width 512, but the model's resid_post has "
        "width 576.",
    ),
    "width of a vector": (
        mean("mlp_out", 1, np.ones(3)),
        "holds values of width 3, but the model's mlp_out has width",
    ),
    "width of a map": (
        insert(1, np.eye(3)),
        "'map resid_pre of layer 1' holds values of width 3, but the model's",
    ),
    "width of a head": (
        mean("head_out", 1, np.ones(576), head=0),
        "'set head 0 of layer 1' holds values of width 576, but the model's head_out has width 64.",
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_a_model_refuses(name):
    intervention, message = UNFIT[name]
    with pytest.raises(InputError, match=re.escape(message)):
        intervention.validate(**MODEL)


@pytest.mark.parametrize(
    ("intervention", "site"),
    [
        (zero("mlp_out", 1), "mlp_out"),
        (skip(1, part="mlp"), "mlp_out"),
        (zero("head_out", 1, head=0), "head_out"),
        (zero("resid_mid", 1), "resid_mid"),
    ],
)
def test_a_site_that_the_model_lacks_is_named_with_those_it_has(intervention, site):
    message = f"'{intervention.edits[0]}' needs the site {site}, which this model lacks; it has: "
    with pytest.raises(InputError, match=re.escape(message + "resid_pre, attn_out, resid_post.")):
        intervention.validate(n_layers=30, sites=SITES)


def test_what_fits_a_model():
    fitting = (
        skip(29)
        + skip(3, part="attention")
        + mean("resid_post", 1, np.ones(576))
        + patch("resid_pre", 2, np.ones((4, 576)))
        + insert(29, np.eye(576))
        + weights(4, {"w": ONES})
    )
    fitting.validate(**MODEL, sites=SITES)
    mean("head_out", 1, np.ones(64), head=8).validate(**MODEL)
    Intervention().validate(n_layers=1)
    skip(3).validate(n_layers=4, sites=set())


def test_inputs_of_another_number_of_questions_are_refused_with_both_shapes():
    patched = skip(3) + patch("resid_post", 12, np.ones((52, 576)))
    patched.check_questions(52)
    message = (
        "'set resid_post of layer 12 at answer' holds values for 52 questions of one vector each, width 576, "
        "but the inputs are 48 questions; capture the source on as many questions, in the same order."
    )
    with pytest.raises(InputError, match=re.escape(message)):
        patched.check_questions(48)
    (skip(3) + noise(4, 0.1) + resample("mlp_out", 2, np.ones((9, 4)))).check_questions(48)


def test_what_is_legal_at_removed_places():
    assert (skip(5) + insert(5, np.eye(2)) + insert(5, np.eye(2))).removed_blocks == (5,)
    assert insert(5, np.eye(2)) + skip(5) == skip(5) + insert(5, np.eye(2))
    assert len(skip(5, part="attention") + skip(5, part="mlp")) == 2
    assert len(skip(5, part="attention") + zero("mlp_out", 5) + zero("resid_mid", 5) + noise(5, 0.1)) == 4
    assert len(skip(5, part="mlp") + zero("attn_out", 5) + zero("head_out", 5, head=0)) == 3
    assert len(skip(5) + zero("mlp_out", 4) + zero("mlp_out", 6)) == 3
