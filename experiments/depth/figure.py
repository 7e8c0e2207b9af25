"""The figure of this experiment: how late pairs decide, and what they keep as blocks go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from decision_phases.plots.style import LIGHT, house_style, new_figure, save_figure, stroke


def draw(r: dict[str, Any], path: Path) -> None:
    """Draw and save.

    Args:
        r: What is in results.json.
        path: Where.
    """
    with house_style():
        figure = new_figure(10.0, 3.8)
        left, right = figure.subplots(1, 2)
        for i, name in enumerate(r["correlations"]):
            colour = stroke(name, i).light
            for pair in r["pairs"]:
                mine = pair["pruned"].get(name)
                if mine is None:
                    continue
                share = [k / pair["n_layers"] for k in range(1, len(mine["accuracy"]) + 1)]
                right.plot(share, mine["accuracy"], color=colour, marker="o", markersize=3)
                if pair["relative_transition"] is not None and mine["kept"] is not None:
                    left.plot(
                        pair["relative_transition"], mine["kept"], color=colour, marker="o", linestyle="", markersize=5
                    )  # fmt: skip
            right.plot([], [], color=colour, label=name)
        left.axhline(0.0, color=LIGHT.muted, linewidth=0.8)
        left.set_xlim(0.0, 1.0)
        left.set_xlabel("transition, share of the depth")
        left.set_ylabel("accuracy above chance that is kept")
        right.set_ylim(0.0, 1.0)
        right.set_xlabel("share of the blocks removed")
        right.set_ylabel("accuracy")
        right.legend(fontsize=7)
    save_figure(figure, path)
