"""The margin under steering, by layer and strength."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from decision_phases.plots.style import LIGHT, diverging, house_style, layer_axis, new_figure


def steering_by_layer(
    layers: Sequence[int],
    strengths: Sequence[float],
    margin: Float[np.ndarray, "layer strength"],
    control: Float[np.ndarray, "layer strength"],
    *,
    intact: float,
    n_layers: int,
    transition: int | None = None,
    title: str = "Margin under steering",
) -> Figure:
    """Return the mean margin by layer, one line a strength, with the fitted direction and with random ones.

    Args:
        layers: Where directions were added.
        strengths: How often.
        margin: With the fitted direction.
        control: With random directions of the same length.
        intact: Without any.
        n_layers: Layers of the intact model.
        transition: First layer of the Decisive Phase, or None.
        title: Heading.

    Returns:
        A figure of two panels that share their scales.

    Example:
        >>> figure = steering_by_layer([0, 1], [1.0], np.zeros((2, 1)), np.zeros((2, 1)), intact=0.1, n_layers=2)
        >>> [axes.get_title(loc="left") for axes in figure.axes]
        ['direction of the right option', 'random direction of the same length']
    """
    most = max(abs(s) for s in strengths)
    colours = diverging()
    with house_style():
        figure = new_figure(9.0, 3.4)
        panels = figure.subplots(1, 2, sharex=True, sharey=True)
        titles = ("direction of the right option", "random direction of the same length")
        for axes, values, name in zip(panels, (margin, control), titles, strict=True):
            axes.axhline(intact, color=LIGHT.muted, linewidth=0.9, linestyle=(0, (4, 3)))
            for place, strength in enumerate(strengths):
                share = 0.5 + 0.5 * np.sign(strength) * (0.35 + 0.65 * abs(strength) / most)
                axes.plot(
                    layers,
                    values[:, place],
                    marker="o",
                    markersize=3.0,
                    color=colours(share),
                    label=f"{strength:+g}",
                )
            if transition is not None:
                axes.axvline(transition - 0.5, color=LIGHT.transition, linewidth=1.1)
            axes.set_title(name, fontsize=9.0)
            layer_axis(axes, n_layers)
        panels[0].set_ylabel("mean margin")
        figure.legend(
            *panels[0].get_legend_handles_labels(), title="strength", loc="outside right upper", fontsize=8
        )
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.0)
    return figure
