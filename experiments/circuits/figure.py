"""The figure of this experiment: what patches bring back by layer, and from where on the answer follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from decision_phases.plots import LinePanel, line_panels, save_figure
from decision_phases.stats import Interval


def draw(r: dict[str, Any], path: Path) -> None:
    """Draw and save.

    Args:
        r: What is in results.json.
        path: Where.
    """
    panels = [
        LinePanel("recovery", {position: _interval(line) for position, line in lines.items()}, title=site)
        for site, lines in r["curves"].items()
    ]
    own = r["transitions"]["intact"]
    curves = own["curves"]
    panels.append(
        LinePanel(
            "mean margin",
            {
                "interchange": _interval({"estimate": curves["margin"], **curves}),
                "logit lens": _interval(
                    {
                        "estimate": curves["lens_margin"],
                        "low": curves["lens_low"],
                        "high": curves["lens_high"],
                    }
                ),
            },
            title="residual of the other prompt; dotted: transition",
            marks={"interchange": own["transition"], "logit lens": own["lens"]},
        )
    )
    heads = None if r["heads"] is None else np.array(r["heads"], dtype=np.float64)
    figure = line_panels(
        panels, n_layers=r["n_layers"], heads=heads, title="Clean activations in the corrupted run; below: single heads"
    )  # fmt: skip
    save_figure(figure, path)


def _interval(line: dict[str, Any]) -> Interval:
    ends = (np.array(line[name], dtype=np.float64) for name in ("estimate", "low", "high"))
    return Interval(*ends, 0.95, "percentile")
