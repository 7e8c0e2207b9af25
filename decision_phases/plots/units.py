"""What each unit of a model is worth, with the learning curve of the surrogate that says so."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from decision_phases.errors import InputError
from decision_phases.plots.style import LIGHT, house_style, new_figure


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """How well a surrogate knows held-out masks, by the number of masks that it was fitted to.

    Attributes:
        name: The surrogate.
        n_masks: Numbers of masks, ascending.
        r2: Share of the variance of held-out values explained.
        rank_correlation: Spearman's, on the same masks.
    """

    name: str
    n_masks: Int[np.ndarray, " point"]
    r2: Float[np.ndarray, " point"]
    rank_correlation: Float[np.ndarray, " point"]


def unit_values(
    names: Sequence[str],
    values: Float[np.ndarray, " unit"],
    low: Float[np.ndarray, " unit"],
    high: Float[np.ndarray, " unit"],
    *,
    curve: LearningCurve | None = None,
    label: str = "value",
    title: str = "What each unit is worth",
) -> Figure:
    """Return the value of every unit with its interval, and a learning curve in a panel beside.

    Args:
        names: The units.
        values: Their values; those above zero are blue, those below rust.
        low: Lower ends of the intervals, NaN where there is none.
        high: Upper ends.
        curve: Learning curve of the surrogate that the values are read off; None without one.
        label: What the values are.
        title: Heading.

    Returns:
        A figure of one panel, or two with a learning curve.

    Raises:
        InputError: If there is not one name for each value.

    Example:
        >>> figure = unit_values(["block 0", "block 1"], np.array([0.5, -0.1]), np.zeros(2), np.ones(2))
        >>> [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
        ['block 0', 'block 1']
    """
    if len(names) != len(values):
        raise InputError(f"{len(names)} names for {len(values)} values; give one for each.")
    with house_style():
        figure = new_figure(7.6 if curve is None else 9.6, 3.8)
        if curve is None:
            axes = figure.add_subplot()
        else:
            axes, beside = figure.subplots(1, 2, width_ratios=(3.0, 1.0))
            _learning(beside, curve)
        places = np.arange(len(values))
        colours = [LIGHT.positive if value >= 0 else LIGHT.negative for value in values]
        axes.axhline(0.0, color=LIGHT.muted, linewidth=0.8, zorder=1.5)
        axes.bar(places, values, width=0.7, color=colours, alpha=0.35, zorder=2)
        axes.vlines(places, low, high, color=colours, linewidth=1.4, zorder=2.5)
        axes.scatter(places, values, s=16.0, color=colours, zorder=3)
        crowded = sum(len(name) + 2 for name in names) > 80
        axes.set_xticks(places, names, rotation=90 if crowded else 0, fontsize=7.0 if crowded else 8.5)
        axes.set_ylabel(label)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.0)
    return figure


def _learning(axes: Axes, curve: LearningCurve) -> None:
    axes.axhline(0.0, color=LIGHT.rule, linewidth=0.8, zorder=1.5)
    axes.plot(curve.n_masks, curve.r2, color=LIGHT.positive, marker="o", markersize=4.2, label="R²")
    axes.plot(
        curve.n_masks,
        curve.rank_correlation,
        color=LIGHT.negative,
        marker="s",
        markersize=4.2,
        linestyle=(0, (4, 3)),
        label="rank correlation",
    )
    # A surrogate can be wrong without bound; how wrong it is below −1 does not matter.
    axes.set_ylim(-1.05, 1.05)
    axes.set_xlabel("masks fitted to")
    axes.set_title(f"{curve.name} surrogate\non held-out masks", fontsize=8.5, color=LIGHT.muted)
    axes.legend(loc="lower right", fontsize=8.0)
