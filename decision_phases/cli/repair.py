"""`decision-phases repair`: what makes up for a cut, compared."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from decision_phases.cli import options
from decision_phases.cli.arguments import cut_from, names_in
from decision_phases.cli.job import load_model, set_aside, spread

if TYPE_CHECKING:  # help should not wait for torch
    from decision_phases.repairs.compare import Method

#: Option → the setting of a repair that it gives.
_TRAINING = {"steps": "--steps", "rate": "--lr", "rank": "--rank", "autocast": "--autocast"}


@click.command(short_help="Make up for removed parts by maps or by training, and see what that gives back.")
@options.model
@options.cutting
@options.sparsify
@click.option(
    "--method",
    default="all",
    show_default=True,
    metavar="NAME,NAME",
    help="Methods, as listed above; several with commas, or all: of repairs of a cut those that take seconds.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=0),
    metavar="N",
    help="Steps of training, for what is trained.  [default: as listed above]",
)
@click.option(
    "--lr",
    "rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="RATE",
    help="Learning rate of that training at its start; it falls to 0.  [default: 0.001; patch_distil 0.0001]",
)
@click.option(
    "--rank",
    type=click.IntRange(min=1),
    metavar="N",
    help="Directions of a matrix that lora can change, or of a head that a lost component lies in.  [default: 8; of a "
    "head 10]",
)
@click.option(
    "--autocast",
    type=click.Choice(["bfloat16"]),
    help="Multiply in this number format while patch_distil and lora are trained; what is trained stays in float32.  "
    "[default: the model's own]",
)
@click.option(
    "--texts",
    default="pydoc",
    show_default=True,
    metavar="NAME|FILE",
    help="One half of these fits and calibrates, the other measures perplexity: pydoc, self (sampled from the model), "
    "or a file.",
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
    """Make up for removed parts, on texts without labels, and compare what that gives back.

    A run of removed blocks gets one map in its place, fitted so that what leaves it is what left the blocks in the
    intact model. Or the two blocks on either side of it are trained (lora, which needs the package peft). All repairs
    stand beside doing nothing and the intact model, on the same questions and texts.

    \b
    mean_bias          adds the mean of what the cut leaves out
    diagonal           scales every channel, by least squares
    linear_patch       scales channels to their old mean size, after a Hadamard rotation (LinearPatch)
    hadamard_diagonal  scales channels after a Hadamard rotation, by least squares
    ghost              any linear map, by least squares (Ghosted Layers)
    affine             any linear map with a bias, by least squares
    relative_ghost     as ghost, but all tokens count alike, however long their vectors are
    relative_affine    as affine, but all tokens count alike
    bottleneck         a small trained network (1000 steps)

    \b
    Only when named, because they train on text (200 steps of 512 tokens, over the windows again and again):
    patch_distil       the maps of linear_patch, trained to predict what the intact model predicts
    lora               low-rank changes of weights, trained on the text
    lora_distil        the same, trained to predict what the intact model predicts
    lora_trajectory    the same, and to keep the stream at every layer
    lora_lens          the same, and to keep what the logit lens says at every layer

    \b
    With --sparsify, for the weights that it sets to zero; a cut that is given besides stays as it is:
    lost_components     adds to the outputs of heads the mean of what they lost (RestoreLCC)
    learned_components  the same, then trained (100 steps of 8 windows)

    \b
    Examples:
      decision-phases repair --skip 10-12
      decision-phases repair --skip 10-12,20 --method ghost,linear_patch --limit all
      decision-phases repair --skip 10-12 --method relative_ghost,lora_distil --windows 800 --steps 400
      decision-phases repair --skip-attention 5,8 --skip-mlp 20 --texts mine.txt --out runs/repaired
      decision-phases repair --sparsify wanda:0.5 --method lost_components

    The folder holds repairs.json, repairs.parquet, figures/repairs.png, manifest.json, and what was fitted in
    fitted/<method>/, for dp.Intervention.load; with --sparsify also the weights that it set to zero. `decision-phases
    export --maps` writes a repaired model.
    """  # noqa: D301 - \b is click's mark for lines to be left as they are
    cut = cut_from(given)
    sparsity = given["sparsify"]
    if not cut and sparsity is None:
        raise click.UsageError(
            "nothing is removed: give --skip, --skip-attention, --skip-mlp or --sparsify.", ctx
        )
    from decision_phases.pruning.sparsity import find_sparsity
    from decision_phases.repairs import COMPENSATIONS, MAPS
    from decision_phases.studies.repairing import run_repairs
    from decision_phases.tasks import questions as find

    if sparsity is not None:
        find_sparsity(sparsity)
    names = names_in(method) if method != "all" else MAPS if sparsity is None else tuple(COMPENSATIONS)
    methods = trained_as([_found(name, sparse=sparsity is not None) for name in names], given)
    every = find(given["questions"])
    limit = len(every) if given["limit"] == "all" else min(given["limit"], len(every))
    with set_aside(given["out"], resume=given["resume"]) as out:
        model = load_model(given)
        with spread(model, given):
            folder, found = run_repairs(
                model,
                cut,
                every.limit(limit, given["seed"]),
                sparsify=sparsity,
                methods=methods,
                texts=given["texts"],
                window=given["window"],
                limit=given["windows"],
                sequential=not given["on_intact"],
                seed=given["seed"],
                out=out,
                resume=given["resume"],
                command=ctx.obj,
                progress=not given["no_progress"] and sys.stderr.isatty(),
                scoring=given["scoring"],
                template=given["template"],
                show_options=given["show_options"],
                shots=given["shots"],
            )
    click.echo(f"{found}\n\nfolder  {folder}\nfigure  {folder / 'figures' / 'repairs.png'}")


def _found(name: str, *, sparse: bool) -> Method:
    """A method by its name; refuses one that is for the other kind of removal."""
    from decision_phases.repairs import COMPENSATIONS, REPAIRS, find_repair

    if sparse and name in REPAIRS:
        msg = (
            f"{name} puts something in the place of removed parts; with --sparsify give {' or '.join(COMPENSATIONS)}, "
            "which make up for weights that are set to zero"
        )
        raise click.UsageError(msg)
    if not sparse and name in COMPENSATIONS:
        raise click.UsageError(f"{name} makes up for weights that are set to zero; give --sparsify too.")
    return COMPENSATIONS[name] if sparse and name in COMPENSATIONS else find_repair(name)


def trained_as(repairs: list[Method], given: Mapping[str, Any]) -> list[Method]:
    """Give methods the settings of training that were typed.

    Args:
        repairs: The repairs.
        given: Values of the options of training; None where they were not typed.

    Returns:
        The repairs; those that are not trained, or have no such setting, as they were.

    Raises:
        UsageError: If an option is of no use to any of them.
    """
    typed = {name: given[name] for name in _TRAINING if given[name] is not None}
    settings = [{field.name for field in fields(repair)} for repair in repairs]
    for name in typed:
        if not any(name in own for own in settings):
            msg = (
                f"{_TRAINING[name]} is of no use to {', '.join(repair.name for repair in repairs)}; it is for what is "
                "trained, such as --method lora."
            )
            raise click.UsageError(msg)
    return [
        replace(repair, **{name: value for name, value in typed.items() if name in own})
        for repair, own in zip(repairs, settings, strict=True)
    ]
