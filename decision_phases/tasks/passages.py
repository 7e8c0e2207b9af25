"""Queries and the passages that answer them, for retrieval."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from decision_phases.errors import InputError, unknown_name
from decision_phases.tasks.rows import ROW_ENDINGS, Row, read_rows

BUNDLED_PASSAGES = ("passages",)
"""The retrieval sets inside this package."""


@dataclass(frozen=True)
class Query:
    """A question and the passage that answers it.

    Attributes:
        text: The question; "" for a passage that nobody asks for.
        passage: The passage.
        topic: What both are about.
        id: Name in messages and tables.

    Raises:
        InputError: If the passage is empty.

    Example:
        >>> Query("Why is the sky blue?", "Air scatters blue light most.").topic
        ''
    """

    text: str
    passage: str
    topic: str = ""
    id: str = ""

    def __post_init__(self) -> None:
        if not self.passage.strip():
            msg = f"query {self.id or self.text!r} has an empty passage; give it the text that answers it"
            raise InputError(msg)


@dataclass(frozen=True)
class RetrievalSet:
    """Queries and passages, each query with the one passage that answers it.

    A passage that several queries share is in the set once; a row without a query only adds a passage.

    Attributes:
        name: Name in results.
        rows: Queries with their passages.
        source: Where they came from.

    Raises:
        InputError: If there is no query, or fewer than two different passages.
    """

    name: str
    rows: tuple[Query, ...]
    source: str = ""

    def __post_init__(self) -> None:
        if not self.queries or len(self.passages) < 2:
            msg = (
                f"retrieval set {self.name!r} has {len(self.queries)} queries and {len(self.passages)} different "
                "passages; give at least one query and two passages"
            )
            raise InputError(msg)

    def __len__(self) -> int:
        return len(self.queries)

    @cached_property
    def queries(self) -> tuple[Query, ...]:
        """The rows that ask something."""
        return tuple(row for row in self.rows if row.text.strip())

    @cached_property
    def passages(self) -> tuple[str, ...]:
        """The different passages, in order of first appearance."""
        return tuple(dict.fromkeys(row.passage for row in self.rows))

    @cached_property
    def answers(self) -> Int[np.ndarray, " query"]:
        """For each query, which of the passages answers it."""
        place = {passage: i for i, passage in enumerate(self.passages)}
        return np.array([place[row.passage] for row in self.queries], dtype=np.int64)

    @cached_property
    def content_hash(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the rows in order; the name is not in it."""
        text = json.dumps([[row.text, row.passage] for row in self.rows])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def limit(self, n: int, seed: int = 0) -> "RetrievalSet":
        """Return a set of `n` queries drawn by `seed`, in their order here, among all passages.

        Raises:
            InputError: If `n` is below 1.
        """
        if n < 1:
            msg = f"limit is {n}; at least one query is needed"
            raise InputError(msg)
        if n >= len(self):
            return self
        drawn = set(np.random.default_rng(seed).choice(len(self), size=n, replace=False).tolist())
        kept = {id(row) for i, row in enumerate(self.queries) if i in drawn}
        return replace(
            self, rows=tuple(row if id(row) in kept else replace(row, text="") for row in self.rows)
        )


def read_passages(
    source: str | Path | RetrievalSet | Iterable[Query | Mapping[str, Any]], *, name: str | None = None
) -> RetrievalSet:
    """Return a retrieval set.

    Args:
        source: "passages" (bundled); a .jsonl, .csv or .parquet file; rows with "passage", and "query", "topic" and
            "id" if you like; or a retrieval set.
        name: Name of the set in results; by default its own, or the file's.

    Raises:
        InputError: If the name is unknown, or the file or a row malformed.

    Example:
        >>> found = read_passages("passages")
        >>> len(found) >= 60, len(found.passages) >= 60, len({row.topic for row in found.rows}) >= 8
        (True, True, True)
    """
    if isinstance(source, RetrievalSet):
        return source if name is None else replace(source, name=name)
    if isinstance(source, str) and source in BUNDLED_PASSAGES:
        folder = resources.files("decision_phases.tasks") / "bundled"
        with resources.as_file(folder / f"{source}.jsonl") as path:
            return replace(read_passages(path, name=name), source="bundled")
    if isinstance(source, str) and not source.endswith(ROW_ENDINGS):
        raise unknown_name("passages", source, [*BUNDLED_PASSAGES, *(f"*{end}" for end in ROW_ENDINGS)])
    if isinstance(source, str | Path):
        path = Path(source)
        return RetrievalSet(name or path.stem, tuple(map(_query, read_rows(path))), str(path))
    rows = [
        row if isinstance(row, Query) else _query(Row(f"row {number}", number, dict(row)))
        for number, row in enumerate(source, start=1)
    ]
    return RetrievalSet(name or "passages", tuple(rows), "given")


def _query(row: Row) -> Query:
    fields = {key: row.fields.get(key) or "" for key in ("query", "passage", "topic", "id")}
    if not isinstance(row.fields.get("passage"), str) or not all(isinstance(v, str) for v in fields.values()):
        msg = (
            f"{row.place}: expected texts under passage, and under query, topic and id if they are there; got "
            f"{', '.join(row.fields) or 'nothing'}"
        )
        raise InputError(msg)
    try:
        return Query(fields["query"], fields["passage"], fields["topic"], fields["id"])
    except InputError as error:
        msg = f"{row.place}: {error}"
        raise InputError(msg) from error
