"""The places of a sweep, and the activations that are put there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from decision_phases.engine import evaluate
from decision_phases.engine.capture import CaptureObserver
from decision_phases.errors import InputError
from decision_phases.interventions import Captured, Intervention, check_position, patch
from decision_phases.interventions.layer_sets import listed_layers
from decision_phases.models import ModelAccess
from decision_phases.tasks import EncodedQuestions

HEADS = "head_out"
#: What is gone where a part is removed.
_INSIDE = {"attn_out": ("block", "attention"), HEADS: ("block", "attention"), "mlp_out": ("block", "mlp")}


@dataclass(frozen=True)
class Cell:
    """One place of a sweep.

    Attributes:
        site: The site.
        layer: The 0-based layer.
        position: The symbolic position.
        head: The 0-based head at `head_out`, −1 elsewhere.
    """

    site: str
    layer: int
    position: str
    head: int = -1

    def __str__(self) -> str:
        where = self.site if self.head < 0 else f"head {self.head}"
        return f"{where} of layer {self.layer} at {self.position}"


def cells_of(
    model: ModelAccess,
    under: Intervention,
    sites: Sequence[str],
    layers: Sequence[int] | None,
    positions: Sequence[str],
) -> tuple[Cell, ...]:
    """List the places of a sweep; single heads at the answer only.

    Args:
        model: The model.
        under: The intervention that it runs under; where it removes something there is no place.
        sites: The sites.
        layers: The layers; by default all that are left.
        positions: The symbolic positions.

    Returns:
        The places.

    Raises:
        InputError: If there are none, a name is unknown, the model has no such site, or a layer is out of range or
            removed.
    """
    for site in sites:
        model.hook_point(0, site)
    for position in positions:
        check_position(position)
    gone = set(under.removed_blocks)
    for layer in () if layers is None else listed_layers(layers):
        model.check_layer(layer)
        if layer in gone:
            msg = f"layer {layer} is removed by {under}; leave it out of layers="
            raise InputError(msg)
    found = cells_left(model, under, sites, layers, positions)
    if not found:
        msg = f"nothing is left to patch: sites {list(sites)}, positions {list(positions)}, under {under}"
        raise InputError(msg)
    return found


def cells_left(
    model: ModelAccess,
    under: Intervention,
    sites: Sequence[str],
    layers: Sequence[int] | None,
    positions: Sequence[str],
) -> tuple[Cell, ...]:
    """List the places of a sweep that an intervention leaves, if any, of names and layers that are known to exist.

    Args:
        model: The model.
        under: The intervention.
        sites: The sites.
        layers: The layers; by default all.
        positions: The symbolic positions.

    Returns:
        The places.
    """
    chosen = range(model.n_layers) if layers is None else sorted(set(layers))
    found = []
    for site in dict.fromkeys(sites):
        for layer in chosen:
            if any(layer in under.removed(part) for part in _INSIDE.get(site, ("block",))):
                continue
            if site == HEADS:
                found += [Cell(site, layer, "answer", head) for head in range(model.n_heads)]
            else:
                found += [Cell(site, layer, position) for position in dict.fromkeys(positions)]
    return tuple(found)


@dataclass(frozen=True)
class Sources:
    """Activations to be put at the places of a sweep.

    Attributes:
        captured: (site, position) → what was captured there.
    """

    captured: Mapping[tuple[str, str], Captured]

    def at(self, cell: Cell) -> Captured:
        """What was captured at a place.

        Args:
            cell: The place.

        Returns:
            The activations of all layers of its site.
        """
        return self.captured[cell.site, cell.position]

    def patch(self, cell: Cell) -> Intervention:
        """Put the activations at a place.

        Args:
            cell: The place.

        Returns:
            The patch.
        """
        return patch(cell.site, cell.layer, self.at(cell), head=None if cell.head < 0 else cell.head)

    def reordered(self, order: Sequence[int]) -> Sources:
        """Give every question the activations of another.

        Args:
            order: For each question, whose.

        Returns:
            The sources.
        """
        return Sources({place: found.reordered(order) for place, found in self.captured.items()})


def sources_of(
    model: ModelAccess, encoded: EncodedQuestions, under: Intervention, cells: Sequence[Cell]
) -> Sources:
    """Capture what a run has at the places of a sweep, all of them in one run.

    Args:
        model: The model.
        encoded: The prompts.
        under: The intervention that it runs under.
        cells: The places.

    Returns:
        The activations.
    """
    layers: dict[tuple[str, str], dict[int, None]] = {}
    for cell in cells:
        layers.setdefault((cell.site, cell.position), {})[cell.layer] = None
    looks: list[CaptureObserver] = [
        CaptureObserver((site,), tuple(own), position, name=f"{site} at {position}")
        for (site, position), own in layers.items()
    ]
    (run,) = evaluate(model, encoded, [under], looks)
    found: dict[tuple[str, str], Any] = {
        place: run[look.name] for place, look in zip(layers, looks, strict=True)
    }
    return Sources(found)
