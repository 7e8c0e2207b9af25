"""The figure of this experiment: accuracy and perplexity of every repair, by criterion and size of the cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from decision_phases.plots.style import LIGHT, MARKERS, house_style, new_figure, save_figure, stroke
from decision_phases.repairs.comparison import INTACT, NOTHING

_COLOURS = {INTACT: LIGHT.ink, NOTHING: LIGHT.negative}


def draw(table: pd.DataFrame, result: dict[str, Any], path: Path) -> None:
    """Draw and save.

    Args:
        table: One row a cut and model.
        result: For chance and the order of the methods.
        path: Where.
    """
    mine = table[(table["group"] == "criterion") & table["sequential"]]
    criteria = list(dict.fromkeys(mine["chosen_by"]))
    methods = [INTACT, NOTHING, *result["methods"]]
    with house_style():
        figure = new_figure(4.6 * len(criteria) + 1.6, 5.6)
        panels = figure.subplots(2, len(criteria), sharey="row", squeeze=False)
        for column, criterion in enumerate(criteria):
            rows = mine[mine["chosen_by"] == criterion]
            sizes = list(dict.fromkeys(rows["blocks"]))
            above, below = panels[:, column]
            above.axhline(result["chance"], color=LIGHT.muted, linewidth=0.8, linestyle=(0, (4, 3)))
            for place, method in enumerate(methods):
                points = rows[rows["method"] == method].set_index("blocks").loc[sizes]
                x = np.arange(len(sizes)) + 0.06 * (place - len(methods) / 2)
                look = stroke(method, place)
                colour = _COLOURS.get(method, look.light)
                above.vlines(x, points["accuracy_low"], points["accuracy_high"], color=colour, alpha=0.35)
                for axes, field in ((above, "accuracy"), (below, "perplexity")):
                    values = points[field].astype(float)
                    axes.plot(x, values, MARKERS[look.marker], markersize=4.5, color=colour, label=method)
            below.set_yscale("log")
            above.set_ylim(0.0, 1.0)
            above.set_title(f"cuts by {criterion.replace('_', ' ')}")
            for axes in (above, below):
                axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
            below.set_xlabel("blocks removed")
        panels[0, 0].set_ylabel("accuracy")
        panels[1, 0].set_ylabel("perplexity")
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(
            handles, [label.replace("_", " ") for label in labels], loc="outside right upper", fontsize=8
        )
    save_figure(figure, path)
