"""Walking a plan: blocks are called one by one, what is read is gathered on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from decision_phases.engine.batches import Batch, Rows
from decision_phases.engine.lower import Hook, layer_hooks, removes_block, replaced_weights, stand_in
from decision_phases.engine.observers import Reads
from decision_phases.engine.plan import Branch, Plan
from decision_phases.engine.reading import Found, Look, by_reads, keeping, wanted_layers
from decision_phases.engine.trees import Tree
from decision_phases.engine.walkers import PackedWalker, State, StretchWalker, Walker
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess

#: Called with (place of the variant, batch, what was read under each of the `Reads`).
Deliver = Callable[[int, Batch, Mapping[Reads, Mapping[tuple[str, int], Tensor]]], None]


def walk(
    model: ModelAccess, plan: Plan, group: Sequence[Tree], reads: Sequence[Reads], deliver: Deliver
) -> None:
    """Run every variant of a plan over a group of trees.

    Args:
        model: The model.
        plan: The plan.
        group: Trees that are walked together.
        reads: What is read.
        deliver: Called for every variant and batch, as soon as a variant is through.
    """
    if not plan.variants:
        return
    with torch.no_grad():
        if plan.mode == "whole model":
            for place, variant in enumerate(plan.variants):
                for tree in group:
                    for _, batch in tree.leaves:
                        deliver(place, batch, _whole(model, variant, batch, reads))
            return
        made = PackedWalker if plan.packed and model.packs else StretchWalker
        walkers = [made(model, plan, tree, reads) for tree in group]
        _descend(plan, plan.root, walkers, [walker.entered() for walker in walkers], deliver)


def _descend(
    plan: Plan, branch: Branch, walkers: Sequence[Walker], states: list[State], deliver: Deliver
) -> None:
    variant = plan.variants[branch.variants[0]]
    for layer in range(branch.start, branch.stop):
        for i, walker in enumerate(walkers):
            states[i] = walker.step(layer, variant.at(layer), states[i])
    for child in branch.children[:-1]:
        _descend(plan, child, walkers, list(states), deliver)
    if branch.children:
        _descend(plan, branch.children[-1], walkers, states, deliver)
        return
    for place in branch.variants:
        for (_, found), walker in zip(states, walkers, strict=True):
            for leaf, (_, batch) in enumerate(walker.tree.leaves):
                deliver(place, batch, by_reads(found, walker.reads, leaf))


def _whole(
    model: ModelAccess, variant: Intervention, batch: Batch, reads: Sequence[Reads]
) -> dict[Reads, dict[tuple[str, int], Tensor]]:
    """One variant over one batch by running the whole model."""
    found: Found = {}
    removed = set(variant.removed_blocks)
    entering: list[Hook] = []
    readers: dict[int, list[Hook]] = {}
    leaving: list[Callable[[Tensor], None]] = []
    for r in reads:
        cells = batch.cells(r.positions)
        look = Look(0, r, cells, torch.arange(len(cells), device=batch.device))
        for layer in wanted_layers(r, model.n_layers):
            if layer in removed and r.layers != "final":
                continue
            for site in r.sites:
                keep = keeping(found, look, site, layer)
                if layer < 0:
                    if site == "resid_post":
                        entering.append((0, "resid_pre", keep))
                elif (layer, site) == (model.n_layers - 1, "resid_post") and isinstance(r.layers, str):
                    # What leaves the model is read at its final norm: such a model may still change it after the
                    # last block. Layers asked for by number are read where patches write.
                    leaving.append(keep)
                else:
                    readers.setdefault(layer, []).append((layer, site, keep))
    hooks, table = lowered(model, variant, batch.rows, readers)
    hooks = [*entering, *hooks]
    with (
        replaced_weights(model, variant.edits),
        model.hooked(hooks),
        model.overridden(dict(table)),
        model.watching_last(leaving),
    ):
        model.logits(batch.tokens, last_only=True)
    return by_reads(found, reads, 0)


def lowered(
    model: ModelAccess,
    variant: Intervention,
    rows: Rows | None,
    readers: Mapping[int, Sequence[Hook]] | None = None,
) -> tuple[list[Hook], dict[int, Callable[[Tensor], Tensor] | None]]:
    """Lower a whole intervention to hooks and overrides.

    Args:
        model: The model.
        variant: The intervention.
        rows: What runs, or None.
        readers: layer → hooks that look on.

    Returns:
        Hooks, and layer → what stands in for its block.
    """
    hooks: list[Hook] = []
    table: dict[int, Callable[[Tensor], Tensor] | None] = {}
    for layer in range(model.n_layers):
        edits = variant.at(layer)
        if removes_block(edits):
            table[layer] = stand_in(edits, rows) if len(edits) > 1 else None
        else:
            hooks += layer_hooks(edits, rows, (readers or {}).get(layer, ()))
    return hooks, table
