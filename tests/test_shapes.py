"""What the annotations say of shapes is checked while tests run."""

import jaxtyping
import numpy as np
import pytest

from decision_phases.readout.metrics import decision_margin
from decision_phases.stats import wilson_interval


def test_a_wrong_shape_is_noticed():
    with pytest.raises(jaxtyping.TypeCheckError, match="gold"):
        decision_margin(np.zeros((2, 3, 4)), np.zeros(3, dtype=int))


def test_a_wrong_type_is_noticed():
    with pytest.raises(jaxtyping.TypeCheckError):
        wilson_interval("3", 4)
