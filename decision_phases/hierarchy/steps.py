"""How far two runs are apart where each predicts a token: in final hidden states h, in logits z, in probabilities p."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from decision_phases.hierarchy.distances import probability_distances
from decision_phases.models import ModelAccess
from decision_phases.pruning.criteria.change import Change
from decision_phases.readout.loss import token_losses

CELLS = 8_000_000
"""Entries of a part of the vocabulary-wide tables that are held at a time: 64 MB in double precision."""

#: What is measured at each step, in words; the names are those of `compare_spaces`. p = softmax(z / T).
MEASURES: Mapping[str, str] = MappingProxyType(
    {
        "h": "1 − cos of the residuals behind the final norm",
        "z": "1 − cos of the logits",
        "p": "1 − cos of the probabilities",
        "kl_dense_from_pruned": "KL(first ‖ second) of the probabilities, in nats",
        "total_variation": "total variation of the probabilities, ½ Σ |p − q|",
        "jensen_shannon": "Jensen–Shannon divergence of the probabilities, in nats",
        "top_differs": "whether the likeliest token differs",
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
    return {name: np.concatenate([part[name] for part in parts]).reshape(shape) for name in MEASURES}


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
) -> dict[str, Float[np.ndarray, " cell"]]:
    """Every one of `MEASURES`, for residuals side by side."""
    h, k = model.final_norm(a), model.final_norm(b)
    z, y = model.unembed(h), model.unembed(k)
    p = probability_distances(z, y, temperature=temperature)
    return {
        "h": Change.between(h, k).cosine_distance(),
        "z": Change.between(z, y).cosine_distance(),
        "p": p["cosine"],
        **{name: p[name] for name in ("kl_dense_from_pruned", "total_variation", "jensen_shannon")},
        "top_differs": (z.argmax(-1) != y.argmax(-1)).double().cpu().numpy(),
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
