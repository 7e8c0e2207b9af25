"""Rows of a JSONL, CSV or Parquet file, each with the place it came from."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decision_phases.errors import InputError

ROW_ENDINGS = (".jsonl", ".csv", ".parquet")


@dataclass(frozen=True)
class Row:
    """One record.

    Attributes:
        place: Where it is, for messages: "questions.jsonl, line 3".
        number: Line or row number, from 1.
        fields: The record.
        untyped: Whether every value was written as text (CSV), so that "2" may be a number.
    """

    place: str
    number: int
    fields: dict[str, Any]
    untyped: bool = False


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a file; blank lines of a JSONL or CSV file are passed over.

    In a CSV file the first line names the columns, and a cell that begins with `[` or `{` is read as JSON.

    Args:
        path: A file that ends in .jsonl, .csv or .parquet.

    Raises:
        InputError: If the file is missing, empty, of another kind or malformed; with the line number.
    """
    readers = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}
    if path.suffix not in readers:
        raise InputError(
            f"{path}: the name ends in {path.suffix!r}; expected one of {', '.join(ROW_ENDINGS)}."
        )
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the path of an existing one.")
    try:
        rows = list(readers[path.suffix](path))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text at byte {error.start}; save it as UTF-8.") from error
    if not rows:
        raise InputError(f"{path}: the file is empty; expected one record per line.")
    return rows


def _jsonl(path: Path) -> Iterator[Row]:
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            fields = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{place}: not JSON ({error.msg} at column {error.colno}).") from error
        if not isinstance(fields, dict):
            raise InputError(f"{place}: a {type(fields).__name__}; expected a JSON object in braces.")
        yield Row(place, number, fields)


def _csv(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for fields in reader:
                place = f"{path}, line {reader.line_num}"
                if None in fields or None in fields.values():
                    raise InputError(
                        f"{place}: not as many cells as the {len(reader.fieldnames or ())} columns."
                    )
                cells = {name: _cell(place, name, text) for name, text in fields.items()}
                yield Row(place, reader.line_num, cells, untyped=True)
        except csv.Error as error:
            raise InputError(f"{path}, line {reader.reader.line_num}: not CSV ({error}).") from error


def _cell(place: str, column: str, text: str) -> Any:
    if not text.startswith(("[", "{")) or column not in ("options", "choices", "endings"):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{place}: column {column!r} is not a JSON list ({error.msg}).") from error


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        records = parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a Parquet file ({error}).") from error
    for number, fields in enumerate(records, start=1):
        yield Row(f"{path}, row {number}", number, fields)
