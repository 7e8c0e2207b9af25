"""What can be removed: a block, its attention, its MLP, or several blocks in a row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from decision_phases.errors import InputError, unknown_name
from decision_phases.interventions import Intervention, skip
from decision_phases.models import ModelAccess

Part = Literal["block", "attention", "mlp"]
#: What `rank` can be asked for; "joint" ranks attentions and MLPs in one list.
PARTS: dict[str, tuple[Part, ...]] = {
    "block": ("block",),
    "attention": ("attention",),
    "mlp": ("mlp",),
    "joint": ("attention", "mlp"),
}
_SITES = {"attention": "attn_out", "mlp": "mlp_out"}


@dataclass(frozen=True)
class Unit:
    """One thing that can be removed.

    Attributes:
        layers: 0-based layers in the intact model, ascending; more than one for blocks removed together.
        part: "block", "attention" or "mlp".

    Example:
        >>> str(Unit((5,), "mlp")), Unit((5, 6), "block").cut
        ('mlp 5', <Intervention: skip {5, 6}>)
    """

    layers: tuple[int, ...]
    part: Part = "block"

    @property
    def layer(self) -> int:
        """The first of the layers."""
        return self.layers[0]

    @property
    def depth(self) -> int:
        """Where it begins in the order of computation: attention comes before MLP."""
        return 2 * self.layer + (self.part == "mlp")

    @property
    def cut(self) -> Intervention:
        """Its removal."""
        return skip(*self.layers, part=self.part)

    def __str__(self) -> str:
        if len(self.layers) == 1:
            return f"{self.part} {self.layer}"
        return f"{self.part}s {self.layer}–{self.layers[-1]}"


#: What is removed, in the order of removal.
Cut = tuple[Unit, ...]


def removal(units: Iterable[Unit]) -> Intervention:
    """The removal of several units.

    Args:
        units: The units; they do not overlap.

    Returns:
        The cut; the empty intervention if there are none.

    Example:
        >>> removal([Unit((5,)), Unit((2,), "mlp")]), removal([])
        (<Intervention: skip {5} + skip mlp {2}>, <Intervention: intact>)
    """
    return Intervention(tuple(edit for unit in units for edit in unit.cut.edits))


def units_of(
    model: ModelAccess, part: str = "block", *, size: int = 1, under: Intervention | None = None
) -> tuple[Unit, ...]:
    """Everything of a kind that a model has and an intervention leaves.

    Args:
        model: The model.
        part: A name in `PARTS`.
        size: Number of blocks in a unit; they are neighbours once removed blocks are left out.
        under: What is removed already.

    Returns:
        The units by layer; of one layer attention comes first.

    Raises:
        InputError: If the part is unknown or the model has no such part, or there are no such units.

    Example:
        >>> from decision_phases.models import load
        >>> model = load("tiny-gpt2", quiet=True)
        >>> [str(unit) for unit in units_of(model, size=3, under=skip(2))]
        ['blocks 0–3', 'blocks 1–4', 'blocks 3–5']
    """
    if part not in PARTS:
        raise unknown_name("part", part, PARTS)
    for one in PARTS[part]:
        if one != "block" and _SITES[one] not in model.sites:
            msg = f"{model.name} ({model.architecture}) has no {one} to remove; use part='block'"
            raise InputError(msg)
    base = under or Intervention()
    if size != 1 and part != "block":
        msg = f"size={size} with part={part!r}: only blocks are removed together; use size=1 or part='block'"
        raise InputError(msg)
    gone = {one: {*base.removed_blocks, *base.removed(one)} for one in PARTS[part]}
    if part == "block":
        left = [layer for layer in range(model.n_layers) if layer not in gone["block"]]
        if not 1 <= size <= len(left):
            msg = f"size={size}: {len(left)} blocks of {model.name} are left, so it can be 1..{len(left)}"
            raise InputError(msg)
        return tuple(Unit(tuple(left[i : i + size])) for i in range(len(left) - size + 1))
    units = tuple(
        Unit((layer,), one)
        for layer in range(model.n_layers)
        for one in PARTS[part]
        if layer not in gone[one]
    )
    if not units:
        msg = f"no {' or '.join(PARTS[part])} of {model.name} is left under {base}"
        raise InputError(msg)
    return units
