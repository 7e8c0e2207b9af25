"""What rounding takes from weights, by layer."""

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from decision_phases.plots.style import LIGHT, house_style, layer_axis, new_figure


def rounding_by_layer(error: Float[np.ndarray, " layer"], *, title: str = "Rounding of weights") -> Figure:
    """Return the relative error of the rounded weights of every layer as bars.

    Args:
        error: ‖w − ŵ‖ / ‖w‖; NaN where nothing was rounded, which leaves a gap.
        title: Heading.

    Returns:
        A figure of one panel.

    Example:
        >>> figure = rounding_by_layer(np.array([0.01, np.nan, 0.02]))
        >>> [round(float(bar.get_height()), 2) for bar in figure.axes[0].patches]
        [0.01, 0.02]
    """
    kept = np.flatnonzero(~np.isnan(error))
    with house_style():
        figure = new_figure(7.6, 2.4)
        axes = figure.subplots()
        axes.bar(kept, error[kept], width=0.7, color=LIGHT.negative, zorder=2)
        axes.set_ylim(bottom=0.0)
        axes.set_ylabel("relative error")
        layer_axis(axes, error.size)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.0)
    return figure
