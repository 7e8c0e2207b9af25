"""The figures of a run folder, as files."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from decision_phases.plots import (
    Area,
    margin_by_layer,
    option_frequency,
    option_frequency_by_category,
    pruning_curves,
    save_figure,
    strategy_areas,
    transition_path,
)
from decision_phases.report.curves import curves, number, pair, paths, removed, unit
from decision_phases.report.folder import RunFolder, read_run
from decision_phases.report.frequency import MOST, category_frequencies, mean_frequency


def write_figures(folder: Path) -> tuple[Path, ...]:
    """Write the figures that a run folder has data for to its folder ``figures``.

    Args:
        folder: A run folder, complete or not.

    Returns:
        Paths of ``margin_by_layer.png`` and, where they were measured, ``option_frequency.png`` or
        ``option_frequency_by_category.png``, ``pruning_curves.png``,
        one ``transition_path_<strategy>.png`` for each deterministic strategy, and ``comparison.png``.

    Raises:
        InputError: If the folder has no usable summary.

    Example:
        >>> write_figures(Path("nowhere"))
        Traceback (most recent call last):
        decision_phases.errors.InputError: nowhere has no summary.json: give the folder that a run wrote.
    """
    run = read_run(folder)
    drawn = {"margin_by_layer": _margin(run), **_frequency(run), **_pruning(run), **_comparison(run)}
    return tuple(save_figure(figure, folder / "figures" / f"{name}.png") for name, figure in drawn.items())


def _margin(run: RunFolder) -> Figure:
    summary, transition = run.summary, run.summary["transition"]
    interval = (transition.get("ci_low"), transition.get("ci_high"))
    return margin_by_layer(
        _numbers(summary["margin"]),
        _intervals(summary["margin_ci"]),
        _numbers(summary["accuracy"]),
        _intervals(summary["accuracy_ci"]),
        chance=float(summary["chance"]),
        transition=transition["layer"],
        transition_ci=None if None in interval else pair(interval),
    )


def _frequency(run: RunFolder) -> dict[str, Figure]:
    frequency = run.summary.get("option_frequency")
    if frequency is None:
        return _frequency_by_category(run)
    n_options = len(frequency["options"])
    rows = [row if row is not None else [None] * n_options for row in frequency["values"]]
    values = np.stack([_numbers(row) for row in rows])
    gold = _numbers(frequency["gold"])
    layer = run.summary["transition"]["layer"]
    return {"option_frequency": option_frequency(values, gold, frequency["options"], transition=layer)}


def _frequency_by_category(run: RunFolder) -> dict[str, Figure]:
    categories = category_frequencies(run)
    if not categories:
        return {}
    mean, layer = mean_frequency(categories), run.summary["transition"]["layer"]
    figure = option_frequency_by_category(categories[:MOST], mean.entropy, mean.distance, transition=layer)
    return {"option_frequency_by_category": figure}


def _pruning(run: RunFolder) -> dict[str, Figure]:
    if not run.pruning:
        return {}
    chance = float(run.summary["chance"])
    drawn = {"pruning_curves": pruning_curves(curves(run.pruning), chance=chance, unit=unit(run.pruning))}
    for path in paths(run.pruning):
        rows = [row for row in path.rows if row.get("margin_by_layer") is not None]
        if path.seed is None and rows:
            drawn[f"transition_path_{path.strategy.replace(':', '-')}"] = transition_path(
                np.stack([_numbers(row["margin_by_layer"]) for row in rows]),
                [row.get("transition") for row in rows],
                [removed(row) for row in rows],
                title=f"The transition as blocks go: {path.label}",
            )
    return drawn


def _comparison(run: RunFolder) -> dict[str, Figure]:
    if not run.comparison:
        return {}
    areas = []
    for row in run.comparison["strategies"]:
        middle, spread = number(row["area_split_mean"]), number(row["area_split_sd"])
        areas.append(
            Area(
                row["strategy"],
                number(row["area"]),
                pair([row["area_low"], row["area_high"]]),
                number(row["difference"]),
                pair([row["low"], row["high"]]),
                (middle - spread, middle + spread),
            )
        )
    return {"comparison": strategy_areas(areas)}


def _numbers(values: Iterable[float | int | None]) -> np.ndarray:
    return np.array([number(value) for value in values])


def _intervals(values: Iterable[list[float | int | None] | None]) -> np.ndarray:
    return np.array([pair(value) for value in values])
