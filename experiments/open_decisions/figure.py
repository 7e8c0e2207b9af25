"""The figure of this experiment: margins by layer with and without options, commitment by step, and drift by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.ticker import MaxNLocator

from decision_phases.plots.style import LIGHT, house_style, layer_axis, new_figure, save_figure, stroke


def draw(layers: pd.DataFrame, drift: pd.DataFrame, result: dict[str, Any], path: Path) -> None:
    """Draw and save.

    Args:
        layers: Margin by way of reading and layer.
        drift: Deviation by variant, mode, measure and step.
        result: For commitment and the number of layers.
        path: Where.
    """
    with house_style():
        figure = new_figure(14.0, 3.8)
        left, middle, *right = figure.subplots(1, 4, width_ratios=(1.4, 0.8, 1.0, 1.0))
        left.axhline(0.0, color=LIGHT.muted, linewidth=0.8)
        shown = [
            "options, right answer",
            "options, own choice",
            "open, step 0",
            f"open, step {len(result['commitment']) - 1}",
        ]
        for position, name in enumerate(shown):
            mine, style = layers[layers["read"] == name], stroke(name, position)
            left.fill_between(
                mine["layer"], mine["low"], mine["high"], color=style.light, alpha=0.15, linewidth=0.0
            )
            left.plot(
                mine["layer"],
                mine["margin"],
                color=style.light,
                linestyle=style.linestyle,
                label=name,
            )
            where = result["phases"][name]["transition"]["layer"]
            if where is not None:
                left.axvline(where - 0.5, color=style.light, linewidth=1.0, linestyle=(0, (1, 2)))
        layer_axis(left, result["n_layers"])
        left.set_ylabel("mean margin")
        left.set_title("where the decision forms")
        left.legend(fontsize=7.5)
        steps = [row["step"] for row in result["commitment"]]
        middle.vlines(
            steps,
            [row["low"] for row in result["commitment"]],
            [row["high"] for row in result["commitment"]],
            color=LIGHT.positive,
            alpha=0.5,
        )
        middle.plot(
            steps,
            [row["estimate"] for row in result["commitment"]],
            color=LIGHT.positive,
            marker="o",
            markersize=4,
        )
        middle.set_xlabel("step")
        middle.set_ylabel("mean commitment layer")
        middle.set_title("open decisions by step")
        last = list(dict.fromkeys(drift["variant"]))[-1]
        for axes, measure in zip(right, ("h", "kl_dense_from_pruned"), strict=True):
            mine = drift[(drift["variant"] == last) & (drift["measure"] == measure)]
            for position, (mode, rows) in enumerate(mine.groupby("mode", sort=False)):
                style = stroke(str(mode), position)
                axes.fill_between(
                    rows["step"], rows["low"], rows["high"], color=style.light, alpha=0.15, linewidth=0.0
                )
                axes.plot(
                    rows["step"],
                    rows["value"],
                    color=style.light,
                    linestyle=style.linestyle,
                    label=str(mode).replace("_", " "),
                )
            axes.set_xlabel("step")
            axes.set_title(f"{'1 − cos in h' if measure == 'h' else 'KL in p'}, {last} removed")
            axes.set_ylim(bottom=0.0)
        for axes in (middle, *right):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        right[0].legend(fontsize=7.5)
    save_figure(figure, path)
