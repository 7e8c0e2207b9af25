"""Run folders: made once, never overwritten in silence, continued on request."""

from __future__ import annotations

import os
import re
import shlex
from datetime import datetime
from pathlib import Path

from decision_phases.errors import InputError


def new_folder(given: Path | None, name: str) -> Path:
    """Make the folder of a run.

    Args:
        given: Where the user wants it; None for `runs/<time>-<name>`.
        name: What the run is about.

    Returns:
        A new, empty folder.

    Raises:
        InputError: If it exists and holds anything, or cannot be made.
    """
    if given is None:
        stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
        given = Path("runs") / f"{stamp}-{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}"
    if given.exists() and not given.is_dir():
        msg = f"{given} is a file; --out wants a folder"
        raise InputError(msg)
    if given.exists() and any(given.iterdir()):
        msg = f"{given} exists and is not empty; give another folder, or --resume to continue the run in it"
        raise InputError(msg)
    try:
        given.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"{given} cannot be made: {error.strerror or error}; give another folder with --out"
        raise InputError(msg) from error
    return given


def why_unwritable(folder: Path) -> str:
    """Say what keeps a folder from being made or written to; nothing is made.

    Args:
        folder: The folder, which need not be there.

    Returns:
        A few words; "" if nothing does.

    Example:
        >>> why_unwritable(Path("runs/mine")), why_unwritable(Path(__file__) / "mine") == f"{__file__} is no folder"
        ('', True)
    """
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    if nearest.is_symlink() and not nearest.exists():
        return f"{nearest} is a link to what is not there"
    if not nearest.is_dir():
        return f"{nearest} is no folder"
    return "" if os.access(nearest, os.W_OK | os.X_OK) else f"{nearest} may not be written to"


def resume_folder(given: Path | None) -> Path:
    """Find the run to continue.

    Args:
        given: The folder; None for the newest under `runs/`.

    Returns:
        The folder.

    Raises:
        InputError: If there is no run in it.
    """
    if given is None:
        found = sorted(Path("runs").glob("*/manifest.json"), key=lambda path: path.stat().st_mtime)
        if not found:
            msg = "there is no run to resume under runs/; name its folder with --out"
            raise InputError(msg)
        return found[-1].parent
    if not (given / "manifest.json").is_file():
        msg = f"there is no run to resume in {given} (no manifest.json)"
        raise InputError(msg)
    return given


def to_continue(command: str, folder: Path) -> str:
    """Say what to type to continue an interrupted run.

    Args:
        command: What was typed.
        folder: The folder of the run.

    Returns:
        The command.

    Example:
        >>> to_continue("decision-phases repair --skip 5", Path("runs/mine"))
        'decision-phases repair --skip 5 --resume --out runs/mine'
    """
    words = shlex.split(command)
    more = [] if "--resume" in words else ["--resume"]
    if not any(word == "--out" or word.startswith("--out=") for word in words):
        more += ["--out", str(folder)]
    return shlex.join([*words, *more])
