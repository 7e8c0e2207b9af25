"""Which parameters of a block belong to its attention and which to its MLP."""

from __future__ import annotations

from torch import nn

from decision_phases.errors import InputError, unknown_name
from decision_phases.models.access import ModelAccess

#: What TransformerLens calls the modules of a part: the computation first, then the norms that nothing else uses.
_MODULES = {"attention": ("attn", "ln1", "ln1_post"), "mlp": ("mlp", "ln2", "ln2_post")}
#: The parts of a block.
PARTS = tuple(_MODULES)


def part_parameters(model: ModelAccess, layer: int, part: str) -> dict[str, nn.Parameter]:
    """The named parameters of a block, or of its attention or its MLP.

    A norm belongs to the part that it stands before or behind, and goes with it; one norm shared by both belongs to
    neither.

    Args:
        model: The model.
        layer: 0-based index of the block.
        part: "block", "attention" or "mlp".

    Returns:
        Name inside the block → parameter, raw.

    Raises:
        InputError: If the layer is out of range, the part is unknown, or the block has no such part.

    Example:
        >>> from decision_phases.models import load
        >>> [p.ndim for p in part_parameters(load("tiny-llama", quiet=True), 0, "mlp").values()]
        [2, 2, 2, 1]
    """
    every = model.parameters(layer)
    if part == "block":
        return every
    if part not in _MODULES:
        raise unknown_name("part", part, ("block", *_MODULES))
    block = model.blocks[layer]
    main, *norms = _MODULES[part]
    inside = _ids(block, main)
    if not inside & {id(parameter) for parameter in every.values()}:
        msg = f"{model.name} ({model.architecture}) does not say which parameters of a block are its {part}'s"
        raise InputError(msg)
    if _ids(block, "ln2"):
        inside = inside.union(*(_ids(block, norm) for norm in norms))
    return {name: parameter for name, parameter in every.items() if id(parameter) in inside}


def _ids(block: nn.Module, name: str) -> set[int]:
    module = getattr(block, name, None)
    return {id(parameter) for parameter in module.parameters()} if isinstance(module, nn.Module) else set()
