"""`task_families`: what interventions leave of choosing, retrieving and writing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from tqdm.auto import tqdm

from decision_phases.engine import Store, as_store
from decision_phases.errors import InputError
from decision_phases.hierarchy.families import TASK_FAMILIES, Measured, Task, TaskFamily, find_family
from decision_phases.hierarchy.family_scores import INTACT, FamilyScores
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess, as_model
from decision_phases.store import Packed, ResultStore, versions

Variants = Intervention | Sequence[Intervention] | Mapping[str, Intervention]


def task_families(
    model: object,
    *,
    under: Variants = (),
    families: str | TaskFamily | Sequence[str | TaskFamily] | None = None,
    limit: int | None = None,
    seed: int = 0,
    store: Store = None,
    progress: bool = False,
) -> FamilyScores:
    """Score a model, intact and under interventions, on families of tasks.

    Args:
        model: What `load` gives or takes.
        under: One intervention, several, or several by name.
        families: Names in `TASK_FAMILIES`, or families with settings of their own; all by default.
        limit: Use at most this many items of each family.
        seed: Of the draw of items and of the bootstrap over them.
        store: A store or its folder, where every family and variant is kept as soon as it is through.
        progress: Show a bar.

    Returns:
        Scores by item, means with intervals, and the scale from floor to intact model.

    Raises:
        InputError: Before anything runs, if names are unknown or repeated, or model, items and interventions do not
            fit.

    Example:
        >>> from decision_phases.interventions import skip
        >>> scores = task_families("tiny-gpt2", under=skip(2), families="multiple_choice", limit=20)
        >>> scores.of("multiple_choice", "skip {2}").score.shape, list(scores.left_out)
        ((20,), ['multiple_choice'])
    """
    access = as_model(model)
    variants = _named(under)
    given = TASK_FAMILIES.values() if families is None else families
    listed = [given] if isinstance(given, str | TaskFamily) else list(given)
    chosen = [find_family(one) for one in listed]
    names = [family.name for family in chosen]
    if not names or len(set(names)) != len(names):
        msg = f"families are named {names}; give at least one, each with its own name"
        raise InputError(msg)
    tasks = {family.name: family.prepare(access, limit=limit, seed=seed) for family in chosen}
    for task in tasks.values():
        for variant in variants.values():
            task.check(variant)
    kept = as_store(store)
    if kept is not None and access.has_own_hooks:
        msg = (
            f"{access.name} has hooks of your own, so a store cannot tell what it computes; remove them "
            "(model.tl.reset_hooks()), or leave store= out"
        )
        raise InputError(msg)
    measured: dict[str, dict[str, Measured]] = {name: {} for name in names}
    bar = tqdm(total=len(tasks) * len(variants), disable=not progress, unit="task")
    with bar:
        for label, variant in variants.items():
            for name, task in tasks.items():
                bar.set_postfix_str(f"{name}, {label}")
                measured[name][label] = _measure(access, task, variant, kept)
                bar.update()
    return FamilyScores(measured, {family.name: family for family in chosen}, variants, access.name, seed)


def _named(under: Variants) -> dict[str, Intervention]:
    """The interventions by name, the intact model first."""
    if isinstance(under, Intervention):
        named = {str(under): under}
    elif isinstance(under, Mapping):
        named = dict(under)
    else:
        named = {str(variant): variant for variant in under}
        if len(named) != len(under):
            msg = "two of the interventions are called the same; give them as a mapping, name → intervention"
            raise InputError(msg)
    if any(bool(variant) == (name == INTACT) for name, variant in named.items()):
        msg = f"{INTACT!r} is the name of the model without an intervention, and of nothing else; choose another name"
        raise InputError(msg)
    return {INTACT: Intervention(), **named}


def _measure(model: ModelAccess, task: Task, variant: Intervention, store: ResultStore | None) -> Measured:
    if store is None:
        return task.measure(variant)
    study = store.study(
        {
            "format": 1,
            "model": model.fingerprint,
            "architecture": model.architecture,
            "kind": model.kind,
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": model.device.type,
            "task": task.key,
            "versions": versions(),
            "note": {"model": model.name, "weights": model.weights},
        }
    )
    found = store.get(study, variant.key)
    if found is not None:
        extra = {
            name.removeprefix("extra "): np.asarray(values)
            for name, values in found.arrays.items()
            if name.startswith("extra ")
        }
        return Measured(found.arrays["score"], found.arrays["floor"], extra)
    measured = task.measure(variant)
    arrays = {f"extra {name}": values for name, values in measured.extra.items()}
    packed = Packed(
        {"score": float(measured.score.mean())},
        {"score": measured.score, "floor": measured.floor, **arrays},
    )
    store.put(study, variant.key, packed, what=str(variant), threads=torch.get_num_threads())
    return measured
