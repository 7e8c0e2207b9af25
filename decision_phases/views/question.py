"""Views of one question: where heads look, which tokens speak for which option, what each layer would say next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from decision_phases.engine import applied, evaluate
from decision_phases.engine.capture import CaptureObserver
from decision_phases.errors import InputError
from decision_phases.interventions import Captured, Intervention
from decision_phases.models import ModelAccess, as_model
from decision_phases.models.patterns import attention_from_last, embedding_contributions
from decision_phases.readout import Lens, ask
from decision_phases.readout.observe import lens_name
from decision_phases.tasks import EncodedQuestions, Question, QuestionSet, TokenSequence
from decision_phases.views.page import View, bundled_script, make_view


def view_attention(
    model: object,
    question: Question,
    *,
    layers: Sequence[int] | None = None,
    heads: bool = False,
    under: Intervention | None = None,
    **settings: Any,
) -> View:
    """Colour the tokens of a question by how much is attended to them from the answer position.

    Args:
        model: What `load` gives or takes.
        question: The question.
        layers: Layers to show; all that are left by default.
        heads: Show every head by itself, instead of the mean over the heads of a layer.
        under: An intervention; none by default.
        **settings: Of `tasks.encode_questions`; a question needs a scoring.

    Returns:
        A picture with one colouring for each layer or head.

    Raises:
        MissingPackageError: If CircuitsVis is not installed.
        InputError: If the question cannot be put, or the model shows no attention weights.
    """
    bundled_script()
    access, encoded, sequence = _asked(model, question, settings)
    variant = under or Intervention()
    gone = {e.layer for e in variant.edits if e.op == "skip" and e.site in ("block", "attention")}
    chosen = [k for k in range(access.n_layers) if k not in gone] if layers is None else list(layers)
    if not chosen or gone & set(chosen):
        msg = f"layers {chosen} given, but {variant} leaves attention only in the others; name some of these"
        raise InputError(msg)
    with applied(access, variant, [sequence]):
        found = attention_from_last(access, _tokens(sequence), chosen)
    if heads:
        labels = [f"layer {layer}, head {head}" for layer in chosen for head in range(found.shape[1])]
        values = found.reshape(-1, found.shape[2])
    else:
        labels, values = [f"layer {layer}" for layer in chosen], found.mean(dim=1)
    return make_view(
        f"Attention from the answer position of {access.name}",
        f"{_put(encoded)} Choose a {'head' if heads else 'layer'} to colour the tokens by its attention"
        f"{'' if heads else ', the mean over heads'}.",
        "ColoredTokensMulti",
        {"tokens": _strings(access, sequence.tokens), "values": values.T.tolist(), "labels": labels},
    )


def view_contributions(
    model: object, question: Question, *, under: Intervention | None = None, **settings: Any
) -> View:
    """Colour the tokens of a question by what each adds to the logit of each option, to first order.

    Args:
        model: What `load` gives or takes.
        question: The question.
        under: An intervention; none by default.
        **settings: Of `tasks.encode_questions`; letter or first_token scoring.

    Returns:
        A picture with one colouring for each option, and one for the right option minus the mean of the others.

    Raises:
        MissingPackageError: If CircuitsVis is not installed.
        InputError: If the question cannot be put so.
    """
    bundled_script()
    access, encoded, sequence = _asked(model, question, settings)
    ids = torch.tensor(encoded.option_ids[0], device=access.device)
    with applied(access, under or Intervention(), [sequence]):
        found = embedding_contributions(access, _tokens(sequence), ids).double()
    gold, n = int(encoded.gold[0]), len(ids)
    others = (found.sum(-1) - found[:, gold]) / (n - 1)
    values = torch.cat([found, (found[:, gold] - others)[:, None]], dim=-1)
    names = encoded.identities[0]
    return make_view(
        f"Contributions to the options of {access.name}",
        f"{_put(encoded)} Gradient times embedding, in nats, at the answer position; {names[gold]} is right.",
        "ColoredTokensMulti",
        {
            "tokens": _strings(access, sequence.tokens),
            "values": values.tolist(),
            "labels": [*names, f"{names[gold]} − others"],
        },
    )


def view_top_tokens(
    model: object,
    question: Question,
    *,
    lenses: Sequence[Lens | None] = (None,),
    k: int = 10,
    under: Intervention | None = None,
    **settings: Any,
) -> View:
    """List the tokens that each layer would say next at the answer position, and those that it would say last.

    Args:
        model: What `load` gives or takes.
        question: The question.
        lenses: Lenses to read through; None is the logit lens.
        k: How many tokens.
        under: An intervention; none by default.
        **settings: Of `tasks.encode_questions`; a question needs a scoring.

    Returns:
        A table of tokens with their log-probabilities, a column for each surviving layer.

    Raises:
        MissingPackageError: If CircuitsVis is not installed.
        InputError: If the question cannot be put, or a lens belongs to another model.
    """
    bundled_script()
    access, encoded, _ = _asked(model, question, settings)
    if not lenses or not 1 <= k <= access.d_vocab:
        msg = f"k={k} and {len(lenses)} lenses given; at least one of each, and no more tokens than {access.d_vocab}"
        raise InputError(msg)
    for lens in lenses:
        if lens is not None:
            lens.check(access)
    variant = under or Intervention()
    layers = [layer for layer in range(access.n_layers) if layer not in variant.removed_blocks]
    if not layers:
        msg = "every layer is removed; there is none to read"
        raise InputError(msg)
    look = CaptureObserver(("resid_post",), tuple(layers), "answer")
    (run,) = evaluate(access, encoded, [variant], [look])
    captured: Captured = run["capture"]
    logps = [[_read(access, lens, captured, layer, layers[-1]) for layer in layers] for lens in lenses]
    every = torch.stack([torch.stack(row) for row in logps])  # [lens, layer, token]
    top, bottom = every.topk(k), every.topk(k, largest=False)
    shown, places = np.unique(torch.cat([top.indices, bottom.indices]).cpu().numpy(), return_inverse=True)
    places = places.reshape(2, len(lenses), len(layers), k)
    return make_view(
        f"What each layer of {access.name} would say next",
        f"{_put(encoded)} Columns are layers {layers[0]} to {layers[-1]}, counted here from 0 among those that are "
        "left; values are log-probabilities over the whole vocabulary.",
        "TopkTokens",
        {
            "tokens": [_strings(access, shown.tolist())],
            "topkVals": [top.values.transpose(1, 2).tolist()],
            "topkIdxs": [places[0].transpose(0, 2, 1).tolist()],
            "bottomkVals": [bottom.values.flip(-1).transpose(1, 2).tolist()],
            "bottomkIdxs": [places[1][..., ::-1].transpose(0, 2, 1).tolist()],
            "firstDimensionName": "Lens",
            "thirdDimensionName": "Layer",
            "firstDimensionLabels": [lens_name(lens) for lens in lenses],
        },
    )


def _asked(
    model: object, question: Question, settings: dict[str, Any]
) -> tuple[ModelAccess, EncodedQuestions, TokenSequence]:
    access = as_model(model)
    encoded = ask(access, QuestionSet("view", (question,)), **settings)
    if not encoded.option_ids:
        msg = f"{encoded.scoring} scoring has several sequences a question; use scoring='letter' or 'first_token'"
        raise InputError(msg)
    return access, encoded, encoded.sequences[0]


def _read(model: ModelAccess, lens: Lens | None, captured: Captured, layer: int, last: int) -> Tensor:
    """Log-probabilities of the whole vocabulary at one layer."""
    rows = captured.at("resid_post", layer)
    assert isinstance(rows, np.ndarray)
    resid = torch.from_numpy(rows.copy()).to(model.device)
    seen = resid if lens is None or layer == last else lens.translated(layer, resid)
    with torch.no_grad():
        found: Tensor = model.readout(seen)[0].double().log_softmax(-1).cpu()
    return found


def _tokens(sequence: TokenSequence) -> Int[Tensor, " pos"]:
    return torch.tensor(sequence.tokens)


def _strings(model: ModelAccess, ids: Sequence[int]) -> list[str]:
    tokenizer = model.tokenizer
    assert tokenizer is not None  # or the question could not have been put
    return [str(tokenizer.decode([i])) for i in ids]


def _put(encoded: EncodedQuestions) -> str:
    item = encoded.questions[0]
    return f"“{item.text}” ({', '.join(item.options)}; {encoded.scoring})."
