"""Whole jobs: what is run, in which order, and what is kept of it."""

from decision_phases.studies.run import DEFAULT_STRATEGIES, RunSettings, run_study

__all__ = ["DEFAULT_STRATEGIES", "RunSettings", "run_study"]
