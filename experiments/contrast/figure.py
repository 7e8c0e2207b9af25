"""The figure of this experiment: what is left of every family against the number of parts removed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.ticker import MaxNLocator

from decision_phases.plots.style import LIGHT, MARKERS, house_style, new_figure, save_figure, stroke

_TITLES = {
    "attention": "attention sublayers",
    "mlp": "MLP sublayers",
    "block": "blocks",
    "weights": "weights",
}


def draw(rows: pd.DataFrame, families: Sequence[str], path: Path) -> None:
    """Draw and save.

    Args:
        rows: One row a family and variant.
        families: Those with a scale.
        path: Where.
    """
    parts = [part for part in _TITLES if (rows["part"] == part).any()]
    with house_style():
        figure = new_figure(3.6 * len(parts) + 1.6, 3.8)
        for axes, part in zip(
            figure.subplots(1, len(parts), sharey=True, squeeze=False)[0], parts, strict=True
        ):
            for level in (0.0, 1.0):
                axes.axhline(level, color=LIGHT.muted, linewidth=0.8)
            for position, family in enumerate(families):
                mine = rows[
                    (rows["family"] == family) & (rows["part"] == part) & (rows["kind"] != "every block")
                ]
                style, shift = stroke(family, position), 0.08 * (position - (len(families) - 1) / 2)
                chosen = mine[mine["kind"] != "random"]
                x = range(len(chosen)) if part == "weights" else chosen["size"].astype(float)
                x = [value + shift for value in x]
                axes.vlines(
                    x, chosen["normalised_low"], chosen["normalised_high"], color=style.light, alpha=0.4
                )
                axes.plot(
                    x,
                    chosen["normalised"],
                    color=style.light,
                    marker=MARKERS[style.marker],
                    markersize=4.0,
                    linestyle="" if part == "weights" else style.linestyle,
                    label=family.replace("_", " ") if axes is figure.axes[0] else None,
                )
                random = mine[mine["kind"] == "random"]
                at = [value + shift for value in random["size"].astype(float)] if len(random) else []
                axes.plot(
                    at,
                    random["normalised"],
                    color=style.light,
                    marker="x",
                    markersize=4.0,
                    linestyle="",
                    alpha=0.6,
                )
                if part == "weights":
                    axes.set_xticks(range(len(chosen)), list(chosen["size"]), rotation=20)
            else:
                axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axes.set_xlabel(f"{_TITLES[part]} removed" if part != "weights" else "weights set to zero")
            axes.set_title(_TITLES[part])
        figure.axes[0].set_ylabel("(score − floor) / (intact − floor)")
        figure.legend(loc="outside right upper", fontsize=8)
        figure.suptitle("What is left; ×: random cuts", x=0.01, ha="left", fontsize=11.0)
    save_figure(figure, path)
