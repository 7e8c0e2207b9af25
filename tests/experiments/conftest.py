"""Modules of an experiment are found beside it, and forgotten afterwards: every experiment has a `run`."""

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent / "experiments"


@pytest.fixture
def module_of(monkeypatch):
    """Takes the name of an experiment ("" for what all share) and of a module; gives the module."""
    before = set(sys.modules)

    def find(experiment, name):
        monkeypatch.syspath_prepend(str(ROOT))
        if experiment:
            monkeypatch.syspath_prepend(str(ROOT / experiment))
        return importlib.import_module(name)

    yield find
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(ROOT)):
            del sys.modules[name]
