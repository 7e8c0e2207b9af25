"""Which blocks are trained: those around what is removed."""

from __future__ import annotations

from decision_phases.interventions import Intervention, layer_runs


def surviving(n_layers: int, cut: Intervention) -> tuple[int, ...]:
    """The layers of which something is left.

    Args:
        n_layers: Number of layers.
        cut: The cut.

    Returns:
        The layers, ascending.

    Example:
        >>> from decision_phases.interventions import skip
        >>> surviving(4, skip(1) + skip(2, part="mlp"))
        (0, 2, 3)
    """
    emptied = set(cut.removed("attention")) & set(cut.removed("mlp"))
    return tuple(layer for layer in range(n_layers) if layer not in {*cut.removed_blocks, *emptied})


def around(n_layers: int, cut: Intervention, neighbours: int | None) -> tuple[int, ...]:
    """The layers next to what is removed.

    Args:
        n_layers: Number of layers.
        cut: The cut.
        neighbours: How many surviving layers before and behind every gap; a layer that has lost its attention or its
            MLP is one itself, with as many on either side. None for all layers.

    Returns:
        The layers, ascending.

    Example:
        >>> from decision_phases.interventions import skip
        >>> around(10, skip(4, 5), 1), around(10, skip(4, part="mlp"), 1), around(4, skip(2), None)
        ((3, 6), (3, 4, 5), (0, 1, 3))
    """
    left = surviving(n_layers, cut)
    if neighbours is None:
        return left
    hurt = {*cut.removed("attention"), *cut.removed("mlp")} & set(left)
    gaps = [
        *layer_runs([layer for layer in range(n_layers) if layer not in left]),
        *((layer,) for layer in hurt),
    ]
    chosen = set(hurt)
    for gap in gaps:
        before, behind = ([x for x in left if x < gap[0]], [x for x in left if x > gap[-1]])
        chosen |= {*before[-neighbours:], *behind[:neighbours]}
    return tuple(sorted(chosen))
