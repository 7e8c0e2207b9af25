"""Token positions of many sequences side by side in one row.

All that a block does to one position at a time (norms, projections, the MLP) then runs on all positions at once,
without padding, and on text that several sequences begin with only once. Attention alone has to know which positions
belong together: plain blocks are given a function for it that gathers queries and keys into small groups, and inside a
group masks what is no predecessor. What a family's own mask hides (sliding windows) stays hidden. Whether a family
allows all this is measured, not assumed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from decision_phases.models.description import Entry
from decision_phases.models.plain import PlainBlocks

if TYPE_CHECKING:
    from decision_phases.models.access import ModelAccess

NAME = "decision_phases_packed"
#: Keys and values of one block, `[position, head, d_head]`.
Known = tuple[Tensor, Tensor]
# What blocks hand to their attention that changes nothing here: the mask already says it.
_MASKED = {"position_ids", "cache_position", "use_cache", "output_attentions", "sliding_window", "is_causal"}
# What a family's own attention function needs beside the mask, the same for every position.
_OWN = {"softcap", "s_aux"}
# Rotary tables of these kinds depend on the longest sequence of a batch.
_BY_LENGTH = ("dynamic", "longrope")


@dataclass(frozen=True)
class Group:
    """Positions that attend together.

    Attributes:
        queries: The positions that attend.
        keys: All that they may attend to.
        allowed: Whether a key is a query's own position or a predecessor of it.
    """

    queries: Int[np.ndarray, " query"]
    keys: Int[np.ndarray, " key"]
    allowed: Bool[np.ndarray, "query key"]


@dataclass(frozen=True)
class _Part:
    """Groups of nearly equal size, padded to the same."""

    queries: Int[Tensor, "group query"]
    keys: Int[Tensor, "group key"]
    mask: Float[Tensor, "some 1 query key"]


@dataclass(frozen=True)
class Layout:
    """How the positions of one call attend, for blocks that share a mask.

    Attributes:
        parts: The groups.
        order: For every position of the call, where its result is found in all that the parts give.
    """

    parts: tuple[_Part, ...]
    order: Int[Tensor, " position"]


class KeysKnown(Exception):  # noqa: N818 - no error: nothing more than the keys was wanted
    """A block has come as far as its keys and values, and nothing more is wanted of it."""


@dataclass(eq=False)
class Attending:
    """What stands for the attention mask in a call of a plain block.

    Attributes:
        layout: How the positions attend; None if only their keys and values are wanted.
        before: Keys and values of earlier positions.
        complete: Whether `before` holds the positions of this call too.
        known: Keys and values of all positions so far, once attention has been reached.
    """

    layout: Layout | None
    before: Known | None = None
    complete: bool = False
    known: Known | None = field(default=None, repr=False)


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **kwargs: Any
) -> tuple[Tensor, Tensor | None]:
    """Attention as transformers calls it: over packed positions, or else as the family's own function does it.

    Args:
        module: The attention module.
        query: `[row, head, position, d_head]`, one row if positions are packed.
        key: The same, with fewer heads where several queries share one.
        value: As `key`.
        attention_mask: An `Attending`, or a mask.
        **kwargs: What else the family hands over.

    Returns:
        `[row, position, head, d_head]`, and attention weights if the family's own function gives them.

    Raises:
        KeysKnown: If no more than keys and values was wanted.
        NotImplementedError: If the family wants something else of its attention, which could depend on positions.
    """
    own = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    if not isinstance(attention_mask, Attending):
        if own is None:
            msg = f"{type(module).__name__} has no attention function of its own"
            raise NotImplementedError(msg)
        plain: tuple[Tensor, Tensor | None] = own(module, query, key, value, attention_mask, **kwargs)
        return plain
    call = attention_mask
    known: Known = (key[0].transpose(0, 1), value[0].transpose(0, 1))
    if call.before is not None:
        known = call.before if call.complete else _joined(call.before, known)
    call.known = known
    if call.layout is None:
        raise KeysKnown
    special = {
        name: v
        for name, v in kwargs.items()
        if v is not None and name not in _MASKED | {"scaling", "dropout"}
    }
    rest = {name: v for name, v in special.items() if isinstance(v, Tensor) and name not in _OWN}
    if rest or (special and own is None):
        msg = f"{type(module).__name__} hands {', '.join(rest or special)} to its attention"
        raise NotImplementedError(msg)
    queries, found = query[0].transpose(0, 1), []
    for part in call.layout.parts:
        q, k, v = (
            _gathered(rows, at)
            for rows, at in ((queries, part.queries), (known[0], part.keys), (known[1], part.keys))
        )
        if own is not None and (special or kwargs.get("scaling") is None):
            out = own(module, q, k, v, part.mask, **kwargs)[0]
        else:
            out = _attention(q, k, v, part.mask, kwargs.get("scaling"))
        found.append(out.reshape(-1, *out.shape[2:]))
    every = torch.cat(found) if len(found) > 1 else found[0]
    return every.index_select(0, call.layout.order)[None], None


def _attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float | None) -> Tensor:
    shared = q.shape[1] // k.shape[1]
    if (
        shared > 1 and q.device.type != "cpu"
    ):  # elsewhere, a mask and shared heads together have no fast kernel
        k, v = k.repeat_interleave(shared, 1), v.repeat_interleave(shared, 1)
    out = scaled_dot_product_attention(
        q, k, v, attn_mask=mask, scale=scale, enable_gqa=k.shape[1] != q.shape[1]
    )
    return out.transpose(1, 2)


def _gathered(rows: Tensor, at: Int[Tensor, "group place"]) -> Float[Tensor, "group head place d_head"]:
    return rows.index_select(0, at.view(-1)).view(*at.shape, *rows.shape[1:]).transpose(1, 2)


def _joined(before: Known, own: Known) -> Known:
    return torch.cat([before[0], own[0]]), torch.cat([before[1], own[1]])


@dataclass(frozen=True, eq=False)
class PackedEntry:
    """Packed positions at the door of the first block.

    Attributes:
        entry: As `ModelAccess.enter` gives it; the masks in its calls are the `stand_ins`.
        stand_ins: What stands for each of the model's masks.
    """

    entry: Entry
    stand_ins: tuple[Attending, ...]

    def run(
        self, model: ModelAccess, layer: int, resid: Float[Tensor, "1 pos d_model"], before: Known | None
    ) -> tuple[Float[Tensor, "1 pos d_model"], Known]:
        """Compute one block.

        Args:
            model: The model.
            layer: 0-based index of the block.
            resid: The residual stream entering it.
            before: Keys and values of positions that came in an earlier call.

        Returns:
            The residual stream leaving it, and the keys and values of all positions so far.
        """
        for call in self.stand_ins:
            call.before, call.known = before, None
        out = model.run_block(layer, resid, self.entry, plain=True)
        return out, self._known()

    def keys(
        self, model: ModelAccess, layer: int, resid: Float[Tensor, "1 pos d_model"], before: Known | None
    ) -> Known:
        """Compute one block as far as its keys and values; see `run`."""
        layouts = [call.layout for call in self.stand_ins]
        for call in self.stand_ins:
            call.before, call.known, call.layout = before, None, None
        try:
            model.run_block(layer, resid, self.entry, plain=True)
        except KeysKnown:
            return self._known()
        finally:
            for call, layout in zip(self.stand_ins, layouts, strict=True):
                call.layout = layout
        msg = "the block did not reach its attention"
        raise RuntimeError(msg)

    def _known(self) -> Known:
        found = [call.known for call in self.stand_ins if call.known is not None]
        if len(found) != 1:
            msg = "the block did not use its attention once"
            raise RuntimeError(msg)
        for call in self.stand_ins:
            call.before = call.known = None
        return found[0]


def enter_packed(
    model: ModelAccess,
    tokens: Int[Tensor, " position"],
    positions: Int[Tensor, " position"],
    groups: Sequence[Sequence[Group]],
    masks: Masks,
    *,
    key_positions: Int[Tensor, " key"] | None = None,
    complete: bool = False,
) -> PackedEntry:
    """Embed packed positions, and record how every block is called.

    Args:
        model: A model with plain blocks.
        tokens: Token ids.
        positions: Place of each token in its sequence.
        groups: Groups of nearly equal size together; all queries, which are places in `tokens`, once.
        masks: The model's own masks.
        key_positions: Place in its sequence of every position that may be attended to; those of `tokens` by default.
        complete: Whether the keys and values of all of these will be given to every block.

    Returns:
        The positions at the door of the first block.
    """
    blocks = _plain(model)
    body: Any = blocks.body
    marker = torch.zeros(1, 1, 1, 1, dtype=model.dtype, device=model.device)
    run = lambda: body(  # noqa: E731 - named for the line below
        input_ids=tokens[None], position_ids=positions[None], attention_mask=marker, use_cache=False
    )
    entry = model.recorded(run, tokens[None], blocks=blocks)
    made: dict[int, Attending] = {}
    calls = []
    for layer, (args, kwargs) in enumerate(entry.calls):
        own = masks.of(layer)
        if id(own) not in made:
            ends = positions if key_positions is None else key_positions
            made[id(own)] = Attending(_layout(groups, positions, ends, own), complete=complete)
        call = made[id(own)]
        calls.append(
            (
                tuple(call if value is marker else value for value in args),
                {name: call if value is marker else value for name, value in kwargs.items()},
            )
        )
    return PackedEntry(Entry(tokens[None], entry.resid, calls), tuple(made.values()))


class Masks:
    """The masks that a model gives its blocks, for one sequence.

    Args:
        model: The model.
        length: Tokens in the longest sequence.
    """

    def __init__(self, model: ModelAccess, length: int) -> None:
        entry = model.enter(torch.zeros(1, length, dtype=torch.long, device=model.device))
        shape = (1, 1, length, length)
        found = [
            [v for v in (*args, *kwargs.values()) if isinstance(v, Tensor) and tuple(v.shape) == shape]
            for args, kwargs in entry.calls
        ]
        if any(len(some) != 1 or not some[0].is_floating_point() for some in found):
            msg = f"the blocks of {model.name} are not called with one additive mask"
            raise NotImplementedError(msg)
        self._masks = [some[0] for some in found]

    def of(self, layer: int) -> Float[Tensor, "1 1 pos pos"]:
        """The mask of one block."""
        return self._masks[layer]


def packs(model: ModelAccess, tokens: Int[Tensor, "2 9"], tolerance: float) -> bool:
    """Measure whether positions of many sequences can run side by side, and prepare the plain blocks for it.

    Args:
        model: The model.
        tokens: Two rows to try it on.
        tolerance: Largest difference in logits, relative to the largest logit, that counts as equal.

    Returns:
        Whether packed positions, the beginning of both rows computed once, give what the whole model gives.
    """
    if not isinstance(model.plain, PlainBlocks):
        return False
    body: Any = model.plain.body
    if any(kind in str(getattr(m, "rope_type", "")) for m in body.modules() for kind in _BY_LENGTH):
        return False
    ALL_ATTENTION_FUNCTIONS.register(NAME, attend)
    before = body.config._attn_implementation  # noqa: SLF001 - transformers has no other name for it
    body.config._attn_implementation = NAME  # noqa: SLF001
    try:
        gap = _gap(model, tokens)
    except (NotImplementedError, TypeError, ValueError, AttributeError, RuntimeError, KeyError, IndexError):
        gap = float("inf")
    if not gap <= tolerance:
        body.config._attn_implementation = before  # noqa: SLF001
    return gap <= tolerance


def _gap(model: ModelAccess, tokens: Int[Tensor, "2 9"]) -> float:
    """Two rows with the same beginning, packed, against the whole model."""
    both = torch.cat([tokens[:1, :5].expand(2, -1), tokens[:, 5:]], dim=1)
    every = np.arange(13)
    allowed = np.tril(np.ones((13, 13), bool))
    allowed[9:, 5:9] = False
    at = torch.tensor([*range(9), *range(5, 9)], device=model.device)
    last = torch.tensor([8, 12], device=model.device)
    with torch.no_grad():
        masks = Masks(model, 9)
        packed = torch.cat([both[0], both[1, 5:]])
        whole = enter_packed(model, packed, at, [[Group(every, every, allowed)]], masks)
        groups = [[Group(np.array([i]), every, allowed[[k]]) for i, k in enumerate((8, 12))]]
        ending = enter_packed(model, packed[last], at[last], groups, masks, key_positions=at, complete=True)
        final, resid = model.n_layers - 1, whole.entry.resid
        for layer in range(final):
            resid, _ = whole.run(model, layer, resid, None)
        known = whole.keys(model, final, resid, None)
        ends, _ = ending.run(model, final, resid[:, last], known)
        resid, _ = whole.run(model, final, resid, None)
        expected = model.logits(both).float()
        rows = torch.cat([expected[0], expected[1, 5:]])
        scale = max(1.0, float(rows.abs().max()))
        everywhere = float((model.readout(resid[0]) - rows).abs().max())
        return max(everywhere, float((model.readout(ends[0]) - rows[last]).abs().max())) / scale


def _layout(
    groups: Sequence[Sequence[Group]],
    positions: Int[Tensor, " position"],
    ends: Int[Tensor, " key"],
    own: Float[Tensor, "1 1 pos pos"],
) -> Layout:
    parts = []
    order = torch.zeros(len(positions), dtype=torch.long)
    start = 0
    for some in groups:
        wide, long = max(len(g.queries) for g in some), max(len(g.keys) for g in some)
        queries, keys = np.zeros((len(some), wide), np.int64), np.zeros((len(some), long), np.int64)
        allowed = np.zeros((len(some), wide, long), bool)
        allowed[:, :, 0] = True  # what pads must attend to something
        for row, group in enumerate(some):
            n, m = group.allowed.shape
            queries[row, :n], keys[row, :m] = group.queries, group.keys
            allowed[row, :n, :m] = group.allowed
            order[torch.from_numpy(group.queries)] = torch.arange(n) + start + row * wide
        start += len(some) * wide
        q, k = (torch.from_numpy(at).to(own.device) for at in (queries, keys))
        mask = own[0, 0][positions[q][:, :, None], ends[k][:, None, :]]
        mask = mask.masked_fill(~torch.from_numpy(allowed).to(own.device), torch.finfo(own.dtype).min)[
            :, None
        ]
        if len(some) > 1 and bool((mask == mask[:1]).all()):
            mask = mask[:1]
        parts.append(_Part(q, k, mask))
    return Layout(tuple(parts), order.to(own.device))


def _plain(model: ModelAccess) -> PlainBlocks:
    blocks = model.plain
    if not isinstance(blocks, PlainBlocks):
        msg = f"{model.name} has no plain blocks"
        raise NotImplementedError(msg)
    return blocks
