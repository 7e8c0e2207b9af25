"""Option Frequency: how often each option would be chosen, layer by layer."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from decision_phases.errors import InputError
from decision_phases.plots.style import LIGHT, house_style, layer_axis, new_figure, sequential


def option_frequency(
    frequency: Float[np.ndarray, "layer option"],
    gold: Float[np.ndarray, " option"],
    options: Sequence[str],
    *,
    transition: int | None = None,
    title: str = "Option frequency by layer",
) -> Figure:
    """Return a heat map of option by layer, with the frequency of the right answers beside it.

    Args:
        frequency: Share of questions for which the layer would choose the option; NaN where it was removed.
        gold: Share of questions whose right answer the option is.
        options: What the options are called, in the order of the columns of ``frequency``.
        transition: First layer of the Decisive Phase, or None.
        title: Heading.

    Returns:
        A figure with the heat map, the gold column and a colour scale.

    Raises:
        InputError: If there is not one name for each option.

    Example:
        >>> shares = np.array([[1.0, 0.0], [0.5, 0.5]])
        >>> figure = option_frequency(shares, np.array([0.5, 0.5]), ["A", "B"], transition=1)
        >>> figure.axes[1].get_title()
        'gold'
    """
    n_layers, n_options = frequency.shape
    if len(options) != n_options:
        raise InputError(f"{len(options)} option names for {n_options} options: give one name for each.")
    height = float(np.clip(1.5 + 0.32 * n_options, 2.6, 9.0))
    with house_style():
        figure = new_figure(7.6, height)
        main, side = figure.subplots(1, 2, sharey=True, width_ratios=(n_layers, 1.6))
        edges = np.arange(n_options + 1) - 0.5
        largest = float(max(np.nanmax(frequency, initial=0.0), gold.max(initial=0.0), 1e-9))
        scale = {
            "cmap": sequential(),
            "vmin": 0.0,
            "vmax": largest,
            "edgecolors": LIGHT.paper,
            "linewidth": 0.6,
        }
        cells = np.ma.masked_invalid(frequency.T)
        mesh = main.pcolormesh(np.arange(n_layers + 1) - 0.5, edges, cells, **scale)
        side.pcolormesh([0.0, 1.0], edges, gold[:, None], **scale)
        layer_axis(main, n_layers)
        main.set_yticks(range(n_options), [_short(name) for name in options])
        main.invert_yaxis()
        side.set_xticks([])
        side.tick_params(left=False, labelleft=False)
        side.set_title("gold", fontsize=9.0, loc="center", color=LIGHT.muted, pad=4.0)
        for axes in (main, side):
            axes.spines[:].set_visible(False)
            axes.tick_params(length=0.0)
        if transition is not None:
            main.axvline(transition - 0.5, color=LIGHT.transition, linewidth=1.1)
            main.annotate(
                "transition",
                (transition - 0.5, 1.0),
                (0.0, 4.0),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha="center",
                fontsize=8.0,
                color=LIGHT.muted,
            )
        bar = figure.colorbar(mesh, ax=[main, side], pad=0.02, aspect=18, label="share of questions")
        bar.outline.set_visible(False)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.0)
    return figure


def _short(name: str, most: int = 18) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
