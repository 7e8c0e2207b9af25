"""Examples run where they can do no harm, and on a small random model where they say `dp.load()`."""

from contextlib import nullcontext
from pathlib import Path

import pytest

import decision_phases as dp
from decision_phases.exports.check import check
from decision_phases.models import load

ROOT = Path(__file__).parents[2]


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """An empty folder, in which the examples write."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def small(monkeypatch, tiny):
    """Stand in for the bundled model, for processes of workers, and for the fresh process that looks at an export."""

    def load_small(source=None, **settings):
        return tiny if source is None else load(source, **{**settings, "quiet": True})

    monkeypatch.setattr(dp, "load", load_small)
    monkeypatch.setattr("decision_phases.exports.reload.in_fresh_process", check)
    monkeypatch.setattr(dp, "workers", lambda *_, **__: nullcontext())
