"""`decision-phases patch`: which activations carry an answer from one prompt to another."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from decision_phases.cli import options
from decision_phases.cli.arguments import cut_from, names_in
from decision_phases.cli.job import load_model, set_aside, spread


@click.command(short_help="Put activations of one prompt into another, and see what carries the answer.")
@options.model
@options.asking
@options.subset
@options.cutting
@click.option(
    "--kind",
    default="content",
    show_default=True,
    metavar="KIND",
    help="What the prompts of a pair differ in: content, letter_order or symbol.",
)
@click.option(
    "--pairs",
    "most",
    type=click.IntRange(min=2),
    default=32,
    show_default=True,
    metavar="N",
    help="Use at most so many pairs, drawn by --seed.",
)
@click.option(
    "--least",
    type=click.IntRange(min=2),
    default=8,
    show_default=True,
    metavar="N",
    help="Refuse fewer pairs: an interval over fewer says nothing.",
)
@click.option(
    "--sites",
    default="resid_pre,attn_out,mlp_out,head_out",
    show_default=True,
    metavar="SITE,SITE",
    help="What is patched: resid_pre, attn_out, resid_mid, mlp_out, resid_post, head_out (heads, at the answer).",
)
@click.option(
    "--positions",
    default="answer",
    show_default=True,
    metavar="NAME,NAME",
    help="Where: answer, question, option:0 (where options are shown), or all.",
)
@click.option(
    "--direction",
    default="denoise",
    show_default=True,
    metavar="denoise|noise",
    help="denoise puts clean activations into the corrupted run, noise the other way round.",
)
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
def patch(ctx: click.Context, /, **given: Any) -> None:
    """Find the activations that carry an answer, by moving them between prompts.

    Questions are paired: same category, prompts aligned token by token, different right answers, and the model right
    about both. Then the activation of one prompt is put into the run of the other, one place after the other; recovery
    says how much of the margin between the two answers comes along, 1 being all. Last, the whole residual at the answer
    is interchanged layer by layer: from which layer on does the answer follow it, and from which on does the logit lens
    see it?

    \b
    Examples:
      decision-phases patch --limit all
      decision-phases patch --limit all --sites resid_pre --positions answer,question --out runs/patches
      decision-phases patch --limit all --skip 20-22 --direction noise

    The folder holds sweep.parquet, transition.parquet, pairs.parquet, patches.json, manifest.json and figures/. With
    --resume, what was run is not run again.
    """  # noqa: D301 - \b is click's mark for lines to be left as they are
    cut = cut_from(given)
    from decision_phases.circuits.paired import KINDS
    from decision_phases.circuits.sweep_result import DIRECTIONS
    from decision_phases.errors import unknown_name
    from decision_phases.interventions import check_position
    from decision_phases.studies.patching import run_patching
    from decision_phases.tasks import questions as find

    for kind, name, known in (
        ("kind of pairs", given["kind"], KINDS),
        ("direction", given["direction"], DIRECTIONS),
    ):
        if name not in known:
            raise unknown_name(kind, name, known)
    positions = names_in(given["positions"])
    for position in positions:
        check_position(position)
    every = find(given["questions"])
    limit = len(every) if given["limit"] == "all" else min(given["limit"], len(every))
    with set_aside(given["out"], resume=given["resume"]) as out:
        model = load_model(given)
        cut.validate(n_layers=model.n_layers, n_heads=model.n_heads, sites=model.sites)
        with spread(model, given):
            folder, *found = run_patching(
                model,
                every.limit(limit, given["seed"]),
                kind=given["kind"],
                sites=names_in(given["sites"]),
                positions=positions,
                direction=given["direction"],
                under=cut,
                most=given["most"],
                least=given["least"],
                seed=given["seed"],
                out=out,
                resume=given["resume"],
                command=ctx.obj,
                progress=not given["no_progress"] and sys.stderr.isatty(),
                **({"scoring": given["scoring"]} if given["scoring"] is not None else {}),
                template=given["template"],
                show_options=given["show_options"],
                shots=given["shots"],
            )
    for result in found:
        click.echo(f"{result}\n")
    click.echo(f"folder  {folder}\nfigure  {folder / 'figures' / 'sweep.png'}")
