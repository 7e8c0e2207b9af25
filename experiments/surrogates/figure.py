"""The figure of this experiment: what surrogates learn from how many masks, and how near estimates come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from decision_phases.plots.style import LIGHT, MARKERS, Stroke, house_style, new_figure, save_figure, stroke


def draw(r: dict[str, Any], path: Path) -> None:
    """Draw and save.

    Args:
        r: What is in results.json.
        path: Where.
    """
    with house_style():
        figure = new_figure(10.0, 3.8)
        left, right = figure.subplots(1, 2)
        left.axhline(0.0, color=LIGHT.muted, linewidth=0.8)
        for i, name in enumerate(dict.fromkeys(row["surrogate"] for row in r["quality"])):
            own = [row for row in r["quality"] if row["surrogate"] == name]
            x = [row["n_masks"] for row in own]
            look = stroke(name, i)
            left.vlines(
                x,
                [row["r2_low"] for row in own],
                [row["r2_high"] for row in own],
                color=look.light,
                alpha=0.5,
            )
            left.plot(x, [row["r2"] for row in own], **_line(look), label=name)
        left.set_xscale("log")
        left.set_ylim(-0.5, 1.0)
        left.set_xlabel("masks trained on")
        left.set_ylabel("held-out R²")
        left.legend(fontsize=7)
        rows = [row for row in r["estimates"]["rows"] if row["of"] == "shapley"]
        for i, name in enumerate(dict.fromkeys(row["estimator"] for row in rows)):
            own = [row for row in rows if row["estimator"] == name]
            x = [row["masks"] for row in own]
            right.plot(x, [row["error"] for row in own], **_line(stroke(name, i)), label=name)
        right.axhline(
            r["estimates"]["spread"]["shapley"], color=LIGHT.muted, linewidth=0.8, linestyle=(0, (4, 3))
        )
        right.set_xscale("log")
        right.set_xlabel(f"masks of {len(r['groups'])} groups that were asked for")
        right.set_ylabel("error of Shapley values (dashed: their spread)")
        right.legend(fontsize=7)
    save_figure(figure, path)


def _line(look: Stroke) -> dict[str, Any]:
    return {
        "color": look.light, "linestyle": look.linestyle, "marker": MARKERS[look.marker], "markersize": 3
    }  # fmt: skip
