"""`tuned_lens`: fit the lens of an intact model to texts, first by least squares, then towards its own next token."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from decision_phases.errors import InputError, check_numbers
from decision_phases.interventions import Intervention
from decision_phases.lenses.training import Settings, Start, train
from decision_phases.lenses.tuned import LensFit, TunedLens, maps_of
from decision_phases.models import ModelAccess, as_model
from decision_phases.models.gradients import quantised
from decision_phases.repairs.contract import Source
from decision_phases.repairs.linear import RELATIVE_AFFINE, Ghost
from decision_phases.repairs.moments import Gathering
from decision_phases.repairs.repair import folder_of, source_of
from decision_phases.repairs.stream import stream
from decision_phases.tasks import TextSet
from decision_phases.training import Training


def tuned_lens(
    model: object,
    *,
    texts: str | Path | TextSet | Iterable[str] = "pydoc",
    window: int = 128,
    limit: int | None = 128,
    ridge: float = 1e-6,
    steps: int = 200,
    batch: int = 256,
    top: int = 16,
    sampled: int = 512,
    rate: float = 3e-4,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    progress: bool = False,
) -> TunedLens:
    """Fit a tuned lens: for every layer an affine map of its residuals to what the last layer leaves.

    The maps begin as least squares, a closed form of sums gathered in float64, in which every token counts relative to
    its length, as it does for the final norm. Training then makes the KL divergence of each layer's guess of the next
    token from the model's own small. The whole vocabulary would cost a hundred times the model itself, so a step sums
    over the model's most probable tokens at every position of the batch, exactly, and over tokens drawn uniformly from
    the rest, weighted by how few they are. Its estimates of KL's sum and of the layer's normaliser are unbiased; that
    of the normaliser's logarithm is not, and falls short by about half its relative variance. Where `top` and `sampled`
    cover the vocabulary, nothing is estimated. `divergence` measures over the whole vocabulary.

    Args:
        model: What `load` gives or takes; intact. A pruned model is read through the lens of the intact one.
        texts: What `dp.texts` takes; of a whole set the fit half is used, so that the other half can measure.
        window: Tokens in a window, BOS included.
        limit: Use at most this many windows, drawn without replacement; None for all.
        ridge: Share of the mean squared channel that is added to the diagonal of the least squares.
        steps: Steps of training; 0 leaves the least squares as they are.
        batch: Tokens a step.
        top: Most probable tokens that every token of a batch brings into the sum.
        sampled: Tokens drawn from the rest of the vocabulary in every step.
        rate: Learning rate of Adam at the start, in units in which every channel has size 1; it falls to 0 along a
            cosine.
        seed: Of everything random.
        checkpoint: A folder from which an interrupted training is continued, bit for bit at equal thread count.
        progress: Show bars.

    Returns:
        The lens, for `dp.read(..., lens=...)`; `.save` writes it.

    Raises:
        InputError: Before anything runs, if a setting is out of range, the model is quantised, or there are fewer
            tokens than the width needs; afterwards, if the tokens do not determine the maps.
        KeyboardInterrupt: On Ctrl-C, saying what was kept and how to go on.

    Source: Belrose et al. (arXiv 2303.08112); the start, the sum over a part of the vocabulary and Adam are ours.

    Example:
        >>> from decision_phases.readout import read
        >>> lens = tuned_lens("tiny-llama", limit=8, steps=2, batch=32)
        >>> read("tiny-llama", "facts", lens=lens).lens == lens.name
        True
    """
    folder = folder_of(checkpoint)
    access = as_model(model)
    check_numbers(
        "tuned_lens",
        above_zero={"batch": batch, "top": top, "sampled": sampled, "rate": rate},
        from_zero={"ridge": ridge, "steps": steps},
    )
    if steps and (why := quantised(access)):
        msg = (
            f"a lens cannot be trained through {access.name}: {why}; use steps=0 for the least squares alone"
        )
        raise InputError(msg)
    source = source_of(access, texts, window=window, limit=limit, seed=seed)
    if source.tokens <= access.d_model:
        msg = (
            f"a map of width {access.d_model} needs more than {access.d_model} tokens, better ten times as many; "
            f"{source.name} gives {source.tokens} in {len(source.data.sequences)} windows. Give more text, or a larger "
            "limit="
        )
        raise InputError(msg)
    fit = LensFit(
        access.name, access.fingerprint, access.n_layers, source.name, source.content_hash, window, source.tokens,
        float(ridge), steps, batch, top, sampled, float(rate), seed,
    )  # fmt: skip
    key = hashlib.sha256(repr((fit, source.key)).encode()).hexdigest()[:16]
    file = None if folder is None or not steps else folder / "tuned_lens.safetensors"
    found = train(
        access,
        source.data.sequences,
        Settings(batch, top, sampled, seed),
        lambda: least_squares(access, source, ridge, progress=progress),
        Training("the lens", steps, rate, checkpoint=file, key=key),
        progress=progress,
    )
    kind = np.float64 if access.dtype == torch.float64 else np.float32
    weight, bias = found.maps()
    return TunedLens(maps_of(weight.astype(kind), bias.astype(kind)), fit)


def least_squares(model: ModelAccess, source: Source, ridge: float, *, progress: bool) -> Start:
    """The maps that least squares give, from sums over all tokens.

    Args:
        model: The model.
        source: The texts.
        ridge: Share of the mean squared channel on the diagonal.
        progress: Show a bar.

    Returns:
        The maps, and the sizes of channels.

    Raises:
        InputError: If the tokens do not determine a map.
    """
    last = model.n_layers - 1
    places = [("resid_post", layer) for layer in range(-1, last)]
    sums = {place: Gathering(model.d_model, relative=True) for place in places}
    wanted = {Intervention(): [*places, ("resid_post", last)]}
    for chunk in stream(model, source.data.sequences, wanted, progress=progress, what="least squares"):
        rows = chunk.rows[Intervention()]
        with torch.no_grad():
            for place in places:
                sums[place].take(rows[place], rows["resid_post", last].to(rows[place].device))
    changes, biases, sizes, ends = [], [], [], []
    solver: Ghost = replace(RELATIVE_AFFINE, ridge=ridge)
    for place in places:
        moments = sums[place].finish()
        try:
            change, bias = solver.solve(moments)
        except InputError as error:
            where = "the embedding" if place[1] < 0 else f"layer {place[1]}"
            msg = (
                f"what leaves {where} varies in fewer directions than its {model.d_model} channels over the "
                f"{source.tokens} tokens given (ridge {ridge:g}), so no single map fits best; give more text, or a "
                "larger ridge"
            )
            raise InputError(msg) from error
        assert change is not None
        assert bias is not None
        changes.append(change)
        biases.append(bias)
        square = np.diag(moments.xx) / moments.total
        sizes.append(np.sqrt(np.where(square > 0, square, 1.0)))
        ends.append(float(np.sqrt(moments.yy / moments.total / model.d_model)))
    return Start(np.stack(changes), np.stack(biases), np.stack(sizes), ends[-1])
