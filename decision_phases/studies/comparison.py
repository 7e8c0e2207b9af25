"""`comparison.json` and `comparison.parquet`: the strategies of a run against each other and against random cuts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from decision_phases.pruning import Curves
from decision_phases.store import write_json, write_table
from decision_phases.studies.settings import RunSettings


def write_comparison(folder: Path, curves: Curves, settings: RunSettings) -> None:
    """Write the comparison of a run.

    `comparison.json` has one entry a strategy (`Curves.summary`), every other one against the first
    (`Curves.against`), and what they depend on; `comparison.parquet` one row
    a strategy and step (`Curves.by_step`).

    Args:
        folder: The run folder.
        curves: The curves, other splits among them.
        settings: What was done.
    """
    write_table(folder / "comparison.parquet", curves.by_step(seed=settings.seed))
    reference = curves.strategies[0] if curves.strategies else None
    content = {
        "reference": reference,
        "against": [] if reference is None else _records(curves.against(reference, seed=settings.seed)),
        "strategies": _records(curves.summary(seed=settings.seed)),
        "unit": curves.unit,
        "chance": curves.chance,
        "n_search": curves.n_search,
        "n_evaluation": curves.n_evaluation,
        "n_parameters": curves.n_parameters,
        "splits": 1 + len(curves.repeats),
        "split": settings.split,
        "seed": settings.seed,
        "up_to": settings.up_to,
        "objective": settings.objective,
        "width": settings.width,
        "texts": settings.texts,
        "not_applicable": dict(curves.not_applicable),
        "notes": list(curves.notes),
    }
    write_json(folder / "comparison.json", content)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON values, null for what is missing."""
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records", double_precision=15))
    return rows
