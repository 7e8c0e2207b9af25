"""What heads lost, as sums over tokens, and the directions and the constant that follow from them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Lost:
    """What the heads of one layer lost, δ = z of the dense model − z of the sparse one, over tokens.

    Attributes:
        tokens: Number of tokens.
        total: Σ δ of each head.
        products: Σ δᵀδ of each head.
    """

    tokens: int
    total: Float[np.ndarray, "head d"] = field(repr=False)
    products: Float[np.ndarray, "head d d"] = field(repr=False)

    def directions(self) -> Float[np.ndarray, "head d d"]:
        """The right singular vectors of δ, `[token, d]`, of each head.

        Returns:
            One a column, those of the largest singular values first.
        """
        return np.linalg.eigh(self.products)[1][..., ::-1]

    def components(self, rank: int) -> Float[np.ndarray, "head d"]:
        """The lost component of each head: Σ αᵢ vᵢ over its first directions, αᵢ the mean of δ · vᵢ over tokens.

        Over all directions that is the mean of δ.

        Args:
            rank: Number of directions.

        Returns:
            One vector a head.

        Example:
            >>> delta = np.array([[[1.0, 0.0]], [[3.0, 0.0]], [[0.0, 0.1]]])  # [token, head, d]
            >>> products = np.einsum("thd,the->hde", delta, delta)
            >>> Lost(3, delta.sum(0), products).components(1).round(3).tolist()
            [[1.333, 0.0]]
        """
        first = self.directions()[..., :rank]
        found: Float[np.ndarray, "head d"] = np.einsum(
            "hdk,hek,he->hd", first, first, self.total / self.tokens, optimize=True
        )
        return found + 0.0


class Losing:
    """Adds up what is lost, batch by batch, in float64."""

    def __init__(self) -> None:
        self.tokens = 0
        self.sums: tuple[Tensor, Tensor] | None = None

    def take(self, sparse: Float[Tensor, "token head d"], dense: Float[Tensor, "token head d"]) -> None:
        """Take in one batch.

        Args:
            sparse: What the heads put out in the sparse model.
            dense: What they put out in the dense one.
        """
        delta = dense.to(sparse.device).double() - sparse.double()
        new = delta.sum(0), torch.einsum("thd,the->hde", delta, delta)
        self.sums = new if self.sums is None else (self.sums[0] + new[0], self.sums[1] + new[1])
        self.tokens += len(delta)

    def finish(self) -> Lost:
        """Give the sums, after the last batch."""
        assert self.sums is not None
        total, products = (values.cpu().numpy() for values in self.sums)
        return Lost(self.tokens, total, products)


@dataclass
class Missing:
    """Adds up what is missed of the outputs of all heads of a layer, over tokens.

    Attributes:
        missed: Σ ‖δ‖².
        whole: Σ ‖z‖² of the dense model.
        relative: Σ ‖δ‖² / ‖z‖².
        tokens: Number of tokens.
    """

    missed: float = 0.0
    whole: float = 0.0
    relative: float = 0.0
    tokens: int = 0

    def take(self, sparse: Float[Tensor, "token head d"], dense: Float[Tensor, "token head d"]) -> None:
        """Take in one batch; arguments as in `Losing`."""
        dense = dense.to(sparse.device).double().flatten(1)
        missed = (dense - sparse.double().flatten(1)).square().sum(1)
        whole = dense.square().sum(1)
        self.missed += float(missed.sum())
        self.whole += float(whole.sum())
        self.relative += float(torch.where(whole > 0, missed / whole, 0.0).sum())
        self.tokens += len(dense)

    def shares(self) -> tuple[float, float]:
        """Σ ‖δ‖² / Σ ‖z‖², and the mean over tokens of ‖δ‖² / ‖z‖²."""
        return (self.missed / self.whole if self.whole else 0.0), self.relative / self.tokens
