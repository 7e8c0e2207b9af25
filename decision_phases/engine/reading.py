"""Keeping what observers read while a model runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from decision_phases.engine.batches import Cells
from decision_phases.engine.lower import Hook
from decision_phases.engine.observers import Reads

#: (leaf, reads, site, layer) → parts, each with its places among the cells of the leaf's batch.
Found = dict[tuple[int, Reads, str, int], tuple[tuple[Tensor, Tensor], ...]]
AROUND = ("resid_pre", "resid_post")  # sites outside the computation of a block


@dataclass(frozen=True)
class Look:
    """Cells of one tensor of activations that are read for one leaf.

    Attributes:
        leaf: The leaf.
        reads: What asks for them.
        cells: The cells.
        places: Their places among the cells of the leaf's batch.
    """

    leaf: int
    reads: Reads
    cells: Cells
    places: Tensor


def wanted_layers(reads: Reads, n_layers: int) -> range | tuple[int, ...]:
    """The layers that an observer reads.

    Args:
        reads: What it asked for.
        n_layers: Layers of the model.

    Returns:
        Layer numbers, −1 for the embedding.
    """
    if reads.layers == "all":
        return range(-1, n_layers)
    return (n_layers - 1,) if reads.layers == "final" else reads.layers


def keeping(found: Found, look: Look, site: str, layer: int) -> Callable[[Tensor], None]:
    """What keeps the cells of a look.

    Args:
        found: Where to.
        look: The cells.
        site: Site of the activations.
        layer: Their layer.

    Returns:
        A function of the activations.
    """
    key = (look.leaf, look.reads, site, layer)

    def read(x: Tensor) -> None:
        rows, columns = look.cells.rows.to(x.device), look.cells.columns.to(x.device)
        found[key] = (*found.get(key, ()), (look.places, x[rows, columns]))

    return read


def by_reads(found: Found, reads: Sequence[Reads], leaf: int) -> dict[Reads, dict[tuple[str, int], Tensor]]:
    """What was read for one leaf, the parts of each place put together in the order of its cells.

    Args:
        found: All that was read.
        reads: What asked.
        leaf: The leaf.

    Returns:
        For each that asked, (site, layer) → activations.
    """
    gathered: dict[Reads, dict[tuple[str, int], Tensor]] = {r: {} for r in reads}
    for (of, r, site, layer), parts in found.items():
        if of == leaf:
            gathered[r][site, layer] = _joined(parts)
    return gathered


def shown(hooks: Sequence[Hook], site: str, x: Tensor) -> Tensor:
    """What is left of a residual after the functions at its site, called in order as hooks would be.

    Args:
        hooks: (layer, site, function) triples.
        site: The site.
        x: The residual stream there.

    Returns:
        The residual stream that goes on.
    """
    for _, at, fn in hooks:
        if at == site:
            new = fn(x)
            x = x if new is None else new
    return x


def _joined(parts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    if len(parts) == 1:
        return parts[0][1]
    total = sum(len(places) for places, _ in parts)
    out = parts[0][1].new_empty(total, *parts[0][1].shape[1:])
    for places, rows in parts:
        out[places.to(out.device)] = rows
    return out
