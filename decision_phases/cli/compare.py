"""`decision-phases compare`: strategies against each other and against random cuts."""

from __future__ import annotations

from typing import Any

import click

from decision_phases.cli import options
from decision_phases.cli.arguments import settings_from
from decision_phases.cli.job import do
from decision_phases.cli.prune import strategies_in
from decision_phases.cli.run import where, whole_job
from decision_phases.cli.show import comparison, result


@click.command(short_help="Compare strategies with each other and with random cuts.")
@click.option(
    "--by",
    default="margin,sleb,block_influence,angular",
    show_default=True,
    metavar="NAME,NAME",
    help="Strategies, as listed by `decision-phases prune --help`; several with commas.",
)
@options.search
@options.texts
@options.searching
@options.measuring
@whole_job
@click.pass_context
def compare(ctx: click.Context, /, by: str, search: str | None, **_: Any) -> None:
    """Compare strategies under one budget: how long accuracy lasts, and whether that is more than random cuts give.

    As `decision-phases prune`, with comparison.json and comparison.parquet beside: the area under accuracy against
    blocks removed (1 if nothing is lost, 0 at chance) with its interval, the last cut that is still above chance, where
    half and three quarters of the accuracy above chance are lost, and the difference from random cuts and from the
    first strategy on the same questions, p-values adjusted for the number of strategies. Random and deepest always run
    along. With --splits the spread over splits of the questions stands beside the interval within one.

    \b
    Examples:
      decision-phases compare --by margin,sleb --up-to 8 --out runs/compared
      decision-phases compare --by margin:greedy,margin:beam,margin:swaps --width 6 --splits 3
      decision-phases compare --by kl:greedy,perplexity:greedy --texts pydoc --evaluate perplexity,self_margin
      decision-phases compare --by cosine_attention,cosine_mlp --up-to 20% --timing 1x128

    Folder, report and Ctrl-C are as in `decision-phases run`.
    """  # noqa: D301 - \b is click's mark for lines to be left as they are
    settings = settings_from(ctx, strategies_in(by, search, controls=True), compare=True)
    folder = do(ctx, settings, ctx.params["out"])
    from decision_phases.store import read_json

    click.echo(f"{result(read_json(folder / 'summary.json'))}\n")
    click.echo(f"{comparison(read_json(folder / 'comparison.json'))}\n")
    where(folder)
