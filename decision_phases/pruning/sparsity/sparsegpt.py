"""SparseGPT: one column after the other is pruned, and those to its right make up for it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from decision_phases.errors import InputError
from decision_phases.pruning.sparsity.amount import Amount
from decision_phases.pruning.sparsity.contract import SparsityMethod, least


def reconstruct(
    weight: Float[Tensor, "out width"],
    hessian: Float[Tensor, "width width"],
    amount: Amount,
    *,
    damping: float = 0.01,
    block: int = 128,
) -> Float[Tensor, "out width"]:
    """Prune a matrix so that its outputs change little (SparseGPT, arXiv 2301.00774, algorithm 1).

    Going from left to right, a weight that is pruned has the ones to its right in its row take over what they can,
    which is what the inverse Hessian says. Which go is decided for `block` columns at a time, for a pattern group by
    group, by w² / [H⁻¹], H being that of the columns not yet passed. Columns right of a block are brought up to date
    once a block.

    Unlike in the published code, columns without any input are not set to zero on top of what is asked for, so that the
    amount is exact: by their scores, in which there is nothing but the damping, they are among the first to go.

    Args:
        weight: The matrix.
        hessian: Σ x xᵀ over its inputs, or any multiple of that.
        amount: How much of each block of columns, or of each group.
        damping: What is added to the diagonal of the Hessian, as a share of its mean.
        block: Columns in a block.

    Returns:
        The new matrix, in float64.

    Raises:
        InputError: If the Hessian has no inverse, even damped.

    Example:
        >>> twins = torch.ones(2, 2)  # two inputs that are always the same: what is left takes all of the work over
        >>> reconstruct(torch.tensor([[1.0, 2.0]]), twins, Amount(0.5), damping=1e-9).round(decimals=6).tolist()
        [[0.0, 3.0]]
    """
    w = weight.double().clone()
    h = hessian.to(w).clone()
    h.diagonal().add_(damping * h.diagonal().mean())
    lower, failed = torch.linalg.cholesky_ex(h)
    if failed:
        msg = (
            f"the inputs of a matrix {tuple(w.shape)} do not determine what its other weights could make up for, with "
            f"damping={damping}; take a larger damping (dataclasses.replace(SPARSITY_METHODS['sparsegpt'], "
            "damping=0.01)) or more texts, or use wanda"
        )
        raise InputError(msg)
    upper = torch.linalg.cholesky(torch.cholesky_inverse(lower), upper=True)
    columns = w.shape[1]
    step = max(block // amount.every, 1) * amount.every if amount.every else block
    for start in range(0, columns, step):
        stop = min(start + step, columns)
        w[:, start:stop], errors = _pruned_block(w[:, start:stop], upper[start:stop, start:stop], amount)
        w[:, stop:] -= errors @ upper[start:stop, stop:]
    return w


def _pruned_block(w: Tensor, upper: Tensor, amount: Amount) -> tuple[Tensor, Tensor]:
    """The new columns of one block, and what each of them lacks, in units of its own diagonal."""
    w, out, errors = w.clone(), torch.zeros_like(w), torch.zeros_like(w)
    diagonal = upper.diagonal()
    group = amount.every or w.shape[1]
    for start in range(0, w.shape[1], group):
        scores = (w[:, start : start + group] / diagonal[start : start + group]).square()
        gone = least(scores, amount, by_row=False)
        for i in range(start, min(start + group, w.shape[1])):
            out[:, i] = torch.where(gone[:, i - start], 0.0, w[:, i])
            errors[:, i] = (w[:, i] - out[:, i]) / diagonal[i]
            w[:, i + 1 :] -= errors[:, i, None] * upper[i, i + 1 :]
    return out, errors


@dataclass(frozen=True)
class SparseGPT(SparsityMethod):
    """See `reconstruct`.

    Attributes:
        damping: What is added to the diagonal of the Hessian, as a share of its mean.
        block: Columns for which it is decided together which weights go.
    """

    damping: float = 0.01
    block: int = 128

    def prune(self, weight: Tensor, sums: Tensor | None, amount: Amount) -> Tensor:
        """See `SparsityMethod.prune`."""
        if sums is None:
            sums = torch.eye(weight.shape[1], dtype=torch.float64)
        return reconstruct(weight, sums, amount, damping=self.damping, block=self.block).to(weight.dtype)


SPARSEGPT = SparseGPT(
    "sparsegpt",
    "what changes the outputs least, with the rest of the row making up for it",
    "Frantar and Alistarh, arXiv 2301.00774",
    "products",
)
