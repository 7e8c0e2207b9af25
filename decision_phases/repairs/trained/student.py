"""The cut model with adapters, and the intact one beside it, block by block on the same batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from types import MappingProxyType

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.models.description import Entry
from decision_phases.models.skipping import skipping

Residual = Float[Tensor, "row pos d"]
Map = Callable[[Residual], Residual]
PARTS = ("attention", "mlp")


def entered(model: ModelAccess, tokens: Int[Tensor, "row pos"]) -> Entry:
    """Embed a batch; see `ModelAccess.enter`.

    Args:
        model: The model.
        tokens: Token ids, right-padded.

    Returns:
        What enters the first block, and how every block is called.
    """
    with torch.no_grad():
        return model.enter(tokens)


def intact_residuals(model: ModelAccess, entry: Entry, last: int) -> list[Residual]:
    """Run the intact model up to some block, without gradients.

    Args:
        model: The model.
        entry: The batch.
        last: The last block that is run; -1 for none.

    Returns:
        What leaves each block.
    """
    found, resid = [], entry.resid
    with torch.no_grad():
        for layer in range(last + 1):
            resid = model.run_block(layer, resid, entry, plain=model.runs_plain)
            found.append(resid)
    return found


class Student:
    """The cut model, with blocks of its own in which adapters can be put, and maps of the stream between them.

    Args:
        cut: The cut.
        blocks: One a layer, as transformers computes them; those of removed layers are never called.
        entering: Layer → maps, in order, of what enters it, or would enter it if it were there; the number of layers
            for maps of what enters the final norm.
        leaving: Layer → maps, in order, of what leaves it.
    """

    def __init__(
        self,
        cut: Intervention,
        blocks: Sequence[nn.Module],
        *,
        entering: Mapping[int, Sequence[Map]] = MappingProxyType({}),
        leaving: Mapping[int, Sequence[Map]] = MappingProxyType({}),
    ) -> None:
        self.blocks, self.entering, self.leaving = blocks, entering, leaving
        self.removed = frozenset(cut.removed_blocks)
        self.without: Mapping[int, tuple[str, ...]] = {
            layer: parts
            for layer in range(len(blocks))
            if (parts := tuple(part for part in PARTS if layer in cut.removed(part)))
        }

    def residuals(self, entry: Entry, resid: Residual, first: int) -> dict[int, Residual]:
        """Run the cut model from some block on; gradients pass.

        Args:
            entry: The batch.
            resid: What enters the block.
            first: The block.

        Returns:
            Layer → what leaves it, of all that are not removed; and where there are maps of what enters the final norm,
            behind the last layer what they make of it.
        """
        found, end = {}, len(self.blocks)
        with ExitStack() as stack:
            for layer, parts in self.without.items():
                stack.enter_context(skipping(self.blocks[layer], parts))
            for layer in range(first, end):
                resid = _through(self.entering.get(layer, ()), resid)
                if layer in self.removed:
                    continue
                args, kwargs = entry.calls[layer]
                out = self.blocks[layer](resid, *args, **kwargs)
                resid = _through(self.leaving.get(layer, ()), out[0] if isinstance(out, tuple) else out)
                found[layer] = resid
        if end in self.entering:
            found[end] = _through(self.entering[end], resid)
        return found


def _through(maps: Sequence[Map], resid: Residual) -> Residual:
    for one in maps:
        resid = one(resid)
    return resid
