"""Computing text that several sequences share only once.

While a block runs on what is shared, its keys and values are kept; when it runs on what follows, they stand in front.
So nothing but one block's keys and values is ever held, and a variant that skips the block needs none at all. Whether
a family allows this is measured, not assumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

if TYPE_CHECKING:
    from decision_phases.models.access import ModelAccess
    from decision_phases.models.description import Entry

#: Keys and values of one block, `[row, head, position, d_head]`.
KeyValues = tuple[Tensor, Tensor]


class JoinedCache(DynamicCache):  # type: ignore[misc]  # transformers is not typed
    """A key-value cache for one call of one block: what came before in front of what comes.

    Attributes:
        before: Keys and values of the shared text, one row a sequence; None if nothing came before.
        own: Keys and values of this call, once the block has run.
    """

    def __init__(self, before: KeyValues | None) -> None:
        super().__init__()
        self.before = before
        self.own: KeyValues | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> KeyValues:
        """Keep this call's keys and values, and hand all of them to the attention.

        Args:
            key_states: Keys of the new positions.
            value_states: Values of the new positions.

        Returns:
            Keys and values of all positions so far.
        """
        self.own = (key_states, value_states)
        if self.before is None:
            return key_states, value_states
        keys, values = self.before
        return torch.cat([keys, key_states], dim=-2), torch.cat([values, value_states], dim=-2)


def enter_after(model: ModelAccess, tokens: Int[Tensor, "row pos"], before: int) -> Entry:
    """Embed tokens that follow others, and record how every block is called then.

    Args:
        model: A `TransformerBridge` model with a key-value cache.
        tokens: The tokens that follow.
        before: How many tokens come before them.

    Returns:
        As `ModelAccess.enter`; the blocks' calls name a cache that `run_after` replaces.
    """
    cache = DynamicCache()
    if before:
        empty = torch.zeros(tokens.shape[0], 1, before, 1, dtype=model.dtype, device=model.device)
        for layer in range(model.n_layers):
            cache.update(empty, empty, layer)
    return replace(model.recorded(lambda: model.step(tokens, cache), tokens), cache=cache)


def run_after(
    model: ModelAccess,
    layer: int,
    resid: Float[Tensor, "row pos d_model"],
    entry: Entry,
    before: KeyValues | None,
    *,
    plain: bool = False,
) -> tuple[Float[Tensor, "row pos d_model"], KeyValues]:
    """Compute one block on tokens that follow others.

    Args:
        model: The model.
        layer: 0-based index of the block.
        resid: The residual stream of the new tokens.
        entry: What `enter_after` gave.
        before: Keys and values of the tokens before, one row a sequence.
        plain: Whether nothing inside the block is read or edited, so that the plain block will do.

    Returns:
        The residual stream leaving the block, and the keys and values of the new tokens.
    """
    joined = JoinedCache(before)
    args, kwargs = entry.calls[layer]
    out = model.block(layer, plain=plain)(
        resid,
        *(joined if value is entry.cache else value for value in args),
        **{name: joined if value is entry.cache else value for name, value in kwargs.items()},
    )
    if joined.own is None:
        msg = "the block did not use its key-value cache"
        raise RuntimeError(msg)
    return (out[0] if isinstance(out, tuple) else out), joined.own


def gathered(parts: Sequence[KeyValues], rows: Int[Tensor, " row"] | None) -> KeyValues:
    """Put keys and values of successive stretches of text together, for the sequences that follow them.

    Args:
        parts: Of each stretch, in order, with equal rows.
        rows: For each following sequence, the row it follows; None if they are the same rows.

    Returns:
        Keys and values, one row a following sequence.
    """
    keys = torch.cat([part[0] for part in parts], dim=-2)
    values = torch.cat([part[1] for part in parts], dim=-2)
    if rows is None:
        return keys, values
    rows = rows.to(keys.device)
    return keys[rows], values[rows]


def shares_text(model: ModelAccess, tokens: Int[Tensor, "2 9"], tolerance: float) -> bool:
    """Measure whether shared text can be computed once.

    Args:
        model: The model.
        tokens: Two rows to try it on.
        tolerance: Largest difference in logits that counts as equal.

    Returns:
        Whether computing the beginning by itself gives what computing all at once gives.
    """
    both = torch.cat([tokens[:1, :5].expand(2, -1), tokens[:, 5:]], dim=1)
    rows = torch.zeros(2, dtype=torch.long, device=model.device)
    with torch.no_grad():
        expected = model.logits(both)[:, 5:].float()
        try:
            first, second = enter_after(model, tokens[:1, :5], 0), enter_after(model, tokens[:, 5:], 5)
            shared, resid = first.resid, second.resid
            for layer in range(model.n_layers):
                shared, own = run_after(model, layer, shared, first, None)
                resid, _ = run_after(model, layer, resid, second, gathered([own], rows))
        except (
            NotImplementedError,
            TypeError,
            ValueError,
            AttributeError,
            RuntimeError,
            KeyError,
            IndexError,
        ):
            return False
        return float((model.readout(resid) - expected).abs().max()) <= tolerance
