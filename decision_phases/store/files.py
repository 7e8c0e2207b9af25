"""Files that appear under their name only when they are complete."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import SafetensorError

from decision_phases.errors import InputError, StorageError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file beside its place and move it there at the end.

    Args:
        path: Where the file belongs.

    Yields:
        Where to write it. If the block raises, nothing is left and an earlier file stays as it was.

    Raises:
        StorageError: If there is no room, or no right to write.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        work = Path(name)
        try:
            yield work
            work.chmod(0o644)
            work.replace(path)
        finally:
            work.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        why = getattr(error, "strerror", None) or error
        msg = (
            f"{path} cannot be written: {why}; make room for it, or write elsewhere. What was written before is as it "
            "was, and is found again"
        )
        raise StorageError(msg) from error


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
