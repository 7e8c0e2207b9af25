"""One folder of results that outlives any process: keys and numbers in SQLite, arrays in Parquet."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from decision_phases.errors import InputError, StorageError
from decision_phases.store.arrays import pack_arrays, read_told, unpack_arrays
from decision_phases.store.files import read_json, write_json
from decision_phases.writing import replacing

_INDEX = "index.sqlite"
_TABLES = """
CREATE TABLE IF NOT EXISTS study (key TEXT PRIMARY KEY, description TEXT NOT NULL, begun TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS result (
    study TEXT NOT NULL, variant TEXT NOT NULL, what TEXT NOT NULL, scalars TEXT NOT NULL, threads INTEGER NOT NULL,
    file TEXT NOT NULL, digest TEXT NOT NULL, written TEXT NOT NULL, PRIMARY KEY (study, variant));
CREATE TABLE IF NOT EXISTS damage (
    study TEXT NOT NULL, variant TEXT NOT NULL, file TEXT NOT NULL, why TEXT NOT NULL, found TEXT NOT NULL);
"""


class DamagedResultWarning(UserWarning):
    """A kept result cannot be trusted any more: it was put aside, and is computed anew when it is wanted."""


@dataclass(frozen=True)
class Packed:
    """A result as numbers and arrays.

    Attributes:
        scalars: Numbers worth searching for; JSON values.
        arrays: Everything that is needed to make the result again.
    """

    scalars: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


class ResultStore:
    """Results of evaluated variants, each kept as soon as it is known.

    A *study* is everything but the variant that decides a result, by hash; a *variant* is a key too. A result is one
    Parquet file and one row of the index that names it. The file is complete before the row is written, so a process
    may be killed at any moment. Of two processes that write the same result the first is kept, and both go on. A file
    that is not what its row says is moved to `quarantine/`, noted, and warned of.

    The folder must lie on a file system with working locks, which many network file systems lack.

    Args:
        folder: Where; made if it does not exist.

    Raises:
        InputError: If the folder cannot be used, or its index is damaged.

    Example:
        >>> import tempfile
        >>> store = ResultStore(tempfile.mkdtemp())
        >>> study = store.study({"model": "some", "questions": "others"})
        >>> store.put(study, "cut", Packed({"accuracy": 0.5}, {"scores": np.zeros((2, 3))}))
        >>> store.get(study, "cut").arrays["scores"].shape, len(store)
        ((2, 3), 1)
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        path = self.folder / _INDEX
        self._made: tuple[int, sqlite3.Connection] | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            new = not path.exists()
            if self._database.execute("PRAGMA quick_check").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("its pages do not agree")
            self._database.executescript(_TABLES)
        except OSError as error:
            msg = f"{self.folder} cannot hold results: {error.strerror or error}; give a folder"
            raise InputError(msg) from error
        except sqlite3.OperationalError as error:
            msg = f"{path} cannot be opened or locked ({error}); give a folder on a local disk that can be written to"
            raise InputError(msg) from error
        except sqlite3.DatabaseError as error:
            msg = (
                f"{path} is damaged ({error}). Move it away, and {_INDEX}-wal and {_INDEX}-shm if they are there; the "
                "index is then made again from the Parquet files"
            )
            raise InputError(msg) from error
        if new:
            self._index_files()

    def __len__(self) -> int:
        """Number of results."""
        return int(self._database.execute("SELECT COUNT(*) FROM result").fetchone()[0])

    def __repr__(self) -> str:
        """Where it is and what it holds."""
        return f"<ResultStore {self.folder}: {len(self)} results, {len(self.damaged())} damaged>"

    def close(self) -> None:
        """Close the connection of this process; it is opened again when needed."""
        if self._made is not None and self._made[0] == os.getpid():
            self._made[1].close()
        self._made = None

    @property
    def _database(self) -> sqlite3.Connection:
        """The connection of this process; one that a fork inherits must not be used."""
        if self._made is None or self._made[0] != os.getpid():
            made = sqlite3.connect(self.folder / _INDEX, timeout=120, isolation_level=None)
            made.execute("PRAGMA journal_mode=WAL")
            self._made = (os.getpid(), made)
        return self._made[1]

    def study(self, description: Mapping[str, Any]) -> str:
        """Name what all results of a study share.

        Args:
            description: JSON values; all of them decide the key, except what is under "note".

        Returns:
            The key: 16 hexadecimal digits.
        """
        deciding = {name: value for name, value in description.items() if name != "note"}
        key = hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:16]
        path = self.folder / "arrays" / key / "study.json"
        if not path.exists():
            write_json(path, dict(description))
        self._name_study(key, description)
        return key

    def put(self, study: str, variant: str, packed: Packed, *, what: str = "", threads: int = 0) -> None:
        """Keep a result; if there is one already, that one stays.

        Args:
            study: Key of the study.
            variant: Key of the variant.
            packed: The result.
            what: The variant in words.
            threads: Threads that computed it.

        Raises:
            InputError: If an array is of a type that Parquet would not give back as it was.
        """
        told = {
            "study": study,
            "variant": variant,
            "what": what,
            "scalars": json.dumps(dict(packed.scalars)),
            "threads": threads,
        }
        content = pack_arrays(packed.arrays, told)
        digest = hashlib.sha256(content).hexdigest()
        # Another process may be writing the same result, with other bits if its threads are other in number.
        file = f"arrays/{study}/{variant}-{digest[:12]}.parquet"
        with replacing(self.folder / file) as work:
            work.write_bytes(content)
        if not self._index(told, file, digest):
            kept = self._row(study, variant)
            if kept is not None and kept[1] != file:
                (self.folder / file).unlink(missing_ok=True)

    def get(self, study: str, variant: str) -> Packed | None:
        """Read a result, and check that it is what was written.

        Args:
            study: Key of the study.
            variant: Key of the variant.

        Returns:
            The result; None if there is none, or it was damaged and is now in quarantine.
        """
        row = self._row(study, variant)
        if row is None:
            return None
        scalars, file, digest = row
        path = self.folder / file
        content = path.read_bytes() if path.is_file() else None
        if content is not None and hashlib.sha256(content).hexdigest() == digest:
            return Packed(json.loads(scalars), unpack_arrays(content))
        self._put_aside(study, variant, file, "is missing" if content is None else "is not what was written")
        return None

    def damaged(self) -> pd.DataFrame:
        """What was found damaged so far.

        Returns:
            Columns study, variant, file (as it was called), why, found (when).
        """
        return self._table("SELECT * FROM damage")

    def to_pandas(self) -> pd.DataFrame:
        """Every result, without its arrays.

        Returns:
            Columns study, variant, what, threads, file, written, and one for each number that was kept.
        """
        table = self._table("SELECT study, variant, what, threads, file, written, scalars FROM result")
        numbers = pd.DataFrame([json.loads(text) for text in table.pop("scalars")], index=table.index)
        return pd.concat([table, numbers], axis=1)

    def _table(self, query: str) -> pd.DataFrame:
        found = self._database.execute(query)
        return pd.DataFrame(found.fetchall(), columns=[column[0] for column in found.description])

    def _row(self, study: str, variant: str) -> tuple[str, str, str] | None:
        query = "SELECT scalars, file, digest FROM result WHERE study = ? AND variant = ?"
        row: tuple[str, str, str] | None = self._database.execute(query, (study, variant)).fetchone()
        return row

    def _name_study(self, key: str, description: Mapping[str, Any]) -> None:
        told = json.dumps(dict(description), sort_keys=True)
        self._database.execute("INSERT OR IGNORE INTO study VALUES (?, ?, ?)", (key, told, _now()))

    def _index(self, told: Mapping[str, Any], file: str, digest: str) -> bool:
        values = {**told, "file": file, "digest": digest, "written": _now()}
        names = ("study", "variant", "what", "scalars", "threads", "file", "digest", "written")
        try:
            done = self._database.execute(
                "INSERT OR IGNORE INTO result VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [values[name] for name in names],
            )
        except sqlite3.OperationalError as error:
            msg = (
                f"{self.folder / _INDEX} cannot be written: {error}; make room for it, or close what else writes to "
                "it. What was written before is as it was, and is found again"
            )
            raise StorageError(msg) from error
        return done.rowcount == 1

    def _put_aside(self, study: str, variant: str, file: str, why: str) -> None:
        path, place = self.folder / file, self.folder / "quarantine"
        if path.is_file():
            place.mkdir(exist_ok=True)
            path.replace(place / f"{study}-{path.name}")
        self._database.execute("BEGIN IMMEDIATE")
        self._database.execute("DELETE FROM result WHERE file = ?", (file,))
        self._database.execute(
            "INSERT INTO damage VALUES (?, ?, ?, ?, ?)", (study, variant, file, why, _now())
        )
        self._database.execute("COMMIT")
        warnings.warn(
            f"{self.folder / file} {why}; it is in quarantine, and its result is computed anew",
            DamagedResultWarning,
            stacklevel=3,
        )

    def _index_files(self) -> None:
        """Make the index again, after it was lost, from what the files say of themselves."""
        for path in sorted((self.folder / "arrays").glob("*/study.json")):
            self._name_study(path.parent.name, read_json(path))
        for path in sorted((self.folder / "arrays").glob("*/*.parquet")):
            content = path.read_bytes()
            try:
                told = read_told(content)
            except InputError:
                self._put_aside(
                    path.parent.name, path.stem, str(path.relative_to(self.folder)), "cannot be read"
                )
                continue
            self._index(told, str(path.relative_to(self.folder)), hashlib.sha256(content).hexdigest())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
