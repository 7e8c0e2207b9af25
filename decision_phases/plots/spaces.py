"""Deviation of a pruned model from the dense one by layer, in several spaces."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from decision_phases.errors import InputError
from decision_phases.plots.style import (
    LIGHT,
    MARKERS,
    house_style,
    layer_axis,
    log_labels,
    new_figure,
    stroke,
)

_LOOKS = {
    "h": "shallowest",
    "z": "margin",
    "p": "deepest",
    "h to z": "shallowest",
    "z to p": "deepest",
    "options": "margin",
    "random tokens of like rank": "random",
}


@dataclass(frozen=True, eq=False)
class SpaceCurve:
    """One line of a panel.

    Attributes:
        name: What it is.
        value: By layer; NaN where there is none.
        low: Lower ends of its interval; NaN without one.
        high: Upper ends of its interval; NaN without one.

    Example:
        >>> SpaceCurve("h", np.ones(2), np.ones(2), np.ones(2)).name
        'h'
    """

    name: str
    value: Float[np.ndarray, " layer"]
    low: Float[np.ndarray, " layer"]
    high: Float[np.ndarray, " layer"]


@dataclass(frozen=True, eq=False)
class SpacePanel:
    """Lines that share an axis.

    Attributes:
        label: Of the vertical axis.
        curves: The lines.
        level: Where a line is drawn across, such as 1 for a ratio; None for nowhere.
    """

    label: str
    curves: tuple[SpaceCurve, ...]
    level: float | None = None


def space_panels(
    panels: Sequence[SpacePanel], *, n_layers: int, edited: Sequence[int] = (), title: str = ""
) -> Figure:
    """Return panels of lines by layer on logarithmic scales, one below the other.

    Layers that are edited are shaded. What is zero, as is everything before the first edit, is not drawn.

    Args:
        panels: From the top.
        n_layers: Layers of the intact model.
        edited: Layers that the intervention edits.
        title: Heading.

    Returns:
        A figure of panels that share the layer axis.

    Raises:
        InputError: If there is no panel.

    Example:
        >>> ones = np.ones(3)
        >>> figure = space_panels([SpacePanel("1 − cos", (SpaceCurve("h", ones, ones, ones),))], n_layers=3)
        >>> figure.axes[0].get_yscale(), figure.axes[0].get_ylabel()
        ('log', '1 − cos')
    """
    if not panels:
        raise InputError("no deviations to draw: give at least one panel.")
    with house_style():
        figure = new_figure(7.6, 1.0 + 2.0 * len(panels))
        rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, panel in zip(rows, panels, strict=True):
            axes.set_yscale("log")
            for layer in edited:
                axes.axvspan(layer - 0.5, layer + 0.5, color=LIGHT.silent, linewidth=0.0, zorder=0)
            if panel.level is not None:
                axes.axhline(panel.level, color=LIGHT.muted, linewidth=0.8, zorder=1)
            for place, curve in enumerate(panel.curves):
                _draw(axes, curve, place)
            axes.set_ylabel(panel.label)
            log_labels(axes.yaxis)
            axes.legend(fontsize=8.0, ncols=len(panel.curves), loc="lower right", bbox_to_anchor=(1.0, 0.98))
            layer_axis(axes, n_layers, label=axes is rows[-1])
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.0)
        figure.align_ylabels()
    return figure


def _draw(axes: Axes, curve: SpaceCurve, place: int) -> None:
    look = stroke(_LOOKS.get(curve.name, ""), place)
    value, low, high = (np.where(v > 0, v, np.nan) for v in (curve.value, curve.low, curve.high))
    layers = np.arange(value.size)
    axes.fill_between(layers, low, high, color=look.light, alpha=0.18, linewidth=0.0, zorder=2)
    known = np.isfinite(np.pad(value, 1, constant_values=np.nan))
    alone = ~(known[:-2] | known[2:])  # no band spans a single layer
    axes.vlines(layers[alone], low[alone], high[alone], color=look.light, alpha=0.5, linewidth=1.2, zorder=2)
    axes.plot(
        layers,
        value,
        color=look.light,
        linestyle=look.linestyle,
        linewidth=1.5,
        marker=MARKERS[look.marker],
        markersize=3.2,
        label=curve.name,
        zorder=3,
    )
