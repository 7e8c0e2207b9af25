"""Maps of an activation, as they are computed when a model runs and when they are fitted."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import gelu

from decision_phases.interventions import Affine, Bottleneck

_EPSILON = 1e-6


def mapped(value: Affine | Bottleneck, x: Float[Tensor, "*rows d"]) -> Float[Tensor, "*rows d"]:
    """Apply a map to activations.

    Args:
        value: The map.
        x: The activations; in half precision the map is computed in float32, because near the identity its own
            rounding would be larger than what it changes.

    Returns:
        The mapped activations, in the number format of `x`.

    Example:
        >>> from decision_phases.interventions import Array
        >>> mapped(Affine(Array.of(2 * np.eye(2), "w"), Array.of([0.0, 1.0], "b")), torch.ones(2)).tolist()
        [2.0, 3.0]
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    if isinstance(value, Bottleneck):
        return bottleneck(wide, *(like(array.data, wide) for array in value.arrays)).to(x.dtype)
    bias = None if value.bias is None else like(value.bias.data, wide)
    return affine(wide, like(value.weight.data, wide), bias).to(x.dtype)


def affine(
    x: Float[Tensor, "*rows d"], weight: Float[Tensor, "d d"], bias: Float[Tensor, " d"] | None = None
) -> Float[Tensor, "*rows d"]:
    """Apply `x @ weight + bias`; gradients pass.

    Args:
        x: The activations.
        weight: The matrix.
        bias: Added at the end; None for none.

    Returns:
        The mapped activations.

    Example:
        >>> affine(torch.ones(2), 2 * torch.eye(2), torch.tensor([0.0, 1.0])).tolist()
        [2.0, 3.0]
    """
    out = x @ weight
    return out if bias is None else out + bias


def bottleneck(
    x: Float[Tensor, "*rows d"],
    down: Float[Tensor, "d r"],
    hidden: Float[Tensor, " r"],
    up: Float[Tensor, "r d"],
    bias: Float[Tensor, " d"],
) -> Float[Tensor, "*rows d"]:
    """Apply `x + gelu(x̂ @ down + hidden) @ up + bias`; gradients pass.

    Args:
        x: The activations.
        down: Into the bottleneck.
        hidden: Added inside it.
        up: Out of it.
        bias: Added at the end.

    Returns:
        The mapped activations.

    Example:
        >>> x = torch.tensor([[3.0, 4.0]])
        >>> zeros = torch.zeros(1), torch.zeros(1, 2), torch.ones(2)
        >>> bottleneck(x, torch.ones(2, 1), *zeros).tolist()
        [[4.0, 5.0]]
    """
    normed = x * (x.square().mean(-1, keepdim=True) + _EPSILON).rsqrt()
    out: Tensor = x + gelu(normed @ down + hidden) @ up + bias
    return out


def like(array: np.ndarray, other: Tensor) -> Tensor:
    """Put an array where a tensor is, in its number format.

    Args:
        array: The array.
        other: The tensor.

    Returns:
        A tensor of its own.

    Example:
        >>> like(np.ones(2), torch.zeros(1, dtype=torch.float16)).dtype
        torch.float16
    """
    return torch.from_numpy(np.ascontiguousarray(array).copy()).to(device=other.device, dtype=other.dtype)
