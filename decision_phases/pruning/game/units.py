"""The players: blocks, their attention or MLP parts, or groups of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from decision_phases.errors import InputError, unknown_name
from decision_phases.interventions import Intervention, skip

KINDS: Mapping[str, tuple[str, ...]] = {
    "block": ("block",),
    "attention": ("attention",),
    "mlp": ("mlp",),
    "part": ("attention", "mlp"),
}
"""Name → the parts of every layer that are units."""

UnitsLike = str | Mapping[str, object] | Iterable[object]


@dataclass(frozen=True)
class Units:
    """What is kept or removed as one.

    Attributes:
        names: One a unit.
        cuts: What removing it means.

    Raises:
        InputError: If there are fewer than two, one removes nothing or is more than removals, two share a name, or two
            remove the same.
    """

    names: tuple[str, ...]
    cuts: tuple[Intervention, ...]

    def __post_init__(self) -> None:
        if len(self.names) < 2 or len(self.names) != len(self.cuts):
            msg = f"units {list(self.names)} given with {len(self.cuts)} cuts; a game needs at least two, one cut each"
            raise InputError(msg)
        if len(set(self.names)) != len(self.names):
            msg = f"units {list(self.names)} given; each needs its own name"
            raise InputError(msg)
        for name, cut in zip(self.names, self.cuts, strict=True):
            if not cut or not cut.is_cut:
                msg = f"unit {name!r} is '{cut}'; a unit is one removal or several, such as dp.skip(3, 4)"
                raise InputError(msg)
        sum(self.cuts, Intervention())  # refuses what would be removed twice

    def __len__(self) -> int:
        """Number of units."""
        return len(self.names)

    def cut(self, mask: Bool[np.ndarray, " unit"]) -> Intervention:
        """The removal of every unit that a mask does not keep.

        Args:
            mask: True where the unit is kept.

        Returns:
            The cut; the empty intervention if all are kept.

        Example:
            >>> find_units([3, 5, 8], 12).cut(np.array([True, False, False]))
            <Intervention: skip {5, 8}>
        """
        gone = [cut for cut, kept in zip(self.cuts, mask, strict=True) if not kept]
        return Intervention(tuple(edit for cut in gone for edit in cut.edits))


def find_units(units: UnitsLike | Units, n_layers: int) -> Units:
    """Return the units that are meant.

    Args:
        units: "block", "attention", "mlp" or "part" (attention and MLP apart) for every layer; layers, each a unit; or
            groups: layers or a cut each, in a mapping by name or in a sequence.
        n_layers: Layers of the model.

    Returns:
        The units.

    Raises:
        InputError: If there is no such kind, or the units overlap.

    Example:
        >>> find_units("mlp", 3).names
        ('mlp 0', 'mlp 1', 'mlp 2')
        >>> find_units({"early": (0, 1), "late MLP": skip(4, 5, part="mlp")}, 6).cuts
        (<Intervention: skip {0, 1}>, <Intervention: skip mlp {4, 5}>)
    """
    if isinstance(units, Units):
        return units
    if isinstance(units, str):
        if units not in KINDS:
            raise unknown_name("kind of unit", units, KINDS)
        places = [(part, layer) for layer in range(n_layers) for part in KINDS[units]]
        return Units(
            tuple(f"{part} {layer}" for part, layer in places),
            tuple(skip(layer, part=part) for part, layer in places),
        )
    if isinstance(units, Mapping):
        return Units(tuple(str(name) for name in units), tuple(_as_cut(group) for group in units.values()))
    cuts = tuple(_as_cut(group) for group in units)
    return Units(tuple(_name(cut) for cut in cuts), cuts)


def _as_cut(group: object) -> Intervention:
    if isinstance(group, Intervention):
        return group
    layers: Sequence[object] = list(group) if isinstance(group, Iterable) else [group]
    return skip(*layers)  # type: ignore[arg-type]  # which checks them


def _name(cut: Intervention) -> str:
    """`block 5` for one removal, else the cut in words."""
    (edit, *more) = cut.edits or (None,)
    return str(cut) if more or edit is None else f"{edit.site} {edit.layer}"
