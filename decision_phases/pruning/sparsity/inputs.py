"""What is known of the inputs of a weight matrix: sums of squares, or of products, over all tokens."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

#: What a method needs of the inputs.
Statistic = Literal["", "squares", "products"]


class Inputs:
    """Sums over what entered a stack of matrices.

    Args:
        shape: Number of matrices, rows, columns.
        statistic: "squares" or "products".
        device: Where the sums are kept.

    Attributes:
        tokens: How many tokens entered each matrix.
        sums: Σ x² of each column, `[matrix, in]`, or Σ x xᵀ, `[matrix, in, in]`; in float64.
    """

    def __init__(self, shape: tuple[int, int, int], statistic: Statistic, device: torch.device) -> None:
        n, _, width = shape
        self.tokens = [0] * n
        size = (n, width) if statistic == "squares" else (n, width, width)
        self.sums: Tensor = torch.zeros(size, dtype=torch.float64, device=device)

    def add(self, index: int, sums: Tensor, tokens: int) -> None:
        """Add the sums over some tokens.

        Args:
            index: The matrix they entered.
            sums: What `Summing` made of them.
            tokens: How many they are.
        """
        self.sums[index] += sums
        self.tokens[index] += tokens


class Summing:
    """Sums over tokens, made once for matrices that share an input: queries, keys and values, say.

    Args:
        statistic: "squares" or "products".
    """

    def __init__(self, statistic: Statistic) -> None:
        self.statistic = statistic
        # The inputs themselves are kept as well: another one could else lie where an earlier one was.
        self._known: dict[tuple[object, ...], tuple[Tensor, Tensor]] = {}

    def __call__(self, x: Float[Tensor, "token width"]) -> Float[Tensor, "*sums"]:
        """Sum over tokens.

        Args:
            x: What enters a matrix.

        Returns:
            Σ x² or Σ x xᵀ.
        """
        key = (x.data_ptr(), x.shape, x.stride(), x.dtype)
        if key not in self._known:
            wide = x.to(torch.promote_types(x.dtype, torch.float32))
            sums = wide.double().square().sum(0) if self.statistic == "squares" else wide.T @ wide
            self._known[key] = (x, sums)
        return self._known[key][1]

    def forget(self) -> None:
        """Let go of what was seen, once the block has run."""
        self._known.clear()
