"""One door to texts: the help topics of Python, a file, a hub data set, or texts in memory."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from decision_phases.errors import InputError, unknown_name
from decision_phases.tasks.hub import HubSource, load_hub, parse_hub
from decision_phases.tasks.rows import ROW_ENDINGS, read_rows
from decision_phases.tasks.textset import TextSet

HUB_TEXTS: Mapping[str, HubSource] = {
    "wikitext2": HubSource("Salesforce/wikitext", "wikitext-2-raw-v1", "test"),
    "wikitext103": HubSource("Salesforce/wikitext", "wikitext-103-raw-v1", "test"),
}
"""The texts that are loaded by name through the package `datasets`."""


def texts(
    source: str | Path | TextSet | Iterable[str],
    *,
    name: str | None = None,
    column: str = "text",
    whole: bool = False,
    seed: int = 0,
    hub_split: str | None = None,
) -> TextSet:
    """Return a text set.

    Args:
        source: "pydoc" (the help topics that come with Python: offline English prose on one subject, which
            differs between Python versions, so record its hash); "wikitext2", "wikitext103" or
            "owner/name:config" on the hub; a .txt file; a .jsonl, .csv or .parquet file with a text column;
            texts; or a text set.
        name: Name of the set in results.
        column: The column that holds the text.
        whole: Whether a .txt file is one document. By default it is divided at blank lines, and its
            paragraphs count as one running text.
        seed: Seed of the fit and evaluation halves.
        hub_split: Split of a hub data set, instead of the usual one.

    Raises:
        InputError: If the name is unknown, the file missing, empty or without the column, or the data set
            neither cached nor reachable.
        MissingPackageError: If a hub data set is asked for and `datasets` is not installed.

    Example:
        >>> texts(["One text.", "Another text."], name="two")
        TextSet('two', 2 documents, 22 characters, 43b5fc56242f2dd9)
    """
    if isinstance(source, TextSet):
        return source
    if isinstance(source, str) and source == "pydoc":
        return TextSet(name or source, _pydoc(), seed=seed, source="pydoc_data.topics")
    if isinstance(source, str) and source in HUB_TEXTS:
        known = HUB_TEXTS[source]
        return _from_hub(
            name or source, HubSource(known.path, known.config, hub_split or known.split), column, seed
        )
    if isinstance(source, str | Path) and Path(source).suffix in (".txt", *ROW_ENDINGS):
        return _from_file(Path(source), name, column, seed, whole=whole)
    if isinstance(source, Path):
        raise InputError(f"{source}: the name must end in one of .txt, {', '.join(ROW_ENDINGS)}.")
    if isinstance(source, str):
        if source.count("/") == 1:
            return _from_hub(name or source, parse_hub(source, hub_split), column, seed)
        raise unknown_name(
            "texts", source, ["pydoc", *HUB_TEXTS, "*.txt", *(f"*{end}" for end in ROW_ENDINGS)]
        )
    return TextSet(name or "texts", tuple(source), seed=seed, source="given")


def _pydoc() -> tuple[str, ...]:
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise InputError(
            "this Python was installed without pydoc_data; give a local .txt file instead."
        ) from error
    return tuple(topics[topic].strip() for topic in sorted(topics))


def _from_file(path: Path, name: str | None, column: str, seed: int, *, whole: bool) -> TextSet:
    if path.suffix != ".txt":
        rows = read_rows(path)
        documents = _column([row.fields for row in rows], column, [row.place for row in rows])
        return TextSet(name or path.stem, documents, seed=seed, source=str(path))
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the path of an existing one.")
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text at byte {error.start}; save it as UTF-8.") from error
    documents = (text,) if whole else tuple(re.split(r"\n(?:[ \t]*\n)+", text))
    return TextSet(name or path.stem, documents, running=not whole, seed=seed, source=str(path))


def _from_hub(name: str, source: HubSource, column: str, seed: int) -> TextSet:
    """The rows with text; WikiText's are consecutive lines of one text."""
    records = load_hub(source)
    places = [f"{source}, row {number}" for number in range(1, len(records) + 1)]
    documents = tuple(text for text in _column(records, column, places) if text.strip())
    return TextSet(name, documents, running=name in HUB_TEXTS, seed=seed, source=str(source))


def _column(records: list[dict[str, Any]], column: str, places: list[str]) -> tuple[str, ...]:
    for record, place in zip(records, places, strict=True):
        if not isinstance(record.get(column), str):
            raise InputError(
                f"{place}: no text in column {column!r}; there is "
                f"{', '.join(map(str, record)) or 'nothing'}. "
                "Give column= the name of the one that holds the text."
            )
    return tuple(record[column] for record in records)
