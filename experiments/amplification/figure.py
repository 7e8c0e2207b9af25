"""The figure of this experiment: amplification by layer and at the end, and options against random tokens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

import decision_phases as dp
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

_LOOKS = {"attention": "margin", "mlp": "deepest", "block": "shallowest"}


def draw(
    on: Mapping[str, dp.SpaceComparisons], grown: pd.DataFrame, options: pd.DataFrame, path: Path
) -> None:
    """Draw and save.

    Args:
        on: Comparisons on questions and on texts.
        grown: Amplification of what each model ends with.
        options: Options against random tokens.
        path: Where.
    """
    with house_style():
        figure = new_figure(11.0, 7.0)
        (local, ended), (stable, sizes) = figure.subplots(2, 2)
        _local(local, on["questions"])
        softmax = grown[grown["end"] == "p"]
        _ratios(ended, softmax[softmax["on"] == "questions"], "relative", raw=True)
        ended.set_title("softmax at the end, questions (hollow: raw ratio)")
        mine = options[options["measure"] == "kl_dense_from_pruned"]
        _ratios(stable, mine, "relative", raw=True)
        stable.set_title("KL among options over random (hollow: raw ratio)")
        _spread(sizes, mine)
        save_figure(figure, path)


def _local(axes: Axes, found: dp.SpaceComparisons) -> None:
    for part in ("attention", "mlp"):
        comparison, look = found[f"every {part}"], stroke(_LOOKS[part])
        grown = comparison.amplification(kind="local")
        layers = np.arange(comparison.n_layers)
        axes.fill_between(layers, grown.low, grown.high, color=look.light, alpha=0.18, linewidth=0.0)
        axes.plot(
            layers, grown.estimate, color=look.light, marker=MARKERS[look.marker], markersize=3, label=part
        )
    axes.axhline(1.0, color=LIGHT.muted, linewidth=0.8)
    axes.set(yscale="log", ylabel="amplification, z to p")
    axes.set_title("one sublayer removed on the dense context, questions")
    layer_axis(axes, comparison.n_layers)
    log_labels(axes.yaxis)
    axes.legend(fontsize=8)


def _ratios(axes: Axes, rows: pd.DataFrame, name: str, *, raw: bool) -> None:
    places = np.arange(len(rows))
    colours = [stroke(_LOOKS[variant.split(",")[0].split()[1]]).light for variant in rows["variant"]]
    axes.axhline(1.0, color=LIGHT.muted, linewidth=0.8)
    axes.vlines(places, rows["low"], rows["high"], color=colours, alpha=0.6)
    axes.scatter(places, rows[name], color=colours, s=18, zorder=3)
    if raw:
        axes.scatter(places, rows["raw"], facecolors="none", edgecolors=colours, s=18, zorder=2)
    axes.set_yscale("log")
    axes.set_xticks(places, list(rows["variant"]), rotation=90, fontsize=7)
    log_labels(axes.yaxis)


def _spread(axes: Axes, rows: pd.DataFrame) -> None:
    for variant, options, random in rows[["variant", "options", "random"]].itertuples(index=False):
        axes.scatter(random, options, color=stroke(_LOOKS[variant.split(",")[0].split()[1]]).light, s=18)
    ends = [
        min(rows["options"].min(), rows["random"].min()),
        max(rows["options"].max(), rows["random"].max()),
    ]
    axes.plot(ends, ends, color=LIGHT.muted, linewidth=0.8)
    axes.set(
        xscale="log", yscale="log", xlabel="KL among random tokens, nats", ylabel="KL among options, nats"
    )
    axes.set_title("one dot an intervention")
    log_labels(axes.xaxis)
    log_labels(axes.yaxis)
