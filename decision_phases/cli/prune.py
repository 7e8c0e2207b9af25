"""`decision-phases prune`: chosen strategies."""

from __future__ import annotations

from typing import Any

import click

from decision_phases.cli import options
from decision_phases.cli.arguments import names_in
from decision_phases.cli.run import finish, whole_job


@click.command(short_help="Remove blocks by strategies of your choice.")
@click.option(
    "--by",
    default="margin",
    show_default=True,
    metavar="NAME,NAME",
    help="Strategies, as listed above; several with commas.",
)
@options.search
@click.option(
    "--no-controls",
    is_flag=True,
    help="Leave out random and deepest, which no curve should be without.",
)
@options.texts
@options.searching
@whole_job
@click.pass_context
def prune(ctx: click.Context, /, by: str, search: str | None, no_controls: bool, **_: Any) -> None:
    """Remove blocks one after the other by chosen strategies, beside random and deepest as controls.

    \b
    margin           the block whose removal leaves the largest mean margin, re-measured after every step
    accuracy         the block whose removal leaves the highest accuracy
    self_margin      the block whose removal leaves the largest margin of what the intact model chooses
    greedy           the block whose removal leaves the --objective best
    beam             as greedy, keeping the best few cuts of each size (--width)
    swaps            greedy cuts, swapping blocks while that helps
    within_silent    as greedy, from the Silent Phase only
    within_decisive  as greedy, from the Decisive Phase only
    random           any block, in several orders (--draws)
    deepest          the deepest block left
    shallowest       the shallowest block left
    sleb             the block whose removal raises perplexity least, re-measured after every step
    angular          the run of neighbours across which the residual turns least
    block_influence, perplexity, kl, cka, trajectory, trajectory_local, shapley, shapley_perplexity, taylor,
    gradient_norm, magnitude, activation_magnitude
                     the blocks that matter least by this criterion, ranked once; magnitude is the sum of the squared
                     weights, activation_magnitude the length of what a block adds over that of the stream before it
    cosine_attention, cosine_mlp, cosine_joint
                     attentions, MLPs or both, that turn the residual least; beside them go random_attention,
                     random_mlp or random_joint
    NAME:SEARCH      a criterion with one_shot, iterative or window, as in kl:iterative; an objective (margin, accuracy,
                     self_margin, perplexity, kl) with greedy or beam, as in kl:beam; anything with swaps, as in
                     sleb:swaps
    NAME:SEARCH:PART the same for attention, mlp or joint in place of blocks, as in margin:greedy:attention

    Every step keeps accuracy, margin at every layer, where the transition now is, and how similar the decisions are to
    the intact model's.

    \b
    Examples:
      decision-phases prune --by margin,accuracy --up-to 8
      decision-phases prune --by margin --protect 0,1,29 --draws 10
      decision-phases prune --by within_decisive --split none --no-controls
      decision-phases prune --by margin,block_influence,sleb --texts pydoc --up-to 6
      decision-phases prune --by kl,taylor,cka --search iterative --up-to 4

    Folder, report and Ctrl-C are as in `decision-phases run`.
    """  # noqa: D301 - \b is click's mark for lines to be left as they are
    finish(ctx, strategies_in(by, search, controls=not no_controls))


def strategies_in(by: str, search: str | None = None, *, controls: bool) -> tuple[str, ...]:
    """The strategies that were typed.

    Args:
        by: Names with commas between them.
        search: How to search by those that do not say it themselves.
        controls: Whether to add what no curve should be without.

    Returns:
        Their names.

    Raises:
        BadParameter: If there are none.
        InputError: If there is none of a name, or it does not go with the search.
    """
    from decision_phases.pruning.checks import with_controls
    from decision_phases.pruning.strategies import searched_by

    wanted = names_in(by)
    if not wanted:
        raise click.BadParameter("names no strategy.", param_hint="--by")
    return tuple(with_controls(searched_by(wanted, search), wanted=controls))
