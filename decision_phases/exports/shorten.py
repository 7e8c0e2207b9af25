"""A Hugging Face model with fewer blocks: another configuration, the same weights under new numbers."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from decision_phases.errors import InputError
from decision_phases.interventions import format_layers
from decision_phases.models.block_list import block_prefix
from decision_phases.models.loading import cast

#: Settings that list layers by number, and such that say how many of the first layers are something.
_NUMBERS = ("mlp_only_layers",)
_FIRST = ("first_k_dense_replace",)


def shortened(hf: nn.Module, removed: Collection[int], replaced: Mapping[str, Tensor]) -> nn.Module:
    """Build a model without some of its blocks.

    The model is made anew from its configuration with fewer layers, so that what each layer knows of its number (its
    slot in the key-value cache, its window, its mask) is right by construction; then the weights are put in.

    Args:
        hf: An untouched Hugging Face model.
        removed: 0-based blocks to leave out.
        replaced: Name of a parameter in `hf` → what takes its place.

    Returns:
        A model of its own, in the number format of `hf`.

    Raises:
        InputError: If the family keeps its blocks or its configuration in a way that is not understood.

    Example:
        >>> from decision_phases.models import tiny_hf
        >>> shortened(tiny_hf("gpt2"), [0, 3], {}).config.n_layer
        4
    """
    old: Any = hf
    prefix = block_prefix(hf)
    n_layers = int(old.config.num_hidden_layers)
    kept = [layer for layer in range(n_layers) if layer not in removed]
    config = shortened_config(old.config, n_layers, kept)
    with torch.random.fork_rng(devices=[]):  # it draws initial weights, which are then overwritten
        made: Any = type(old)(config)
    cast(made, next(hf.parameters()).dtype)
    weights = {**hf.state_dict(), **replaced}
    renamed = {
        name: tensor.detach()
        for old_name, tensor in weights.items()
        if (name := _renamed(old_name, prefix, kept)) is not None
    }
    left = made.load_state_dict(renamed, strict=False)
    if left.missing_keys or left.unexpected_keys:
        msg = (
            f"the blocks of {type(old).__name__} are not alike, so that others cannot take the place of "
            f"{format_layers(removed)}: {', '.join((left.missing_keys + left.unexpected_keys)[:3])} would be without a "
            "counterpart; keep the block that has it"
        )
        raise InputError(msg)
    made.tie_weights()
    made.generation_config = copy.deepcopy(getattr(old, "generation_config", None))
    made.eval()
    result: nn.Module = made
    return result


def shortened_config(config: Any, n_layers: int, kept: Sequence[int]) -> Any:
    """Give a configuration for fewer layers.

    Args:
        config: The configuration of the whole model.
        n_layers: Its number of layers.
        kept: The layers that stay.

    Returns:
        Another configuration: lists with one entry a layer lose those of the others, and what names layers by their
        numbers has the new ones.

    Example:
        >>> from decision_phases.models import tiny_hf
        >>> shortened_config(tiny_hf("gemma3").config, 6, [2, 3]).layer_types
        ['full_attention', 'sliding_attention']
    """
    made = copy.deepcopy(config)
    made.num_hidden_layers = len(kept)
    for name, value in vars(config).items():
        if name in _NUMBERS:
            setattr(made, name, [place for place, layer in enumerate(kept) if layer in (value or ())])
        elif name in _FIRST:
            setattr(made, name, sum(layer < (value or 0) for layer in kept))
        elif "layer" in name and isinstance(value, list | tuple) and len(value) == n_layers:
            setattr(made, name, type(value)(value[layer] for layer in kept))
    return made


def _renamed(name: str, prefix: str, kept: Sequence[int]) -> str | None:
    if not name.startswith(f"{prefix}."):
        return name
    number, rest = name[len(prefix) + 1 :].split(".", 1)
    return f"{prefix}.{kept.index(int(number))}.{rest}" if int(number) in kept else None
