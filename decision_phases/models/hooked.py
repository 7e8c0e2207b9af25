"""`HookedTransformer`, which exists up to TransformerLens 3.9."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from decision_phases.errors import InputError, MissingPackageError
from decision_phases.models.access import ModelAccess


class HookedAccess(ModelAccess):
    """A `HookedTransformer`, seen through `ModelAccess`."""

    kind = "HookedTransformer"

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
        if cfg.normalization_type is None:
            msg = (
                f"{name} has no final norm (normalization_type=None), without which no layer can be read out"
            )
            raise InputError(msg)
        self.n_layers, self.n_heads = int(cfg.n_layers), int(cfg.n_heads)
        self.d_head, self.d_model, self.d_vocab = int(cfg.d_head), int(cfg.d_model), int(cfg.d_vocab_out)
        self.context_length = int(cfg.n_ctx)
        self.architecture = str(cfg.original_architecture or "HookedTransformer")
        # A folded norm loses its weight: "LN" becomes "LNPre", "RMS" becomes "RMSPre".
        self.processed = str(cfg.normalization_type or "").endswith("Pre")

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The transformer blocks, which carry their own hooks."""
        return list(self.tl.blocks)

    @property
    def engine_blocks(self) -> Sequence[nn.Module]:
        """The transformer blocks."""
        return list(self.tl.blocks)

    def logits(self, tokens: Tensor, *, last_only: bool = False) -> Tensor:
        """Logits of the whole model; see `ModelAccess.logits`."""
        tokens = tokens.to(self.device)
        # All ones, or a tokenizer that pads on the left would mask whatever looks like its padding.
        mask = torch.ones_like(tokens)
        if not last_only:
            out: Tensor = self.tl(tokens, return_type="logits", attention_mask=mask)
            return out
        # Unembedding every position costs more than the rest of a short run, so it is kept to the last one.
        normed: list[Tensor] = []
        handle = self.tl.ln_final.register_forward_hook(lambda _module, _args, out: normed.append(out))
        try:
            self.tl(tokens, return_type=None, attention_mask=mask)
        finally:
            handle.remove()
        return self.output_transform(self.tl.unembed(normed[0][:, -1:]))

    def output_transform(self, logits: Tensor) -> Tensor:
        """Soft cap, if the model has one."""
        cap = float(getattr(self.tl.cfg, "output_logits_soft_cap", 0.0) or 0.0)
        return cap * torch.tanh(logits / cap) if cap > 0 else logits

    def step(self, tokens: Tensor, cache: Any | None) -> tuple[Tensor, Any]:
        """One step of cached generation with TransformerLens's cache."""
        if cache is None:
            from transformer_lens import TransformerLensKeyValueCache

            cache = TransformerLensKeyValueCache.init_cache(self.tl.cfg, self.device, tokens.shape[0])
        tokens = tokens.to(self.device)
        mask = torch.ones_like(tokens)
        logits = self.tl(tokens, return_type="logits", past_kv_cache=cache, attention_mask=mask)
        return logits[:, -1], cache


def hooked_from_hf(hf: nn.Module) -> Any:
    """Copy a Hugging Face model into an unprocessed `HookedTransformer`, offline.

    Args:
        hf: A causal language model with `config.architectures` set.

    Returns:
        A `HookedTransformer` that shares no weights with `hf`.

    Raises:
        MissingPackageError: If the installed TransformerLens has no `HookedTransformer`.
        InputError: If it cannot hold this architecture.
    """
    try:
        import transformer_lens.loading_from_pretrained as loading
        from transformer_lens import HookedTransformer
    except ImportError as error:
        msg = 'this TransformerLens has no HookedTransformer; install "transformer-lens==3.9.0" or use backend="bridge"'
        raise MissingPackageError(msg) from error
    model: Any = hf
    dtype, device = next(model.parameters()).dtype, next(model.parameters()).device
    config = model.config
    if config.model_type == "gpt2" and not hasattr(config, "n_ctx"):
        config.n_ctx = config.n_positions  # dropped by recent transformers, read by TransformerLens 3.9
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="transformer_lens")
        warnings.filterwarnings("ignore", message=".*HookedTransformer.*deprecated.*")
        config.architectures = [type(model).__name__]
        config.save_pretrained(folder)
        try:
            cfg = loading.get_pretrained_model_config(
                folder, hf_cfg=config.to_dict(), device=str(device), dtype=dtype
            )
            state = loading.get_pretrained_state_dict(folder, cfg, model, dtype=dtype)
        except (NotImplementedError, ValueError, KeyError, AttributeError) as error:
            msg = (
                f"HookedTransformer cannot hold {type(model).__name__} from local weights ({error}); "
                'use backend="bridge"'
            )
            raise InputError(msg) from error
        cfg.tokenizer_name = None
        tl = HookedTransformer(cfg, tokenizer=None, move_to_device=False)
        tl.load_and_process_state_dict(
            state, fold_ln=False, center_writing_weights=False, center_unembed=False, fold_value_biases=False
        )
    tl.to(device, print_details=False)
    tl.eval()
    for parameter in tl.parameters():
        parameter.requires_grad_(requires_grad=False)
    return tl
