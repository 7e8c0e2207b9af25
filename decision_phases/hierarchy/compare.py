"""`compare_spaces`: a pruned model against the dense one in h, z and p."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch

from decision_phases.engine import Store, evaluate
from decision_phases.engine.lower import check_variant
from decision_phases.errors import InputError, check_confidence
from decision_phases.hierarchy.comparison import SpaceComparison, SpaceComparisons
from decision_phases.hierarchy.observe import SpaceObserver, local_to
from decision_phases.hierarchy.reference import Reference, ReferenceObserver
from decision_phases.hierarchy.settings import SpaceSettings
from decision_phases.hierarchy.token_sets import named_options
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess, as_model
from decision_phases.pruning.criteria.data import Data, question_data, text_data
from decision_phases.readout.ask import Questions, ask
from decision_phases.store import versions
from decision_phases.tasks import TextSet, TokenSequence, check_settings

Texts = str | Path | TextSet | Iterable[str]
Positions = str | Sequence[int]
_WHOLE = ("skip", "weights")  # edits that act at every position, so that doing nothing is never meant


class NoEffectWarning(UserWarning):
    """An intervention changes nothing beyond rounding, which is seldom what was meant."""


@overload
def compare_spaces(
    model: object,
    questions: Questions | None = None,
    *,
    under: Intervention,
    texts: Texts | None = None,
    positions: Positions = "last",
    local: bool = True,
    temperature: float = 1.0,
    norm: str = "final",
    top: Sequence[int] = (10,),
    options: Sequence[str] | None = None,
    random_sets: int = 16,
    partners: int = 4,
    window: int = 128,
    limit: int | None = 64,
    confidence: float = 0.95,
    seed: int = 0,
    store: Store = None,
    progress: bool = False,
    **settings: Any,
) -> SpaceComparison: ...


@overload
def compare_spaces(
    model: object,
    questions: Questions | None = None,
    *,
    under: Sequence[Intervention] | Mapping[str, Intervention],
    texts: Texts | None = None,
    positions: Positions = "last",
    local: bool = True,
    temperature: float = 1.0,
    norm: str = "final",
    top: Sequence[int] = (10,),
    options: Sequence[str] | None = None,
    random_sets: int = 16,
    partners: int = 4,
    window: int = 128,
    limit: int | None = 64,
    confidence: float = 0.95,
    seed: int = 0,
    store: Store = None,
    progress: bool = False,
    **settings: Any,
) -> SpaceComparisons: ...


def compare_spaces(
    model: object,
    questions: Questions | None = None,
    *,
    under: Intervention | Sequence[Intervention] | Mapping[str, Intervention],
    texts: Texts | None = None,
    positions: Positions = "last",
    local: bool = True,
    temperature: float = 1.0,
    norm: str = "final",
    top: Sequence[int] = (10,),
    options: Sequence[str] | None = None,
    random_sets: int = 16,
    partners: int = 4,
    window: int = 128,
    limit: int | None = 64,
    confidence: float = 0.95,
    seed: int = 0,
    store: Store = None,
    progress: bool = False,
    **settings: Any,
) -> SpaceComparison | SpaceComparisons:
    """Compare a pruned model with the dense one in the residual stream h, the logits z and the probabilities p.

    At every layer h is read at the same position of both models; z and p are what the final norm and the unembedding
    make of it. Deviations are accumulated (the pruned model throughout) and local (the dense model up to a layer, and
    only that layer changed). Raw cosines of different spaces have no common unit, so every deviation is also given
    relative to the mean distance between different prompts in the same space, layer and set of tokens, in the dense
    model; what the softmax amplifies is the ratio of those.

    Args:
        model: What `load` gives or takes, with weights as published.
        questions: A name, a file, questions, or encoded questions; read at the answer position.
        under: The intervention, or several: a sequence, or name → intervention. The dense run is shared by all.
        texts: What `dp.texts` takes, in place of questions.
        positions: "last" (of questions, the answer position), "all", or token positions, negative ones from the end.
        local: Whether each edited layer is also changed by itself.
        temperature: T of the softmax.
        norm: "final" for logits behind the final norm; "none" for those of the published code, without it.
        top: Sizes of the sets of most probable tokens that are also looked at by themselves.
        options: Words of one token each whose probabilities are also compared among themselves; by default the options
            of the questions, in letter and first_token scoring.
        random_sets: Random sets of tokens, at the same ranks in the dense model, beside the options of each prompt.
        partners: Other prompts that each prompt is compared with for the distance between prompts.
        window: Tokens in a window of the texts.
        limit: Use at most this many windows of the texts; None for all.
        confidence: Nominal coverage of the bootstrap intervals over questions, texts or windows.
        seed: Of everything random.
        store: A store or its folder, where results are kept and found again.
        progress: Show bars.
        **settings: Of `tasks.encode_questions`.

    Returns:
        A `SpaceComparison`: `.deviation(...)`, `.amplification(...)`, `.to_pandas()`, `.plot()`. `SpaceComparisons`, by
        name, if several interventions were asked for.

    Raises:
        InputError: Before anything runs, if model, inputs, interventions and settings do not fit; later, if a number is
            not finite.

    Warns:
        NoEffectWarning: If an intervention, or all that it does to one layer, changes nothing.

    Source: arXiv 2603.24652 (Theorems 1 to 3, accumulated and local deviation); the units and the random sets are ours.

    Example:
        >>> from decision_phases.interventions import skip
        >>> found = compare_spaces("tiny-gpt2", texts=["Is water wet? Yes.", "Is fire cold? No."], under=skip(2))
        >>> found.deviation("p").estimate.shape, found.edited
        ((6,), (2,))
    """
    access = as_model(model)
    if access.processed:
        msg = (
            f"distances depend on weights as published, but those of {access.name} are processed (norms folded, "
            "weights centred); load it without processing"
        )
        raise InputError(msg)
    variants = _named(under)
    check_confidence(confidence)
    data = _data(access, questions, texts, window=window, limit=limit, seed=seed, settings=settings)
    sequences = read_at(data, positions)
    cells = np.repeat(data.groups, [len(s.read) for s in sequences])
    asked = SpaceSettings(
        tuple(cells.tolist()), _options(access, data, sequences, options), float(temperature), norm, tuple(top),
        random_sets, partners, seed,
    )  # fmt: skip
    asked.check(access.d_vocab)
    for variant in variants.values():
        check_variant(access, variant, sequences, 1 + max(s.owner for s in sequences))
    if local and not access.capabilities.direct:
        msg = (
            f"the blocks of {access.name} ({access.architecture}) cannot be run one by one, so no layer can be changed "
            "by itself; use local=False"
        )
        raise InputError(msg)
    run = _Run(access, sequences, variants, store, progress=progress)
    reference = run.dense(asked)
    accumulated = run.throughout(reference)
    alone = run.layer_by_layer(reference) if local else {}
    provenance = {
        "model": access.name,
        "weights": access.weights,
        "fingerprint": access.fingerprint,
        "dtype": str(access.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "data": data.name,
        "cells": len(cells),
        "reference": reference.key,
        "versions": versions(),
    }
    members = []
    for name, variant in variants.items():
        by_layer, final = accumulated[variant]
        one = np.full_like(reference.between, np.nan)
        for layer in {edit.layer for edit in variant.edits} if local else ():
            one[layer] = alone[local_to(variant, layer, access.n_layers)]
        members.append(
            SpaceComparison(
                accumulated=by_layer, local=one, final=final, between=reference.between, columns=asked.columns,
                groups=cells, labels=data.labels, settings=asked, under=variant, name=name, data=data.name,
                resampled=data.kind, confidence=confidence, provenance=provenance,
            )
        )  # fmt: skip
    for member in members:
        _warn_of_nothing(member, access.dtype)
    return members[0] if isinstance(under, Intervention) else SpaceComparisons(tuple(members))


@dataclass(frozen=True, eq=False)
class _Run:
    """The three evaluations."""

    model: ModelAccess
    sequences: tuple[TokenSequence, ...]
    variants: Mapping[str, Intervention]
    store: Store
    progress: bool

    def dense(self, settings: SpaceSettings) -> Reference:
        """The dense run."""
        look = ReferenceObserver(settings)
        (run,) = evaluate(
            self.model, self.sequences, [Intervention()], [look], store=self.store, progress=self.progress
        )
        found: Reference = run[look.name]
        return found

    def throughout(self, reference: Reference) -> dict[Intervention, tuple[np.ndarray, np.ndarray]]:
        """Every intervention: `[layer, cell, column]`, and what it ends with, `[cell, column]`."""
        looks = [SpaceObserver(reference, "layers"), SpaceObserver(reference, "final")]
        every = list(dict.fromkeys(self.variants.values()))
        runs = evaluate(self.model, self.sequences, every, looks, store=self.store, progress=self.progress)
        return {run.variant: (run["layers"], run["final"][0]) for run in runs}

    def layer_by_layer(self, reference: Reference) -> dict[Intervention, np.ndarray]:
        """Every edited layer by itself, `[cell, column]`; what several interventions do to a layer alike runs once."""
        every = [
            local_to(variant, layer, self.model.n_layers)
            for variant in self.variants.values()
            for layer in sorted({edit.layer for edit in variant.edits})
        ]
        look = SpaceObserver(reference, "local")
        runs = evaluate(
            self.model, self.sequences, list(dict.fromkeys(every)), [look],
            store=self.store, progress=self.progress,
        )  # fmt: skip
        return {run.variant: run["local"][0] for run in runs}


def read_at(data: Data, positions: Positions) -> tuple[TokenSequence, ...]:
    """The sequences of questions or texts, read at chosen positions.

    Args:
        data: Questions or texts.
        positions: "last", "all", or token positions, negative ones from the end.

    Returns:
        Sequences without targets.

    Raises:
        InputError: If a sequence has no such position.
    """
    if positions == "last":
        return data.reading("last")
    if positions == "all":
        return data.reading("all")
    if isinstance(positions, str):
        msg = (
            f'positions={positions!r} is not known; give "last", "all" or token positions such as [8, 16, -1]'
        )
        raise InputError(msg)
    wanted = list(positions)
    if not wanted:
        msg = 'no position is to be read; give "last", "all" or token positions such as [8, 16, -1]'
        raise InputError(msg)
    found = []
    for sequence, group in zip(data.sequences, data.groups.tolist(), strict=True):
        size = len(sequence)
        outside = [at for at in wanted if not -size <= at < size]
        if outside:
            msg = f"position {outside[0]} is not in {data.kind} {data.labels[group]}, which has {size} tokens"
            raise InputError(msg)
        places = tuple(sorted({at % size for at in wanted}))
        found.append(replace(sequence, read=places, targets=()))
    return tuple(found)


def _named(
    under: Intervention | Sequence[Intervention] | Mapping[str, Intervention],
) -> dict[str, Intervention]:
    if isinstance(under, Intervention):
        return {str(under): under}
    named = dict(under) if isinstance(under, Mapping) else {str(variant): variant for variant in under}
    if not named or len(named) != len(under):
        msg = f"{len(under)} interventions of {len(named)} names were given; give at least one, each with its own name"
        raise InputError(msg)
    return named


def _data(
    model: ModelAccess,
    questions: Questions | None,
    texts: Texts | None,
    *,
    window: int,
    limit: int | None,
    seed: int,
    settings: Mapping[str, Any],
) -> Data:
    if (questions is None) == (texts is None):
        given = "both questions and texts" if texts is not None else "neither questions nor texts"
        msg = f"{given} were given; spaces are compared on one of them: questions, or texts="
        raise InputError(msg)
    if texts is None:
        assert questions is not None
        return question_data(ask(model, questions, **settings))
    check_settings(settings, asked=False)
    return text_data(model, texts, window=window, limit=limit, seed=seed)


def _options(
    model: ModelAccess, data: Data, sequences: Sequence[TokenSequence], named: Sequence[str] | None
) -> tuple[tuple[int, ...], ...]:
    """The token of each option, for every cell; none for texts and for scorings in which options are whole texts."""
    if named is not None:
        own = named_options(named, model.tokenizer)
        return tuple(own for s in sequences for _ in s.read)
    if data.encoded is None or not data.encoded.option_ids:
        return ()
    ids = data.encoded.option_ids
    return tuple(ids[s.owner] for s in sequences for _ in s.read)


def _warn_of_nothing(comparison: SpaceComparison, dtype: torch.dtype) -> None:
    """Name an intervention that has no effect: hooks and switches that miss their place say nothing by themselves."""
    if not comparison.under:
        return
    eps = torch.finfo(dtype).eps
    largest = min(64 * eps, eps**0.5)

    def still(kind: str) -> np.ndarray:
        moved = [comparison.values("h", name, kind=kind) for name in ("parallel", "orthogonal")]
        return np.asarray(np.hypot(*moved).max(axis=1) <= largest)  # NaN is not still

    whole = still("accumulated")
    kept = list(comparison.survivors)
    if whole[kept].all() and still("final").all():
        what = f"{comparison.name} changes nothing on {comparison.data}"
    else:
        by_layer = still("local")
        idle = [
            layer
            for layer in comparison.edited
            if by_layer[layer] and all(edit.op in _WHOLE for edit in comparison.under.at(layer))
        ]
        if not idle:
            return
        edits = ", ".join(str(edit) for layer in idle for edit in comparison.under.at(layer))
        what = f"of {comparison.name}, this changes nothing on {comparison.data}: {edits}"
    msg = f"{what}: every residual is within {largest:.0e} of the dense model's, relative to its length"
    warnings.warn(msg, NoEffectWarning, stacklevel=3)
