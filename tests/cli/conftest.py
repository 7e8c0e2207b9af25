"""A way to type commands, and one small run that several tests look at."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from matplotlib.figure import Figure

from decision_phases.cli import main
from decision_phases.plots import save_figure
from decision_phases.report import figures

SMALL = ("--model", "tiny-llama", "--limit", "40", "--up-to", "2", "--draws", "2", "--threads", "1")
Type = Callable[..., Result]


@pytest.fixture(autouse=True)
def blank_figures(small_run: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """No figure is drawn: that takes half the time of a small run, and `small_run` has them."""

    monkeypatch.setattr(figures, "save_figure", lambda _, path: save_figure(Figure(figsize=(0.1, 0.1)), path))


@pytest.fixture(autouse=True)
def same_models(loaded_once: None) -> None:
    """Commands load a tiny model once."""


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
