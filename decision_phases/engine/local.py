"""Planning and running in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tqdm.auto import tqdm

from decision_phases.engine.batches import Batch
from decision_phases.engine.inputs import Inputs
from decision_phases.engine.observers import AnyObserver, Collector, ReadRows, Reads
from decision_phases.engine.plan import Plan, make_plan
from decision_phases.engine.reading import wanted_layers
from decision_phases.engine.run import walk
from decision_phases.engine.trees import Tree, make_trees
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess

MEMORY_BUDGET = 2 << 30


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
    ends, alike = _ends(inputs, observe), _alike(variants)

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
    if any(tree.shares for tree in found) and not model.shares_text:
        note = f"{model.architecture} cannot continue text computed before, so shared text is computed every time"
        found = trees(share=False)
    return make_plan(model, variants, found, last_layer=deepest + 1, memory_budget=memory_budget, note=note)


def _ends(inputs: Inputs, observe: Sequence[AnyObserver]) -> list[int]:
    """How many tokens of each sequence must be computed: none after the last position that is read."""
    if any(o.reads.positions != "read" for o in observe):
        return [len(s) for s in inputs.sequences]
    return [s.read[-1] + 1 if s.read else len(s) for s in inputs.sequences]


def _alike(variants: Sequence[Intervention]) -> bool:
    """Whether every edit treats text that different questions begin with alike."""
    edits = {edit for variant in variants for edit in variant.edits}
    return all(edit.positions == "all" and not edit.per_question for edit in edits)


def walk_all(
    model: ModelAccess,
    inputs: Inputs,
    plan: Plan,
    observe: Sequence[AnyObserver],
    finished: Callable[[int, dict[str, Any]], object],
    *,
    progress: bool,
) -> None:
    """Walk a plan, handing out the results of a variant as soon as its last batch is through.

    Args:
        model: The model.
        inputs: What is put to it.
        plan: The plan.
        observe: What to look at.
        finished: Called with the place of a variant and, by observer's name, what was seen of it.
        progress: Show a bar.
    """
    reads = tuple(dict.fromkeys(o.reads for o in observe))
    leaves = sum(len(tree.leaves) for group in plan.groups for tree in group)
    begun: dict[int, dict[str, Collector[Any]]] = {}
    left = dict.fromkeys(range(len(plan.variants)), leaves)
    bar = tqdm(
        total=len(plan.variants),
        disable=not progress,
        unit="variant",
        desc=f"{plan.saved:.0%} of the work saved",
    )

    def deliver(place: int, batch: Batch, rows: Mapping[Reads, ReadRows]) -> None:
        if place not in begun:
            begun[place] = {o.name: o.start(model, inputs, plan.variants[place]) for o in observe}
        for o in observe:
            begun[place][o.name].take(batch, rows[o.reads])
        left[place] -= 1
        if not left[place]:
            finished(place, {name: collector.finish() for name, collector in begun.pop(place).items()})
            bar.update()

    with bar:
        for number, group in enumerate(plan.groups, 1):
            if len(plan.groups) > 1:
                bar.set_postfix_str(f"pass {number} of {len(plan.groups)}")
            walk(model, plan, group, reads, deliver)
