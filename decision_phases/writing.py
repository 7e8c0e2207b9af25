"""Files that appear under their name only when they are complete, and what keeps them from being written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from decision_phases.errors import StorageError


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Say in words what keeps a file or a folder from being written, such as a full disk.

    Args:
        target: What is written.

    Yields:
        Nothing.

    Raises:
        StorageError: In place of what the system says.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        cause = (
            error.__cause__ if isinstance(error, StorageError) else error
        )  # of a file in it: it was said already
        why = getattr(cause, "strerror", None) or cause
        msg = (
            f"{target} cannot be written: {why}; make room for it, or write elsewhere. What was written before is as "
            "it was, and is found again"
        )
        raise StorageError(msg) from cause


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
    with writing(path):
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
