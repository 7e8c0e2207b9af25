"""Whole jobs: what is run, in which order, and what is kept of it.

`run_study` is imported when it is first used: settings alone, which the command line shows, cost nothing.
"""

from typing import TYPE_CHECKING, Any

from decision_phases.studies.settings import DEFAULT_STRATEGIES, RunSettings

if TYPE_CHECKING:
    from decision_phases.studies.run import run_study

__all__ = ["DEFAULT_STRATEGIES", "RunSettings", "run_study"]


def __getattr__(name: str) -> Any:
    """Import `run_study` when it is first used."""
    if name != "run_study":
        msg = f"module 'decision_phases.studies' has no attribute {name!r}"
        raise AttributeError(msg)
    from decision_phases.studies.run import run_study

    return run_study
