"""A run folder, read back from disk."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from decision_phases.errors import InputError

_NEEDED = (
    "model",
    "n_layers",
    "layers",
    "margin",
    "margin_ci",
    "accuracy",
    "accuracy_ci",
    "chance",
    "transition",
)
_COLUMNS = ("question_id", "category", "question", "layer", "margin", "choice", "gold", "options")


@dataclass(frozen=True)
class RunFolder:
    """What a run left behind.

    Attributes:
        path: The folder.
        summary: ``summary.json``.
        manifest: ``manifest.json``; empty if the run ended before it was written.
        decisions: ``decisions.parquet``, one row for each question and layer; None if missing.
        pruning: Strategy to its rows, from the summary or, where a run was interrupted, ``pruning.parquet``.
        complete: Whether the run says that it finished.
        comparison: ``comparison.json``; empty if strategies were not compared.
        pictures: ``pictures.json``; empty if no question was pictured.

    Example:
        >>> run = RunFolder(Path("runs/x"), {}, {"complete": False}, None, {}, complete=False)
        >>> run.complete
        False
    """

    path: Path
    summary: Mapping[str, Any]
    manifest: Mapping[str, Any]
    decisions: pd.DataFrame | None
    pruning: Mapping[str, Sequence[Mapping[str, Any]]]
    complete: bool
    comparison: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, Any] = field(default_factory=dict)


def read_run(folder: Path) -> RunFolder:
    """Return what a run folder holds; only ``summary.json`` must be there.

    Args:
        folder: The run folder.

    Returns:
        Its content. The parts of an interrupted run that are missing are empty or None.

    Raises:
        InputError: If there is no readable summary, it lacks what every run has, its per-layer values do not
            agree with its number of layers, or the table of decisions lacks a column.

    Example:
        >>> read_run(Path("nowhere"))
        Traceback (most recent call last):
        decision_phases.errors.InputError: nowhere has no summary.json: give the folder that a run wrote.
    """
    summary = _read_json(folder / "summary.json")
    if summary is None:
        raise InputError(f"{folder} has no summary.json: give the folder that a run wrote.")
    _check(folder, summary)
    manifest = _read_json(folder / "manifest.json") or {}
    decisions = _read_table(folder / "decisions.parquet")
    if decisions is not None and (missing := [name for name in _COLUMNS if name not in decisions.columns]):
        raise InputError(
            f"{folder / 'decisions.parquet'} lacks {', '.join(missing)}: write it with this version."
        )
    pruning = summary.get("pruning") or _group(_read_table(folder / "pruning.parquet"))
    complete = bool(manifest) and manifest.get("complete", True) is not False
    return RunFolder(
        folder,
        summary,
        manifest,
        decisions,
        pruning,
        complete=complete,
        comparison=_read_json(folder / "comparison.json") or {},
        pictures=_read_json(folder / "pictures.json") or {},
    )


def _check(folder: Path, summary: Mapping[str, Any]) -> None:
    if missing := [name for name in _NEEDED if name not in summary]:
        raise InputError(f"{folder / 'summary.json'} lacks {', '.join(missing)}: run again, or use --resume.")
    n_layers = summary["n_layers"]
    for name in ("layers", "margin", "margin_ci", "accuracy", "accuracy_ci"):
        if len(summary[name]) != n_layers:
            raise InputError(
                f"{folder / 'summary.json'} has {len(summary[name])} values of {name} for {n_layers} layers: "
                "expected one for each layer, null where it was removed."
            )


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}): remove the folder and run again.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}: expected a JSON object.")
    return content


def _read_table(path: Path) -> pd.DataFrame | None:
    return pd.read_parquet(path) if path.is_file() else None


def _group(table: pd.DataFrame | None) -> dict[str, list[dict[str, Any]]]:
    """Rows of pruning.parquet as the summary has them: missing numbers are None and arrays are lists."""
    grouped: dict[str, list[dict[str, Any]]] = {}
    if table is not None:
        if "split" in table:
            table = table[table["split"] == 0]
        for row in json.loads(table.to_json(orient="records", double_precision=10)):
            row["accuracy_ci"] = [row.pop("accuracy_low", None), row.pop("accuracy_high", None)]
            row["cka"] = {"debiased": row.pop("cka", None), "null_high": row.pop("cka_null_high", None)}
            grouped.setdefault(str(row["strategy"]), []).append(row)
    return grouped
