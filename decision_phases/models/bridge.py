"""`TransformerBridge`, of TransformerLens 3.9 and 4.x."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from decision_phases.models.access import ModelAccess


class BridgeAccess(ModelAccess):
    """A `TransformerBridge`, seen through `ModelAccess`."""

    kind = "TransformerBridge"

    def __init__(
        self,
        tl: Any,
        *,
        name: str,
        tokenizer: Any | None,
        weights: str,
        rebuild: Callable[[], nn.Module] | None = None,
    ) -> None:
        super().__init__(tl, name=name, tokenizer=tokenizer, weights=weights, rebuild=rebuild)
        cfg = tl.cfg
        self.n_layers = len(tl.blocks)
        self.n_heads, self.d_head, self.d_model = int(cfg.n_heads), int(cfg.d_head), int(cfg.d_model)
        self.d_vocab = int(tl.W_U.shape[-1])
        self.context_length = int(cfg.n_ctx) if getattr(cfg, "n_ctx", None) else None
        self.architecture = str(cfg.architecture)
        self.processed = bool(getattr(tl, "_weights_processed", False))

    @property
    def root(self) -> nn.Module:
        """The Hugging Face model under the bridge."""
        module: nn.Module = self.tl.original_model
        return module

    def weights_of(self, module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
        """The named parameters of a module that are used when it runs; see `ModelAccess.weights_of`.

        Where a family keeps queries, keys and values in one matrix, the bridge computes with its three parts (copies or
        views) and leaves the joint matrix beside them, which is passed over here.
        """
        named = dict(module.named_parameters())
        for name, parameter in named.items():
            parts = name.split(".")
            joint = "qkv" in parts and all(
                ".".join(part if p == "qkv" else p for p in parts) in named for part in ("q", "k", "v")
            )
            if not joint:
                yield name, parameter

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """Bridge blocks: hooks, then the Hugging Face layer, then hooks."""
        return list(self.tl.blocks)

    @property
    def engine_blocks(self) -> Sequence[nn.Module]:
        """The Hugging Face layers below the bridge's hooks."""
        return [block.original_component for block in self.tl.blocks]

    def logits(self, tokens: Tensor, *, last_only: bool = False) -> Tensor:
        """Logits of the whole model; see `ModelAccess.logits`."""
        keep = {"logits_to_keep": 1} if last_only else {}
        out: Tensor = self.tl(tokens.to(self.device), return_type="logits", use_cache=False, **keep)
        return out

    def output_transform(self, logits: Tensor) -> Tensor:
        """Soft cap or scale, as the architecture's adapter defines it."""
        out: Tensor = self.tl.adapter.apply_output_logits_transform(logits)
        return out

    def step(self, tokens: Tensor, cache: Any | None) -> tuple[Tensor, Any]:
        """One step of cached generation with Hugging Face's own cache object."""
        past = {} if cache is None else {"past_key_values": cache}
        logits, cache = self.tl(
            tokens.to(self.device),
            return_type="logits_and_cache",
            use_cache=True,
            logits_to_keep=1,
            **past,
        )
        if cache is None:
            msg = f"{self.architecture} returns no key-value cache"
            raise NotImplementedError(msg)
        return logits[:, -1], cache


def bridge_from_hf(hf: nn.Module) -> Any:
    """Wrap a Hugging Face model, which is rewired by this and of no other use afterwards.

    Args:
        hf: A causal language model with `config`, loaded with eager attention.

    Returns:
        A `TransformerBridge` without a tokenizer: this package tokenises by itself.
    """
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    model: Any = hf
    bridge = build_bridge_from_module(model, type(model).__name__, hf_config=model.config, tokenizer=None)
    bridge.eval()
    for parameter in bridge.original_model.parameters():
        parameter.requires_grad_(requires_grad=False)
    return bridge
