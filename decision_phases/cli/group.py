"""The command `decision-phases`: what it is made of, and how it ends."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
import warnings
from typing import Any

import click

from decision_phases.cli.compare import compare
from decision_phases.cli.export import export
from decision_phases.cli.models import models
from decision_phases.cli.options import DEBUG
from decision_phases.cli.patch import patch
from decision_phases.cli.prune import prune
from decision_phases.cli.questions import questions
from decision_phases.cli.read import read
from decision_phases.cli.repair import repair
from decision_phases.cli.run import run
from decision_phases.cli.spaces import spaces
from decision_phases.errors import DecisionPhasesError

PROGRAM = "decision-phases"
_INTERRUPTED = 130


class Refused(click.ClickException):
    """What was given cannot be used: one message, no traceback, exit code 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        """Write the message to standard error.

        Args:
            file: Another place for it.
        """
        click.echo(f"error: {self.message}", file=file or sys.stderr)


class Interrupted(click.ClickException):
    """Ctrl-C was pressed: exit code 130."""

    exit_code = _INTERRUPTED

    def show(self, file: Any = None) -> None:
        """Write the message to standard error.

        Args:
            file: Another place for it.
        """
        click.echo(f"interrupted: {self.message}" if self.message else "interrupted", file=file or sys.stderr)


class Commands(click.Group):
    """A group that remembers what was typed, and turns what goes wrong into a message and an exit code."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Remember the command line for the report.

        Args:
            ctx: The context.
            args: What was typed after the program's name.

        Returns:
            What is left to parse.
        """
        ctx.obj = shlex.join([PROGRAM, *args])
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command.

        Args:
            ctx: The context.

        Returns:
            What the command returns.

        Raises:
            Refused: For an error that this package raises on purpose.
            Interrupted: For Ctrl-C.
        """
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                return super().invoke(ctx)
        except DecisionPhasesError as error:
            if ctx.meta.get(DEBUG):
                traceback.print_exc()
            raise Refused(str(error)) from error
        except KeyboardInterrupt as error:
            raise Interrupted(str(error)) from error


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """A warning in one line; where in the code it was raised is of no use here."""
    click.echo(f"warning: {message}", err=True)


_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(
    cls=Commands,
    context_settings=_CONTEXT,
    epilog="Every command explains itself: decision-phases COMMAND --help",
)
@click.version_option(package_name="decision-phases", message="%(package)s %(version)s")
def main() -> None:
    """See at which layer a language model decides, and what removing layers does to that decision.

    Multiple-choice questions are put to a model, and its choice is read off after every layer. At first the layers
    know nothing (the Silent Phase); from some layer on they favour the right answer (the Decisive Phase). Then whole
    blocks are removed, one after the other, to see which ones the decision needs.

    \b
    Start here:
      decision-phases run                   the whole job: read, find the phases, prune, report
      decision-phases run --quick           the same, small, in under a minute
      decision-phases read --skip 5,8       read the decision with blocks 5 and 8 removed
      decision-phases questions facts       look at the questions

    Nothing is needed but this package: the model and the questions that are used by default come with it. Exit codes:
    0 done, 2 something given cannot be used (the message says what would be), 130 interrupted, 1 with a traceback for
    anything else.
    """  # noqa: D301 - \b is click's mark for lines to be left as they are


for _command in (run, read, prune, compare, spaces, patch, repair, export, models, questions):
    _command.context_settings = (
        _CONTEXT  # not only inherited: a command keeps the help option it is first asked with
    )
    main.add_command(_command)
