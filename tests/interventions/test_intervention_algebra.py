"""The algebra of interventions, on random ones."""

import copy
import pickle
from contextlib import suppress
from functools import partial
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from decision_phases.errors import InputError
from decision_phases.interventions import (
    ACTIVATIONS,
    PARTS,
    Edit,
    Intervention,
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

LAYERS = st.integers(0, 5)
SITES = st.sampled_from([site for site in ACTIVATIONS if site != "head_out"])
POSITIONS = st.sampled_from(["all", "answer", "question", "option:0", "option:3"])
FLOATS = st.floats(-4, 4, width=32)
VECTORS = st.lists(FLOATS, min_size=3, max_size=3).map(np.array)
SOURCES = st.lists(VECTORS, min_size=2, max_size=2).map(np.stack)


def later(builder, *args, **kwargs):
    """A call of the builder, drawn now and made in the test (the type checks draw at random themselves)."""
    return st.builds(partial, st.just(builder), *args, **kwargs)


ONE = st.one_of(
    later(skip, LAYERS, part=st.sampled_from(PARTS)),
    later(zero, SITES, LAYERS, positions=POSITIONS),
    later(zero, st.just("head_out"), LAYERS, head=st.integers(0, 2)),
    later(mean, SITES, LAYERS, VECTORS),
    later(steer, SITES, LAYERS, VECTORS, FLOATS),
    later(scale, SITES, LAYERS, FLOATS),
    later(noise, LAYERS, st.floats(0, 1), seed=st.integers(0, 9)),
    later(patch, SITES, LAYERS, SOURCES),
    later(resample, SITES, LAYERS, SOURCES, seed=st.integers(0, 9)),
    later(insert, LAYERS, st.just(np.eye(3)), VECTORS),
    later(weights, LAYERS, st.fixed_dictionaries({"w": VECTORS, "mask": VECTORS.map(lambda v: v > 0)})),
)


def given_interventions(count):
    """Give a test `count` random interventions, of edits that go together within each."""

    def decorate(test):
        @given(st.tuples(*[st.lists(ONE, max_size=5)] * count))
        def run(drawn):
            test(*(compatible(calls) for calls in drawn))

        run.__name__ = test.__name__
        return run

    return decorate


def compatible(calls):
    total = Intervention()
    for call in calls:
        with suppress(InputError):
            total += call()
    return total


CUTS = st.sets(st.tuples(st.sampled_from(["attention", "mlp"]), LAYERS), max_size=8).map(sorted)


def composed(*parts):
    """The sum, or None where the parts cannot go together."""
    try:
        return sum(parts, Intervention())
    except InputError:
        return None


@given_interventions(3)
def test_addition_is_associative_also_in_what_it_refuses(a, b, c):
    left, right = composed(a, b), composed(b, c)
    left = None if left is None else composed(left, c)
    right = None if right is None else composed(a, right)
    assert left == right
    if left is not None:
        assert (hash(left), left.key) == (hash(right), right.key)


@given_interventions(1)
def test_the_empty_intervention_is_the_identity(a):
    assert a + Intervention() == Intervention() + a == sum([a]) == a
    assert bool(a) == (len(a) > 0)


@given(CUTS, st.randoms(use_true_random=False))
def test_removals_commute(parts, random):
    shuffled = random.sample(parts, len(parts))
    one, other = (composed(*(skip(layer, part=part) for part, layer in order)) for order in (parts, shuffled))
    assert one == other
    assert (hash(one), one.key, str(one), one.to_json()) == (
        hash(other),
        other.key,
        str(other),
        other.to_json(),
    )


@given_interventions(2)
def test_edits_at_different_layers_commute(a, b):
    assume({edit.layer for edit in a}.isdisjoint(edit.layer for edit in b))
    assert composed(a, b) == composed(b, a)


@given(st.lists(FLOATS, min_size=1, max_size=6))
def test_edits_at_one_place_keep_their_order(factors):
    total = composed(*(scale("mlp_out", 2, factor) for factor in factors))
    assert [edit.value for edit in total] == [factor + 0.0 for factor in factors]


def test_the_order_at_one_place_is_part_of_equality():
    add, times = steer("mlp_out", 2, [1.0]), scale("mlp_out", 2, 2.0)
    assert add + times != times + add
    assert (add + times).key != (times + add).key
    assert (add + times).layer_key(2) != (times + add).layer_key(2)


def test_edits_are_kept_in_the_order_of_computation():
    sites = ["resid_post", "mlp_out", "resid_mid", "attn_out", "resid_pre"]
    total = sum(
        (zero(site, 1) for site in sites), zero("head_out", 1, head=2) + zero("head_out", 1, head=0) + skip(0)
    )
    assert [(edit.layer, edit.site, edit.head) for edit in total] == [
        (0, "block", None),
        (1, "resid_pre", None),
        (1, "head_out", 0),
        (1, "head_out", 2),
        (1, "attn_out", None),
        (1, "resid_mid", None),
        (1, "mlp_out", None),
        (1, "resid_post", None),
    ]


@given_interventions(2)
def test_keys_and_equality_say_the_same(a, b):
    assert (a == b) == (a.key == b.key)
    assert (a == b) == all(a.layer_key(layer) == b.layer_key(layer) for layer in range(6))
    if a == b:
        assert hash(a) == hash(b)


@given_interventions(1)
def test_layers_partition_the_edits(a):
    assert tuple(edit for layer in range(6) for edit in a.at(layer)) == a.edits
    touched = [layer for layer in range(6) if a.layer_key(layer)]
    assert a.earliest_layer == (touched[0] if touched else None)


@given_interventions(1)
def test_copies_and_pickles_are_equal_and_still_immutable(a):
    for twin in (copy.deepcopy(a), pickle.loads(pickle.dumps(a))):
        assert twin == a
        for array in twin.arrays().values():
            with pytest.raises(ValueError, match=r"read-only|WRITEABLE"):
                array.setflags(write=True)


@given_interventions(1)
def test_json_and_files_bring_back_the_same_intervention(a):
    assert Intervention.from_json(a.to_json(), a.arrays()) == a
    with TemporaryDirectory() as folder:
        a.save(folder)
        assert Intervention.load(folder) == a


def test_every_field_but_the_label_is_in_equality_and_in_the_key():
    base = noise(3, 0.02, "token_std", "all", 0, "resid_post")
    others = [
        noise(4, 0.02),
        noise(3, 0.03),
        noise(3, 0.02, "absolute"),
        noise(3, 0.02, positions="answer"),
        noise(3, 0.02, seed=1),
        noise(3, 0.02, site="resid_pre"),
        noise(3, 0.02, site="head_out", head=0),
        noise(3, 0.02, site="head_out", head=1),
    ]
    assert len({base, *others}) == len({item.key for item in [base, *others]}) == 9
    assert base == noise(3, 0.02)
    assert zero("mlp_out", 3) == Intervention((Edit("set", "mlp_out", 3, value=0.0, label="anything"),))


def test_minus_zero_is_zero_in_equality_and_in_the_key():
    plus, minus = scale("mlp_out", 3, 0.0), scale("mlp_out", 3, -0.0)
    assert plus == minus
    assert (plus.key, plus.layer_key(3), plus.to_json()) == (minus.key, minus.layer_key(3), minus.to_json())


def test_equality_is_by_content_of_arrays():
    vector = np.arange(4.0)
    first = steer("resid_post", 3, vector)
    vector[0] = 9.0
    assert first == steer("resid_post", 3, np.arange(4.0))
    assert first != steer("resid_post", 3, vector)
    assert steer("resid_post", 3, np.arange(4.0, dtype=np.float32)) != first


def test_what_an_intervention_says_of_itself():
    cut = skip(8, 5, 6, 7) + skip(20, part="mlp") + skip(21, 22, part="attention")
    assert str(cut) == "skip {5..8} + skip attention {21, 22} + skip mlp {20}"
    assert str(cut + zero("attn_out", 3, positions="answer")) == f"{cut} + set attn_out of layer 3 at answer"
    assert repr(Intervention()) == "<Intervention: intact>"
    assert (cut.removed_blocks, cut.removed("attention"), cut.removed("mlp")) == (
        (5, 6, 7, 8),
        (21, 22),
        (20,),
    )
    assert (cut.is_cut, cut.earliest_layer, cut.needs_positions, cut.per_question) == (True, 5, False, False)
    assert (Intervention().earliest_layer, Intervention().is_cut, bool(Intervention())) == (None, True, False)


def test_needs_of_each_kind():
    source = np.ones((7, 3))
    flags = {
        "noise": noise(1, 0.1),
        "patch": patch("resid_post", 1, source),
        "resample": resample("resid_post", 1, source),
        "steer": steer("resid_post", 1, [1.0]),
        "zero at answer": zero("resid_post", 1, positions="answer"),
    }
    found = {
        name: (item.per_question, item.needs_positions, item.n_questions) for name, item in flags.items()
    }
    assert found == {
        "noise": (True, False, None),
        "patch": (True, True, 7),
        "resample": (True, True, None),
        "steer": (False, False, None),
        "zero at answer": (False, True, None),
    }


def test_adding_something_else_is_a_type_error():
    with pytest.raises(TypeError):
        1 + skip(3)
