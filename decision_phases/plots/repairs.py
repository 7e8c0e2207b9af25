"""What repairs leave of an error, and what they give back of what a cut costs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from decision_phases.errors import InputError
from decision_phases.plots.style import LIGHT, house_style, new_figure


def fit_errors(
    places: Sequence[str],
    before: Sequence[float],
    after: Sequence[float],
    *,
    title: str = "Error before and after the repair",
) -> Figure:
    """Return the error at every place of a cut, before the repair and behind it.

    Args:
        places: What was removed at each.
        before: Relative squared error without a map.
        after: Relative squared error behind the map.
        title: Heading.

    Returns:
        A figure of one panel with a logarithmic scale.

    Raises:
        InputError: If there is no place, or the lengths differ.

    Example:
        >>> fit_errors(["skip {5}"], [0.1], [0.01]).axes[0].get_xscale()
        'log'
    """
    if not places or len({len(places), len(before), len(after)}) != 1:
        raise InputError(
            f"{len(places)} places, {len(before)} and {len(after)} errors given; give one of each."
        )
    with house_style():
        figure = new_figure(6.4, 1.1 + 0.32 * len(places))
        axes = figure.add_subplot()
        rows = np.arange(len(places))[::-1]
        floor = 1e-12  # a perfect map has no place on a logarithmic scale
        low, high = np.maximum(after, floor), np.maximum(before, floor)
        axes.hlines(
            rows, np.minimum(low, high), np.maximum(low, high), color=LIGHT.rule, linewidth=2.0, zorder=1
        )
        axes.plot(high, rows, "o", color=LIGHT.muted, label="the cut alone")
        axes.plot(low, rows, "D", color=LIGHT.positive, label="with the map")
        _names(axes, rows, places)
        axes.set_xscale("log")
        axes.set_xlabel("share of a token's squared length that is missed, mean")
        figure.legend(loc="outside right upper", fontsize=8.5)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.0)
    return figure


def training_loss(losses: Sequence[float], *, title: str = "Training") -> Figure:
    """Return the loss of a training, step by step.

    Args:
        losses: The loss of every step.
        title: Heading.

    Returns:
        A figure of one panel.

    Raises:
        InputError: If there was no step.

    Example:
        >>> training_loss([3.0, 2.0, 1.5]).axes[0].get_xlabel()
        'step'
    """
    if not losses:
        raise InputError("there was no step of training, so there is no loss to draw.")
    with house_style():
        figure = new_figure(6.4, 3.2)
        axes = figure.add_subplot()
        axes.plot(range(1, len(losses) + 1), losses, color=LIGHT.positive, linewidth=1.2)
        axes.set_xlabel("step")
        axes.set_ylabel("loss")
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.0)
    return figure


@dataclass(frozen=True)
class RepairPoint:
    """One repaired model, the cut model or the intact one.

    Attributes:
        name: The repair, "nothing" or "intact".
        accuracy: Accuracy on the questions.
        low: Lower end of its interval.
        high: Upper end of its interval.
        perplexity: Perplexity on texts; NaN if it was not measured.

    Example:
        >>> RepairPoint("ghost", 0.6, 0.5, 0.7, 31.0).perplexity
        31.0
    """

    name: str
    accuracy: float
    low: float
    high: float
    perplexity: float


def repair_comparison(
    points: Sequence[RepairPoint], *, chance: float, title: str = "Repairs of one cut"
) -> Figure:
    """Return accuracy and perplexity of every repair, between doing nothing and the intact model.

    Args:
        points: "intact" and "nothing", drawn as lines, and the repairs.
        chance: Accuracy of guessing.
        title: Heading.

    Returns:
        A figure of two panels that share the rows.

    Raises:
        InputError: If there is no repair.

    Example:
        >>> points = [RepairPoint(name, 0.5, 0.4, 0.6, 30.0) for name in ("intact", "nothing", "ghost")]
        >>> [label.get_text() for label in repair_comparison(points, chance=0.25).axes[0].get_yticklabels()]
        ['ghost']
    """
    own = [point for point in points if point.name not in ("intact", "nothing")]
    if not own:
        raise InputError("no repair to draw: give at least one.")
    with house_style():
        figure = new_figure(8.6, 1.5 + 0.32 * len(own))
        left, right = figure.subplots(1, 2, sharey=True)
        rows = np.arange(len(own))[::-1]
        left.axvline(chance, color=LIGHT.muted, linewidth=0.8, linestyle=(0, (4, 3)), label="chance")
        for axes, field in ((left, "accuracy"), (right, "perplexity")):
            for point in points:
                if point not in own:
                    colour = LIGHT.ink if point.name == "intact" else LIGHT.negative
                    axes.axvline(getattr(point, field), color=colour, linewidth=1.2, label=point.name)
        left.hlines(rows, [p.low for p in own], [p.high for p in own], color=LIGHT.positive, alpha=0.5)
        left.plot([p.accuracy for p in own], rows, "o", color=LIGHT.positive)
        right.plot([p.perplexity for p in own], rows, "o", color=LIGHT.positive)
        right.set_xscale("log")
        left.set_xlim(0.0, 1.0)
        left.set_xlabel("accuracy")
        right.set_xlabel("perplexity")
        _names(left, rows, [p.name.replace("_", " ") for p in own])
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", fontsize=8.5)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.0)
    return figure


def _names(axes: Axes, rows: np.ndarray, names: Sequence[str]) -> None:
    axes.set_yticks(rows, list(names))
    axes.set_ylim(-0.6, len(names) - 0.4)
