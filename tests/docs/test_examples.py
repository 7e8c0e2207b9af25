"""Every example in the pages runs, and every command is one that there is."""

import re
import shlex
from pathlib import Path

import pytest

from decision_phases.cli import main

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for path in (ROOT / "docs").rglob("*.md")
    if not {"generated", "_build"} & set(path.relative_to(ROOT / "docs").parts)
)
PYTHON = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
SHELL = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)


def name(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [p for p in PAGES if PYTHON.search(p.read_text("utf-8"))], ids=name)
def test_python_runs(page, elsewhere, small):
    """The blocks of a page belong together, as if typed one after the other."""
    text = page.read_text("utf-8")
    session = {}
    for block in PYTHON.finditer(text):
        before = text[: block.start(1)].count("\n")  # so that an error names the line of the page
        exec(compile("\n" * before + block[1], name(page), "exec"), session)


def lines():
    for page in (ROOT / "README.md", *PAGES):
        for block in SHELL.findall(page.read_text("utf-8")):
            for line in block.splitlines():
                yield from ((page, words) for words in commands(line))


def commands(line):
    """What a line of a shell runs: its words, without what merely leads to it."""
    for part in line.split("&&"):
        words = shlex.split(part, comments=True)
        if "decision-phases" in words:
            yield words[words.index("decision-phases") :]
        elif any(word.startswith("experiments/") for word in words):
            yield [word for word in words if word.startswith("experiments/")]


@pytest.mark.parametrize(
    ("page", "words"), [pytest.param(p, w, id=f"{name(p)}: {' '.join(w)}") for p, w in lines()]
)
def test_commands_can_be_typed(page, words, elsewhere):
    if words[0] != "decision-phases":
        assert (ROOT / words[0]).is_file()
        return
    command, *rest = words[1:]
    for path in (word for word in rest if word.startswith("runs/")):
        Path(path).mkdir(parents=True, exist_ok=True)
    with main.commands[command].make_context(command, rest):
        pass
