"""The figure of this experiment: margin by layer through two lenses, and what random cuts of each phase cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import decision_phases as dp
from decision_phases.plots.style import LIGHT, house_style, layer_axis, new_figure, save_figure, stroke

_NAMES = {"silent": "within_silent", "decisive": "within_decisive", "anywhere": "random"}


def draw(
    decisions: dp.Decisions,
    beside: dp.Decisions,
    phases: dp.Phases,
    table: pd.DataFrame,
    result: dict[str, Any],
    path: Path,
) -> None:
    """Draw and save.

    Args:
        decisions: Through the logit lens.
        beside: Through the last blocks.
        phases: Of the former.
        table: What cuts cost, one row a cell; drawn for the first boundary in it.
        result: For chance and intact accuracy.
        path: Where.
    """
    with house_style():
        figure = new_figure(11.0, 3.8)
        left, *right = figure.subplots(1, 3, width_ratios=(1.5, 1.0, 1.0))
        layers = np.arange(decisions.n_layers)
        left.axhline(0.0, color=LIGHT.muted, linewidth=0.8)
        left.plot(layers, decisions.margin.mean(axis=0), color=stroke("margin").light, label="logit lens")
        left.plot(
            layers,
            beside.margin.mean(axis=0),
            color=stroke("random").light,
            linestyle="--",
            label="last blocks",
        )
        if phases.found:
            assert phases.ci is not None
            left.axvspan(phases.ci[0] - 0.5, phases.ci[1] - 0.5, color=LIGHT.muted, alpha=0.2, linewidth=0.0)
            left.axvline(phases.transition - 0.5, color=LIGHT.muted)
        layer_axis(left, decisions.n_layers)
        left.set_ylabel("mean decision margin")
        left.set_title("where the decision forms")
        left.legend(fontsize=8)
        for axes, shape in zip(right, ("scattered", "contiguous"), strict=True):
            axes.axhline(result["chance"], color=LIGHT.muted, linewidth=0.8, linestyle=(0, (4, 3)))
            if len(table):
                axes.axhline(result["intact_accuracy"], color=LIGHT.muted, linewidth=0.8)
                mine = table[
                    (table["shape"] == shape)
                    & (table["exclude"] == "none")
                    & (table["boundary"] == table["boundary"].iloc[0])
                ]
                for shift, (region, rows) in enumerate(mine.groupby("region", sort=False)):
                    x = rows["size"] + 0.08 * (shift - 1)
                    colour = stroke(_NAMES[str(region)], shift).light
                    axes.vlines(x, rows["low"], rows["high"], color=colour, alpha=0.6)
                    axes.plot(x, rows["accuracy"], marker="o", markersize=4, color=colour, label=str(region))
                axes.set_xticks(sorted(set(mine["size"])))
                axes.legend(fontsize=8)
            axes.set_ylim(0.0, 1.0)
            axes.set_xlabel("blocks removed")
            axes.set_title(f"accuracy, {shape} cuts")
    save_figure(figure, path)
