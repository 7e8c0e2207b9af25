"""Replacing what a block computes, in place and for a while.

One primitive serves removal (identity), resuming from a cached residual (a constant) and inserted repairs (a function).
Only the forward of the block's own computation is replaced: the hook points around it keep firing with the layer's
original number, and its slot in the key-value cache advances, so that the layers after it see the right positions.
Shortening the list of blocks instead gives wrong masks in every family that picks them by position in the list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Replacement = Tensor | Callable[[Tensor], Tensor] | None
#: What families call the residual stream when they hand it to a block by name.
RESIDUAL_NAMES = ("hidden_states", "resid_pre", "hidden")
_MISSING = object()


@contextmanager
def overriding(
    layers: Sequence[nn.Module], table: dict[int, Replacement], arity: Sequence[int | None]
) -> Iterator[None]:
    """Replace the forward of some blocks for the length of a `with` block.

    Args:
        layers: The modules whose forward is a block's computation.
        table: layer → None (identity), a tensor (a constant output) or a function of the residual.
        arity: For every layer, None if it returns a bare tensor, else the length of the tuple it returns.

    Yields:
        Nothing. An instance-level forward that was there before (offloading wrappers install one) is put back.
    """
    undo: list[tuple[nn.Module, Any]] = []
    try:
        for i, what in table.items():
            layer = layers[i]
            undo.append((layer, layer.__dict__.get("forward", _MISSING)))
            layer.__dict__["forward"] = _replacement(layer, what, arity[i])
        yield
    finally:
        for layer, old in reversed(undo):
            if old is _MISSING:
                layer.__dict__.pop("forward", None)
            else:
                layer.__dict__["forward"] = old


def returned_arity(layers: Sequence[nn.Module], run: Callable[[], object]) -> list[int | None]:
    """Find out what every block returns, by running the model once.

    Args:
        layers: The modules whose forward is a block's computation.
        run: Runs the model on a short input.

    Returns:
        For every layer, None for a bare tensor, else the length of the tuple.
    """
    found: dict[int, int | None] = {}

    def look(i: int) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: object, output: object) -> None:
            found[i] = len(output) if isinstance(output, tuple) else None

        return hook

    handles = [layer.register_forward_hook(look(i)) for i, layer in enumerate(layers)]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return [found[i] for i in range(len(layers))]


def _replacement(layer: nn.Module, what: Replacement, arity: int | None) -> Callable[..., Any]:
    # A HookedTransformer block carries its own hook points around the stream; a bridge has them one level up.
    block: Any = layer
    own_hooks = hasattr(layer, "hook_resid_pre") and hasattr(layer, "hook_resid_post")

    def forward(*args: Any, **kwargs: Any) -> Any:
        x: Tensor = args[0] if args else next(kwargs[name] for name in RESIDUAL_NAMES if name in kwargs)
        _advance_cache(layer, x, [*args[1:], *kwargs.values()])
        if own_hooks:
            x = block.hook_resid_pre(x)
        y = x if what is None else what.to(x.device) if isinstance(what, Tensor) else what(x)
        if own_hooks:
            y = block.hook_resid_post(y)
        return y if arity is None else (y,) + (None,) * (arity - 1)

    return forward


def _advance_cache(layer: nn.Module, x: Tensor, values: Sequence[Any]) -> None:
    """Append empty keys and values, so that a cache whose length is read off this layer stays right."""
    found = (getattr(m, "layer_idx", None) for m in layer.modules())
    index = next((i for i in found if isinstance(i, int)), None)
    for value in values:
        if hasattr(value, "layers") and hasattr(value, "update") and index is not None:
            slot = value.layers[index] if index < len(value.layers) else None
            if slot is None or hasattr(slot, "update"):  # recurrent slots have no keys
                zeros = torch.zeros(x.shape[0], 1, x.shape[1], 1, dtype=x.dtype, device=x.device)
                value.update(zeros, zeros, index)
        elif hasattr(value, "past_keys"):  # HookedTransformer's cache entry
            zeros = x.new_zeros(x.shape[0], x.shape[1], *value.past_keys.shape[2:])
            value.append(zeros, zeros)
