"""The data that the page draws from, as compact JSON values."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from decision_phases.plots import Curve
from decision_phases.plots.style import stroke
from decision_phases.report.curves import Path, curves, paths, removed, unit
from decision_phases.report.folder import RunFolder
from decision_phases.report.frequency import MOST, category_frequencies, mean_frequency

_DIGITS = 4  # of what there is much of: one number for each question and layer
_SUMMARY = (
    "n_layers", "chance", "layers", "margin", "margin_ci", "excess_margin", "accuracy", "accuracy_ci",
    "option_frequency", "phases",
)  # fmt: skip


def page_data(run: RunFolder) -> dict[str, Any]:
    """Return everything the page draws, free of NaN.

    What there is one of for each layer stays as it is in ``summary.json``, so that the page shows the same
    numbers; what there is one of for each question, step and layer is rounded to four decimals.

    Args:
        run: A run folder, complete or not.

    Returns:
        The per-layer values of the summary, ``transition``, ``frequencies`` (None unless categories have an
        Option Frequency of their own), ``questions`` (None if there are no decisions),
        ``curves`` and ``paths`` (empty if nothing was pruned).

    Example:
        >>> from pathlib import Path
        >>> summary = {"transition": {"layer": 3, "method": "zero_cross"}, "margin": [0.25]}
        >>> data = page_data(RunFolder(Path("."), summary, {}, None, {}, complete=False))
        >>> data["margin"], data["transition"], data["questions"], data["paths"]
        ([0.25], {'layer': 3, 'ci_low': None, 'ci_high': None}, None, [])
    """
    transition = run.summary["transition"]
    return {
        **{name: run.summary.get(name) for name in _SUMMARY},
        "transition": {name: transition.get(name) for name in ("layer", "ci_low", "ci_high")},
        "frequencies": _frequencies(run),
        "questions": None if run.decisions is None else question_data(run.decisions, run.summary["n_layers"]),
        "curves": [_curve(curve, rank) for rank, curve in enumerate(curves(run.pruning))],
        "unit": unit(run.pruning),
        "paths": [_path(path) for path in paths(run.pruning)],
    }


def question_data(decisions: pd.DataFrame, n_layers: int) -> dict[str, list[Any]]:
    """Return the decisions as one list for each property, in the order of the questions.

    Args:
        decisions: One row for each question and layer.
        n_layers: Number of layers of the intact model.

    Returns:
        ``id``, ``category``, ``text``, ``options``, ``gold``, ``margin`` (question × layer, None where the
        layer was removed), ``choice`` (likewise) and ``commitment``, the first layer from which the choice is
        the final one and stays so.

    Example:
        >>> row = {"question_id": "a", "category": "", "question": "1+1?", "options": ["2", "3"], "gold": 0}
        >>> table = pd.DataFrame([{**row, "layer": i, "margin": i - 0.5, "choice": 1 - i} for i in range(2)])
        >>> data = question_data(table, 2)
        >>> data["margin"], data["choice"], data["commitment"]
        ([[-0.5, 0.5]], [[1, 0]], [1])
    """
    first = decisions.drop_duplicates("question_id")
    ids = first["question_id"].tolist()
    margin = _pivot(decisions, "margin", ids, n_layers)
    choice = _pivot(decisions, "choice", ids, n_layers)
    choice[(choice < 0) | np.isnan(margin)] = np.nan
    return {
        "id": [str(name) for name in ids],
        "category": [str(name) for name in first["category"]],
        "text": [
            str(t) if isinstance(t, str) else str(i) for t, i in zip(first["question"], ids, strict=True)
        ],
        "options": [[str(option) for option in options] for options in first["options"]],
        "gold": [int(gold) for gold in first["gold"]],
        "margin": [rounded(row) for row in margin],
        "choice": [[None if np.isnan(c) else int(c) for c in row] for row in choice],
        "commitment": [_commitment(row) for row in choice],
    }


def rounded(values: Iterable[float | int | None]) -> list[float | None]:
    """Return numbers rounded to four decimals, None for NaN and None.

    Args:
        values: The numbers.

    Returns:
        What JSON can hold.

    Example:
        >>> rounded([0.123456, float("nan"), None])
        [0.1235, None, None]
    """
    return [None if v is None or math.isnan(v) else round(float(v), _DIGITS) for v in values]


def _pivot(
    decisions: pd.DataFrame, column: str, ids: list[Any], n_layers: int
) -> Float[np.ndarray, "question layer"]:
    table = decisions.pivot_table(index="question_id", columns="layer", values=column, aggfunc="first")
    return table.reindex(index=ids, columns=range(n_layers)).to_numpy(dtype=np.float64, copy=True)


def _commitment(choice: Float[np.ndarray, " layer"]) -> int | None:
    survivors = np.flatnonzero(~np.isnan(choice))
    if not survivors.size:
        return None
    differs = np.flatnonzero(choice[survivors] != choice[survivors[-1]])
    return int(survivors[differs[-1] + 1 if differs.size else 0])


def _frequencies(run: RunFolder) -> dict[str, Any] | None:
    categories = category_frequencies(run)
    if not categories or run.summary.get("option_frequency") is not None:
        return None
    mean = mean_frequency(categories)
    return {
        "entropy": rounded(mean.entropy),
        "distance": rounded(mean.distance),
        "gold_entropy": round(mean.gold_entropy, _DIGITS),
        "left_out": [category.name for category in categories[MOST:]],
        "categories": [
            {
                "name": category.name,
                "title": category.title,
                "options": list(category.options),
                "values": [rounded(row) for row in category.values],
                "gold": rounded(category.gold),
            }
            for category in categories[:MOST]
        ],
    }


def _curve(curve: Curve, rank: int) -> dict[str, Any]:
    style = stroke(curve.name, rank)
    return {
        "name": curve.name,
        "label": curve.name.replace("_", " "),
        "draws": curve.draws,
        "removed": curve.removed.tolist(),
        "accuracy": rounded(curve.accuracy),
        "low": rounded(curve.low),
        "high": rounded(curve.high),
        "light": style.light,
        "dark": style.dark,
        "dash": list(style.dash),
        "marker": style.marker,
    }


def _path(path: Path) -> dict[str, Any]:
    return {"label": path.label, "strategy": path.strategy, "steps": [_step(row) for row in path.rows]}


def _step(row: Mapping[str, Any]) -> dict[str, Any]:
    cka = row.get("cka") or {}
    margin, accuracy = rounded([row.get("margin"), row.get("accuracy")])
    similarity, debiased, null = rounded(
        [row.get("decision_similarity"), cka.get("debiased"), cka.get("null_mean")]
    )
    return {
        "step": row["step"],
        "removed": removed(row),
        "cut": _blocks(row),
        "margin": margin,
        "accuracy": accuracy,
        "accuracy_ci": rounded(row.get("accuracy_ci") or (None, None)),
        "transition": _whole(row.get("transition")),
        "by_layer": rounded(row.get("margin_by_layer") or ()),
        "cka": debiased,
        "cka_null": null,
        "similarity": similarity,
    }


def _blocks(row: Mapping[str, Any]) -> list[int]:
    """The layers that are gone altogether."""
    cut = [int(layer) for layer in row.get("cut") or ()]
    parts = row.get("parts") or ["block"] * len(cut)
    return [layer for layer, part in zip(cut, parts, strict=True) if part == "block"]


def _whole(value: float | int | None) -> int | None:
    return None if value is None else int(value)
