"""The folder that an export ends in: looked at first, written beside its place, and gone if anything fails."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from decision_phases.errors import InputError
from decision_phases.store import why_unwritable
from decision_phases.writing import writing


def check_target(folder: str | Path) -> Path:
    """Refuse a folder that nothing can be saved to, before a model is loaded.

    Args:
        folder: Where something is to be saved; it may be there already, if it is empty.

    Returns:
        The folder.

    Raises:
        InputError: If it has no name of its own (as ".", which something else may be using), holds anything, is a file
            or a link to nothing, or cannot be made.

    Example:
        >>> check_target("short").name
        'short'
    """
    try:
        target = Path(folder).expanduser()
    except TypeError as error:
        msg = f"a folder is given by its path, not as {folder!r:.80}"
        raise InputError(msg) from error
    if target.name in ("", ".."):
        msg = f"{str(folder)!r} has no name of its own; give the name of a folder that is not there yet"
        raise InputError(msg)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        msg = f"{target} exists already; give a folder that is not there yet"
        raise InputError(msg)
    why = why_unwritable(target)
    if why:
        msg = f"{target} cannot be written: {why}; give another folder"
        raise InputError(msg)
    return target


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """Make a folder beside the target that takes its place at the end; if anything fails, nothing is left.

    Args:
        target: The folder, which has passed `check_target`.

    Yields:
        Where to write.

    Raises:
        StorageError: If it cannot be made, or the disk is full.
    """
    place = target.resolve()
    made = [parent for parent in place.parents if not parent.exists()]
    complete = False
    try:
        with writing(target):
            place.parent.mkdir(parents=True, exist_ok=True)
            work = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
        try:
            yield work
            with writing(target):
                work.chmod(0o755)
                work.replace(place)
            complete = True
        finally:
            shutil.rmtree(work, ignore_errors=True)
    finally:
        for parent in made if not complete else ():
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()
