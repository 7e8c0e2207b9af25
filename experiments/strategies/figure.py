"""The figure of this experiment: accuracy as blocks go, and the area under each curve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from story import in_order

from decision_phases.plots.style import LIGHT, MARKERS, house_style, new_figure, save_figure, stroke


def draw(r: dict[str, Any], path: Path) -> None:
    """Draw and save.

    Args:
        r: What is in results.json.
        path: Where.
    """
    longest = max(row["last_step"] for row in r["strategies"])
    rows = sorted(
        (row for row in r["strategies"] if row["area"] is not None), key=lambda row: in_order(row, longest)
    )
    blocks = [row["strategy"] for row in rows if not _sublayer(row["strategy"])]
    shown = list(dict.fromkeys([r["settings"]["REFERENCE"], *blocks[:3], "random", "deepest"]))
    with house_style():
        figure = new_figure(11.0, 0.24 * len(rows) + 2.0)
        left, right = figure.subplots(1, 2, width_ratios=(1.1, 1.0))
        for i, name in enumerate(name for name in shown if name in r["by_step"]):
            steps, style = r["by_step"][name], stroke(name, i)
            x = [row["step"] for row in steps]
            left.plot(
                x, [row["accuracy"] for row in steps], color=style.light, linestyle=style.linestyle,
                marker=MARKERS[style.marker], markersize=3, label=name,
            )  # fmt: skip
            low, high = ([row[end] for row in steps] for end in ("low", "high"))
            left.fill_between(x, low, high, color=style.light, alpha=0.12, linewidth=0.0)
        left.axhline(r["chance"], color=LIGHT.muted, linewidth=0.8, linestyle="--")
        left.set_ylim(0.0, 1.0)
        left.set_xlabel("blocks removed")
        left.set_ylabel("accuracy")
        left.legend(fontsize=7)
        for at, row in enumerate(reversed(rows)):
            control = row["strategy"].startswith(("random", "deepest", "shallowest"))
            colour = LIGHT.muted if control else stroke(r["settings"]["REFERENCE"], 0).light
            right.plot([row["area_low"], row["area_high"]], [at, at], color=colour, linewidth=1.5)
            right.plot([row["area"]], [at], color=colour, marker="o", markersize=4)
        right.axvline(0.0, color=LIGHT.muted, linewidth=0.8)
        right.set_yticks(range(len(rows)), [row["strategy"] for row in reversed(rows)], fontsize=7)
        right.set_xlabel("area under the curve (1: nothing lost, 0: chance)")
    save_figure(figure, path)


def _sublayer(name: str) -> bool:
    return name.endswith(("_attention", "_mlp", "_joint"))
