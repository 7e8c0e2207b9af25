"""Leaving out the attention or the MLP of a plain block without computing it.

Putting zeros where a part's output is read is right in every family, but the part is computed all the same. Here its
module is replaced for a while by one that returns zeros. Whether that is the same is measured, family by family, when
it is first asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from decision_phases.models.access import ModelAccess
from decision_phases.models.description import Entry
from decision_phases.models.override import RESIDUAL_NAMES

#: What families call the modules of a part inside a block.
NAMES = {
    "attention": ("self_attn", "attn", "attention", "self_attention"),
    "mlp": ("mlp", "feed_forward", "ffn", "block_sparse_moe"),
}
SITES = {"attention": "attn_out", "mlp": "mlp_out"}


@contextmanager
def skipping(block: nn.Module, parts: Sequence[str]) -> Iterator[None]:
    """Have parts of a plain block return zeros, computing nothing, for the length of a `with` block.

    Args:
        block: A plain block.
        parts: Of "attention" and "mlp".

    Yields:
        Nothing; on leaving, the block is as it was.

    Raises:
        LookupError: If the block has no such part.
    """
    modules = [_module(block, part) for part in parts]
    before = [module.__dict__.get("forward") for module in modules]
    try:
        for module, part in zip(modules, parts, strict=True):
            module.__dict__["forward"] = _zeros(paired=part == "attention")
        yield
    finally:
        for module, old in zip(modules, before, strict=True):
            if old is None:
                module.__dict__.pop("forward", None)
            else:
                module.__dict__["forward"] = old


def skipped_exactly(model: ModelAccess, tokens: Tensor, tolerance: float) -> frozenset[str]:
    """Measure which parts can be left out so.

    Args:
        model: A model with plain blocks.
        tokens: A short batch.
        tolerance: Of a residual, relative to the largest.

    Returns:
        The parts whose absence gives, in every block, what zeros at the hook point give.
    """
    found = set()
    with torch.no_grad():
        entry = model.enter(tokens)
        for part in NAMES:
            try:
                if all(_alike(model, layer, part, entry, tolerance) for layer in range(model.n_layers)):
                    found.add(part)
            except (
                LookupError,
                TypeError,
                ValueError,
                AttributeError,
                RuntimeError,
                KeyError,
                StopIteration,
            ):
                continue
    return frozenset(found)


def _alike(model: ModelAccess, layer: int, part: str, entry: Entry, tolerance: float) -> bool:
    with model.hooked([(layer, SITES[part], torch.zeros_like)]):
        reference = model.run_block(layer, entry.resid, entry)
    with skipping(model.block(layer, plain=True), [part]):
        quick = model.run_block(layer, entry.resid, entry, plain=True)
    scale = max(1.0, float(reference.abs().max()))
    return float((reference.float() - quick.float()).abs().max()) <= tolerance * scale


def _module(block: nn.Module, part: str) -> nn.Module:
    for name in NAMES[part]:
        module = getattr(block, name, None)
        if isinstance(module, nn.Module):
            return module
    msg = f"{type(block).__name__} has no module for its {part}"
    raise LookupError(msg)


def _zeros(*, paired: bool) -> Callable[..., Any]:
    def forward(*args: Any, **kwargs: Any) -> Any:
        x: Tensor = args[0] if args else next(kwargs[name] for name in RESIDUAL_NAMES if name in kwargs)
        zeros = torch.zeros_like(x)
        return (zeros, None) if paired else zeros

    return forward
