"""`rank`: how important every block, attention or MLP is, by one criterion or several."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, overload

import numpy as np

from decision_phases.engine import Store, as_store
from decision_phases.engine.lower import check_variant
from decision_phases.errors import InputError, check_confidence
from decision_phases.interventions import Intervention
from decision_phases.interventions.layer_sets import listed_layers
from decision_phases.models import ModelAccess, as_model
from decision_phases.pruning.criteria.contract import Criterion, Request
from decision_phases.pruning.criteria.data import Data, Texts, question_data, text_data
from decision_phases.pruning.criteria.registry import find_criterion
from decision_phases.pruning.criteria.scores import Scores
from decision_phases.pruning.criteria.units import Unit, units_of
from decision_phases.pruning.ranking import Ranking, Rankings
from decision_phases.readout.ask import Questions, ask
from decision_phases.tasks import check_settings


@overload
def rank(
    model: object,
    questions: Questions | None = None,
    *,
    by: str | Criterion = "block_influence",
    texts: Texts | None = None,
    part: str = "block",
    size: int = 1,
    layers: Collection[int] | None = None,
    under: Intervention | None = None,
    reference: Intervention | None = None,
    window: int = 128,
    limit: int | None = 64,
    confidence: float = 0.95,
    intervals: bool = True,
    seed: int = 0,
    store: Store = None,
    progress: bool = False,
    **settings: Any,
) -> Ranking: ...


@overload
def rank(
    model: object,
    questions: Questions | None = None,
    *,
    by: Sequence[str | Criterion],
    texts: Texts | None = None,
    part: str = "block",
    size: int = 1,
    layers: Collection[int] | None = None,
    under: Intervention | None = None,
    reference: Intervention | None = None,
    window: int = 128,
    limit: int | None = 64,
    confidence: float = 0.95,
    intervals: bool = True,
    seed: int = 0,
    store: Store = None,
    progress: bool = False,
    **settings: Any,
) -> Rankings: ...


def rank(
    model: object,
    questions: Questions | None = None,
    *,
    by: str | Criterion | Sequence[str | Criterion] = "block_influence",
    texts: Texts | None = None,
    part: str = "block",
    size: int = 1,
    layers: Collection[int] | None = None,
    under: Intervention | None = None,
    reference: Intervention | None = None,
    window: int = 128,
    limit: int | None = 64,
    confidence: float = 0.95,
    intervals: bool = True,
    seed: int = 0,
    store: Store = None,
    progress: bool = False,
    **settings: Any,
) -> Ranking | Rankings:
    """Rank the blocks of a model, or their attentions or MLPs, by importance: the least important goes first.

    Criteria that compare with right answers are measured on the questions; all others on the texts where these are
    given, else on the questions, and say so in `.notes`. Criteria that need the same runs share them.

    Args:
        model: What `load` gives or takes.
        questions: A name, a file, questions, or encoded questions.
        by: A name in `CRITERIA`, a criterion (`dataclasses.replace` gives one with other settings), or several.
        texts: What `dp.texts` takes.
        part: "block", "attention", "mlp", or "joint" for attentions and MLPs in one list.
        size: Number of neighbouring blocks that are removed together.
        layers: Rank only what lies within these layers; all by default.
        under: What else is done to the model; units that it removes are not ranked, and what it does within a unit or
            at its ends goes where the unit is removed.
        reference: What "kl" measures the distance from: `Intervention()` for the intact model; what `under` leaves by
            default.
        window: Tokens in a window of the texts.
        limit: Use at most this many windows of the texts; None for all.
        confidence: Nominal coverage of the intervals over questions, texts or windows: bootstrap where the score is
            a mean over them, jackknife over folds where it is not.
        intervals: Whether intervals are wanted that cost runs: those of gradients take as long again.
        seed: Of everything random.
        store: A store or its folder, where criteria that run the model keep what they saw and find it again; those
            that take gradients or weights run anew.
        progress: Show bars.
        **settings: Of `tasks.encode_questions`.

    Returns:
        A `Ranking`: `.order`, `.scores`, `.low`, `.high`, `.to_pandas()`, `.plot()`. `Rankings`, by name, if several
        criteria were asked for.

    Raises:
        InputError: Before anything runs, if model, data and criteria do not fit; afterwards, if a score is not finite.

    Example:
        >>> from decision_phases.tasks import questions
        >>> some = questions("facts", limit=20)
        >>> ranking = rank("tiny-gpt2", some, by="block_influence")
        >>> sorted(ranking.layers), len(ranking.values[0])
        ([0, 1, 2, 3, 4, 5], 20)
        >>> rank("tiny-gpt2", some, by=["margin", "kl"], part="mlp")["kl"].units[2]
        Unit(layers=(2,), part='mlp')
    """
    access, base = as_model(model), under or Intervention()
    criteria = [find_criterion(one) for one in _listed(by)]
    names = [criterion.name for criterion in criteria]
    if not names or len(set(names)) != len(names):
        msg = f"criteria are named {names}; give at least one, each once and with its own name"
        raise InputError(msg)
    check_confidence(confidence)
    check_variant(access, base)
    if reference is not None:
        check_variant(access, reference)
    every = units_of(access, part, size=size, under=base)
    units = _within(every, access, layers)
    check_settings(settings, asked=questions is not None)
    asked = None if questions is None else question_data(ask(access, questions, **settings))
    read = None if texts is None else text_data(access, texts, window=window, limit=limit, seed=seed)
    on_texts = Request(
        access,
        units,
        read or asked,
        base,
        seed,
        progress,
        as_store(store),
        confidence,
        intervals,
        reference=reference,
    )
    on_questions = on_texts if asked is None or read is None else replace(on_texts, data=asked, known={})
    requests = [on_questions if criterion.needs.labels else on_texts for criterion in criteria]
    for criterion, request in zip(criteria, requests, strict=True):
        criterion.check(access, part, request.data)
        _check_protection(criterion, access, every)
    ranked = [_ranking(criterion, request) for criterion, request in zip(criteria, requests, strict=True)]
    return ranked[0] if isinstance(by, str | Criterion) else Rankings(tuple(ranked))


def _listed(by: object) -> list[object]:
    return list(by) if isinstance(by, Iterable) and not isinstance(by, str) else [by]


def _within(units: tuple[Unit, ...], model: ModelAccess, layers: Collection[int] | None) -> tuple[Unit, ...]:
    if layers is None:
        return units
    wanted = set(listed_layers(layers))
    for layer in wanted:
        model.check_layer(layer)
    found = tuple(unit for unit in units if set(unit.layers) <= wanted)
    if not found:
        msg = f"no unit that could be ranked lies within layers {sorted(wanted)}; give more layers"
        raise InputError(msg)
    return found


def _check_protection(criterion: Criterion, model: ModelAccess, units: Sequence[Unit]) -> None:
    if all(criterion.protected(model, unit) for unit in units):
        msg = (
            f"{criterion.name} never removes the first {criterion.protect_first} and the last "
            f"{criterion.protect_last} blocks, which leaves none of these units of {model.name} ({model.n_layers} "
            "layers); use dataclasses.replace(criterion, protect_first=..., protect_last=...)"
        )
        raise InputError(msg)


def _ranking(criterion: Criterion, request: Request) -> Ranking:
    scores = criterion.score(request)
    data = request.data if criterion.needs.data else None
    _check_finite(criterion, request.units, scores, data)
    low, high = scores.interval(confidence=request.confidence, seed=request.seed)
    return Ranking(
        by=criterion.name,
        what=criterion.what,
        units=request.units,
        scores=scores.score,
        low=low,
        high=high,
        values=scores.values,
        labels=data.labels if data else (),
        protected=tuple(unit for unit in request.units if criterion.protected(request.model, unit)),
        data=data.name if data else "",
        resampled=data.kind if data else "",
        confidence=request.confidence,
        under=request.under,
        model=request.model.name,
        n_layers=request.model.n_layers,
        details=scores.details,
        notes=(*scores.notes, *_without_texts(criterion, data)),
    )


def _without_texts(criterion: Criterion, data: Data | None) -> tuple[str, ...]:
    """What stood for texts where none were given."""
    if data is None or data.encoded is None or criterion.needs.labels:
        return ()
    return (
        "No texts were given (texts=), so this is measured on the questions: on their prompts, and where tokens are to "
        "be predicted on those of the right answers.",
    )


def _check_finite(criterion: Criterion, units: Sequence[Unit], scores: Scores, data: Data | None) -> None:
    """Name every unit whose score is not finite: dropped in silence, the others would be ranked without it."""
    wrong = ~np.isfinite(scores.score)
    if not wrong.any():
        return
    named = ", ".join(
        f"{unit} ({value})" for unit, value in zip(units, scores.score, strict=True) if not np.isfinite(value)
    )
    where = ""
    if scores.sums is not None and data is not None:
        bad = np.flatnonzero(~np.isfinite(scores.sums[wrong]).all(axis=0))
        where = f", first on {data.kind} {data.labels[bad[0]]} of {data.name}" if len(bad) else ""
    msg = (
        f"{criterion.name} is not finite for {named}{where}; try dtype='float32', a smaller intervention, or leave out "
        "what it is undefined on"
    )
    raise InputError(msg)
