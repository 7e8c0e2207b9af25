"""The figure of this experiment: what comes back, and the margins on the way through the layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from decision_phases.plots.style import LIGHT, MARKERS, house_style, new_figure, save_figure, stroke
from decision_phases.repairs.comparison import INTACT, NOTHING

_MEASURES = ("accuracy", "margin", "log_perplexity")


def draw(r: dict[str, Any], path: Path) -> None:
    """Draw and save.

    Args:
        r: What is in results.json.
        path: Where.
    """
    rows = [row for row in r["pooled"] if row["method"] not in (INTACT, NOTHING)]
    with house_style():
        figure = new_figure(10.6, 4.0)
        left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.3))
        for level in (0.0, 1.0):
            left.axvline(level, color=LIGHT.muted, linewidth=0.8)
        for place, measure in enumerate(_MEASURES):
            look = stroke("", place)
            at = np.arange(len(rows))[::-1] + 0.18 * (1 - place)
            known = [
                (y, row) for y, row in zip(at, rows, strict=True) if row[f"recovered_{measure}"] is not None
            ]
            y = [position for position, _ in known]
            low, value, high = (
                [row[f"recovered_{measure}{end}"] for _, row in known] for end in ("_low", "", "_high")
            )
            left.hlines(y, low, high, color=look.light, alpha=0.5)
            left.plot(
                value,
                y,
                MARKERS[look.marker],
                color=look.light,
                markersize=5,
                label=measure.replace("_", " "),
            )
        left.set_yticks(range(len(rows)), [row["method"].replace("_", " ") for row in reversed(rows)])
        left.set_ylim(-0.6, len(rows) - 0.4)
        left.set_xlabel("share of what the cut costs that comes back")
        if any(row[f"recovered_{measure}"] is not None for row in rows for measure in _MEASURES):
            left.legend(fontsize=8, ncols=3, loc="lower left", bbox_to_anchor=(0.0, 1.0))
        for place, (name, margins) in enumerate(r["margins"].items()):
            points = [(layer, value) for layer, value in enumerate(margins) if value is not None]
            look = stroke("", max(0, place - 2))
            colour = {INTACT: LIGHT.ink, NOTHING: LIGHT.negative}.get(name, look.light)
            right.plot(
                *zip(*points, strict=True),
                color=colour,
                linestyle="-" if name in (INTACT, NOTHING) else look.linestyle,
                label=name.replace("_", " "),
                marker=".",
                markersize=4,
            )
        right.axhline(0.0, color=LIGHT.muted, linewidth=0.8)
        right.set_xlabel("layer")
        right.set_ylabel("mean margin")
        right.legend(fontsize=8)
    save_figure(figure, path)
