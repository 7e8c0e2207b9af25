"""Where a plain Hugging Face block keeps the matrices of the loaded model, which may have divided or renamed them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from decision_phases.models.access import ModelAccess
from decision_phases.models.matrices import WeightMatrix, weight_matrices

#: Parameters of the loaded model that one matrix is made of, and which of its rows each of them has.
Held = tuple[tuple[WeightMatrix, Tensor], ...]


def plain_matrices(
    model: ModelAccess, layer: int, block: nn.Module, *, without: Collection[str] = ()
) -> dict[str, Held]:
    """Find the linear modules of a plain block whose values the loaded model holds too.

    They are found by their values, so the loaded model must run without any change of weights. Where a family keeps
    queries, keys and values in one matrix, which TransformerLens divides, the parts are found row by row; a matrix with
    rows that are alike is left out, because nobody knows which are the queries and which the keys.

    Args:
        model: The loaded model.
        layer: 0-based index of the block.
        block: The same block of `ModelAccess.fresh_hf`, in the same number format.
        without: Parts ("attention", "mlp") whose matrices do not count.

    Returns:
        Path of a linear module in the plain block → the matrices of the loaded model that it is made of, each with the
        rows `[out]` of the plain one that it has: one with all rows, or queries, keys and values.

    Raises:
        InputError: If the layer is out of range.

    Example:
        >>> from decision_phases.models import load
        >>> model = load("tiny-gpt2", quiet=True)
        >>> found = plain_matrices(model, 0, model.fresh_hf().transformer.h[0], without=["mlp"])
        >>> {path: [(matrix.name, len(rows)) for matrix, rows in held] for path, held in found.items()}["attn.c_attn"]
        [('attn.q.weight', 32), ('attn.k.weight', 32), ('attn.v.weight', 32)]
    """
    matrices = {
        matrix: matrix.stacked(matrix.parameter.detach())[0].cpu()
        for matrix in weight_matrices(model, layer)
        if not matrix.is_stack and matrix.layout in ("o i", "i o") and matrix.part not in without
    }
    found = {}
    for path, module in block.named_modules():
        weight = linear_weight(module)
        if weight is None:
            continue
        weight = weight.detach().cpu()
        same = [
            m
            for m, values in matrices.items()
            if values.shape == weight.shape and torch.equal(values, weight)
        ]
        own = [m for m in same if m.name == f"{path}.weight"] or same
        held = [(own[0], torch.arange(len(weight)))] if own else divided(weight, matrices)
        if sum(len(rows) for _, rows in held) == len(weight):
            found[path] = tuple(held)
            for matrix, _ in held:
                del matrices[matrix]
    return found


def linear_weight(module: nn.Module) -> Tensor | None:
    """The matrix of a linear module.

    Args:
        module: Any module.

    Returns:
        `[out, in]`, a view of its parameter; None for what is no linear module.

    Example:
        >>> linear_weight(nn.Linear(2, 3)).shape, linear_weight(nn.LayerNorm(2))
        (torch.Size([3, 2]), None)
    """
    if isinstance(module, nn.Linear):
        return module.weight
    transposed = type(module).__name__ == "Conv1D" and getattr(module, "weight", None)
    return transposed.T if isinstance(transposed, Tensor) else None


def divided(weight: Tensor, matrices: Mapping[WeightMatrix, Tensor]) -> list[tuple[WeightMatrix, Tensor]]:
    """Find the matrices that a larger one is made of.

    Args:
        weight: The larger one, `[out, in]`.
        matrices: Matrix → its values, `[out, in]`.

    Returns:
        Those that it is made of, and which of its rows these are; none where rows are alike.
    """
    numbers = {row.numpy().tobytes(): number for number, row in enumerate(_plain(weight))}
    found = []
    for matrix, values in matrices.items():
        if values.shape[1] == weight.shape[1] and len(values) < len(weight):
            rows = [numbers.get(row.numpy().tobytes()) for row in _plain(values)]
            known = [row for row in rows if row is not None]
            if len(known) == len(rows):
                found.append((matrix, torch.tensor(known)))
    numbered = [row for _, rows in found for row in rows.tolist()]
    return found if sorted(numbered) == list(range(len(weight))) else []


def _plain(weight: Tensor) -> Tensor:
    """The same bits in a number format that numpy knows."""
    return weight.contiguous().view(torch.int16) if weight.dtype == torch.bfloat16 else weight.contiguous()
