"""The same weights in another number format: float64 to measure rounding, bfloat16 to look quickly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from decision_phases.models.access import ModelAccess
from decision_phases.models.loading import cast, load


def twin(model: ModelAccess, dtype: str | torch.dtype) -> ModelAccess:
    """Load the weights that a model computes with once more, in another number format.

    Args:
        model: The model, loaded from Hugging Face weights.
        dtype: The number format.

    Returns:
        A second model on the same device (in main memory, if the first is spread over several), with the same
        tokenizer. Its weights are those of the first, rounded or widened.

    Raises:
        InputError: If no plain Hugging Face model can be rebuilt from this one.

    Example:
        >>> twin(load("tiny-gpt2", dtype="bfloat16", quiet=True), "float64").dtype
        torch.float64
    """
    hf = model.fresh_hf()
    cast(hf, model.dtype)  # a rebuilt model may hold more digits than the one that runs
    place = torch.device("cpu") if model.spread else model.device
    return load(hf, tokenizer=model.tokenizer, device=place, dtype=dtype, consume=True, quiet=True)


class InDouble(TorchFunctionMode):
    """While active, what asks for float32 gets float64.

    Models cast to float32 here and there (norms, softmax, rotary angles), whatever format they were loaded in: a model
    in float64 is not computed in float64 without this.

    Example:
        >>> with InDouble():
        ...     third = torch.tensor([1.0], dtype=torch.float64).float() / 3
        >>> third.dtype
        torch.float64
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call a torch function with float64 for float32."""
        if func is Tensor.float:
            func = Tensor.double
        wide = {name: _widened(value) for name, value in (kwargs or {}).items()}
        return func(*(_widened(value) for value in args), **wide)


def _widened(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value
