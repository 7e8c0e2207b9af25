"""What views of one question show: where heads look, what tokens speak for, what each layer would say next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from decision_phases.engine import applied, evaluate
from decision_phases.engine.capture import CaptureObserver
from decision_phases.errors import InputError
from decision_phases.interventions import Captured, Intervention
from decision_phases.interventions.layer_sets import listed_layers
from decision_phases.models import ModelAccess
from decision_phases.models.patterns import attention_from_last, embedding_contributions
from decision_phases.readout import Lens
from decision_phases.readout.observe import lens_name
from decision_phases.tasks import EncodedQuestions

_LEAST = 1e-6  # of a bound of colours, which are told with six digits
_NO_SPACE = "\u200b"  # has no width


@dataclass(frozen=True)
class Picture:
    """A CircuitsVis element that is not drawn yet.

    Attributes:
        title: Heading.
        note: How to read it.
        element: Name of the element.
        values: Its properties, as JSON values.
    """

    title: str
    note: str
    element: str
    values: Mapping[str, Any] = field(repr=False)


def attention_picture(
    model: ModelAccess,
    asked: EncodedQuestions,
    under: Intervention,
    *,
    layers: Sequence[int] | None = None,
    heads: bool = False,
) -> Picture:
    """Colour the tokens of a question by how much is attended to them from the answer position.

    Args:
        model: The model.
        asked: One question.
        under: An intervention.
        layers: Layers to show; all that are left by default.
        heads: Show every head by itself.

    Returns:
        One colouring for each layer or head.

    Raises:
        InputError: If the scoring has several sequences, no layer is left, or the model shows no attention weights.
    """
    tokens = _tokens(asked)
    gone = {e.layer for e in under.edits if e.op == "skip" and e.site in ("block", "attention")}
    chosen = (
        [k for k in range(model.n_layers) if k not in gone] if layers is None else list(listed_layers(layers))
    )
    if not chosen or gone & set(chosen):
        msg = f"layers {chosen} given, but {under} leaves attention only in the others; name some of these"
        raise InputError(msg)
    with applied(model, under, list(asked.sequences)):
        found = attention_from_last(model, tokens, chosen)
    if heads:
        labels = [f"layer {layer}, head {head}" for layer in chosen for head in range(found.shape[1])]
        values = found.reshape(-1, found.shape[2])
    else:
        labels, values = [f"layer {layer}" for layer in chosen], found.mean(dim=1)
    bound = float(values[:, 1:].max()) if values.shape[1] > 1 else 1.0
    return Picture(
        f"Attention from the answer position of {model.name}",
        f"Choose a {'head' if heads else 'layer'} to colour the tokens by its attention"
        f"{'' if heads else ', the mean over heads'}. The darkest colour is the most that any token but the first gets "
        "anywhere; the first often gets most of all, whatever it is.",
        "ColoredTokensMulti",
        {
            "tokens": _strings(model, tokens.tolist()),
            "values": values.T.tolist(),
            "labels": labels,
            "positiveBounds": [max(bound, _LEAST)] * len(labels),
        },
    )


def contributions_picture(model: ModelAccess, asked: EncodedQuestions, under: Intervention) -> Picture:
    """Colour the tokens of a question by what each adds to the logit of each option, to first order.

    Args:
        model: The model.
        asked: One question.
        under: An intervention.

    Returns:
        One colouring for each option, and one for the right option minus the mean of the others.

    Raises:
        InputError: If the scoring has several sequences, or the model has no gradients.
    """
    tokens = _tokens(asked)
    ids = torch.tensor(asked.option_ids[0], device=model.device)
    with applied(model, under, list(asked.sequences)):
        found = embedding_contributions(model, tokens, ids).double()
    gold, n = int(asked.gold[0]), len(ids)
    others = (found.sum(-1) - found[:, gold]) / (n - 1)
    values = torch.cat([found, (found[:, gold] - others)[:, None]], dim=-1)
    names = asked.identities[0]
    labels = [*names, f"{names[gold]} − others"]
    bound = max(float(values.abs().max()), _LEAST)
    return Picture(
        f"Contributions to the options of {model.name}",
        f"Gradient times embedding, in nats, at the answer position; {names[gold]} is right. Blue speaks for it, red "
        "against, on one scale throughout.",
        "ColoredTokensMulti",
        {
            "tokens": _strings(model, tokens.tolist()),
            "values": values.tolist(),
            "labels": labels,
            "positiveBounds": [bound] * len(labels),
            "negativeBounds": [-bound] * len(labels),
        },
    )


def top_tokens_picture(
    model: ModelAccess,
    asked: EncodedQuestions,
    under: Intervention,
    *,
    lenses: Sequence[Lens | None] = (None,),
    k: int = 10,
) -> Picture:
    """List the tokens that each layer would say next at the answer position, and those that it would say last.

    Args:
        model: The model.
        asked: One question.
        under: An intervention.
        lenses: Lenses to read through; None is the logit lens.
        k: How many tokens.

    Returns:
        A table of tokens with their log-probabilities, a column for each surviving layer.

    Raises:
        InputError: If the scoring has several sequences, a number is out of range, no layer is left, or a lens belongs
            to another model.
    """
    _tokens(asked)
    if not lenses or not 1 <= k <= model.d_vocab:
        msg = f"k={k} and {len(lenses)} lenses given; at least one of each, and no more tokens than {model.d_vocab}"
        raise InputError(msg)
    for lens in lenses:
        if lens is not None:
            lens.check(model)
    layers = [layer for layer in range(model.n_layers) if layer not in under.removed_blocks]
    if not layers:
        msg = "every layer is removed; there is none to read"
        raise InputError(msg)
    look = CaptureObserver(("resid_post",), tuple(layers), "answer")
    (run,) = evaluate(model, asked, [under], [look])
    captured: Captured = run["capture"]
    logps = [[_read(model, lens, captured, layer, layers[-1]) for layer in layers] for lens in lenses]
    every = torch.stack([torch.stack(row) for row in logps])  # [lens, layer, token]
    top, bottom = every.topk(k), every.topk(k, largest=False)
    shown, places = np.unique(torch.cat([top.indices, bottom.indices]).cpu().numpy(), return_inverse=True)
    places = places.reshape(2, len(lenses), len(layers), k)
    high, low = top.values.transpose(1, 2), bottom.values.flip(-1).transpose(1, 2)  # [lens, k, layer]
    # The element colours values from 0 to 1; of a single sample it would show no more than one column at a time.
    return Picture(
        f"What each layer of {model.name} would say next",
        f"Columns are layers {layers[0]} to {layers[-1]}, counted here from 0 among those that are left; some are "
        "shown at a time. Values, at the pointer, are probabilities over the whole vocabulary, or their logarithms.",
        "TopkTokens",
        {
            "tokens": [_strings(model, shown.tolist())] * 2,
            "topkVals": [high.exp().tolist(), high.tolist()],
            "topkIdxs": [places[0].transpose(0, 2, 1).tolist()] * 2,
            "bottomkVals": [low.exp().tolist(), low.tolist()],
            "bottomkIdxs": [places[1][..., ::-1].transpose(0, 2, 1).tolist()] * 2,
            "firstDimensionName": "Lens",
            "thirdDimensionName": "Layer",
            "sampleLabels": ["probability", "log-probability"],
            "firstDimensionLabels": [lens_name(lens) for lens in lenses],
        },
    )


def _read(model: ModelAccess, lens: Lens | None, captured: Captured, layer: int, last: int) -> Tensor:
    """Log-probabilities of the whole vocabulary at one layer."""
    rows = captured.at("resid_post", layer)
    assert isinstance(rows, np.ndarray)
    resid = torch.from_numpy(rows.copy()).to(model.device)
    seen = resid if lens is None or layer == last else lens.translated(layer, resid)
    with torch.no_grad():
        found: Tensor = model.readout(seen)[0].double().log_softmax(-1).cpu()
    return found


def _tokens(asked: EncodedQuestions) -> Int[Tensor, " pos"]:
    if not asked.option_ids:
        msg = (
            f"{asked.scoring} scoring has several sequences a question; use scoring='letter' or 'first_token'"
        )
        raise InputError(msg)
    return torch.tensor(asked.sequences[0].tokens)


def _strings(model: ModelAccess, ids: Sequence[int]) -> list[str]:
    tokenizer = model.tokenizer
    assert tokenizer is not None  # or the question could not have been put
    return [_inert(str(tokenizer.decode([i]))) for i in ids]


def _inert(text: str) -> str:
    """The same to the eye, but no markup: CircuitsVis puts tokens into a page unescaped."""
    return text.replace("<", f"<{_NO_SPACE}").replace("&", f"&{_NO_SPACE}")
