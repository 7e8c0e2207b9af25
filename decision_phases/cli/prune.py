"""`decision-phases prune`: chosen strategies."""

from __future__ import annotations

from typing import Any

import click

from decision_phases.cli import options
from decision_phases.cli.run import finish, whole_job

_CONTROLS = ("random", "deepest")


@click.command(short_help="Remove blocks by strategies of your choice.")
@click.option(
    "--by",
    default="margin",
    show_default=True,
    metavar="NAME,NAME",
    help="Strategies, as listed above; several with commas.",
)
@click.option(
    "--no-controls",
    is_flag=True,
    help=f"Leave out {' and '.join(_CONTROLS)}, which no curve should be without.",
)
@options.texts
@whole_job
@click.pass_context
def prune(ctx: click.Context, /, by: str, no_controls: bool, **_: Any) -> None:
    """Remove blocks one after the other by chosen strategies, beside random and deepest as controls.

    \b
    margin           the block whose removal leaves the largest mean margin, re-measured after every step
    accuracy         the block whose removal leaves the highest accuracy
    within_silent    as margin, from the Silent Phase only
    within_decisive  as margin, from the Decisive Phase only
    random           any block, in several orders (--draws)
    deepest          the deepest block left
    shallowest       the shallowest block left
    sleb             the block whose removal raises perplexity least, re-measured after every step
    angular          the run of neighbours across which the residual turns least
    block_influence, perplexity, kl, cka, taylor, gradient_norm, magnitude, activation_magnitude
                     the blocks that matter least by this criterion, ranked once
    NAME:SEARCH      any of these criteria with one_shot, iterative or window, as in kl:iterative

    Every step keeps accuracy, margin at every layer, where the transition now is, and how similar the decisions are to
    the intact model's.

    \b
    Examples:
      decision-phases prune --by margin,accuracy --up-to 8
      decision-phases prune --by margin --protect 0,1,29 --draws 10
      decision-phases prune --by within_decisive --split none --no-controls
      decision-phases prune --by margin,block_influence,sleb --texts pydoc --up-to 6

    Folder, report and Ctrl-C are as in `decision-phases run`.
    """  # noqa: D301 - \b is click's mark for lines to be left as they are
    wanted = tuple(name.strip() for name in by.split(",") if name.strip())
    if not wanted:
        raise click.BadParameter("names no strategy.", param_hint="--by")
    controls = () if no_controls else _CONTROLS
    finish(ctx, tuple(dict.fromkeys((*wanted, *controls))))
