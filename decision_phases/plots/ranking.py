"""Importance of units by layer, one panel a criterion."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from decision_phases.errors import InputError
from decision_phases.plots.style import LIGHT, house_style, layer_axis, new_figure

_LOOKS = {"block": (LIGHT.ink, "o"), "attention": (LIGHT.positive, "o"), "mlp": (LIGHT.negative, "s")}


@dataclass(frozen=True, eq=False)
class ScorePanel:
    """Scores of one criterion.

    Attributes:
        name: The criterion.
        layer: Where each unit is; the middle of those of several blocks.
        part: "block", "attention" or "mlp" of each.
        score: Its importance.
        low: Lower end of its interval; NaN if there is none.
        high: Upper end of its interval; NaN if there is none.

    Example:
        >>> ScorePanel("kl", np.arange(2.0), ("block",) * 2, np.ones(2), np.ones(2), np.ones(2)).name
        'kl'
    """

    name: str
    layer: Float[np.ndarray, " unit"]
    part: tuple[str, ...]
    score: Float[np.ndarray, " unit"]
    low: Float[np.ndarray, " unit"]
    high: Float[np.ndarray, " unit"]


def unit_scores(
    panels: Sequence[ScorePanel], *, n_layers: int, title: str = "Importance by layer, lowest removed first"
) -> Figure:
    """Return the scores of every unit with their intervals, one panel a criterion.

    Args:
        panels: One for each criterion; their scales differ.
        n_layers: Number of layers of the intact model.
        title: Heading.

    Returns:
        A figure of panels that share the layer axis.

    Raises:
        InputError: If there is no panel.

    Example:
        >>> ones = np.ones(2)
        >>> figure = unit_scores([ScorePanel("kl", np.arange(2.0), ("block",) * 2, ones, ones, ones)], n_layers=2)
        >>> figure.axes[0].get_ylabel()
        'kl'
    """
    if not panels:
        raise InputError("no scores to draw: give at least one criterion.")
    with house_style():
        figure = new_figure(7.6, 1.2 + 1.7 * len(panels))
        rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, panel in zip(rows, panels, strict=True):
            _draw(axes, panel)
            layer_axis(axes, n_layers, label=axes is rows[-1])
        parts = {part for panel in panels for part in panel.part}
        if len(parts) > 1:
            rows[0].legend(loc="best", fontsize=8.5)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.0)
        figure.align_ylabels()
    return figure


def _draw(axes: Axes, panel: ScorePanel) -> None:
    axes.axhline(0.0, color=LIGHT.rule, linewidth=0.8, zorder=1)
    parts = list(dict.fromkeys(panel.part))
    for place, part in enumerate(parts):
        rows = np.array([own == part for own in panel.part])
        colour, marker = _LOOKS[part]
        # Side by side, so that attention and MLP of one layer can be told apart.
        x = panel.layer[rows] + 0.16 * (place - (len(parts) - 1) / 2)
        axes.vlines(x, panel.low[rows], panel.high[rows], color=colour, alpha=0.5, linewidth=1.2, zorder=2)
        axes.plot(
            x,
            panel.score[rows],
            color=colour,
            marker=marker,
            markersize=4.0,
            linewidth=0.0,
            label=part,
            zorder=3,
        )
    axes.set_ylabel(panel.name.replace("_", " "))
