"""Margin by layer: where the readout turns to the right answer."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from decision_phases.plots.style import LIGHT, house_style, layer_axis, new_figure


def margin_by_layer(
    margin: Float[np.ndarray, " layer"],
    margin_ci: Float[np.ndarray, "layer 2"],
    accuracy: Float[np.ndarray, " layer"],
    accuracy_ci: Float[np.ndarray, "layer 2"],
    *,
    chance: float,
    transition: int | None = None,
    transition_ci: tuple[float | int, float | int] | None = None,
    title: str = "Decision margin by layer",
) -> Figure:
    """Return the mean margin of every layer with its interval, and the accuracy in a panel below.

    Layers before the transition are shaded and named Silent, the others Decisive, with a line between them;
    the grey band is the interval of that line. Without a transition nothing is shaded and the figure says so.

    Args:
        margin: Mean margin, p(gold) − max p(other); NaN where the layer was removed.
        margin_ci: Lower and upper end of its interval.
        accuracy: Share of questions answered correctly from that layer.
        accuracy_ci: Lower and upper end of its interval.
        chance: Accuracy of guessing.
        transition: First layer of the Decisive Phase, or None.
        transition_ci: Interval of the transition in layers.
        title: Heading.

    Returns:
        A figure of two panels that share the layer axis.

    Example:
        >>> rise = np.array([-0.4, -0.3, 0.5])
        >>> band = np.stack([rise - 0.1, rise + 0.1], axis=1)
        >>> figure = margin_by_layer(rise, band, rise + 0.4, band + 0.4, chance=0.25, transition=2)
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['mean margin', 'accuracy']
    """
    layers = np.arange(margin.size)
    with house_style():
        figure = new_figure(7.6, 4.6)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3.0, 1.2))
        for axes in (above, below):
            _phases(axes, margin.size, transition, transition_ci)
        _series(above, layers, margin, margin_ci)
        _series(below, layers, accuracy, accuracy_ci)
        above.axhline(0.0, color=LIGHT.muted, linewidth=0.8, zorder=1.5)
        above.set_ylabel("mean margin")
        above.tick_params(labelbottom=False)
        below.axhline(chance, color=LIGHT.muted, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1.5)
        below.annotate(
            "chance",
            (0.0, chance),
            (3.0, 3.0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            color=LIGHT.muted,
            fontsize=8.0,
        )
        below.set_ylim(0.0, 1.0)
        below.set_ylabel("accuracy")
        layer_axis(below, margin.size)
        _phase_names(above, margin.size, transition)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.0)
        figure.align_ylabels()
    return figure


def _series(
    axes: Axes,
    layers: Int[np.ndarray, " layer"],
    values: Float[np.ndarray, " layer"],
    interval: Float[np.ndarray, "layer 2"],
) -> None:
    axes.fill_between(
        layers, interval[:, 0], interval[:, 1], color=LIGHT.positive, alpha=0.18, linewidth=0.0, zorder=2
    )
    axes.plot(layers, values, color=LIGHT.positive, linewidth=1.6, marker="o", markersize=3.2, zorder=3)


def _phases(
    axes: Axes, n_layers: int, transition: int | None, transition_ci: tuple[float | int, float | int] | None
) -> None:
    if transition is None:
        return
    boundary = transition - 0.5
    axes.axvspan(-0.5, boundary, color=LIGHT.silent, linewidth=0.0, zorder=0)
    axes.axvspan(boundary, n_layers - 0.5, color=LIGHT.decisive, linewidth=0.0, zorder=0)
    if transition_ci is not None:
        low, high = transition_ci
        axes.axvspan(low - 0.5, high - 0.5, color=LIGHT.transition, alpha=0.10, linewidth=0.0, zorder=0.5)
    axes.axvline(boundary, color=LIGHT.transition, linewidth=1.1, zorder=1.8)


def _phase_names(axes: Axes, n_layers: int, transition: int | None) -> None:
    if transition is None:
        axes.set_title("no transition found", color=LIGHT.muted, fontsize=9.0)
        return
    above = axes.get_xaxis_transform()
    text: dict[str, Any] = {"transform": above, "va": "bottom", "fontsize": 9.0, "color": LIGHT.muted}
    if transition > 0:
        axes.text(-0.5, 1.02, f"Silent Phase, layers {_span(0, transition - 1)}", ha="left", **text)
    axes.text(n_layers - 0.5, 1.02, f"Decisive Phase, {_span(transition, n_layers - 1)}", ha="right", **text)


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}–{last}"
