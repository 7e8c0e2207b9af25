"""Does the loaded model compute what its author's model computes? Asked on a short batch whenever a model is loaded."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from decision_phases.errors import ParityError
from decision_phases.models.access import ModelAccess
from decision_phases.models.description import Capabilities, Parity
from decision_phases.models.placing import runs_on

# Half-precision kernels round differently in different batch shapes; a wiring error is far larger than these.
TOLERANCE: dict[torch.dtype, float] = {
    torch.float64: 1e-6,
    torch.float32: 1e-3,
    torch.float16: 0.25,
    torch.bfloat16: 1.0,
}


def probe_tokens(d_vocab: int, device: torch.device | str = "cpu") -> Int[Tensor, "2 9"]:
    """Two rows of nine token ids, spread over the vocabulary, that every comparison uses.

    Args:
        d_vocab: Size of the vocabulary.
        device: Where to put them.

    Returns:
        Token ids.
    """
    ids = (torch.arange(18, dtype=torch.long) * 7919 + 101) % d_vocab
    return ids.view(2, 9).to(device)


def reference_logits(hf: nn.Module) -> Float[Tensor, "2 9 vocab"]:
    """Logits of a plain Hugging Face model on the probe, taken before anything wraps it.

    Args:
        hf: A causal language model.

    Returns:
        Logits in float32 on the CPU.
    """
    model: Any = hf
    tokens = probe_tokens(model.config.get_text_config().vocab_size, runs_on(hf))
    with torch.no_grad():
        logits: Tensor = model(input_ids=tokens, use_cache=False).logits
    return logits.float().cpu()


def check_model(
    model: ModelAccess, reference: Float[Tensor, "2 9 vocab"] | None, reference_name: str
) -> None:
    """Measure parity and capabilities, and store them on the model.

    Args:
        model: The model just wrapped.
        reference: Logits of its plain counterpart on the probe, or None.
        reference_name: What the reference is, in words.

    Raises:
        ParityError: If any difference exceeds the tolerance of the model's number format.
    """
    tolerance = TOLERANCE.get(model.dtype, 1.0)
    tokens = probe_tokens(model.d_vocab, model.device)
    with torch.no_grad():
        logits = model.logits(tokens).float()
        quantity, difference = "logits", math.nan
        if reference is not None:
            mine, theirs = logits.cpu(), reference[..., : model.d_vocab]
            if model.processed:
                quantity, mine, theirs = "log-probabilities", mine.log_softmax(-1), theirs.log_softmax(-1)
            difference = _gap(mine, theirs)
        resid, post = _final_residual(model, tokens)
        readout = _gap(model.readout(resid), logits)
        override = max(_override_gap(model, tokens, layer) for layer in {0, model.n_layers // 2})
        model.capabilities = Capabilities(
            direct=_direct(model, tokens, post, tolerance),
            resid_mid=_has_resid_mid(model, tokens, tolerance),
            cached_generation=_caches(model, tokens, logits, tolerance),
            fresh=model._rebuild is not None,  # noqa: SLF001 - the same package
        )
    name = reference_name if reference is not None else "no reference"
    model.parity = Parity(name, quantity, difference, readout, override, tolerance)
    for what, value in (
        (f"{quantity} differ from {name}", difference),
        ("the readout of the last residual differs from the final logits", readout),
        ("overriding a block differs from bypassing it with hooks", override),
    ):
        if value > tolerance or (math.isnan(value) and value is not difference):
            msg = (
                f"{model.name} ({model.architecture}, {model.kind}): {what} by {value:.3g}, more than {tolerance:.0e}; "
                "numbers from it could not be trusted. Try another backend, dtype or TransformerLens version"
            )
            raise ParityError(msg)


def check_plain(model: ModelAccess, blocks: Sequence[nn.Module] | None) -> None:
    """Use plain blocks if they give the residuals that the bridge's blocks give, on the probe.

    Args:
        model: The model, with its capabilities measured.
        blocks: Plain blocks, or None.
    """
    if blocks is None or not model.capabilities.direct:
        return
    with torch.no_grad():
        entry = model.enter(probe_tokens(model.d_vocab, model.device))
        model.use_plain(blocks)
        ours = plain = entry.resid
        try:
            for layer in range(model.n_layers):
                ours = model.run_block(layer, ours, entry)
                plain = model.run_block(layer, plain, entry, plain=True)
        except (TypeError, ValueError, AttributeError, RuntimeError, KeyError, IndexError):
            model.use_plain(None)
            return
        scale = max(1.0, float(ours.abs().max()))
        if not _gap(ours, plain) <= 0.01 * TOLERANCE.get(model.dtype, 1.0) * scale:
            model.use_plain(None)
            return
    model.capabilities = replace(model.capabilities, plain=True)


def _gap(a: Tensor, b: Tensor) -> float:
    return float((a.float() - b.to(a.device).float()).abs().max())


def _final_residual(model: ModelAccess, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """The last layer's residual, from the whole model's run."""
    kept: list[Tensor] = []
    with model.hooked([(model.n_layers - 1, "resid_post", lambda x: kept.append(x))]):
        model.logits(tokens, last_only=True)
    return kept[0], kept[0]


def _override_gap(model: ModelAccess, tokens: Tensor, layer: int) -> float:
    """Skipping by override against letting the block run and putting its input back with hooks."""
    entering: list[Tensor] = []
    bypass = [
        (layer, "resid_pre", lambda x: entering.append(x)),
        (layer, "resid_post", lambda _: entering[-1]),
    ]
    with model.hooked(bypass):
        expected = model.logits(tokens, last_only=True)
    with model.overridden({layer: None}):
        return _gap(model.logits(tokens, last_only=True), expected)


def _direct(model: ModelAccess, tokens: Tensor, expected: Tensor, tolerance: float) -> bool:
    """Do blocks called one by one give the whole model's last residual, with nothing done between them?"""
    inputs: list[Tensor] = []
    hooks = [(layer, "resid_pre", lambda x: inputs.append(x)) for layer in range(model.n_layers)]
    with model.hooked(hooks), model.overridden(dict.fromkeys(range(model.n_layers))):
        model.logits(tokens, last_only=True)
    if any(not torch.equal(x, inputs[0]) for x in inputs):
        return False  # the model's own loop changes the stream between blocks (RWKV rescales it)
    entry = model.enter(tokens)
    resid = entry.resid
    for layer in range(model.n_layers):
        resid = model.run_block(layer, resid, entry)
    scale = max(1.0, float(expected.abs().max()))
    return _gap(resid, expected) <= tolerance * scale


def _has_resid_mid(model: ModelAccess, tokens: Tensor, tolerance: float) -> bool:
    """Is the residual after attention the one before it plus `attn_out`?"""
    if not {"resid_pre", "attn_out", "resid_mid"} <= model.sites:
        return False
    kept: dict[str, Tensor] = {}

    def keep(site: str) -> Callable[[Tensor], None]:
        return lambda x: kept.__setitem__(site, x)

    with model.hooked([(0, site, keep(site)) for site in ("resid_pre", "attn_out", "resid_mid")]):
        model.logits(tokens, last_only=True)
    scale = max(1.0, float(kept["resid_mid"].abs().max()))
    return _gap(kept["resid_pre"] + kept["attn_out"], kept["resid_mid"]) <= tolerance * scale


def _caches(model: ModelAccess, tokens: Tensor, logits: Tensor, tolerance: float) -> bool:
    """Does generation with the model's own cache give what a whole run gives?"""
    try:
        _, cache = model.step(tokens[:, :-2], None)
        _, cache = model.step(tokens[:, -2:-1], cache)
        last, _ = model.step(tokens[:, -1:], cache)
    except (NotImplementedError, TypeError, ValueError, AttributeError, RuntimeError, KeyError):
        return False
    return _gap(last, logits[:, -1]) <= tolerance
