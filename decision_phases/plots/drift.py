"""Deviation of what a changed model says while text is written, step by step."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from decision_phases.errors import InputError
from decision_phases.plots.style import LIGHT, MARKERS, house_style, new_figure, stroke
from decision_phases.stats import Interval


def drift_by_step(
    panels: Mapping[str, Mapping[str, Interval]], *, title: str = "Deviation while text is written"
) -> Figure:
    """Return means over prompts against steps, one panel a measure and one line a mode, with intervals.

    Args:
        panels: Measure → mode → mean and interval at every step.
        title: Heading.

    Returns:
        A figure of panels side by side in rows of two.

    Raises:
        InputError: If there is nothing to draw.

    Example:
        >>> line = Interval(np.arange(3.0), np.arange(3.0), np.arange(3.0), 0.95, "percentile")
        >>> [axes.get_title("left") for axes in drift_by_step({"KL": {"free": line}}).axes]
        ['KL']
    """
    if not panels or not all(panels.values()):
        raise InputError("no deviation to draw: give at least one measure in one mode.")
    n_rows = -(-len(panels) // 2)
    with house_style():
        figure = new_figure(8.4, 0.9 + 2.3 * n_rows)
        grid = figure.subplots(n_rows, min(2, len(panels)), squeeze=False, sharex=True).ravel()
        for axes, (name, lines) in zip(grid, panels.items(), strict=False):
            for position, (mode, line) in enumerate(lines.items()):
                style = stroke(mode, position)
                x = np.arange(len(line.estimate))
                axes.fill_between(x, line.low, line.high, color=style.light, alpha=0.18, linewidth=0.0)
                axes.plot(
                    x,
                    line.estimate,
                    color=style.light,
                    linewidth=1.5,
                    linestyle=style.linestyle,
                    marker=MARKERS[style.marker],
                    markersize=2.5,
                    label=mode.replace("_", " "),
                )
            axes.set_ylim(bottom=0.0)
            axes.set_title(name, fontsize=9.0, color=LIGHT.ink)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        for axes in grid[max(0, len(panels) - 2) : len(panels)]:
            axes.set_xlabel("step")
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", fontsize=8.5)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.0)
    return figure
