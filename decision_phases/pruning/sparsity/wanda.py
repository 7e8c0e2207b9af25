"""Wanda: the weights go whose products with their inputs are smallest."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from decision_phases.pruning.sparsity.amount import Amount
from decision_phases.pruning.sparsity.contract import SparsityMethod, least


@dataclass(frozen=True)
class Wanda(SparsityMethod):
    """|w| · ‖x‖, compared within each row of the matrix; within its groups for a pattern."""

    def prune(self, weight: Tensor, sums: Tensor | None, amount: Amount) -> Tensor:
        """See `SparsityMethod.prune`."""
        scores = weight.double().abs()
        if sums is not None:
            scores = scores * sums.to(scores).sqrt()
        return ~least(scores, amount, by_row=True)


WANDA = Wanda("wanda", "the smallest |w| · ‖x‖ of each row", "Sun et al., arXiv 2306.11695", "squares")
