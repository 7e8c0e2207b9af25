"""How long accuracy lasts by every strategy, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from decision_phases.errors import InputError
from decision_phases.plots.style import LIGHT, MARKERS, house_style, new_figure, stroke


@dataclass(frozen=True)
class Area:
    """The area under the curve of one strategy, and its lead over random cuts.

    Attributes:
        name: The strategy.
        area: 1 if nothing is lost, 0 at chance; NaN if undefined.
        interval: Its ends; NaN if unknown.
        lead: Accuracy over that of random cuts, mean over the curve; NaN if not compared.
        lead_interval: Its ends.
        splits: The areas on other splits of the questions: mean minus and plus their standard deviation; NaN if none.

    Example:
        >>> Area("margin", 0.9, (0.8, 1.0), 0.1, (0.0, 0.2)).name
        'margin'
    """

    name: str
    area: float
    interval: tuple[float, float]
    lead: float
    lead_interval: tuple[float, float]
    splits: tuple[float, float] = (np.nan, np.nan)


def strategy_areas(areas: Sequence[Area]) -> Figure:
    """Return areas under curves and leads over random cuts, one row a strategy.

    Args:
        areas: One for each strategy, in the order to be shown.

    Returns:
        A figure of two panels that share their rows.

    Raises:
        InputError: If there is no strategy.

    Example:
        >>> figure = strategy_areas([Area("margin", 0.9, (0.8, 1.0), 0.1, (0.0, 0.2))])
        >>> [axes.get_title("left") for axes in figure.axes]
        ['area under the curve', 'lead over random cuts']
    """
    if not areas:
        raise InputError("no strategy to draw: give at least one.")
    with house_style():
        figure = new_figure(7.6, 1.4 + 0.32 * len(areas))
        left, right = figure.subplots(1, 2, sharey=True)
        right.axvline(0.0, color=LIGHT.muted, linewidth=0.8, linestyle=(0, (4, 3)))
        for row, area in enumerate(areas):
            style = stroke(area.name, row)
            for axes, value, ends in (
                (left, area.area, area.interval),
                (right, area.lead, area.lead_interval),
            ):
                axes.hlines(row, *ends, color=style.light, alpha=0.5, linewidth=1.2)
                axes.plot([value], [row], color=style.light, marker=MARKERS[style.marker], markersize=5.0)
            left.hlines(row + 0.25, *area.splits, color=style.light, linewidth=2.6)
        left.set_yticks(range(len(areas)), [area.name.replace("_", " ") for area in areas])
        left.invert_yaxis()
        left.tick_params(axis="y", length=0.0)
        left.set_title("area under the curve", fontsize=9.0)
        right.set_title("lead over random cuts", fontsize=9.0)
        left.set_xlabel("1: nothing lost, 0: chance")
        right.set_xlabel("accuracy, mean over the curve")
    return figure
