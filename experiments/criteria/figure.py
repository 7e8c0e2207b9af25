"""The figure of this experiment: how well criteria foretell the damage of single removals, and what their cuts keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from decision_phases.plots.style import LIGHT, MARKERS, house_style, new_figure, save_figure, stroke

_CURVES = ("trajectory", "trajectory_local", "margin", "perplexity, texts", "block_influence", "shapley")


def draw(r: dict[str, Any], path: Path) -> None:
    """Draw and save.

    Args:
        r: What is in results.json.
        path: Where.
    """
    rows = [c for c in r["correlations"]["rows"] if c["set"] == "not protected" and c["damage"] == "margin"]
    rows = sorted((c for c in rows if c["estimate"] is not None), key=lambda c: c["estimate"])
    (ceiling,) = (
        c["ceiling"] for c in r["correlations"]["ceilings"] if c["set"] == "not protected" and c["damage"] == "margin"
    )  # fmt: skip
    with house_style():
        figure = new_figure(11.0, max(3.6, 0.2 * len(rows) + 1.2))
        left, right = figure.subplots(1, 2, width_ratios=(1.1, 1.0))
        places = np.arange(len(rows))
        left.axvline(0.0, color=LIGHT.muted, linewidth=0.8)
        if ceiling is not None:
            left.axvline(ceiling, color=LIGHT.muted, linewidth=0.8, linestyle=(0, (4, 3)))
        for place, row in zip(places, rows, strict=True):
            mine = row["criterion"].startswith("trajectory")
            colour = LIGHT.positive if mine else LIGHT.muted
            left.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=1.2)
            left.plot(row["estimate"], place, marker="o", markersize=4, color=colour)
        left.set_yticks(places, [row["criterion"] for row in rows])
        left.tick_params(axis="y", labelsize=7)
        left.set_xlabel("rank correlation with the loss of margin (dashed: ceiling)")
        sizes = sorted({c["blocks"] for c in r["cuts"]})
        bands = np.array([[accuracy for _, accuracy in r["random"][str(k)]] for k in sizes])
        right.fill_between(sizes, bands.min(1), bands.max(1), color=LIGHT.rule, linewidth=0.0, label="random")
        right.axhline(r["chance"], color=LIGHT.muted, linewidth=0.8, linestyle=(0, (4, 3)))
        for i, name in enumerate(_CURVES):
            own = [c["accuracy"] for c in r["cuts"] if c["criterion"] == name]
            if own:
                look = stroke(name, i)
                right.plot(
                    sizes, own, color=look.light, linestyle=look.linestyle, marker=MARKERS[look.marker], markersize=3,
                    label=name,
                )  # fmt: skip
        right.set_ylim(0.0, 1.0)
        right.set_xlabel("blocks removed at once")
        right.set_ylabel("accuracy")
        right.legend(fontsize=7)
    save_figure(figure, path)
