"""Option Frequency: how often each option would be chosen, layer by layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from decision_phases.errors import InputError
from decision_phases.plots.style import LIGHT, house_style, layer_axis, new_figure, sequential


def option_frequency(
    frequency: Float[np.ndarray, "layer option"],
    gold: Float[np.ndarray, " option"],
    options: Sequence[str],
    *,
    transition: int | None = None,
    title: str = "Option frequency by layer",
) -> Figure:
    """Return a heat map of option by layer, with the frequency of the right answers beside it.

    Args:
        frequency: Share of questions for which the layer would choose the option; NaN where it was removed.
        gold: Share of questions whose right answer the option is.
        options: What the options are called, in the order of the columns of ``frequency``.
        transition: First layer of the Decisive Phase, or None.
        title: Heading.

    Returns:
        A figure with the heat map, the gold column and a colour scale.

    Raises:
        InputError: If there is not one name for each option.

    Example:
        >>> shares = np.array([[1.0, 0.0], [0.5, 0.5]])
        >>> figure = option_frequency(shares, np.array([0.5, 0.5]), ["A", "B"], transition=1)
        >>> figure.axes[1].get_title()
        'gold'
    """
    n_layers, n_options = frequency.shape
    if len(options) != n_options:
        raise InputError(f"{len(options)} option names for {n_options} options: give one name for each.")
    height = float(np.clip(1.5 + 0.32 * n_options, 2.6, 9.0))
    with house_style():
        figure = new_figure(7.6, height)
        main, side = figure.subplots(1, 2, sharey=True, width_ratios=(n_layers, 1.6))
        edges = np.arange(n_options + 1) - 0.5
        largest = float(max(np.nanmax(frequency, initial=0.0), gold.max(initial=0.0), 1e-9))
        scale: dict[str, Any] = {
            "cmap": sequential(),
            "vmin": 0.0,
            "vmax": largest,
            "edgecolors": LIGHT.paper,
            "linewidth": 0.6,
        }
        cells = np.ma.masked_invalid(frequency.T)
        mesh = main.pcolormesh(np.arange(n_layers + 1) - 0.5, edges, cells, **scale)
        side.pcolormesh([0.0, 1.0], edges, gold[:, None], **scale)
        layer_axis(main, n_layers)
        main.set_yticks(range(n_options), [_short(name) for name in options])
        main.invert_yaxis()
        side.set_xticks([])
        side.tick_params(left=False, labelleft=False)
        side.set_title("gold", fontsize=9.0, loc="center", color=LIGHT.muted, pad=4.0)
        for axes in (main, side):
            axes.spines[:].set_visible(False)
            axes.tick_params(length=0.0)
        if transition is not None:
            main.axvline(transition - 0.5, color=LIGHT.transition, linewidth=1.1)
            main.annotate(
                "transition",
                (transition - 0.5, 1.0),
                (0.0, 4.0),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha="center",
                fontsize=8.0,
                color=LIGHT.muted,
            )
        bar = figure.colorbar(mesh, ax=[main, side], pad=0.02, aspect=18, label="share of questions")
        bar.outline.set_visible(False)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.0)
    return figure


def _short(name: str, most: int = 18) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


@dataclass(frozen=True, eq=False)
class CategoryFrequency:
    """Option Frequency of one category whose questions share one set of options.

    Attributes:
        name: Name of the category.
        n_questions: Number of its questions; 0 if not known.
        options: What the options are called.
        values: Share of its questions for which the layer would choose the option; NaN where it was removed.
        gold: Share of its questions whose right answer the option is.

    Example:
        >>> CategoryFrequency("seasons", 5, ("a", "b"), np.eye(2), np.array([0.5, 0.5])).title
        'seasons, 5 questions'
    """

    name: str
    n_questions: int
    options: tuple[str, ...]
    values: Float[np.ndarray, "layer option"]
    gold: Float[np.ndarray, " option"]

    @property
    def title(self) -> str:
        """Name and number of questions."""
        count = f", {self.n_questions} question{'s' * (self.n_questions != 1)}" if self.n_questions else ""
        return f"{_short(self.name, 24)}{count}"


def option_frequency_by_category(
    categories: Sequence[CategoryFrequency],
    entropy: Float[np.ndarray, " layer"],
    distance: Float[np.ndarray, " layer"],
    *,
    transition: int | None = None,
    title: str = "Option frequency by layer, within categories",
) -> Figure:
    """Return means over categories by layer, and below them a heat map of option by layer for each category.

    Args:
        categories: At least one; the last column of a heat map is the frequency of the right answers.
        entropy: Entropy of the Option Frequency over its largest value, a mean over categories.
        distance: Its total variation distance from the frequency of the right answers, likewise.
        transition: First layer of the Decisive Phase, or None.
        title: Heading.

    Returns:
        A figure with one panel of two lines and one panel for each category.

    Raises:
        InputError: If there is no category.

    Example:
        >>> category = CategoryFrequency("seasons", 4, ("a", "b"), np.eye(2), np.array([0.5, 0.5]))
        >>> figure = option_frequency_by_category([category], np.zeros(2), np.full(2, 0.5), transition=1)
        >>> [axes.get_title(loc="left") for axes in figure.axes]
        ['mean over categories', 'seasons, 4 questions']
    """
    if not categories:
        raise InputError("no category given: give at least one whose questions share one set of options.")
    columns = 1 if len(categories) == 1 else 2
    rows = -(-len(categories) // columns)
    n_layers = entropy.size
    with house_style():
        figure = new_figure(7.6, 2.4 + 1.35 * rows)
        grid = figure.add_gridspec(rows + 1, columns, height_ratios=(1.5, *[1.0] * rows))
        above = figure.add_subplot(grid[0, :])
        _means(above, entropy, distance)
        panels = [figure.add_subplot(grid[1 + i // columns, i % columns]) for i in range(len(categories))]
        for axes, category in zip(panels, categories, strict=True):
            _category(axes, category, n_layers)
        for axes in (above, *panels):
            if transition is not None:
                axes.axvline(transition - 0.5, color=LIGHT.transition, linewidth=1.1)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.0)
    return figure


def _means(axes: Axes, entropy: Float[np.ndarray, " layer"], distance: Float[np.ndarray, " layer"]) -> None:
    axes.plot(entropy, color=LIGHT.positive, linewidth=1.6, marker="o", markersize=3.0, label="entropy")
    label = "distance from the right answers"
    axes.plot(distance, color=LIGHT.negative, linewidth=1.6, linestyle=(0, (5, 2)), label=label)
    axes.set_ylim(0.0, 1.05)
    layer_axis(axes, entropy.size, label=False)
    axes.set_title("mean over categories", loc="left", fontsize=9.0)
    axes.legend(loc="center left", fontsize=8.0)


def _category(axes: Axes, category: CategoryFrequency, n_layers: int) -> None:
    edges = np.arange(len(category.options) + 1) - 0.5
    scale: dict[str, Any] = {
        "cmap": sequential(),
        "vmin": 0.0,
        "vmax": 1.0,
        "edgecolors": LIGHT.paper,
        "linewidth": 0.4,
    }
    cells = np.ma.masked_invalid(category.values.T)
    axes.pcolormesh(np.arange(n_layers + 1) - 0.5, edges, cells, **scale)
    axes.pcolormesh([n_layers + 0.3, n_layers + 2.0], edges, category.gold[:, None], **scale)
    layer_axis(axes, n_layers, label=False)
    axes.set_xlim(-0.5, n_layers + 2.0)
    axes.text(n_layers + 1.2, -0.7, "right", ha="center", fontsize=7.0, color=LIGHT.muted)
    axes.set_yticks(
        range(len(category.options)), [_short(name, 14) for name in category.options], fontsize=8.0
    )
    axes.set_ylim(len(category.options) - 0.5, -0.5)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0.0, labelsize=7.5)
    axes.set_title(category.title, loc="left", fontsize=8.5, pad=9.0)
