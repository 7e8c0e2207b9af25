"""Running a model so that gradients can be taken, and leaving no trace of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from decision_phases.models.access import ModelAccess


@contextmanager
def differentiable(parameters: Iterable[nn.Parameter] = ()) -> Iterator[None]:
    """Let gradients be taken for the length of a `with` block, with `torch.autograd.grad`.

    Args:
        parameters: What gradients are wanted of besides activations.

    Yields:
        Nothing; on leaving, `requires_grad` of every parameter is what it was. `.grad` is never touched.

    Example:
        >>> from decision_phases.models import load
        >>> model = load("tiny-gpt2", quiet=True)
        >>> weight = model.parameters(0)["ln_1.weight"]
        >>> with differentiable([weight]):
        ...     end = final_residual(model, torch.tensor([[5, 6, 7]]))
        ...     (slope,) = torch.autograd.grad(end.sum(), [weight])
        >>> slope.shape == weight.shape, weight.requires_grad, weight.grad
        (True, False, None)
    """
    undo = [(parameter, parameter.requires_grad) for parameter in parameters]
    try:
        for parameter, _ in undo:
            parameter.requires_grad = True
        with torch.enable_grad():
            yield
    finally:
        for parameter, before in undo:
            parameter.requires_grad = before


def final_residual(
    model: ModelAccess, tokens: Int[Tensor, "batch pos"]
) -> Float[Tensor, "batch pos d_model"]:
    """Run the whole model and give the residual that enters the final norm, with its graph if gradients are on.

    Args:
        model: The model.
        tokens: Token ids, right-padded.

    Returns:
        The residual stream at the end.
    """
    seen: list[Tensor] = []
    with model.watching_last([seen.append]):
        model.logits(tokens, last_only=True)
    return seen[0]


def quantised(model: ModelAccess) -> str:
    """What shows that a model's weights are quantised, so that they have no gradients and no values of their own.

    Args:
        model: The model.

    Returns:
        A few words, or "" if they are plain numbers.

    Example:
        >>> from decision_phases.models import load
        >>> quantised(load("tiny-gpt2", quiet=True))
        ''
    """
    for parameter in model.unique_parameters():
        if not parameter.is_floating_point():
            return f"it has {str(parameter.dtype).removeprefix('torch.')} weights"
        if type(parameter.data) is not Tensor:
            return f"its weights are {type(parameter.data).__name__}"
    method = getattr(model.root, "quantization_method", None)
    return "it was loaded quantised" if method or getattr(model.root, "is_quantized", False) else ""
