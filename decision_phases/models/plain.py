"""The blocks as transformers itself computes them, on the very parameters that the bridge uses.

A bridge computes every norm twice, once for its hooks, and attention in its own way: on short prompts that costs as
much again as the rest. Where nothing inside a block is read or edited, these blocks do the same in less time.
They hold no weights of their own, and are used only if they give the same residuals when the model is loaded.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, overload

import torch
from torch import nn

from decision_phases.models.access import ModelAccess


class PlainBlocks(Sequence[nn.Module]):
    """One plain block a layer.

    Attributes:
        body: The model without its head, with the same blocks: it knows how each of them is called.
    """

    def __init__(self, body: nn.Module, blocks: Sequence[nn.Module]) -> None:
        self.body = body
        self._blocks = tuple(blocks)

    @overload
    def __getitem__(self, layer: int) -> nn.Module: ...
    @overload
    def __getitem__(self, layer: slice) -> Sequence[nn.Module]: ...
    def __getitem__(self, layer: int | slice) -> nn.Module | Sequence[nn.Module]:
        """The block of a layer."""
        return self._blocks[layer]

    def __len__(self) -> int:
        return len(self._blocks)


def plain_twin(hf: nn.Module) -> Callable[[ModelAccess], PlainBlocks | None]:
    """Prepare plain blocks, before the model is wrapped.

    Args:
        hf: A Hugging Face model that nothing has wrapped yet.

    Returns:
        What finds the plain block of every bridge block, once the model is wrapped; it gives None where the bridge does
        not use the same parameters.
    """
    model: Any = hf
    paths = {id(module): path for path, module in hf.named_modules()}
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        twin: Any = type(model)(copy.deepcopy(model.config))
    for name, parameter in hf.named_parameters(remove_duplicate=False):
        _put(twin, name, parameter)
    for name, buffer in hf.named_buffers(remove_duplicate=False):
        _put(twin, name, buffer)
    twin.eval()

    def find(access: ModelAccess) -> PlainBlocks | None:
        blocks = []
        for layer, block in enumerate(access.engine_blocks):
            path = paths.get(id(block))
            if path is None:
                return None
            plain = twin.get_submodule(path)
            used = {id(parameter) for parameter in access.parameters(layer).values()}
            tensors = [*plain.parameters(), *plain.buffers()]
            if used != {id(p) for p in plain.parameters()} or any(t.is_meta for t in tensors):
                return None
            blocks.append(plain)
        return PlainBlocks(twin.base_model, blocks)

    return find


def _put(root: nn.Module, name: str, tensor: torch.Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    module = root.get_submodule(path)
    table: dict[str, Any] = module._parameters if isinstance(tensor, nn.Parameter) else module._buffers  # noqa: SLF001
    table[leaf] = tensor
