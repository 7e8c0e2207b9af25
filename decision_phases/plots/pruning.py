"""Accuracy against blocks removed, one curve for each strategy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from decision_phases.errors import InputError
from decision_phases.plots.style import LIGHT, MARKERS, Stroke, house_style, new_figure, stroke


@dataclass(frozen=True)
class Curve:
    """What one strategy does to accuracy as blocks go.

    Attributes:
        name: The strategy.
        removed: Number of blocks removed at each point, ascending.
        accuracy: Accuracy there; the mean over draws if there are several.
        low: Lower end of the interval over questions, or the lowest draw; NaN if unknown.
        high: Upper end of the interval over questions, or the highest draw; NaN if unknown.
        draws: Number of random draws behind each point; 1 for a deterministic strategy.

    Example:
        >>> Curve("margin", np.arange(2), np.ones(2), np.full(2, 0.9), np.ones(2)).draws
        1
    """

    name: str
    removed: Int[np.ndarray, " point"]
    accuracy: Float[np.ndarray, " point"]
    low: Float[np.ndarray, " point"]
    high: Float[np.ndarray, " point"]
    draws: int = 1


def pruning_curves(curves: Sequence[Curve], *, chance: float, unit: str = "block", title: str = "") -> Figure:
    """Return accuracy against blocks removed: lines with intervals, and random draws as a band.

    Args:
        curves: One for each strategy.
        chance: Accuracy of guessing.
        unit: What is removed one by one, in the singular.
        title: Heading; it says what is removed by default.

    Returns:
        A figure of one panel, whose curves are named in a legend beside it.

    Raises:
        InputError: If there is no curve.

    Example:
        >>> flat = Curve("margin", np.arange(3), np.ones(3), np.full(3, 0.9), np.ones(3))
        >>> pruning_curves([flat], chance=0.25).axes[0].get_xlabel()
        'blocks removed'
    """
    if not curves:
        raise InputError("no pruning curve to draw: give at least one strategy.")
    with house_style():
        figure = new_figure(7.6, 3.8)
        axes = figure.add_subplot()
        axes.axhline(chance, color=LIGHT.muted, linewidth=0.8, linestyle=(0, (4, 3)), label="chance")
        lines = [curve for curve in curves if curve.draws == 1]
        for position, curve in enumerate(curves):
            style = stroke(curve.name, position)
            if curve.draws > 1:
                _band(axes, curve, style)
            else:
                # Side by side, so that the intervals of several strategies can be told apart.
                shift = 0.07 * (lines.index(curve) - (len(lines) - 1) / 2.0)
                _line(axes, curve, style, shift)
        axes.set_ylim(0.0, 1.0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_xlabel(f"{unit}s removed")
        axes.set_ylabel("accuracy")
        figure.legend(loc="outside right upper", fontsize=8.5)
        figure.suptitle(title or f"Accuracy as {unit}s are removed", x=0.01, ha="left", fontsize=11.0)
    return figure


def _band(axes: Axes, curve: Curve, style: Stroke) -> None:
    axes.fill_between(
        curve.removed, curve.low, curve.high, color=style.light, alpha=0.22, linewidth=0.0, zorder=1.5
    )
    label = f"{curve.name.replace('_', ' ')}: mean and\nrange of {curve.draws} draws"
    dash = style.linestyle
    axes.plot(
        curve.removed, curve.accuracy, color=style.light, linewidth=1.4, linestyle=dash, label=label, zorder=2
    )


def _line(axes: Axes, curve: Curve, style: Stroke, shift: float) -> None:
    x = curve.removed + shift
    axes.vlines(x, curve.low, curve.high, color=style.light, alpha=0.4, linewidth=1.0, zorder=2.5)
    axes.plot(
        x,
        curve.accuracy,
        color=style.light,
        linewidth=1.6,
        linestyle=style.linestyle,
        marker=MARKERS[style.marker],
        markersize=4.2,
        label=curve.name.replace("_", " "),
        zorder=3,
    )
