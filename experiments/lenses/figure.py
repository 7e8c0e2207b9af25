"""The figure of this experiment: the margin through three lenses, and how far each layer is from the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from decision_phases.plots.style import LIGHT, house_style, layer_axis, new_figure, save_figure, stroke

_COLOURS = {
    "logit": stroke("margin").light,
    "last_blocks": stroke("random").light,
    "tuned": stroke("deepest").light,
}


def draw(r: dict[str, Any], path: Path) -> None:
    """Draw and save.

    Args:
        r: What is in results.json.
        path: Where.
    """
    with house_style():
        figure = new_figure(10.0, 3.6)
        left, right = figure.subplots(1, 2)
        left.axhline(0.0, color=LIGHT.muted, linewidth=0.8)
        for name, found in r["phases"].items():
            left.plot(
                np.arange(r["n_layers"]), found["margin"], color=_COLOURS[name], label=name.replace("_", " ")
            )
            if found["transition"] is not None:
                left.axvline(
                    found["transition"] - 0.5, color=_COLOURS[name], linewidth=0.9, linestyle=(0, (4, 3))
                )
        left.set_ylabel("mean decision margin")
        left.set_title("the decision through three lenses")
        left.legend(fontsize=8)
        layers = [row["layer"] for row in r["divergence"]["rows"]]
        for name in ("logit", "tuned"):
            right.plot(
                layers,
                [row[name] for row in r["divergence"]["rows"]],
                color=_COLOURS[name],
                label=f"{name} lens",
            )
        right.set_ylim(bottom=0.0)
        right.set_ylabel("KL from the model's next token (nats)")
        right.set_title("texts that fitted nothing")
        right.legend(fontsize=8)
        for axes in (left, right):
            layer_axis(axes, r["n_layers"])
    save_figure(figure, path)
