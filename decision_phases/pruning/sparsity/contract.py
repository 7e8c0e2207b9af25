"""The contract of all methods that make weights sparse, and how the least important are found."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from decision_phases.errors import InputError
from decision_phases.pruning.sparsity.amount import Amount
from decision_phases.pruning.sparsity.inputs import Statistic


@dataclass(frozen=True)
class SparsityMethod(ABC):
    """Which weights of a matrix become zero, and what becomes of the others.

    A member of `SPARSITY_METHODS` is an instance; `dataclasses.replace` gives one with other settings.

    Attributes:
        name: Its name.
        what: What is removed, in a few words.
        source: Where it comes from.
        needs: What it needs of the inputs of a matrix: "" for nothing, "squares" or "products".
    """

    name: str
    what: str
    source: str
    needs: Statistic = ""

    def check_texts(self, texts: object) -> None:
        """Refuse to go without texts where the method needs them.

        Args:
            texts: What was given to calibrate on.

        Raises:
            InputError: If that is nothing, and something is needed.
        """
        if self.needs and texts is None:
            msg = (
                f"{self.name} weighs weights by what enters them and needs texts to see that; give texts='pydoc', say, "
                "or use magnitude, which goes by the weights alone"
            )
            raise InputError(msg)

    @abstractmethod
    def prune(
        self, weight: Float[Tensor, "out width"], sums: Float[Tensor, "*sums"] | None, amount: Amount
    ) -> Bool[Tensor, "out width"] | Float[Tensor, "out width"]:
        """Make one matrix sparse.

        Args:
            weight: The matrix.
            sums: What it needs of the inputs: Σ x² `[in]` or Σ x xᵀ `[in, in]` over tokens; None if nothing entered.
            amount: How much.

        Returns:
            True for what is kept, or new values with exact zeros.
        """


def least(scores: Float[Tensor, "out width"], amount: Amount, *, by_row: bool) -> Bool[Tensor, "out width"]:
    """The weights of the lowest scores; of equal ones those that come first.

    Args:
        scores: One a weight.
        amount: How many: exactly `amount.zeros(...)` of each group.
        by_row: Whether weights compete within their row, or within the matrix; patterns have groups of their own.

    Returns:
        True for what is to become zero.

    Example:
        >>> least(torch.tensor([[3.0, 1.0, 2.0, 4.0]]), Amount(0.5), by_row=True).tolist()
        [[False, True, True, False]]
    """
    length = amount.every or (scores.shape[1] if by_row else scores.numel())
    groups = scores.reshape(-1, length)
    lowest = groups.argsort(dim=-1, stable=True)[:, : amount.zeros(length)]
    chosen = torch.zeros_like(groups, dtype=torch.bool).scatter_(1, lowest, value=True)
    return chosen.view(scores.shape)
