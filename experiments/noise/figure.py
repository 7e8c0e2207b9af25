"""The figure of this experiment: what noise behind each layer costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from decision_phases.plots.style import LIGHT, house_style, layer_axis, new_figure, save_figure, sequential


def draw(r: dict[str, Any], path: Path) -> None:
    """Draw and save.

    Args:
        r: What is in results.json.
        path: Where.
    """
    positions = list(dict.fromkeys(row["positions"] for row in r["rows"]))
    variances = sorted({row["variance"] for row in r["rows"]})
    colours = sequential()
    with house_style():
        figure = new_figure(10.0, 3.6)
        for axes, place in zip(figure.subplots(1, len(positions), sharey=True), positions, strict=True):
            axes.axhline(0.0, color=LIGHT.muted, linewidth=0.8)
            for i, variance in enumerate(variances):
                own = [row for row in r["rows"] if (row["positions"], row["variance"]) == (place, variance)]
                x = [row["layer"] for row in own]
                colour = colours(0.3 + 0.7 * (i + 1) / len(variances))
                axes.fill_between(
                    x, [row["low"] for row in own], [row["high"] for row in own], color=colour, alpha=0.15, linewidth=0.0
                )  # fmt: skip
                axes.plot(x, [row["estimate"] for row in own], color=colour, label=f"variance {variance:g}")
            if r["transition"] is not None:
                axes.axvline(r["transition"] - 0.5, color=LIGHT.muted, label="transition")
            layer_axis(axes, r["n_layers"])
            axes.set_title(f"noise at {'the answer position' if place == 'answer' else 'all positions'}")
        figure.axes[0].set_ylabel("loss of margin")
        figure.axes[0].legend(fontsize=7)
    save_figure(figure, path)
