"""What must be known to run the same again."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from decision_phases.errors import InputError
from decision_phases.store.files import read_json, write_json

_PACKAGES = ("decision-phases", "torch", "transformers", "transformer-lens", "numpy", "pandas")


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of what its numbers depend on.

    Returns:
        Name → version; "not installed" where so.
    """
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


@dataclass(frozen=True)
class Manifest:
    """Who ran what, when, with which versions.

    Attributes:
        arguments: Everything that decides the result.
        model_fingerprint: Hash of the weights.
        question_hash: Hash of the questions.
        seed: Seed of everything random.
        started: When, in UTC.
        seconds: How long, so far.
        complete: Whether the run finished.
        versions: Of Python and packages.
        threads: Threads that torch computed with.
    """

    arguments: Mapping[str, Any]
    model_fingerprint: str
    question_hash: str
    seed: int
    started: str
    seconds: float
    complete: bool
    versions: Mapping[str, str]
    threads: int

    @classmethod
    def begin(
        cls, arguments: Mapping[str, Any], fingerprint: str, question_hash: str, *, seed: int, threads: int
    ) -> Manifest:
        """Begin the manifest of a run.

        Args:
            arguments: Everything that decides the result.
            fingerprint: Hash of the weights.
            question_hash: Hash of the questions.
            seed: Seed of everything random.
            threads: Threads that torch computes with.

        Returns:
            The manifest, not complete.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(
            arguments,
            fingerprint,
            question_hash,
            seed,
            started=now,
            seconds=0.0,
            complete=False,
            versions=versions(),
            threads=threads,
        )

    def after(self, seconds: float, *, complete: bool) -> Manifest:
        """The same run, later.

        Args:
            seconds: How long it has taken.
            complete: Whether it is finished.

        Returns:
            A new manifest.
        """
        return replace(self, seconds=round(seconds, 1), complete=complete)

    def write(self, folder: Path) -> None:
        """Write `manifest.json`.

        Args:
            folder: The run folder.
        """
        write_json(folder / "manifest.json", asdict(self))

    def check_resumes(self, folder: Path) -> Manifest:
        """Refuse to continue a run of other arguments, weights, questions or versions.

        Args:
            folder: The run folder.

        Returns:
            This manifest with the start of the earlier run and the seconds that it took.

        Raises:
            InputError: Naming what differs.
        """
        old = read_json(folder / "manifest.json")
        mine = asdict(self)
        for name in ("model_fingerprint", "question_hash"):
            if old.get(name) != mine[name]:
                msg = f"{folder} was run with another {name.replace('_', ' ')}; start a new folder with --out"
                raise InputError(msg)
        for name in ("versions", "arguments"):
            changed = _changes(old.get(name) or {}, mine[name])
            if changed:
                msg = f"{folder} was run with other {name}: {changed}; start a new folder with --out"
                raise InputError(msg)
        return replace(self, started=old.get("started", self.started), seconds=old.get("seconds", 0.0))


def _changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    names = sorted(name for name in {*then, *now} if then.get(name) != now.get(name))
    return ", ".join(f"{name} ({then.get(name)} then, {now.get(name)} now)" for name in names)
