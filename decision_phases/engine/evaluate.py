"""The one entry point: a model, inputs, variants, and what to look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

from decision_phases.engine.inputs import Inputs, as_inputs, check_inputs
from decision_phases.engine.local import MEMORY_BUDGET, plan_for, walk_all
from decision_phases.engine.lower import check_variant
from decision_phases.engine.observers import AnyObserver
from decision_phases.engine.plan import Plan
from decision_phases.engine.stored import Kept, Store, as_store
from decision_phases.engine.workers import Pool, current_pool
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.store import ResultStore
from decision_phases.tasks import TokenSequence


@dataclass(frozen=True)
class Evaluated:
    """What was seen of one variant.

    Attributes:
        variant: The intervention.
        results: Observer's name → its result.
    """

    variant: Intervention
    results: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        """The result of one observer."""
        return self.results[name]


def evaluate(
    model: ModelAccess,
    inputs: Inputs | Sequence[TokenSequence],
    variants: Sequence[Intervention],
    observe: Sequence[AnyObserver],
    *,
    store: Store = None,
    memory_budget: int = MEMORY_BUDGET,
    max_tokens: int = 4096,
    progress: bool = False,
) -> Iterator[Evaluated]:
    """Run a model under many interventions and look at each.

    Everything is checked when this is called; the work is done as results are taken. Shared stretches of depth are
    computed once (see `plan`); results are exact, equal to running each variant by itself up to rounding, and
    bit-identical to it at equal thread count and batches. With a store every variant is kept as soon as it is through,
    and none that is kept is run again: after an interruption, the same call goes on where it was.

    Args:
        model: The model.
        inputs: Encoded questions, or token sequences.
        variants: The interventions; `Intervention()` is the intact model.
        observe: What to look at; names must differ.
        store: Where results are kept and looked for: a store, or its folder.
        memory_budget: Bytes that kept residuals may take.
        max_tokens: Most tokens in a batch.
        progress: Show a bar.

    Yields:
        One result a variant, in the order given.

    Raises:
        InputError: Before anything runs, if the inputs do not fit the model, or a variant one of them.

    Example:
        >>> from decision_phases.engine.capture import CaptureObserver
        >>> from decision_phases.interventions import skip
        >>> from decision_phases.models import load
        >>> rows = [TokenSequence((5, 6, 7), (2,), (), 0)]
        >>> look = CaptureObserver(("resid_post",), (5,), "read")
        >>> [run["capture"].n_questions for run in evaluate(load("tiny-gpt2", quiet=True), rows, [skip(2)], [look])]
        [1]
    """
    checked = as_inputs(inputs)
    check_inputs(model, checked)
    names = [observer.name for observer in observe]
    if len(set(names)) != len(names) or not names:
        msg = f"observers are named {names}; give at least one, each with its own name"
        raise InputError(msg)
    for variant in variants:
        check_variant(model, variant, checked.sequences, len(checked))
        for observer in observe:
            observer.start(model, checked, variant)  # refuses what it cannot look at
    plan = plan_for(model, checked, variants, observe, memory_budget=memory_budget, max_tokens=max_tokens)
    known, pool = as_store(store), current_pool(model)
    if pool is not None and len(variants) > 1:
        job = {
            "inputs": checked,
            "variants": tuple(variants),
            "observe": tuple(observe),
            "memory_budget": memory_budget,
            "max_tokens": max_tokens,
        }
        return _run_spread(pool, known, plan, job, progress=progress)
    if known is None:
        return _run(model, checked, plan, observe, progress=progress)
    return _run_kept(Kept(known, model, checked, plan, observe), plan, progress=progress)


def _run(
    model: ModelAccess, inputs: Inputs, plan: Plan, observe: Sequence[AnyObserver], *, progress: bool
) -> Iterator[Evaluated]:
    done: dict[int, dict[str, Any]] = {}
    walk_all(model, inputs, plan, observe, done.__setitem__, progress=progress)
    for place, variant in enumerate(plan.variants):
        yield Evaluated(variant, done.pop(place))


def _run_spread(
    pool: Pool, store: ResultStore | None, plan: Plan, job: Mapping[str, Any], *, progress: bool
) -> Iterator[Evaluated]:
    """Have workers run what the store lacks, and give everything from there."""
    with TemporaryDirectory() as folder:
        known = ResultStore(folder) if store is None else store  # an empty one is false
        kept = Kept(known, pool.model, job["inputs"], plan, job["observe"])
        missing = [variant for variant in dict.fromkeys(plan.variants) if not kept.has(variant)]
        pool.evaluate(kept, plan, missing, job, progress=progress)
        for variant in plan.variants:
            yield Evaluated(variant, kept.get(variant))


def _run_kept(kept: Kept, plan: Plan, *, progress: bool) -> Iterator[Evaluated]:
    """Run what the store lacks, and give everything from there."""
    missing = [variant for variant in dict.fromkeys(plan.variants) if not kept.has(variant)]
    for part in plan.parts(missing):

        def keep(place: int, results: dict[str, Any], part: Plan = part) -> None:
            kept.put(part.variants[place], results)

        walk_all(kept.model, kept.inputs, part, kept.observe, keep, progress=progress)
    for variant in plan.variants:
        yield Evaluated(variant, kept.get(variant))
