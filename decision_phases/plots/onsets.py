"""How well each form of a decision can be read, by layer."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from decision_phases.plots.style import LIGHT, house_style, layer_axis, new_figure


def onset_panels(
    curves: Mapping[
        str, tuple[Int[np.ndarray, " layer"], Float[np.ndarray, " layer"], Float[np.ndarray, "layer 2"]]
    ],
    controls: Mapping[str, Float[np.ndarray, " layer"]],
    onsets: Mapping[str, int | None],
    *,
    n_layers: int,
    reason: str = "",
    title: str = "Forms of the decision by layer",
) -> Figure:
    """Return one panel a form: accuracy with its interval, its control and its onset.

    Args:
        curves: Form → layers, accuracy and interval.
        controls: Form → accuracy with shuffled decisions.
        onsets: Form → its onset, or None.
        n_layers: Layers of the intact model.
        reason: Why there is nothing to draw, where there are no curves.
        title: Heading.

    Returns:
        A figure; with a sentence instead of panels where there are no curves.

    Example:
        >>> onset_panels({}, {}, {}, n_layers=4, reason="at chance").texts[0].get_text()
        'not testable: at chance'
    """
    with house_style():
        figure = new_figure(7.6, 0.9 + 1.35 * max(len(curves), 1))
        if not curves:
            figure.text(0.02, 0.5, f"not testable: {reason}", color=LIGHT.muted, wrap=True)
            return figure
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.0)
        panels = figure.subplots(len(curves), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for axes, (name, (layers, curve, band)) in zip(panels, curves.items(), strict=True):
            axes.fill_between(layers, band[:, 0], band[:, 1], color=LIGHT.positive, alpha=0.18, linewidth=0.0)
            axes.plot(layers, curve, color=LIGHT.positive, linewidth=1.6, marker="o", markersize=2.8)
            axes.plot(layers, controls[name], color=LIGHT.muted, linewidth=0.9, linestyle=(0, (4, 3)))
            at = onsets[name]
            if at is not None:
                axes.axvline(at - 0.5, color=LIGHT.transition, linewidth=1.1)
            where = "no onset" if at is None else f"from layer {at}"
            axes.set_title(f"{name.replace('_', ' ')}: {where}", fontsize=9.0)
            axes.set_ylim(0.0, 1.05)
            layer_axis(axes, n_layers, label=axes is panels[-1])
        figure.supylabel("balanced accuracy", fontsize=9.0, color=LIGHT.muted)
    return figure
