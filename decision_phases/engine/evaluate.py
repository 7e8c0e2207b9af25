"""The one entry point: a model, inputs, variants, and what to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm.auto import tqdm

from decision_phases.engine.batches import Batch
from decision_phases.engine.inputs import Inputs, as_inputs, check_inputs
from decision_phases.engine.lower import check_variant
from decision_phases.engine.observers import AnyObserver, Collector, ReadRows, Reads
from decision_phases.engine.plan import Plan, make_plan
from decision_phases.engine.run import walk, wanted_layers
from decision_phases.engine.stored import Kept, Store, as_store
from decision_phases.engine.trees import Tree, make_trees
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.tasks import TokenSequence

MEMORY_BUDGET = 2 << 30


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
    known = as_store(store)
    if known is None:
        return _run(model, checked, plan, observe, progress=progress)
    return _run_kept(Kept(known, model, checked, plan, observe), plan, progress=progress)


def plan_for(
    model: ModelAccess,
    inputs: Inputs,
    variants: Sequence[Intervention],
    observe: Sequence[AnyObserver],
    *,
    memory_budget: int = MEMORY_BUDGET,
    max_tokens: int = 4096,
) -> Plan:
    """Plan an evaluation without running it; `plan.explain()` says what it saves.

    Args:
        model: The model.
        inputs: What is put to it.
        variants: The interventions.
        observe: What to look at.
        memory_budget: Bytes that kept residuals may take.
        max_tokens: Most tokens in a batch.

    Returns:
        The plan.
    """
    deepest = max(max(wanted_layers(o.reads, model.n_layers)) for o in observe)
    ends, alike = _ends(inputs, observe), _alike(inputs, variants)

    def trees(*, share: bool) -> list[Tree]:
        return make_trees(
            inputs.sequences,
            ends=ends,
            share=share,
            share_all=alike,
            device=model.device,
            max_tokens=max_tokens,
        )

    found, note = trees(share=True), ""
    if any(len(tree.stretches) > 1 for tree in found) and not model.shares_text:
        note = f"{model.architecture} cannot continue text computed before, so shared text is computed every time"
        found = trees(share=False)
    return make_plan(model, variants, found, last_layer=deepest + 1, memory_budget=memory_budget, note=note)


def _ends(inputs: Inputs, observe: Sequence[AnyObserver]) -> list[int]:
    """How many tokens of each sequence must be computed: none after the last position that is read."""
    if any(o.reads.positions != "read" for o in observe):
        return [len(s) for s in inputs.sequences]
    return [s.read[-1] + 1 if s.read else len(s) for s in inputs.sequences]


def _alike(inputs: Inputs, variants: Sequence[Intervention]) -> bool:
    """Whether every edit treats text that different questions begin with alike."""
    edits = {edit for variant in variants for edit in variant.edits}
    return all(edit.positions == "all" and not edit.per_question for edit in edits) or len(inputs) == 1


def _run(
    model: ModelAccess, inputs: Inputs, plan: Plan, observe: Sequence[AnyObserver], *, progress: bool
) -> Iterator[Evaluated]:
    done: dict[int, dict[str, Any]] = {}
    _walk_all(model, inputs, plan, observe, done.__setitem__, progress=progress)
    for place, variant in enumerate(plan.variants):
        yield Evaluated(variant, done.pop(place))


def _run_kept(kept: Kept, plan: Plan, *, progress: bool) -> Iterator[Evaluated]:
    """Run what the store lacks, and give everything from there."""
    missing = [variant for variant in dict.fromkeys(plan.variants) if not kept.has(variant)]
    for part in plan.parts(missing):

        def keep(place: int, results: dict[str, Any], part: Plan = part) -> None:
            kept.put(part.variants[place], results)

        _walk_all(kept.model, kept.inputs, part, kept.observe, keep, progress=progress)
    for variant in plan.variants:
        yield Evaluated(variant, kept.get(variant))


def _walk_all(
    model: ModelAccess,
    inputs: Inputs,
    plan: Plan,
    observe: Sequence[AnyObserver],
    finished: Callable[[int, dict[str, Any]], object],
    *,
    progress: bool,
) -> None:
    """Walk a plan, handing out the results of a variant as soon as its last batch is through."""
    reads = tuple(dict.fromkeys(o.reads for o in observe))
    leaves = sum(len(tree.leaves) for group in plan.groups for tree in group)
    begun: dict[int, dict[str, Collector[Any]]] = {}
    left = dict.fromkeys(range(len(plan.variants)), leaves)
    bar = tqdm(
        total=leaves * len(plan.variants),
        disable=not progress,
        desc=f"{len(plan.variants)} variants ({plan.saved:.0%} saved)",
    )

    def deliver(place: int, batch: Batch, rows: Mapping[Reads, ReadRows]) -> None:
        if place not in begun:
            begun[place] = {o.name: o.start(model, inputs, plan.variants[place]) for o in observe}
        for o in observe:
            begun[place][o.name].take(batch, rows[o.reads])
        bar.update()
        left[place] -= 1
        if not left[place]:
            finished(place, {name: collector.finish() for name, collector in begun.pop(place).items()})

    with bar:
        for group in plan.groups:
            walk(model, plan, group, reads, deliver)
