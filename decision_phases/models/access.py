"""The narrow view of a language model that everything else works on.

A `ModelAccess` hides whether the model underneath is a `TransformerBridge` (TransformerLens 3.9 and 4.x) or a
`HookedTransformer` (3.9): both have blocks that can be called one by one, hook points around and inside them, a final
norm and an unembedding. Nothing outside `models/` imports TransformerLens.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from decision_phases.errors import InputError, unknown_name
from decision_phases.interventions import Intervention
from decision_phases.models.description import Capabilities, Entry, Parity
from decision_phases.models.hooks import HookFn, hooking
from decision_phases.models.override import RESIDUAL_NAMES, Replacement, overriding, returned_arity
from decision_phases.models.placing import is_spread, kept_value, plain_value, runs_on
from decision_phases.models.unembedding import Unembedding

#: Where a residual stream can be read, in the order in which a block computes it.
SITES = ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post", "head_out")
#: What a bridge puts into the names of the modules that it wraps.
_WRAPPED = "_original_component."
_HOOK_NAMES = {
    "resid_pre": "hook_resid_pre",
    "attn_out": "hook_attn_out",
    "resid_mid": "hook_resid_mid",
    "mlp_out": "hook_mlp_out",
    "resid_post": "hook_resid_post",
    "head_out": "attn.hook_z",
}


class ModelAccess(Unembedding):
    """A loaded language model, seen through what this package needs of it.

    Made by `decision_phases.load`; `model.tl` is the TransformerLens object itself, for everything else.

    Attributes:
        tl: The `TransformerBridge` or `HookedTransformer`.
        name: The name it was loaded under.
        weights: What the weights are, in words ("float32 as published", "Q4_1, dequantised").
        tokenizer: The Hugging Face tokenizer with its own BOS rule, or None.
        processed: Whether norms were folded and weights centred (raw values then differ from Hugging Face).
        parity: The comparison made when it was loaded.
        origin: Arguments of `load` that make it again in another process; None if it came as an object.
        intervention: What `export` put beside the weights in the folder that it was loaded from. It is not applied by
            itself: give it as `under=`. Empty for every other model.
    """

    kind: str
    n_layers: int
    n_heads: int
    d_head: int
    d_model: int
    d_vocab: int
    context_length: int | None
    architecture: str
    processed: bool
    parity: Parity
    capabilities: Capabilities

    def __init__(
        self,
        tl: Any,
        *,
        name: str,
        tokenizer: Any | None,
        weights: str,
        rebuild: Callable[[], nn.Module] | None = None,
    ) -> None:
        self.tl = tl
        self.name = name
        self.tokenizer = tokenizer
        self.weights = weights
        self._rebuild = rebuild
        self.origin: Mapping[str, Any] | None = None
        self.intervention = Intervention()
        self._points: dict[tuple[int, str], Any] = {}
        self._plain: Sequence[nn.Module] | None = None

    # -- what the two kinds of TransformerLens model do differently --------------------------------------------

    @property
    @abstractmethod
    def blocks(self) -> Sequence[nn.Module]:
        """The blocks as TransformerLens calls them: calling one runs its hooks and its computation."""

    @property
    @abstractmethod
    def engine_blocks(self) -> Sequence[nn.Module]:
        """The modules whose forward is the computation of a block, below the hooks around it."""

    @abstractmethod
    def logits(
        self, tokens: Int[Tensor, "batch pos"], *, last_only: bool = False
    ) -> Float[Tensor, "batch kept vocab"]:
        """Run the whole model as its author would.

        Args:
            tokens: Token ids, right-padded if of unequal length.
            last_only: Unembed the last position only, where the model can.

        Returns:
            Logits at every position, or at the last only.
        """

    @abstractmethod
    def step(self, tokens: Int[Tensor, "batch pos"], cache: Any | None) -> tuple[Tensor, Any]:
        """Run the model on new tokens with a key-value cache.

        Args:
            tokens: The tokens that the cache has not seen.
            cache: What the last call returned, or None at the start.

        Returns:
            Logits at the last position, `[batch, vocab]`, and the cache for the next call.
        """

    # -- sizes and places ------------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        """Device that the first block runs on, where token ids are sent to."""
        return runs_on(self.engine_blocks[0])

    @property
    def spread(self) -> bool:
        """Whether it was loaded with a `device_map` that puts parts of it in different places."""
        return is_spread(self.root)

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        return next(self.engine_blocks[0].parameters()).dtype

    @property
    def n_params(self) -> int:
        """Number of parameters, tied ones counted once."""
        return sum(p.numel() for p in self.unique_parameters())

    def unique_parameters(self) -> Iterator[Tensor]:
        """Every parameter once, tied ones included once, in a fixed order."""
        return (parameter for _, parameter in self._unique())

    def _unique(self) -> Iterator[tuple[str, nn.Parameter]]:
        seen: set[int] = set()
        for name, parameter in self.weights_of(self.root):
            place = parameter.data_ptr() or id(parameter)  # what is kept elsewhere has no place in memory
            if place not in seen:
                seen.add(place)
                yield name, parameter

    def weights_of(self, module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
        """The named parameters of a module that are used when it runs.

        Args:
            module: The whole model or a part of it.

        Returns:
            (name inside the module, parameter) pairs.
        """
        return module.named_parameters()

    @property
    def root(self) -> nn.Module:
        """The module that holds all weights."""
        module: nn.Module = self.tl
        return module

    @cached_property
    def sites(self) -> frozenset[str]:
        """The sites that every layer of this model has, of `SITES`."""
        points = self.tl.hook_dict
        found = {
            site
            for site, name in _HOOK_NAMES.items()
            if all(f"blocks.{layer}.{name}" in points for layer in range(self.n_layers))
        }
        return frozenset(found)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all weights (16 hex digits): equal weights in equal order and format give equal prints."""
        digest = hashlib.blake2b(digest_size=8)
        for name, parameter in self._unique():
            flat = plain_value(kept_value(self.root, name)).to("cpu").contiguous().view(-1)
            digest.update(f"{tuple(parameter.shape)}{flat.dtype}".encode())
            digest.update(flat.view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def parameters(self, layer: int) -> dict[str, nn.Parameter]:
        """The named parameters of one block, raw.

        Names are those that `weights` edits take: what the model's author calls a parameter inside a block
        ("self_attn.q_proj.weight", "mlp.down_proj.weight"). Where a family keeps queries, keys and values in one
        matrix that TransformerLens divides, its parts are named as there ("attn.q.weight"); a `HookedTransformer` has
        its own names throughout ("attn.W_Q").

        Args:
            layer: 0-based index of the block.

        Returns:
            Name inside the block → parameter.
        """
        self.check_layer(layer)
        named = self.weights_of(self.engine_blocks[layer])
        return {name.replace(_WRAPPED, ""): parameter for name, parameter in named}

    def check_layer(self, layer: int) -> None:
        """Raise `InputError` unless `layer` is one of this model's.

        Args:
            layer: 0-based index of a block.
        """
        if not 0 <= layer < self.n_layers:
            msg = f"layer {layer} is out of range: {self.name} has layers 0..{self.n_layers - 1}"
            raise InputError(msg)

    def fresh_hf(self) -> nn.Module:
        """Rebuild an untouched Hugging Face model with the same weights.

        Returns:
            A plain `transformers` model that shares nothing with this one.

        Raises:
            InputError: If the model was handed over as a TransformerLens object, which cannot be turned back.
        """
        if self._rebuild is None:
            msg = (
                f"{self.name} was given as a {type(self.tl).__name__}, from which no plain Hugging Face model can be "
                "rebuilt; load it with dp.load(name or folder or Hugging Face model) instead"
            )
            raise InputError(msg)
        return self._rebuild()

    # -- hooks and overrides -----------------------------------------------------------------------------------

    def hook_point(self, layer: int, site: str) -> Any:
        """The TransformerLens hook point of a site.

        Args:
            layer: 0-based index of the block.
            site: One of `SITES`.

        Returns:
            The `HookPoint`.

        Raises:
            InputError: If the layer is out of range or the model has no such site.
        """
        point = self._points.get((layer, site))
        if point is None:
            self.check_layer(layer)
            if site not in _HOOK_NAMES:
                raise unknown_name("site", site, SITES)
            if site not in self.sites:
                msg = f"{self.name} ({self.architecture}) has no site {site!r}; it has {', '.join(sorted(self.sites))}"
                raise InputError(msg)
            point = self.tl.hook_dict[f"blocks.{layer}.{_HOOK_NAMES[site]}"]
            self._points[layer, site] = point
        return point

    @contextmanager
    def hooked(self, hooks: Sequence[tuple[int, str, HookFn]]) -> Iterator[None]:
        """Run functions at hook points for the length of a `with` block.

        Args:
            hooks: (layer, site, function) triples. A function gets the activation and returns a new one, or None.

        Yields:
            Nothing; on leaving, exactly these hooks are removed, whatever happened inside.
        """
        with hooking([(self.hook_point(layer, site), fn) for layer, site, fn in hooks]):
            yield

    @contextmanager
    def watching_last(self, fns: Sequence[Callable[[Tensor], None]]) -> Iterator[None]:
        """Show functions the residual that enters the final norm, for the length of a `with` block.

        Args:
            fns: Functions of the residual stream, `[batch, pos, d_model]`.

        Yields:
            Nothing.
        """

        def watch(_module: nn.Module, args: tuple[Any, ...]) -> None:
            for fn in fns:
                fn(args[0])

        handle = self.tl.ln_final.register_forward_pre_hook(watch)
        try:
            yield
        finally:
            handle.remove()

    @contextmanager
    def overridden(self, table: dict[int, Replacement]) -> Iterator[None]:
        """Replace the computation of blocks for the length of a `with` block.

        Args:
            table: layer → None (identity, the block is removed), a tensor (what the block returns, whatever enters)
                or a function of the residual entering it.

        Yields:
            Nothing; the hooks around the blocks keep firing with their own layer numbers, and the key-value cache of
            a replaced block is kept in step.
        """
        for layer in table:
            self.check_layer(layer)
        with overriding(self.engine_blocks, table, self._arity):
            yield

    @cached_property
    def _arity(self) -> list[int | None]:
        probe = torch.tensor([[1, 2]], device=self.device) % self.d_vocab
        with torch.no_grad():
            return returned_arity(self.engine_blocks, lambda: self.logits(probe, last_only=True))

    # -- running -----------------------------------------------------------------------------------------------

    def enter(self, tokens: Int[Tensor, "batch pos"]) -> Entry:
        """Embed tokens and record how every block is called, without computing any block.

        Args:
            tokens: Token ids, right-padded.

        Returns:
            The residual entering block 0 and the arguments of every block.
        """
        return self.recorded(lambda: self.logits(tokens, last_only=True), tokens)

    def recorded(
        self,
        run: Callable[[], object],
        tokens: Int[Tensor, "batch pos"],
        blocks: Sequence[nn.Module] | None = None,
    ) -> Entry:
        """Record how every block is called when something runs the model, without computing any block.

        Args:
            run: Runs the model on `tokens`.
            tokens: Token ids, right-padded.
            blocks: The blocks that it calls, if they are not the model's own.

        Returns:
            The residual entering block 0 and the arguments of every block.
        """
        calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        start: list[Tensor] = []

        def record(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            resid, rest, named = _split_residual(args, kwargs)
            if not start:
                start.append(resid)
            calls.append((rest, named))

        handles = [b.register_forward_pre_hook(record, with_kwargs=True) for b in blocks or self.blocks]
        try:
            with overriding(blocks or self.engine_blocks, dict.fromkeys(range(self.n_layers)), self._arity):
                run()
        finally:
            for handle in handles:
                handle.remove()
        return Entry(tokens, start[0], calls)

    def run_block(
        self, layer: int, resid: Float[Tensor, "batch pos d_model"], entry: Entry, *, plain: bool = False
    ) -> Float[Tensor, "batch pos d_model"]:
        """Compute one block.

        Args:
            layer: 0-based index of the block.
            resid: The residual stream entering it.
            entry: The batch, as `enter` saw it.
            plain: Whether nothing inside it is read or edited, so that the plain block will do.

        Returns:
            The residual stream leaving it.
        """
        args, kwargs = entry.calls[layer]
        out = self.block(layer, plain=plain)(resid, *args, **kwargs)
        result: Tensor = out[0] if isinstance(out, tuple) else out
        return result

    def use_plain(self, blocks: Sequence[nn.Module] | None) -> None:
        """Let blocks be computed without the hooks inside them, where nothing looks there; see `models.plain`.

        Args:
            blocks: One a layer, or None.
        """
        self._plain = blocks

    @property
    def runs_plain(self) -> bool:
        """Whether there are plain blocks, and nobody has put hooks of their own on the model."""
        return self._plain is not None and not self.has_own_hooks

    @property
    def has_own_hooks(self) -> bool:
        """Whether somebody has put hooks of their own on the model."""
        return any(point.fwd_hooks for point in self.tl.hook_dict.values())

    def block(self, layer: int, *, plain: bool) -> nn.Module:
        """The module to call for one block.

        Args:
            layer: 0-based index of the block.
            plain: Whether nothing inside it is read or edited.

        Returns:
            The plain block, if it may be used, else the one with hooks.
        """
        return self._plain[layer] if plain and self._plain is not None else self.blocks[layer]

    @cached_property
    def shares_text(self) -> bool:
        """Whether text that several sequences share can be computed once, measured when first asked for."""
        from decision_phases.models.parity import TOLERANCE, probe_tokens
        from decision_phases.models.shared_text import shares_text

        if not (self.capabilities.direct and self.capabilities.cached_generation):
            return False
        tokens = probe_tokens(self.d_vocab, self.device)
        return self.kind == "TransformerBridge" and shares_text(self, tokens, TOLERANCE[self.dtype])

    @property
    def plain(self) -> Sequence[nn.Module] | None:
        """The plain blocks, if there are any; see `models.plain`."""
        return self._plain

    @cached_property
    def packs(self) -> bool:
        """Whether positions of many sequences can run side by side, measured when first asked for."""
        from decision_phases.models.packed import packs
        from decision_phases.models.parity import TOLERANCE, probe_tokens

        tokens = probe_tokens(self.d_vocab, self.device)
        return self.capabilities.plain and packs(self, tokens, 0.1 * TOLERANCE[self.dtype])

    @cached_property
    def skips(self) -> frozenset[str]:
        """Parts of a plain block that can be left out without being computed, measured when first asked for."""
        from decision_phases.models.parity import TOLERANCE, probe_tokens
        from decision_phases.models.skipping import skipped_exactly

        if not self.capabilities.plain:
            return frozenset()
        return skipped_exactly(self, probe_tokens(self.d_vocab, self.device), 0.01 * TOLERANCE[self.dtype])

    def leaving_out(self, layer: int, parts: Sequence[str]) -> AbstractContextManager[None]:
        """Have parts of a plain block return zeros, computing nothing, for the length of a `with` block.

        Args:
            layer: 0-based index of the block.
            parts: Of `skips`; none leaves everything as it is.

        Returns:
            The context.
        """
        from decision_phases.models.skipping import skipping

        return skipping(self.block(layer, plain=True), parts) if parts else nullcontext()

    def __repr__(self) -> str:
        """Name, size and format in a line."""
        return (
            f"<{self.name}: {self.architecture}, {self.n_layers} layers, {self.n_params / 1e6:.0f}M parameters, "
            f"{self.weights}, {str(self.dtype).removeprefix('torch.')} on {self.device}"
            f"{', spread by device_map' if self.spread else ''}, {self.kind}>"
        )


def _split_residual(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Tensor, tuple[Any, ...], dict[str, Any]]:
    if args:
        return args[0], args[1:], kwargs
    rest = dict(kwargs)
    for name in RESIDUAL_NAMES:
        if name in rest:
            return rest.pop(name), (), rest
    msg = f"a block was called without a residual stream (arguments: {sorted(kwargs)})"
    raise InputError(msg)
