"""Magnitude: the smallest weights go."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from decision_phases.pruning.sparsity.amount import Amount
from decision_phases.pruning.sparsity.contract import SparsityMethod, least


@dataclass(frozen=True)
class Magnitude(SparsityMethod):
    """|w|, compared within the whole matrix; within its groups for a pattern."""

    def prune(self, weight: Tensor, sums: Tensor | None, amount: Amount) -> Tensor:
        """See `SparsityMethod.prune`."""
        return ~least(weight.abs(), amount, by_row=False)


MAGNITUDE = Magnitude(
    "magnitude",
    "the smallest |w| of each matrix",
    "Han et al., arXiv 1506.02626, layer-wise as in 2306.11695",
)
