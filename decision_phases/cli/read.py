"""`decision-phases read`: the decision at every layer, nothing removed in search."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click

from decision_phases.cli import options
from decision_phases.cli.arguments import settings_from
from decision_phases.cli.job import do
from decision_phases.cli.run import where
from decision_phases.cli.show import layers, result


@click.command(short_help="The decision at every layer, with parts of the model left out if you like.")
@options.model
@options.asking
@options.subset
@options.cutting
@options.sparsity
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Keep the results in this folder, with a report.  [default: only print them]",
)
@options.keeping
@options.hardware
@options.progress
@options.debug
@click.pass_context
def read(ctx: click.Context, /, out: Path | None, resume: bool, **_: Any) -> None:
    """Read at every layer which option the model would choose, and print margin and accuracy by layer.

    The margin is the probability of the right option minus that of the best wrong one, among the options. With four
    options, a confident guess has −0.5 on average. With --skip and its like, the model is read with these parts left
    out; layers keep the numbers they have in the intact model. With --sparsify it is read with weights set to zero. All
    questions measure: nothing is searched.

    \b
    Examples:
      decision-phases read
      decision-phases read --skip 5-8
      decision-phases read --skip 5,8 --skip-attention 3 --skip-mlp 20 --limit all
      decision-phases read --sparsify wanda:0.5 --texts pydoc
      decision-phases read --questions arc_easy --limit 200 --out runs/arc
    """  # noqa: D301 - \b is click's mark for lines to be left as they are
    if resume and out is None:
        raise click.UsageError("--resume needs --out: without a folder nothing was kept.", ctx)
    settings = settings_from(ctx, ())
    from decision_phases.store import read_json

    if out is not None:
        folder = do(ctx, settings, out)
        _print(read_json(folder / "summary.json"))
        click.echo()
        where(folder)
        return
    with tempfile.TemporaryDirectory() as passing:
        try:
            _print(read_json(do(ctx, settings, Path(passing) / "read") / "summary.json"))
        except KeyboardInterrupt:
            raise KeyboardInterrupt("nothing was kept; --out FOLDER keeps what is finished") from None


def _print(summary: dict[str, Any]) -> None:
    click.echo(f"{layers(summary)}\n\n{result(summary)}")
