"""Orthonormal for every width, and a Hadamard matrix wherever the two classical constructions give one."""

import numpy as np
import pytest

from decision_phases.errors import InputError
from decision_phases.repairs import hadamard

WIDTHS = (*range(1, 66), 92, 100, 127, 144, 255, 300, 333, 576, 600, 768)


@pytest.mark.parametrize("width", WIDTHS)
def test_orthonormal_and_flat(width):
    H = hadamard(width)
    np.testing.assert_allclose(H @ H.T, np.eye(width), atol=1e-12)
    assert np.abs(H).max() <= np.sqrt(2 / width) + 1e-12


@pytest.mark.parametrize("width", [1, 2, 4, 12, 20, 24, 28, 32, 36, 60, 64, 144, 576, 768, 2048])
def test_all_entries_are_of_one_size_where_a_hadamard_matrix_is_known(width):
    """12, 20, 24, 60: order − 1 is a prime that is 3 modulo 4; 28, 36, 576: half of it less 1 is one that is 1."""
    np.testing.assert_allclose(np.abs(hadamard(width)), 1 / np.sqrt(width))


def test_2048_is_orthonormal_in_blocks():
    H = hadamard(2048)
    np.testing.assert_allclose(H[:64] @ H.T, np.eye(64, 2048), atol=1e-12)


def test_no_width_below_one():
    with pytest.raises(InputError, match="at least 1"):
        hadamard(0)
