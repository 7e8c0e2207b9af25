"""The command line, one file a command. Nothing heavy is imported before a command runs."""

from decision_phases.cli.group import main

__all__ = ["main"]
