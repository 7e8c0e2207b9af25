"""`decision-phases repair`: maps that make up for a cut, compared."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from decision_phases.cli import options
from decision_phases.cli.arguments import cut_from
from decision_phases.cli.job import load_model, spread


@click.command(short_help="Fit maps in place of removed parts, and see what they give back.")
@options.model
@options.cutting
@click.option(
    "--method",
    default="all",
    show_default=True,
    metavar="NAME,NAME",
    help="Repairs, as listed above; several with commas, or all.",
)
@click.option(
    "--texts",
    default="pydoc",
    show_default=True,
    metavar="NAME|FILE",
    help="One half of these fits, the other measures perplexity: pydoc, self (sampled from the model), or a file.",
)
@click.option(
    "--windows",
    type=click.IntRange(min=1),
    default=128,
    show_default=True,
    metavar="N",
    help="Fit to at most so many windows of text.",
)
@click.option(
    "--window",
    type=click.IntRange(min=2),
    default=128,
    show_default=True,
    metavar="N",
    help="Tokens in a window.",
)
@click.option(
    "--on-intact",
    is_flag=True,
    help="Fit every map on the intact model, as published.  [default: from left to right, each on the model as it is "
    "repaired so far]",
)
@options.asking
@options.subset
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where results go; a folder that holds anything is refused.  [default: runs/<time>-<model>]",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Continue an interrupted run: what is finished is not run again. Give the options of that run again.",
)
@options.hardware
@options.progress
@options.debug
@click.pass_context
def repair(ctx: click.Context, /, method: str, **given: Any) -> None:
    """Fit maps that make up for removed parts, on texts without labels, and compare what they give back.

    A run of removed blocks gets one map in its place, fitted so that what leaves it is what left the blocks in the
    intact model. All repairs stand beside doing nothing and the intact model, on the same questions and texts.

    \b
    mean_bias          adds the mean of what the cut leaves out
    diagonal           scales every channel, by least squares
    linear_patch       scales channels to their old mean size, after a Hadamard rotation (LinearPatch)
    hadamard_diagonal  scales channels after a Hadamard rotation, by least squares
    ghost              any linear map, by least squares (Ghosted Layers)
    affine             any linear map with a bias, by least squares
    relative_ghost     as ghost, but all tokens count alike, however long their vectors are
    relative_affine    as affine, but all tokens count alike
    bottleneck         a small trained network

    \b
    Examples:
      decision-phases repair --skip 10-12
      decision-phases repair --skip 10-12,20 --method ghost,linear_patch --limit all
      decision-phases repair --skip-attention 5,8 --skip-mlp 20 --texts mine.txt --out runs/repaired

    The folder holds repairs.json, repairs.parquet, figures/repairs.png, manifest.json, and the fitted maps in
    fitted/<method>/, for dp.Intervention.load. `decision-phases export --maps` writes a repaired model.
    """  # noqa: D301 - \b is click's mark for lines to be left as they are
    cut = cut_from(given)
    if not cut:
        raise click.UsageError("nothing is removed: give --skip, --skip-attention or --skip-mlp.", ctx)
    from decision_phases.repairs import REPAIRS, find_repair
    from decision_phases.studies.repairing import run_repairs
    from decision_phases.tasks import questions as find

    names = tuple(REPAIRS) if method == "all" else tuple(dict.fromkeys(n.strip() for n in method.split(",")))
    for name in names:
        find_repair(name)
    every = find(given["questions"])
    limit = len(every) if given["limit"] == "all" else min(given["limit"], len(every))
    model = load_model(given)
    with spread(model, given):
        folder, found = run_repairs(
            model,
            cut,
            every.limit(limit, given["seed"]),
            methods=names,
            texts=given["texts"],
            window=given["window"],
            limit=given["windows"],
            sequential=not given["on_intact"],
            seed=given["seed"],
            out=given["out"],
            resume=given["resume"],
            command=ctx.obj,
            progress=not given["no_progress"] and sys.stderr.isatty(),
            scoring=given["scoring"],
            template=given["template"],
            show_options=given["show_options"],
            shots=given["shots"],
        )
    click.echo(f"{found}\n\nfolder  {folder}\nfigure  {folder / 'figures' / 'repairs.png'}")
