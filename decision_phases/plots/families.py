"""What interventions leave of families of tasks, on the scale from floor to intact model."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from decision_phases.errors import InputError
from decision_phases.plots.style import LIGHT, MARKERS, house_style, new_figure, stroke
from decision_phases.stats import Interval


def normalised_scores(
    scores: Mapping[str, Sequence[Interval]],
    variants: Sequence[str],
    *,
    title: str = "What is left: floor 0, intact model 1",
) -> Figure:
    """Return the normalised score of every family, one row an intervention, with intervals.

    Args:
        scores: Family → one estimate with interval for every intervention.
        variants: Names of the interventions.
        title: Heading.

    Returns:
        A figure of one panel.

    Raises:
        InputError: If there is no family or no intervention, or they do not match.

    Example:
        >>> one = Interval(np.array(0.5), np.array(0.4), np.array(0.6), 0.95, "percentile")
        >>> figure = normalised_scores({"retrieval": [one]}, ["skip {3}"])
        >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
        ['skip {3}']
    """
    if not scores or not variants or any(len(row) != len(variants) for row in scores.values()):
        raise InputError("no scores to draw: give at least one family, and one score for each intervention.")
    with house_style():
        figure = new_figure(7.6, 1.4 + 0.24 * len(variants) * max(1, len(scores) / 2))
        axes = figure.add_subplot()
        for level in (0.0, 1.0):
            axes.axvline(level, color=LIGHT.muted, linewidth=0.8)
        rows = np.arange(len(variants), dtype=np.float64)
        for position, (family, found) in enumerate(scores.items()):
            style = stroke(family, position)
            y = rows + 0.7 * ((position + 0.5) / len(scores) - 0.5)
            x, low, high = (
                np.array([float(getattr(one, end)) for one in found]) for end in ("estimate", "low", "high")
            )
            axes.hlines(y, low, high, color=style.light, alpha=0.5, linewidth=1.2)
            axes.plot(
                x,
                y,
                color=style.light,
                marker=MARKERS[style.marker],
                markersize=4.5,
                linewidth=0.0,
                label=family.replace("_", " "),
            )
        axes.set_yticks(rows, list(variants))
        axes.invert_yaxis()
        axes.set_xlabel("(score − floor) / (intact − floor)")
        figure.legend(loc="outside right upper", fontsize=8.5)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.0)
    return figure
