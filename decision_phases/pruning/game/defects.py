"""What the published code does to its training pairs by mistake, for those who want its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Int

from decision_phases.errors import unknown_name

DEFECTS: Mapping[str, str] = MappingProxyType(
    {
        "misaligned": "scores that are not finite leave the targets but not the masks, so every later pair is wrong",
        "discarded": "as many pairs as there are units, the first ones, are never trained on",
    }
)
"""Name → what goes wrong."""


def training_pairs(
    finite: Bool[np.ndarray, " mask"], n_units: int, defects: Sequence[str] = ()
) -> tuple[Int[np.ndarray, " pair"], Int[np.ndarray, " pair"]]:
    """Return which mask is trained to give which value.

    Args:
        finite: Whether the value of each mask is a number.
        n_units: Number of units.
        defects: Names in `DEFECTS`; none by default, and then masks without a value are left out.

    Returns:
        Rows of masks, and rows of values.

    Raises:
        InputError: If there is no such defect.

    Source: release of arXiv 2602.07804.

    Example:
        >>> finite = np.array([True, False, True, True])
        >>> [rows.tolist() for rows in training_pairs(finite, 1)]
        [[0, 2, 3], [0, 2, 3]]
        >>> [rows.tolist() for rows in training_pairs(finite, 1, ["misaligned", "discarded"])]
        [[1, 2], [2, 3]]
    """
    for name in defects:
        if name not in DEFECTS:
            raise unknown_name("defect", name, DEFECTS)
    rows = np.arange(len(finite))
    values = rows[finite]
    masks = rows[: len(values)] if "misaligned" in defects else values
    first = n_units if "discarded" in defects else 0
    return masks[first:], values[first:]
