"""README.md tells the truth: its Python runs, and its results are those that the experiments left behind."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_results_are_those_of_the_experiments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    from readme import with_results

    text = (ROOT / "README.md").read_text("utf-8")
    assert with_results(text) == text


def test_the_text_of_the_experiment_is_made_from_its_results(monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    folder = ROOT / "experiments/transition"
    monkeypatch.syspath_prepend(str(folder))
    from story import tell

    results = json.loads((folder / "results.json").read_text("utf-8"))
    assert tell(results) == (folder / "README.md").read_text("utf-8")
    sys.modules.pop("story")


@pytest.mark.model
def test_the_python_block_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), flags=re.DOTALL)
    assert len(block.strip().splitlines()) <= 16
    exec(compile(block, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "Decisions of SmolLM2-135M-Instruct on 48 questions" in printed
    assert "Phases(transition=" in printed
