"""What the annotations say of shapes is checked while tests run."""

from dataclasses import dataclass
from importlib import import_module

import jaxtyping
import numpy as np
import pytest
from beartype.roar import BeartypeCallHintParamViolation, BeartypeCallHintReturnViolation
from type_checks import checked

from decision_phases.engine.batches import make_batches
from decision_phases.readout.metrics import decision_margin
from decision_phases.stats import wilson_interval


def test_a_wrong_shape_is_noticed():
    with pytest.raises(jaxtyping.TypeCheckError, match="gold"):
        decision_margin(np.zeros((2, 3, 4)), np.zeros(3, dtype=int))


def test_a_wrong_type_is_noticed():
    with pytest.raises(jaxtyping.TypeCheckError):
        wilson_interval("3", 4)


def test_a_wrong_type_is_noticed_where_no_shape_is_named():
    with pytest.raises(BeartypeCallHintParamViolation, match="max_tokens"):
        make_batches([], max_tokens="3")


def test_what_is_given_back_is_looked_at_and_so_are_fields():
    @checked
    def wrong(n: int) -> "str":
        return n

    @checked
    def unknown(n: "NotImported") -> "NotImported":  # noqa: F821
        return n

    @checked
    @dataclass(frozen=True)
    class Pair:
        rows: "jaxtyping.Float[np.ndarray, ' row']"
        others: "jaxtyping.Float[np.ndarray, ' row']"

    with pytest.raises(BeartypeCallHintReturnViolation):
        wrong(3)
    assert unknown(3) == 3
    assert Pair(np.zeros(3), np.ones(3)).others.sum() == 3
    with pytest.raises(jaxtyping.TypeCheckError, match="others"):
        Pair(np.zeros(3), np.ones(4))


def test_a_module_checked_is_the_plain_one_otherwise():
    module = import_module("decision_phases.stats")
    assert module.__file__.endswith("stats.py")
    assert module.wilson_interval.__doc__.startswith("Return a share")
