"""Which blocks must be computed for a set of variants, and in what order.

Two variants that do the same up to block *k* share the residual entering block *k*. Written as sequences of what
happens at each layer, variants form a trie; walking it depth-first computes every shared stretch once. Before the walk
goes down one branch, the residual is kept for the others; as the branch with most variants is always taken last, and
takes the residual with it, no more than log2(variants) residuals are ever kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from decision_phases.engine.packs import make_pack
from decision_phases.engine.trees import Tree
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess

PART = 16  # variants between two results that are kept, where the inputs are walked in several groups


@dataclass(frozen=True)
class Branch:
    """Variants that do the same from one layer on, until their ways part or the model ends.

    Attributes:
        start: First layer of the shared stretch.
        stop: Layer where the ways part, or the number of layers to run.
        variants: Places of the variants in what was given.
        children: What follows, fewest variants first; empty at the end of the model.
    """

    start: int
    stop: int
    variants: tuple[int, ...]
    children: tuple[Branch, ...]

    @property
    def depth(self) -> int:
        """Most residuals kept at once below here, this one included."""
        if not self.children:
            return 1
        # A kept residual is held while every child but the last is walked.
        *held, last = (child.depth for child in self.children)
        return max([1 + depth for depth in held] + [last])

    def walked(self) -> list[int]:
        """Places of the variants in the order in which they are through."""
        if not self.children:
            return list(self.variants)
        return [place for child in self.children for place in child.walked()]


@dataclass(frozen=True, eq=False)
class Plan:
    """What `evaluate` is going to do.

    Attributes:
        variants: The interventions, in the order given.
        n_layers: Layers of the model.
        last_layer: Deepest layer that must be computed, plus 1.
        root: The trie.
        groups: Trees of text that are walked together; one group unless memory is short.
        mode: "by block", or "whole model" for families whose blocks cannot be called one by one.
        reason: Why not "by block", else "".
        note: What else is not reused, and why.
        packed: Whether token positions run side by side (see `packs`), as far as nothing looks into a block.
    """

    variants: tuple[Intervention, ...]
    n_layers: int
    last_layer: int
    root: Branch
    groups: tuple[tuple[Tree, ...], ...]
    mode: str
    reason: str
    note: str = ""
    packed: bool = False

    @cached_property
    def naive_blocks(self) -> int:
        """Blocks computed if every variant ran by itself."""
        return sum(map(self._alone, self.variants))

    def _alone(self, variant: Intervention) -> int:
        return self.last_layer - sum(layer < self.last_layer for layer in variant.removed_blocks)

    def share_alone(self, variant: Intervention) -> float:
        """Blocks that a variant would need by itself, as a share of those that the plan computes for all together.

        Args:
            variant: One of the variants.

        Returns:
            The share; over all variants they add up to more than 1 where something is shared.
        """
        return self._alone(variant) / self.planned_blocks if self.planned_blocks else 1 / len(self.variants)

    @cached_property
    def planned_blocks(self) -> int:
        """Blocks computed by this plan."""
        return self.naive_blocks if self.mode == "whole model" else self._count(self.root)

    def _count(self, branch: Branch) -> int:
        if not branch.variants:
            return 0
        variant = self.variants[branch.variants[0]]
        removed = set(variant.removed_blocks)
        own = sum(layer not in removed for layer in range(branch.start, branch.stop))
        return own + sum(self._count(child) for child in branch.children)

    @property
    def saved(self) -> float:
        """Share of the blocks that need not be computed, in [0, 1)."""
        return 1 - self.planned_blocks / self.naive_blocks if self.naive_blocks else 0.0

    def explain(self) -> str:
        """Say what is reused and what it saves.

        Returns:
            A few lines of text.
        """
        trees = [tree for group in self.groups for tree in group]
        batches = [batch for tree in trees for _, batch in tree.leaves]
        tokens = sum(len(s) for batch in batches for s in batch.sequences)
        computed = sum(tree.computed for tree in trees)
        lines = [
            f"{len(self.variants)} variants × {sum(len(b.sequences) for b in batches)} sequences "
            f"({tokens} tokens in {len(batches)} batches)",
        ]
        if self.packed:
            positions = sum(len(make_pack(tree)) for tree in trees)
            shared = "shared text is computed once: " if positions < tokens else ""
            lines.append(f"{shared}{positions} token positions side by side, without padding")
        elif any(tree.shares for tree in trees):
            lines.append(f"shared text is computed once: {computed} token positions, padding included")
        elif computed != tokens:
            lines.append(
                f"{computed} token positions are computed, padding included, nothing after the last read"
            )
        if self.mode == "whole model":
            lines.append(f"every variant runs the whole model, nothing is reused: {self.reason}")
        else:
            lines.append(
                f"shared stretches of depth are computed once: {self.planned_blocks} blocks instead of "
                f"{self.naive_blocks}, {self.saved:.0%} saved; at most {self.root.depth} residuals kept"
            )
        if self.note:
            lines.append(self.note)
        if len(self.groups) > 1:
            lines.append(f"in {len(self.groups)} passes over the variants, to stay within the memory budget")
        return "\n".join(lines)

    def order(self, wanted: Sequence[Intervention]) -> list[Intervention]:
        """Variants in the order in which a walk would be through with them, so that neighbours share most.

        Args:
            wanted: The variants.

        Returns:
            The same, in that order.
        """
        root = _branch(wanted, tuple(range(len(wanted))), 0, self.last_layer)
        return [wanted[place] for place in root.walked()]

    def parts(self, wanted: Sequence[Intervention]) -> tuple[Plan, ...]:
        """The same for some variants only, in parts that are each through before the next begins.

        Where the inputs do not fit into the memory budget at once, no variant is through before the last group of
        trees; so the variants are then divided, at the price of a little that could have been shared.

        Args:
            wanted: The variants to run.

        Returns:
            Plans over the same batches, which hold every wanted variant once.
        """
        if len(self.groups) == 1 or len(wanted) <= PART:
            divided = [list(wanted)] if wanted else []
        else:
            walked = self.order(wanted)
            divided = [walked[i : i + PART] for i in range(0, len(walked), PART)]
        return tuple(
            replace(
                self,
                variants=tuple(part),
                root=_branch(part, tuple(range(len(part))), 0, self.last_layer),
            )
            for part in divided
        )


def make_plan(
    model: ModelAccess,
    variants: Sequence[Intervention],
    trees: Sequence[Tree],
    *,
    last_layer: int,
    memory_budget: int,
    note: str = "",
) -> Plan:
    """Plan the evaluation of variants.

    Args:
        model: The model.
        variants: The interventions.
        trees: The inputs.
        last_layer: Deepest layer that must be computed, plus 1.
        memory_budget: Bytes that kept residuals and masks may take.
        note: What else is not reused, and why.

    Returns:
        The plan.
    """
    reason = ""
    if not model.capabilities.direct:
        reason = f"{model.architecture} changes the residual stream between its blocks"
    root = _branch(variants, tuple(range(len(variants))), 0, last_layer)
    groups: list[list[Tree]] = []
    room = 0
    for tree in trees:
        size = _bytes(model, tree, root.depth)
        if not groups or size > room:
            groups.append([])
            room = memory_budget
        groups[-1].append(tree)
        room -= size
    return Plan(
        tuple(variants),
        model.n_layers,
        last_layer,
        root,
        tuple(tuple(group) for group in groups),
        "whole model" if reason else "by block",
        reason,
        note,
        not reason and model.runs_plain and model.packs,
    )


def _branch(
    variants: Sequence[Intervention], members: tuple[int, ...], start: int, last_layer: int
) -> Branch:
    for layer in range(start, last_layer):
        parts: dict[object, list[int]] = {}
        for i in members:
            parts.setdefault(variants[i].layer_key(layer), []).append(i)
        if len(parts) > 1:
            ordered = sorted(parts.values(), key=lambda part: (len(part), part))
            children = tuple(_branch(variants, tuple(part), layer, last_layer) for part in ordered)
            return Branch(start, layer, members, children)
    return Branch(start, last_layer, members, ())


def _bytes(model: ModelAccess, tree: Tree, depth: int) -> int:
    """Residuals kept, two more in flight, and the attention masks."""
    return model.dtype.itemsize * (tree.computed * model.d_model * (depth + 2) + tree.pairs)
