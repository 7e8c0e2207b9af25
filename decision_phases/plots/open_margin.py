"""Mean margin of the next token by layer, one line for each step of a text."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from decision_phases.errors import InputError
from decision_phases.plots.style import LIGHT, MARKERS, house_style, layer_axis, new_figure, stroke
from decision_phases.stats import Interval


def margin_by_step(
    lines: Mapping[str, Interval],
    transitions: Mapping[str, int | None],
    *,
    title: str = "Where the next token is decided",
) -> Figure:
    """Return the mean margin by layer, one line a step with its interval, and a bar at each transition.

    Args:
        lines: Step → mean and interval at every layer; NaN where the layer is removed.
        transitions: Step → first layer of the Decisive Phase, None without one.
        title: Heading.

    Returns:
        A figure of one panel.

    Raises:
        InputError: If there is no line.

    Example:
        >>> line = Interval(np.array([-0.5, 0.5]), np.array([-0.6, 0.4]), np.array([-0.4, 0.6]), 0.95, "percentile")
        >>> margin_by_step({"step 0": line}, {"step 0": 1}).axes[0].get_ylabel()
        'mean p(own token) − p(best other)'
    """
    if not lines:
        raise InputError("no margins to draw: give at least one step.")
    with house_style():
        figure = new_figure(7.6, 3.8)
        axes = figure.add_subplot()
        axes.axhline(0.0, color=LIGHT.muted, linewidth=0.8)
        n_layers = 0
        for position, (name, line) in enumerate(lines.items()):
            style = stroke(name, position)
            n_layers = len(line.estimate)
            x = np.arange(n_layers)
            there = ~np.isnan(line.estimate)
            axes.fill_between(
                x[there], line.low[there], line.high[there], color=style.light, alpha=0.15, linewidth=0.0
            )
            axes.plot(
                x[there],
                line.estimate[there],
                color=style.light,
                linestyle=style.linestyle,
                marker=MARKERS[style.marker],
                markersize=3.0,
                linewidth=1.5,
                label=name,
            )
            layer = transitions.get(name)
            if layer is not None:
                axes.axvline(layer - 0.5, color=style.light, linewidth=1.0, linestyle=(0, (1, 2)))
        layer_axis(axes, n_layers)
        axes.set_ylabel("mean p(own token) − p(best other)")
        axes.set_title("dotted: transition", fontsize=8.5, color=LIGHT.muted)
        figure.legend(loc="outside right upper", fontsize=8.5)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.0)
    return figure
