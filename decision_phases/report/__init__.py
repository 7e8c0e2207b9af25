"""The report of a run: one HTML page that needs nothing else, and its figures as files."""

from decision_phases.report.figures import write_figures
from decision_phases.report.page import write_report

__all__ = ["write_figures", "write_report"]
