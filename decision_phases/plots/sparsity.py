"""Share of weights that are zero, by layer."""

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from decision_phases.plots.style import LIGHT, house_style, layer_axis, new_figure


def sparsity_by_layer(share: Float[np.ndarray, " layer"], *, title: str = "Weights set to zero") -> Figure:
    """Return the share of zeros of every layer as bars.

    Args:
        share: In [0, 1]; NaN where the layer was removed, which leaves a gap.
        title: Heading.

    Returns:
        A figure of one panel.

    Example:
        >>> figure = sparsity_by_layer(np.array([0.5, np.nan, 0.0]))
        >>> [round(float(bar.get_height()), 2) for bar in figure.axes[0].patches]
        [0.5, 0.0]
    """
    kept = np.flatnonzero(~np.isnan(share))
    with house_style():
        figure = new_figure(7.6, 2.4)
        axes = figure.subplots()
        axes.bar(kept, share[kept], width=0.7, color=LIGHT.positive, zorder=2)
        axes.set_ylim(0.0, 1.0)
        axes.set_ylabel("share of zeros")
        layer_axis(axes, share.size)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.0)
    return figure
