"""Notebooks and scripts say the same, and run."""

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "docs" / "notebooks").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_notebook_has_the_cells_of_the_script(script, monkeypatch):
    pytest.importorskip("jupytext", reason="the dependency group 'notebooks' is not installed")
    import nbformat

    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    books = importlib.import_module("notebooks")
    written = nbformat.read(script.with_suffix(".ipynb"), as_version=4)
    expected = books.cells(script)
    assert [(c.cell_type, c.source) for c in written.cells] == [
        (c.cell_type, c.source) for c in expected.cells
    ], "run experiments/notebooks.py"
    sys.modules.pop("notebooks")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_script_runs(script, monkeypatch, tmp_path, capsys):
    import matplotlib

    monkeypatch.setenv("DECISION_PHASES_QUICK", "1")
    monkeypatch.chdir(tmp_path)
    with matplotlib.rc_context():
        matplotlib.use("agg")
        exec(compile(script.read_text("utf-8"), script.name, "exec"), {})
    assert capsys.readouterr().out


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_cell_is_told_of(script):
    """A notebook begins with text, and no more than two cells of code follow each other."""
    heads = [line for line in script.read_text("utf-8").splitlines() if line.split(" ")[:2] == ["#", "%%"]]
    kinds = "".join("t" if "[markdown]" in head else "c" for head in heads)
    assert kinds.startswith("t")
    assert "ccc" not in kinds
