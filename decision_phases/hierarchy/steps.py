"""How far two runs are apart where each predicts a token: in final hidden states h, in logits z, in probabilities p."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from decision_phases.models import ModelAccess
from decision_phases.readout.loss import token_losses

CELLS = 8_000_000
"""Entries of a part of the vocabulary-wide tables that are held at a time: 64 MB in double precision."""

#: What is measured at each step, in words. p = softmax(z / T).
MEASURES: Mapping[str, str] = MappingProxyType(
    {
        "h": "1 − cos of the residuals behind the final norm",
        "z": "1 − cos of the logits",
        "p": "1 − cos of the probabilities",
        "kl": "KL(first ‖ second) of the probabilities, in nats",
        "tv": "total variation of the probabilities, ½ Σ |p − q|",
        "js": "Jensen–Shannon divergence of the probabilities, in nats",
        "top": "whether the likeliest token differs",
    }
)


def step_deviations(
    model: ModelAccess,
    first: Float[np.ndarray, "prompt step d_model"],
    second: Float[np.ndarray, "prompt step d_model"],
    *,
    temperature: float = 1.0,
) -> dict[str, Float[np.ndarray, "prompt step"]]:
    """Compare what two runs end with, step by step; all in float64, exactly zero where they are equal.

    1 − cos is computed as ½ ‖u − v‖² of the unit vectors, which keeps its digits where the two are close.

    Args:
        model: The model, for its final norm and unembedding.
        first: Residuals that the first run ends with; the reference of the KL divergence.
        second: Those of the second.
        temperature: T of the probabilities.

    Returns:
        Every one of `MEASURES`.
    """
    with torch.no_grad():
        parts = [
            _compared(model, a, b, temperature)
            for (_, a), (_, b) in zip(_parts(model, first), _parts(model, second), strict=True)
        ]
    shape = first.shape[:2]
    return {name: torch.cat([part[name] for part in parts]).cpu().numpy().reshape(shape) for name in MEASURES}


def step_losses(
    model: ModelAccess,
    endings: Float[np.ndarray, "prompt step d_model"],
    tokens: Int[np.ndarray, "prompt step"],
) -> Float[np.ndarray, "prompt step"]:
    """−log p of the tokens that follow, in nats.

    Args:
        model: The model.
        endings: Residuals that a run ends with.
        tokens: What follows each.

    Returns:
        One loss a token.
    """
    targets = torch.from_numpy(tokens.reshape(-1)).to(model.device)
    with torch.no_grad():
        found = [token_losses(model, resid, targets[at]) for at, resid in _parts(model, endings)]
    return torch.cat(found).cpu().numpy().reshape(tokens.shape)


def step_choices(
    model: ModelAccess,
    endings: Float[np.ndarray, "prompt step d_model"],
    choose: Callable[[Float[Tensor, "cell vocab"], slice], Int[Tensor, " cell"]],
) -> Int[np.ndarray, "prompt step"]:
    """The token that follows by a rule, read off residuals.

    Args:
        model: The model.
        endings: Residuals that a run ends with.
        choose: Gives a token for each row of logits; it is told which of all cells these are.

    Returns:
        Token ids.
    """
    with torch.no_grad():
        found = [choose(model.readout(resid), at) for at, resid in _parts(model, endings)]
    return torch.cat(found).cpu().numpy().reshape(endings.shape[:2])


def _compared(
    model: ModelAccess, a: Float[Tensor, "cell d_model"], b: Float[Tensor, "cell d_model"], temperature: float
) -> dict[str, Float[Tensor, " cell"]]:
    """Every one of `MEASURES`, for residuals side by side."""
    h, k = model.final_norm(a), model.final_norm(b)
    z, y = model.unembed(h).double(), model.unembed(k).double()
    log_p, log_q = (z / temperature).log_softmax(-1), (y / temperature).log_softmax(-1)
    p, q = log_p.exp(), log_q.exp()
    middle, apart = torch.special.entr((p + q) / 2), torch.special.entr(p) + torch.special.entr(q)
    return {
        "h": _cosine_deviation(h.double(), k.double()),
        "z": _cosine_deviation(z, y),
        "p": _cosine_deviation(p, q),
        "kl": (p * (log_p - log_q)).sum(-1).clamp_min(0.0),
        "tv": (p - q).abs().sum(-1) / 2,
        "js": (middle - apart / 2).sum(-1).clamp_min(0.0),
        "top": (z.argmax(-1) != y.argmax(-1)).double(),
    }


def _parts(
    model: ModelAccess, endings: Float[np.ndarray, "prompt step d_model"]
) -> Iterator[tuple[slice, Tensor]]:
    """Residuals on the model's device, as many at a time as its vocabulary allows."""
    flat = torch.from_numpy(endings.reshape(-1, endings.shape[-1]))
    rows = max(1, CELLS // model.d_vocab)
    for start in range(0, len(flat), rows):
        at = slice(start, min(start + rows, len(flat)))
        yield at, flat[at].to(device=model.device, dtype=model.dtype)


def _cosine_deviation(a: Float[Tensor, "cell d"], b: Float[Tensor, "cell d"]) -> Float[Tensor, " cell"]:
    """1 − cos, as half the squared distance of the unit vectors."""
    gap = a / a.norm(dim=-1, keepdim=True) - b / b.norm(dim=-1, keepdim=True)
    half: Tensor = (gap * gap).sum(-1) / 2
    return half
