"""JSON and tables, written as a whole and read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from decision_phases.errors import InputError
from decision_phases.writing import replacing


def write_json(path: Path, content: Any) -> Path:
    """Write JSON, readable by people and without NaN.

    Args:
        path: Where.
        content: What; NaN must be None already.

    Returns:
        The path.

    Raises:
        ValueError: If a number is NaN or infinite.
    """
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)
    with replacing(path) as work:
        work.write_text(text + "\n", encoding="utf-8")
    return path


def read_json(path: Path) -> Any:
    """Read JSON.

    Args:
        path: Where.

    Returns:
        Its content.

    Raises:
        InputError: If there is no such file, or it is damaged.
    """
    if not path.is_file():
        msg = f"there is no {path}"
        raise InputError(msg)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        msg = f"{path} is damaged ({error}); remove it, and what is missing is computed again"
        raise InputError(msg) from error


def write_table(path: Path, table: pd.DataFrame) -> Path:
    """Write a table as Parquet.

    Args:
        path: Where.
        table: What.

    Returns:
        The path.
    """
    with replacing(path) as work:
        table.to_parquet(work, index=False)
    return path
