"""Maps that are fitted, kept until all of a cut are: what an interrupted fit can go on from."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

from decision_phases.interventions import Intervention
from decision_phases.repairs.result import PlaceFit
from decision_phases.store import read_json, write_json

_FILE = "fit.json"


def keep(folder: Path | None, mapping: Intervention, fit: PlaceFit, seconds: float) -> None:
    """Keep a map.

    Args:
        folder: Where, by a name that identifies everything that decides it; None to keep nothing.
        mapping: The map, in its place.
        fit: How well it fits.
        seconds: How long it took.
    """
    if folder is None:
        return
    if folder.exists():  # another fit was interrupted while it wrote this one
        shutil.rmtree(folder)
    mapping.save(folder)
    write_json(folder / _FILE, {"place": asdict(fit), "seconds": seconds})


def kept(folder: Path | None) -> tuple[Intervention, PlaceFit, float] | None:
    """Read back what `keep` kept.

    Args:
        folder: Where.

    Returns:
        The same; None if it is not there, or not all of it.
    """
    if folder is None or not (folder / _FILE).exists():
        return None
    told = read_json(folder / _FILE)
    return Intervention.load(folder), PlaceFit(**told["place"]), float(told["seconds"])
