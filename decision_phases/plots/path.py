"""What happens to the transition as blocks go."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from decision_phases.errors import InputError
from decision_phases.plots.style import LIGHT, diverging, house_style, layer_axis, new_figure


def transition_path(
    margin: Float[np.ndarray, "step layer"],
    transition: Sequence[int | None],
    removed: Sequence[int | str | None],
    *,
    title: str = "The transition as blocks go",
) -> Figure:
    """Return a heat map of the mean margin, one row for each pruning step, with the transition marked.

    Args:
        margin: Mean margin of the surviving layers after each step; NaN where the layer is removed.
        transition: First layer of the Decisive Phase after each step; None where there is no transition.
        removed: The layer that the step took, or the cut in words where steps do not take one each; None for the intact
            model.
        title: Heading.

    Returns:
        A figure of one panel with a colour scale symmetric about zero; removed layers are crossed out.

    Raises:
        InputError: If transitions or removed layers are not one for each step.

    Example:
        >>> margins = np.array([[-0.4, -0.2, 0.5], [-0.4, np.nan, 0.1]])
        >>> figure = transition_path(margins, [2, 2], [None, 1])
        >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
        ['intact', '1: −1']
    """
    n_steps, n_layers = margin.shape
    if len(transition) != n_steps or len(removed) != n_steps:
        raise InputError(
            f"{n_steps} steps of margins, {len(transition)} transitions and {len(removed)} removed layers: "
            "give one of each for every step."
        )
    largest = float(max(np.nanmax(np.abs(margin), initial=0.0), 1e-9))
    with house_style():
        figure = new_figure(7.6, float(np.clip(1.6 + 0.3 * n_steps, 2.4, 8.0)))
        axes = figure.add_subplot()
        mesh = axes.pcolormesh(
            np.arange(n_layers + 1) - 0.5,
            np.arange(n_steps + 1) - 0.5,
            np.ma.masked_invalid(margin),
            cmap=diverging(),
            vmin=-largest,
            vmax=largest,
            edgecolors=LIGHT.paper,
            linewidth=0.6,
        )
        steps, layers = np.nonzero(np.isnan(margin))
        axes.scatter(layers, steps, marker="x", s=14.0, color=LIGHT.muted, linewidths=0.8)
        found = [(step, layer) for step, layer in enumerate(transition) if layer is not None]
        for step, layer in found:
            axes.vlines(layer - 0.5, step - 0.5, step + 0.5, color=LIGHT.transition, linewidth=2.0)
        labels = [
            "intact" if what is None else f"{step}: {what if isinstance(what, str) else f'−{what}'}"
            for step, what in enumerate(removed)
        ]
        axes.set_yticks(range(n_steps), labels)
        axes.invert_yaxis()
        axes.set_ylabel("step: block removed")
        axes.tick_params(length=0.0)
        axes.spines[:].set_visible(False)
        layer_axis(axes, n_layers)
        axes.set_title(_legend(len(found), n_steps), fontsize=8.5, color=LIGHT.muted)
        bar = figure.colorbar(mesh, ax=axes, pad=0.02, aspect=18, label="mean margin")
        bar.outline.set_visible(False)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.0)
    return figure


def _legend(found: int, steps: int) -> str:
    if found == steps:
        return "bar: transition   ×: removed"
    return f"bar: transition (none at {steps - found} of {steps} steps)   ×: removed"
