"""A stand-in for the fresh process, which takes seconds to start: the same check in this one."""

import pytest

from decision_phases.exports.check import check


@pytest.fixture
def quickly(monkeypatch):
    """Have saved folders reloaded in this process."""
    monkeypatch.setattr("decision_phases.exports.reload.in_fresh_process", check)
