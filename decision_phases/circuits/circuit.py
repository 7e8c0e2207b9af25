"""A set of heads and MLPs as a value, and the components that a model has left under an intervention."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool

from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.interventions.layer_sets import format_layers
from decision_phases.models import ModelAccess


@dataclass(frozen=True)
class Component:
    """One head or MLP.

    Attributes:
        layer: 0-based layer of the intact model.
        head: 0-based head; None for the MLP.

    Example:
        >>> print(Component(3, 1), Component(4))
        head 3.1 mlp 4
    """

    layer: int
    head: int | None = None

    @property
    def site(self) -> str:
        """Where it is ablated."""
        return "mlp_out" if self.head is None else "head_out"

    def __str__(self) -> str:
        return f"mlp {self.layer}" if self.head is None else f"head {self.layer}.{self.head}"


@dataclass(frozen=True, eq=False)
class Circuit:
    """A set of components, as a mask over all that the intact model has.

    Columns are heads in order, and the MLP last: the shape in which scores come too.

    Attributes:
        members: Which components belong to it.
        present: Which components there are; those of removed parts are not.

    Raises:
        InputError: If the shapes differ, or a member is not there.

    Example:
        >>> there = np.ones((2, 3), dtype=bool)
        >>> Circuit.of([Component(0, 1), Component(1)], there)
        <Circuit: 2 of 6 components: head 0.1, mlp 1>
    """

    members: Bool[np.ndarray, "layer component"] = field(repr=False)
    present: Bool[np.ndarray, "layer component"] = field(repr=False)

    def __post_init__(self) -> None:
        if self.members.shape != self.present.shape or self.members.shape[1] < 2:
            msg = (
                f"members {self.members.shape} and components {self.present.shape} given; both must be [layer, "
                "component], the heads first and the MLP last"
            )
            raise InputError(msg)
        missing = np.argwhere(self.members & ~self.present)
        if len(missing):
            msg = f"{self._component(*missing[0].tolist())} is not there, so it cannot be part of a circuit"
            raise InputError(msg)

    @classmethod
    def of(cls, components: Iterable[Component], present: Bool[np.ndarray, "layer component"]) -> Circuit:
        """Return the circuit of some components.

        Args:
            components: Its members.
            present: Which components there are.

        Returns:
            The circuit.

        Raises:
            InputError: If one of them is not there.
        """
        members = np.zeros_like(present)
        for one in components:
            column = present.shape[1] - 1 if one.head is None else one.head
            heads = present.shape[1] - 1
            if not 0 <= one.layer < len(present) or (one.head is not None and not 0 <= one.head < heads):
                msg = f"{one} is out of range: there are {len(present)} layers of {heads} heads"
                raise InputError(msg)
            members[one.layer, column] = True
        return cls(members, present)

    def _component(self, layer: int, column: int) -> Component:
        return Component(layer, None if column == self.members.shape[1] - 1 else column)

    @property
    def components(self) -> tuple[Component, ...]:
        """Its members, layer by layer."""
        return tuple(self._component(*place) for place in np.argwhere(self.members).tolist())

    @property
    def others(self) -> tuple[Component, ...]:
        """What else is there."""
        return tuple(self._component(*place) for place in np.argwhere(self.present & ~self.members).tolist())

    @property
    def complement(self) -> Circuit:
        """Everything else that is there."""
        return Circuit(self.present & ~self.members, self.present)

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers with members."""
        return tuple(np.flatnonzero(self.members.any(axis=1)).tolist())

    def within(self, present: Bool[np.ndarray, "layer component"]) -> Circuit:
        """Return what is left of it where other components are there.

        Args:
            present: Which components there are.

        Returns:
            The circuit of the members that are.
        """
        return Circuit(self.members & present, present)

    def __len__(self) -> int:
        return int(self.members.sum())

    def __iter__(self) -> Iterator[Component]:
        return iter(self.components)

    def __contains__(self, one: object) -> bool:
        return one in self.components

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Circuit):
            return NotImplemented
        return bool(
            np.array_equal(self.members, other.members) and np.array_equal(self.present, other.present)
        )

    def __hash__(self) -> int:
        return hash((self.members.tobytes(), self.present.tobytes()))

    def to_pandas(self) -> pd.DataFrame:
        """One row for every component that is there.

        Returns:
            Columns component, layer, kind, head, member.
        """
        rows: list[dict[str, Any]] = []
        for layer, column in np.argwhere(self.present).tolist():
            one = self._component(layer, column)
            rows.append(
                {
                    "component": str(one),
                    "layer": one.layer,
                    "kind": "mlp" if one.head is None else "head",
                    "head": one.head,
                    "member": bool(self.members[layer, column]),
                }
            )
        return pd.DataFrame(rows).astype({"head": "Int64"})

    def __repr__(self) -> str:
        """Its members, or their layers where they are many."""
        some = ", ".join(map(str, self.components))
        if len(self) > 12:
            heads = sum(one.head is not None for one in self)
            some = f"{heads} heads and {len(self) - heads} MLPs in layers {format_layers(self.layers)}"
        return f"<Circuit: {len(self)} of {int(self.present.sum())} components: {some or 'none'}>"


def components_of(
    model: ModelAccess, under: Intervention | None = None
) -> Bool[np.ndarray, "layer component"]:
    """Return which heads and MLPs a model has left.

    Args:
        model: The model.
        under: An intervention, whose removals take components away.

    Returns:
        `[layer, component]`, the heads first and the MLP last.

    Raises:
        InputError: If heads or MLPs cannot be told apart in this model.

    Example:
        >>> from decision_phases.interventions import skip
        >>> from decision_phases.models import load
        >>> components_of(load("tiny-gpt2", quiet=True), skip(1) + skip(2, part="mlp")).sum(axis=1).tolist()
        [5, 0, 4, 5, 5, 5]
    """
    for site in ("head_out", "mlp_out"):
        model.hook_point(0, site)
    present = np.ones((model.n_layers, model.n_heads + 1), dtype=bool)
    for edit in (under or Intervention()).edits:
        if edit.op == "skip":
            columns = {"block": slice(None), "attention": slice(0, -1), "mlp": slice(-1, None)}[edit.site]
            present[edit.layer, columns] = False
    return present
