"""`decision-phases run`: the whole job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from decision_phases.cli import options
from decision_phases.cli.arguments import settings_from
from decision_phases.cli.job import do
from decision_phases.cli.show import pruning, result
from decision_phases.studies.settings import DEFAULT_STRATEGIES

out = click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where results go; a folder that holds anything is refused.  [default: runs/<time>-<model>]",
)
whole_job = options.together(
    options.model,
    options.asking,
    options.subset,
    options.pruning,
    options.cutting,
    out,
    options.keeping,
    options.hardware,
    options.progress,
    options.debug,
)


@click.command(short_help="The whole job: read, find the phases, prune, report.")
@whole_job
@click.pass_context
def run(ctx: click.Context, /, **_: Any) -> None:
    """The whole job: read the decision at every layer, find the phases, prune, and write a report.

    Loads the model, puts the questions to it, and reads after every layer which option it would choose. Finds the layer
    from which it favours the right one, with an interval, and calls what is before it the Silent Phase and what follows
    the Decisive Phase. Then removes blocks one after the other: the one that is missed least, and for comparison those
    of one phase only, random ones, the deepest, the shallowest. One part of the questions chooses, the others measure.

    \b
    Examples:
      decision-phases run
      decision-phases run --quick
      decision-phases run --model HuggingFaceTB/SmolLM2-360M --limit all --out runs/360m
      decision-phases run --questions mine.jsonl --scoring cloze --shots 2
      decision-phases run --resume --out runs/360m --model HuggingFaceTB/SmolLM2-360M --limit all

    The folder holds report.html, summary.json, decisions.parquet, pruning.parquet, pictures.json, manifest.json and
    figures/. Ctrl-C keeps what is finished, writes the report of it and says how to continue. --skip and its like
    belong to `decision-phases read`: pruning starts from the intact model.
    """  # noqa: D301 - \b is click's mark for lines to be left as they are
    finish(ctx, DEFAULT_STRATEGIES)


def finish(ctx: click.Context, strategies: tuple[str, ...]) -> None:
    """Do the job and print what came out.

    Args:
        ctx: The context of the command.
        strategies: Strategies to compare.
    """
    folder = do(ctx, settings_from(ctx, strategies), ctx.params["out"])
    from decision_phases.store import read_json

    summary = read_json(folder / "summary.json")
    click.echo(f"{result(summary)}\n\n{pruning(summary)}\n")
    where(folder)


def where(folder: Path) -> None:
    """Print where the results are.

    Args:
        folder: The folder.
    """
    click.echo(f"folder  {folder}\nreport  {folder / 'report.html'}")
