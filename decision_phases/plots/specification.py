"""Estimates under every choice of analysis, and how close a lens comes to the model."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from decision_phases.errors import InputError
from decision_phases.plots.style import LIGHT, house_style, layer_axis, new_figure, stroke


def specification_panels(
    estimates: Float[np.ndarray, " specification"],
    intervals: Float[np.ndarray, "specification 2"],
    choices: Mapping[str, Sequence[str]],
    *,
    n_layers: int,
    title: str = "Transition under every specification",
) -> Figure:
    """Return estimates in the order given, with intervals, above a grid that marks the choices behind each.

    Args:
        estimates: A layer for each specification; NaN where none is found, which leaves a gap.
        intervals: Lower and upper ends; NaN for none.
        choices: Name of a choice → its value in each specification.
        n_layers: Layers of the model.
        title: Heading.

    Returns:
        A figure of two panels that share their columns.

    Raises:
        InputError: If there is no specification, or a choice has another number of values.

    Example:
        >>> figure = specification_panels(
        ...     np.array([3.0, np.nan]), np.array([[2.0, 4.0], [np.nan, np.nan]]), {"lens": ["a", "b"]}, n_layers=6
        ... )
        >>> [label.get_text() for label in figure.axes[1].get_yticklabels()]
        ['a', 'b']
    """
    n = len(estimates)
    if not n or any(len(values) != n for values in choices.values()):
        sizes = {name: len(values) for name, values in choices.items()}
        raise InputError(
            f"{n} estimates and choices of {sizes} given; give at least one, and as many of each."
        )
    rows = [(name, value) for name, values in choices.items() for value in dict.fromkeys(values)]
    found = ~np.isnan(estimates)
    columns = np.arange(n)
    with house_style():
        figure = new_figure(max(6.4, 1.8 + 0.11 * n), 2.6 + 0.2 * len(rows))
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2.4, 0.2 * len(rows)))
        above.vlines(
            columns[found],
            intervals[found, 0],
            intervals[found, 1],
            color=LIGHT.positive,
            alpha=0.35,
            linewidth=1.4,
        )
        above.plot(columns[found], estimates[found], "o", color=LIGHT.positive, markersize=3.2)
        if not found.all():
            first = int(np.argmin(found))
            above.axvspan(first - 0.5, n - 0.5, color=LIGHT.silent, linewidth=0.0, zorder=0)
            above.annotate(
                "none found", (first - 0.5, 1.0), (3.0, -10.0), xycoords=("data", "axes fraction"),
                textcoords="offset points", color=LIGHT.muted, fontsize=8.0,
            )  # fmt: skip
        above.set_ylim(-0.5, n_layers - 0.5)
        above.set_ylabel("transition (layer)")
        above.tick_params(labelbottom=False, bottom=False)
        for row, (name, value) in enumerate(rows):
            marked = np.flatnonzero(np.array([v == value for v in choices[name]]))
            below.plot(marked, np.full(len(marked), row), "s", color=LIGHT.ink, markersize=2.6)
        bounds = np.cumsum([len(dict.fromkeys(values)) for values in choices.values()])[:-1]
        for bound in bounds:
            below.axhline(bound - 0.5, color=LIGHT.rule, linewidth=0.8)
        below.set_yticks(range(len(rows)), [value for _, value in rows], fontsize=7.5)
        below.set_ylim(len(rows) - 0.5, -0.5)
        below.set_xlim(-0.5, n - 0.5)
        below.set_xticks([])
        below.set_xlabel("specifications, in the order of their estimates")
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.0)
    return figure


def divergence_by_layer(
    curves: Mapping[str, Float[np.ndarray, " layer"]],
    intervals: Mapping[str, Float[np.ndarray, "layer 2"]],
    *,
    title: str = "Divergence of every layer's next token from the model's",
) -> Figure:
    """Return a divergence by layer through several lenses.

    Args:
        curves: Name of a lens → mean divergence, in nats.
        intervals: Name of a lens → its interval.
        title: Heading.

    Returns:
        A figure of one panel.

    Example:
        >>> kl = np.array([2.0, 1.0, 0.0])
        >>> figure = divergence_by_layer({"logit lens": kl}, {"logit lens": np.stack([kl, kl], axis=1)})
        >>> figure.axes[0].get_ylabel()
        'KL (nats)'
    """
    with house_style():
        figure = new_figure(7.6, 3.0)
        axes = figure.add_subplot()
        for place, (name, curve) in enumerate(curves.items()):
            colour = LIGHT.positive if place else stroke("random").light
            layers = np.arange(curve.size)
            axes.fill_between(layers, *intervals[name].T, color=colour, alpha=0.18, linewidth=0.0)
            axes.plot(layers, curve, color=colour, linewidth=1.6, marker="o", markersize=3.0, label=name)
        axes.set_ylim(bottom=0.0)
        axes.set_ylabel("KL (nats)")
        axes.legend(fontsize=8)
        layer_axis(axes, max(curve.size for curve in curves.values()))
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.0)
    return figure
