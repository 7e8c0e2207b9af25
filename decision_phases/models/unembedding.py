"""From residuals of any layer to logits: the final norm and the unembedding of a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Unembedding(ABC):
    """What a model makes of a residual after its last block.

    Attributes:
        tl: The `TransformerBridge` or `HookedTransformer`.
    """

    tl: Any
    d_vocab: int

    @abstractmethod
    def output_transform(self, logits: Tensor) -> Tensor:
        """Apply what the model does to logits after the unembedding (soft cap, scale)."""

    def final_norm(self, resid: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows d_model"]:
        """Apply the model's final norm, recomputed on what is given.

        Args:
            resid: Residual vectors of any layer.

        Returns:
            Normed vectors, in the model's number format, where the residuals are.
        """
        flat = resid.reshape(1, -1, resid.shape[-1])
        normed: Tensor = self.tl.ln_final(flat)
        return normed.reshape(resid.shape).to(resid.device)

    @cached_property
    def _unembedding(self) -> tuple[Tensor, Tensor]:
        weight, bias = self.tl.W_U, self.tl.b_U
        return weight.detach(), bias.detach()

    def unembedding(
        self, ids: Int[Tensor, " ids"] | slice | None = None
    ) -> tuple[Float[Tensor, "d_model columns"], Float[Tensor, " columns"]]:
        """Columns of the unembedding and of its bias, in at least float32.

        Args:
            ids: Token ids whose columns are wanted, or a slice of them; None for the whole vocabulary.

        Returns:
            Weight and bias, raw: what the model does to logits afterwards (soft cap, scale) is not in them.
        """
        weight, bias = self._unembedding
        if ids is not None:
            columns = ids if isinstance(ids, slice) else ids.to(weight.device)
            weight, bias = weight[:, columns], bias[columns]
        wide = torch.promote_types(weight.dtype, torch.float32)
        return weight.to(wide), bias.to(weight.device, wide)

    def unembed(
        self, normed: Float[Tensor, "*rows d_model"], ids: Int[Tensor, " ids"] | slice | None = None
    ) -> Float[Tensor, "*rows columns"]:
        """Turn normed residuals into logits, in at least float32.

        Args:
            normed: What `final_norm` returned.
            ids: Token ids whose logits are wanted, or a slice of them; None for the whole vocabulary.

        Returns:
            Logits, with the model's output transform (soft cap, scale) applied, where the residuals are.
        """
        weight, bias = self.unembedding(ids)
        logits = normed.to(weight.device, weight.dtype) @ weight + bias
        return self.output_transform(logits).to(normed.device)

    def readout(
        self, resid: Float[Tensor, "*rows d_model"], ids: Int[Tensor, " ids"] | None = None
    ) -> Float[Tensor, "*rows columns"]:
        """Logit lens: what the model would answer if this residual were its last.

        `transform(final_norm(resid) @ W_U[:, ids] + b_U[ids])`, the final norm recomputed on `resid`.

        Args:
            resid: Residual vectors of any layer.
            ids: Token ids whose logits are wanted; None for the whole vocabulary.

        Returns:
            Logits, in at least float32.
        """
        return self.unembed(self.final_norm(resid), ids)

    def log_normaliser(
        self, resid: Float[Tensor, "rows d_model"], chunk: int = 8192
    ) -> Float[Tensor, " rows"]:
        """Log of the sum of exponentiated logits over the whole vocabulary, a part of the vocabulary at a time.

        Args:
            resid: Residual vectors of any layer.
            chunk: Tokens of the vocabulary unembedded at once.

        Returns:
            One number a row; a log-probability is the logit minus this.
        """
        normed = self.final_norm(resid)
        total: Tensor | None = None
        for start in range(0, self.d_vocab, chunk):
            # A slice is a view; ids would copy the columns, which takes far longer than a few rows take to unembed.
            part = self.unembed(normed, slice(start, start + chunk)).logsumexp(-1)
            total = part if total is None else torch.logaddexp(total, part)
        assert total is not None
        return total
