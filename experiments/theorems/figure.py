"""The figure of this experiment: estimate against exact, and how good it is by size and by layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from decision_phases.plots.style import (
    LIGHT,
    MARKERS,
    house_style,
    layer_axis,
    log_labels,
    new_figure,
    save_figure,
    stroke,
)

SHOWN = {
    ("theorem_1", "cosine", "h_normed"): ("Theorem 1, h", "shallowest"),
    ("theorem_1", "cosine", "z_centred"): ("Theorem 1, z", "margin"),
    ("theorem_2", "cosine", "p"): ("Theorem 2, p", "deepest"),
    ("theorem_3", "kl_dense_from_pruned", "p"): ("Theorem 3, KL(dense ‖ pruned)", "accuracy"),
    ("theorem_3", "kl_pruned_from_dense", "p"): ("Theorem 3, KL(pruned ‖ dense)", "within_silent"),
}
MOST = 4000  # points drawn of one estimate


def draw(every: pd.DataFrame, errors: pd.DataFrame, result: dict[str, Any], path: Path) -> None:
    """Draw and save.

    Args:
        every: Estimate and exact value, one row a layer and text.
        errors: How good estimates are, by layer.
        result: What is in results.json.
        path: Where.
    """
    first = result["temperatures"][0]
    with house_style():
        figure = new_figure(11.0, 6.4)
        (cloud, share), (layers, severity) = figure.subplots(2, 2)
        _cloud(cloud, every[every["temperature"] == first])
        _by_size(share, pd.DataFrame(result["sizes"]).query("temperature == @first"))
        local = errors[(errors["temperature"] == first) & (errors["kind"] == "local")]
        dropped = local[
            local["variant"].isin([name for name in result["variants"] if name.endswith("less 1")])
        ]
        _by_layer(layers, dropped, result)
        _by_severity(severity, pd.DataFrame(result["severities"]).query("temperature == @first"))
        handles, names = layers.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=3, fontsize=8)
        save_figure(figure, path)


def _rows(table: pd.DataFrame, key: tuple[str, str, str]) -> pd.DataFrame:
    estimate, of, space = key
    return table[(table["estimate"] == estimate) & (table["of"] == of) & (table["space"] == space)]


def _cloud(axes: Axes, every: pd.DataFrame) -> None:
    for key, (_, look) in SHOWN.items():
        rows = _rows(every, key)
        rows = rows.iloc[np.random.default_rng(0).permutation(len(rows))[:MOST]]
        axes.plot(
            rows["exact"],
            rows["guess"],
            ".",
            markersize=1.5,
            alpha=0.4,
            color=stroke(look).light,
            rasterized=True,
        )
    ends = [max(1e-10, every["exact"].min()), every["exact"].max()]
    axes.plot(ends, ends, color=LIGHT.muted, linewidth=0.8)
    axes.set(xscale="log", yscale="log", xlabel="exact", ylabel="estimate", xlim=ends)
    axes.set_title("estimate against exact, every layer and text")
    log_labels(axes.xaxis)
    log_labels(axes.yaxis)


def _by_size(axes: Axes, sizes: pd.DataFrame) -> None:
    for key, (name, look) in SHOWN.items():
        rows = _rows(sizes, key).sort_values("size")
        _line(axes, rows["size"], rows["close"], name, look)
    axes.set(xscale="log", ylim=(0, 1), xlabel="exact value (from, one decade)", ylabel="share close")
    axes.set_title("where second order is enough")
    log_labels(axes.xaxis)


def _by_layer(axes: Axes, dropped: pd.DataFrame, result: dict[str, Any]) -> None:
    for key, (name, look) in SHOWN.items():
        rows = _rows(dropped, key).groupby("layer")["median_ratio"].median()
        _line(axes, rows.index, rows, name, look)
    axes.axhline(1.0, color=LIGHT.muted, linewidth=0.8)
    axes.set(yscale="log", ylabel="median of estimate / exact")
    axes.set_title("one sublayer dropped on the dense context")
    log_labels(axes.yaxis)
    layer_axis(axes, result["n_layers"])


def _by_severity(axes: Axes, severities: pd.DataFrame) -> None:
    local = severities[(severities["kind"] == "local") & severities["variant"].str.contains(" less ")]
    local = local.assign(share=local["variant"].str.split(" less ").str[1].astype(float))
    for key, (name, look) in SHOWN.items():
        rows = _rows(local, key).groupby("share")["median_error"].mean()
        _line(axes, rows.index, rows, name, look)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="share of the sublayer taken away",
        ylabel="median |estimate / exact − 1|",
    )
    axes.set_title("error by severity, one layer at a time")
    log_labels(axes.xaxis)
    log_labels(axes.yaxis)


def _line(axes: Axes, x: Any, y: Any, name: str, look: str) -> None:
    drawn = stroke(look)
    axes.plot(
        x, y, label=name, color=drawn.light, marker=MARKERS[drawn.marker], markersize=3.5, linewidth=1.4
    )
