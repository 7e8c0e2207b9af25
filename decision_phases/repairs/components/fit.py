"""Estimating what heads lost, layer by layer, and measuring what is still missed of their outputs."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch

from decision_phases.engine.lower import check_variant
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention, weights
from decision_phases.models import ModelAccess
from decision_phases.models.matrices import WeightMatrix
from decision_phases.repairs.components.contract import Compensation, HeadComponents, dense_of
from decision_phases.repairs.components.sums import Losing, Lost, Missing
from decision_phases.repairs.contract import Task
from decision_phases.repairs.result import FittedRepair, PlaceFit
from decision_phases.repairs.stream import stream

_SITE = "head_out"
_Taking = TypeVar("_Taking", Losing, Missing)


def compensate(task: Task, how: Compensation) -> FittedRepair:
    """Add to the outputs of heads what they lost when weights were changed.

    Args:
        task: What is asked. What its cut does besides changing weights is done to the dense model too.
        how: The compensation.

    Returns:
        The additions; `.fit` has one row a layer.

    Raises:
        InputError: If no weights are changed, the family shows no heads, or a setting makes no sense.
    """
    began, model = time.perf_counter(), task.model
    layers = check_compensable(model, task.cut, how)
    how.check_checkpoint(task)
    first = _lost(task, how, task.cut, layers)
    chosen = most_lost(first, rank=how.rank, share=how.share)
    double = model.dtype == torch.float64
    found: list[HeadComponents] = []
    done = task.cut
    for layer, heads in chosen.items():
        lost = _lost(task, how, done, [layer])[layer] if task.sequential and found else first[layer]
        part = HeadComponents(
            layer, heads, lost.components(how.rank)[list(heads)], lost.directions()[list(heads)]
        )
        found.append(part)
        done += part.edits(how.name, double=double)
    estimated = time.perf_counter()
    parts, trained = how.improved(found, task)
    learning = time.perf_counter() - estimated
    made = sum((part.edits(how.name, double=double) for part in parts), start=Intervention())
    fit = task.fit(
        how.name,
        how,
        parameters_trained=len(made) * how.n_fitted(model.d_head),
        parameters_added=len(made) * model.d_head,
        places=_places(task, how, layers, made, chosen),
        seconds=time.perf_counter()
        - began
        + max(0.0, trained.seconds - learning),  # of a training that was stopped
        losses=trained.losses,
    )
    return FittedRepair(made.edits, fit)


def as_if_changed(targets: Mapping[int, Sequence[WeightMatrix]]) -> Intervention:
    """A change of weights that changes none, to check with before the real one is known.

    Args:
        targets: Layer → matrices that will be changed.

    Returns:
        A mask that keeps everything, as far forward as they begin.
    """
    layer, matrices = next(iter(targets.items()))
    least = min(matrices, key=lambda matrix: matrix.parameter.numel())
    kept = np.ones(tuple(least.parameter.shape), dtype=bool)
    return weights(layer, {least.name: kept})


def check_compensable(model: ModelAccess, under: Intervention, how: Compensation) -> list[int]:
    """Refuse what cannot be compensated, before anything runs.

    Args:
        model: The model.
        under: The intervention.
        how: The compensation.

    Returns:
        The layers whose heads may have lost something: from the first with changed weights on, without those whose
        attention is removed.

    Raises:
        InputError: Saying why.
    """
    how.check()
    changed = [edit.layer for edit in under if edit.op == "weights"]
    if not changed:
        msg = (
            f"{how.name} makes up for changed weights, as dp.sparsify gives them, and '{under}' changes none; for "
            "removed parts use one of dp.REPAIRS"
        )
        raise InputError(msg)
    if _SITE not in model.sites:
        msg = (
            f"{how.name} adds to the outputs of single heads, which {model.name} ({model.architecture}) does not show "
            f"(it has the sites {', '.join(sorted(model.sites))}); it is for families whose attention has heads"
        )
        raise InputError(msg)
    if under.needs_positions or under.per_question:
        msg = (
            f"{under} depends on questions or on positions in them, which texts do not have; compensate under what is "
            "the same everywhere"
        )
        raise InputError(msg)
    check_variant(model, under)
    gone = {*under.removed_blocks, *under.removed("attention")}
    layers = [layer for layer in range(min(changed), model.n_layers) if layer not in gone]
    if not layers:
        msg = f"{under} leaves no attention behind changed weights, so there is no head to add anything to"
        raise InputError(msg)
    return layers


def most_lost(lost: Mapping[int, Lost], *, rank: int, share: float) -> dict[int, tuple[int, ...]]:
    """Choose the heads whose components remove most of the squared error; of equal ones those that come first.

    Args:
        lost: Layer → what its heads lost.
        rank: Number of directions of a component.
        share: Share of all heads, rounded up.

    Returns:
        Layer → heads, both ascending; without layers of which no head is chosen, and heads that lost nothing.

    Example:
        >>> one = Lost(1, np.array([[0.0], [2.0], [1.0]]), np.array([[[0.0]], [[4.0]], [[1.0]]]))
        >>> most_lost({3: one}, rank=1, share=0.5)
        {3: (1, 2)}
    """
    layers = list(lost)
    gains = np.stack([sums.tokens * (sums.components(rank) ** 2).sum(axis=1) for sums in lost.values()])
    best = np.argsort(-gains, axis=None, kind="stable")[: math.ceil(share * gains.size - 1e-9)]
    picked = sorted(divmod(int(i), gains.shape[1]) for i in best if gains.flat[i] > 0)
    return {
        layers[row]: tuple(head for other, head in picked if other == row)
        for row in dict.fromkeys(row for row, _ in picked)
    }


def _lost(task: Task, how: Compensation, under: Intervention, layers: Sequence[int]) -> dict[int, Lost]:
    """What the heads of some layers lost under an intervention."""
    found = {layer: Losing() for layer in layers}
    _taken(task, how, {under: found}, what="what heads lost")
    return {layer: losing.finish() for layer, losing in found.items()}


def _places(
    task: Task,
    how: Compensation,
    layers: Sequence[int],
    made: Intervention,
    chosen: Mapping[int, Sequence[int]],
) -> tuple[PlaceFit, ...]:
    """What is missed of the heads' outputs in every layer, before and with all that is added."""
    before, after = ({layer: Missing() for layer in layers} for _ in range(2))
    wanted = {task.cut: before} | ({task.cut + made: after} if made else {})
    _taken(task, how, wanted, what="measuring")
    places = []
    for layer in layers:
        (total, relative), (total_after, relative_after) = (
            missing[layer].shares() for missing in (before, after if made else before)
        )
        heads = f"layer {layer}, {len(chosen.get(layer, ()))} of {task.model.n_heads} heads"
        places.append(PlaceFit(_SITE, layer, heads, total, total_after, relative, relative_after))
    return tuple(places)


def _taken(
    task: Task,
    how: Compensation,
    wanted: Mapping[Intervention, Mapping[int, _Taking]],
    *,
    what: str,
) -> None:
    """Show what heads put out under interventions, beside the dense model, to what adds it up."""
    layers = next(iter(wanted.values()))
    last, dense = how.positions == "last", dense_of(task.cut)
    data = task.source.data
    where = [(_SITE, layer) for layer in layers]
    runs = dict.fromkeys((dense, *wanted), where)
    for chunk in stream(
        task.model,
        data.reading("last") if last else data.sequences,
        runs,
        positions="read" if last else "all",
        progress=task.progress,
        what=what,
    ):
        for under, takers in wanted.items():
            for layer, taker in takers.items():
                taker.take(chunk.rows[under][_SITE, layer], chunk.rows[dense][_SITE, layer])
