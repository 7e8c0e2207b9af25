"""A way to type commands, and one small run that several tests look at."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from decision_phases.cli import main

SMALL = ("--model", "tiny-llama", "--limit", "40", "--up-to", "2", "--draws", "2", "--threads", "1")
Type = Callable[..., Result]


@pytest.fixture(autouse=True)
def quickly(small_run: object, loaded_once: None, blank_figures: None) -> None:
    """Commands load a tiny model once, and draw no figures, which `small_run` has."""


@pytest.fixture
def type_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Type:
    """Run a command in an empty folder, in this process."""
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()

    def run(*words: object) -> Result:
        return runner.invoke(main, [str(word) for word in words], prog_name="decision-phases")

    return run


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """What `run` leaves and prints for a small random model."""
    folder = tmp_path_factory.mktemp("cli") / "out"
    before = Path.cwd()
    os.chdir(folder.parent)
    try:
        return folder, CliRunner().invoke(main, ["run", *SMALL, "--out", str(folder)])
    finally:
        os.chdir(before)
