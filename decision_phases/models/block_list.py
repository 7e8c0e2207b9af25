"""Where a Hugging Face model keeps its blocks."""

from __future__ import annotations

from typing import Any

from torch import nn

from decision_phases.errors import InputError


def block_prefix(hf: nn.Module) -> str:
    """Find where a Hugging Face model keeps its blocks.

    Args:
        hf: The model.

    Returns:
        The path of the list of blocks.

    Raises:
        InputError: If there is no one list as long as the configuration says.

    Example:
        >>> from decision_phases.models import tiny_hf
        >>> block_prefix(tiny_hf("llama")), block_prefix(tiny_hf("bloom"))
        ('model.layers', 'transformer.h')
    """
    model: Any = hf
    count = getattr(model.config, "num_hidden_layers", None)
    found = [
        path
        for path, part in hf.named_modules()
        if isinstance(part, nn.ModuleList) and len(part) == count and any(True for _ in part.parameters())
    ]
    depth = min((path.count(".") for path in found), default=0)
    outermost = [path for path in found if path.count(".") == depth]
    if len(outermost) != 1:
        msg = (
            f"{type(model).__name__} has {len(outermost)} lists of {count} blocks, so it is not known which is "
            "meant; only models with one list of blocks can be exported or trained"
        )
        raise InputError(msg)
    return str(outermost[0])
