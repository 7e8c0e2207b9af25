"""Texts, including those that a model writes by itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from decision_phases.engine.generating import continued
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess, as_model, cache_folder
from decision_phases.store import read_json, write_json
from decision_phases.tasks import TextSet
from decision_phases.tasks import texts as read_texts

_DRAWN = "a stream for each text"  # how tokens are drawn; another way gives other texts


def texts(source: str | Path | TextSet | Iterable[str], *, model: object = None, **settings: Any) -> TextSet:
    """Give texts by name, from a file, or written by a model.

    Args:
        source: "pydoc" (the help topics of Python: English prose on every machine), "self" (sampled from `model`), a
            file, a hub data set, texts, or a text set.
        model: For "self": what `load` gives or takes.
        **settings: For "self": those of `sample_texts`; else those of `tasks.texts`.

    Returns:
        The texts; `.fit` and `.evaluation` are disjoint halves.

    Raises:
        InputError: If the source is not understood, or "self" comes without a model.

    Example:
        >>> texts(["One text.", "Another text."]).characters
        22
    """
    if source != "self":
        return read_texts(source, **settings)
    if model is None:
        msg = 'texts("self") are written by a model; give it: texts("self", model=model)'
        raise InputError(msg)
    return sample_texts(as_model(model), **settings)


def sample_texts(
    model: ModelAccess, *, count: int = 32, length: int = 128, temperature: float = 1.0, seed: int = 0
) -> TextSet:
    """Sample texts from a model, beginning with nothing but its BOS token; kept in the cache folder.

    Args:
        model: The intact model.
        count: Number of texts.
        length: Tokens in each.
        temperature: Of the sampling; 1 is the model's own distribution.
        seed: Of the sampling.

    Returns:
        The texts, the same for the same weights, settings and versions.

    Raises:
        InputError: If the model has no tokenizer or no token to begin with, or a number is out of range.
    """
    if count < 2 or length < 2 or temperature <= 0:
        msg = f"count={count}, length={length}, temperature={temperature} given; at least 2, 2 and above 0 are needed"
        raise InputError(msg)
    tokenizer = model.tokenizer
    start = None if tokenizer is None else tokenizer.bos_token_id
    if tokenizer is not None and start is None:
        start = tokenizer.eos_token_id
    if tokenizer is None or start is None:
        msg = f"{model.name} cannot write texts: that takes a tokenizer with a token to begin with"
        raise InputError(msg)
    name = f"self-{model.name}-{count}x{length}"
    described = f"{_DRAWN} {model.fingerprint} {count} {length} {temperature} {seed}"
    key = hashlib.sha256(described.encode()).hexdigest()[:16]
    path = cache_folder() / "texts" / f"{key}.json"
    if path.exists():
        return TextSet(name, tuple(read_json(path)), seed=seed, source=f"sampled, {key}")
    begun = [(int(start),)] * count
    rows = continued(model, begun, Intervention(), steps=length, temperature=temperature, seed=seed)
    written = tuple(dict.fromkeys(tokenizer.decode(row, skip_special_tokens=True) for row in rows.tolist()))
    write_json(path, list(written))
    return TextSet(name, written, seed=seed, source=f"sampled, {key}")
