"""Lines by layer with their intervals in panels, and a map of layers and heads below them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from decision_phases.errors import InputError
from decision_phases.plots.style import (
    LIGHT,
    MARKERS,
    diverging,
    house_style,
    layer_axis,
    new_figure,
    stroke,
)
from decision_phases.stats import Interval


@dataclass(frozen=True, eq=False)
class LinePanel:
    """Lines that share an axis.

    Attributes:
        label: Of the vertical axis.
        lines: Name → mean and interval at every layer; NaN where there is none.
        level: Where a line is drawn across; None for nowhere.
        title: Above the panel.
        marks: Name → layer at whose front edge a dotted bar is drawn in the line's colour; None for none.
    """

    label: str
    lines: Mapping[str, Interval]
    level: float | None = 0.0
    title: str = ""
    marks: Mapping[str, int | None] | None = None


def line_panels(
    panels: Sequence[LinePanel],
    *,
    n_layers: int,
    heads: Float[np.ndarray, "layer head"] | None = None,
    edited: Sequence[int] = (),
    title: str = "",
) -> Figure:
    """Return panels of lines by layer, one below the other.

    Args:
        panels: From the top.
        n_layers: Layers of the intact model.
        heads: A value for every head, drawn as a map below the panels; NaN where there is none.
        edited: Layers that are shaded.
        title: Heading.

    Returns:
        A figure of panels that share the layer axis.

    Raises:
        InputError: If there is nothing to draw.

    Example:
        >>> line = Interval(np.zeros(3), np.zeros(3) - 1, np.ones(3), 0.95, "percentile")
        >>> figure = line_panels([LinePanel("recovery", {"answer": line})], n_layers=3, heads=np.eye(3)[:, :2])
        >>> [axes.get_ylabel() for axes in figure.axes[:2]]
        ['recovery', 'head']
    """
    if (not panels or not all(panel.lines for panel in panels)) and heads is None:
        raise InputError("nothing to draw: give at least one panel with a line, or a value for every head.")
    count = len(panels) + (heads is not None)
    with house_style():
        figure = new_figure(7.6, 1.2 + 2.1 * count)
        rows = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
        for axes, panel in zip(rows, panels, strict=False):
            for layer in edited:
                axes.axvspan(layer - 0.5, layer + 0.5, color=LIGHT.silent, linewidth=0.0, zorder=0)
            _draw(axes, panel)
        if heads is not None:
            _heads(figure, rows[-1], heads)
        for axes in rows:
            layer_axis(axes, n_layers, label=axes is rows[-1])
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.0)
        figure.align_ylabels()
    return figure


def _draw(axes: Axes, panel: LinePanel) -> None:
    if panel.level is not None:
        axes.axhline(panel.level, color=LIGHT.muted, linewidth=0.8, zorder=1)
    for place, (name, line) in enumerate(panel.lines.items()):
        look = stroke("", place)
        there = ~np.isnan(line.estimate)
        layers = np.flatnonzero(there)
        axes.vlines(
            layers, line.low[there], line.high[there], color=look.light, alpha=0.35, linewidth=2.0, zorder=2
        )
        axes.plot(
            layers,
            line.estimate[there],
            color=look.light,
            linestyle=look.linestyle,
            marker=MARKERS[look.marker],
            markersize=3.0,
            linewidth=1.4,
            label=name,
            zorder=3,
        )
        mark = (panel.marks or {}).get(name)
        if mark is not None:
            axes.axvline(mark - 0.5, color=look.light, linewidth=1.0, linestyle=(0, (1, 2)))
    axes.set_ylabel(panel.label)
    axes.set_title(panel.title, fontsize=8.5, color=LIGHT.muted)
    axes.legend(fontsize=8.0, ncols=len(panel.lines), loc="lower right", bbox_to_anchor=(1.0, 0.98))


def _heads(figure: Figure, axes: Axes, heads: Float[np.ndarray, "layer head"]) -> None:
    known = heads[~np.isnan(heads)]
    most = float(np.abs(known).max()) if known.size else 0.0
    most = most or 1.0
    image = axes.imshow(
        heads.T, aspect="auto", cmap=diverging(), vmin=-most, vmax=most, interpolation="nearest"
    )
    axes.set_ylabel("head")
    axes.set_yticks(range(0, heads.shape[1], max(1, heads.shape[1] // 8)))
    figure.colorbar(image, ax=axes, pad=0.01, fraction=0.03)
