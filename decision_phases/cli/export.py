"""`decision-phases export`: a cut or repaired model as a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from decision_phases.cli import options
from decision_phases.cli.arguments import cut_from
from decision_phases.cli.job import load_model


@click.command(short_help="Save a cut or repaired model as a folder that loads again.")
@click.argument("folder", type=click.Path(path_type=Path))
@options.model
@options.cutting
@click.option(
    "--maps",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="An intervention that is applied too, such as fitted/ghost in the folder of `decision-phases repair`.",
)
@options.sparsity
@options.hardware
@options.debug
@click.pass_context
def export(
    ctx: click.Context,
    /,
    folder: Path,
    maps: Path | None,
    sparsify: str | None,
    texts: str | None,
    **given: Any,
) -> None:
    """Save a model without some of its parts to FOLDER, which must not exist yet.

    Whole blocks are really gone: the folder is an ordinary Hugging Face model with fewer layers, with its tokenizer, a
    model card and a recipe for mergekit. Weights that --sparsify sets to zero, as the cut leaves the model, are zero in
    it. What no ordinary model can hold (maps in place of blocks, a layer without its
    attention or MLP) is saved beside the whole model; dp.load reads it, and the card says so.

    Before the folder appears, it is loaded again in a fresh process and compared: logits, and generation with the
    key-value cache. If that fails, nothing is left behind.

    \b
    Examples:
      decision-phases export pruned --skip 10-12
      decision-phases export repaired --skip 10-12 --maps runs/mine/fitted/ghost
      decision-phases export slim --skip-attention 5,8 --skip-mlp 20
      decision-phases export sparse --skip 10-12 --sparsify wanda:0.5 --texts pydoc
    """  # noqa: D301 - \b is click's mark for lines to be left as they are
    under = cut_from(given)
    from decision_phases.exports import check_target
    from decision_phases.exports import export as save
    from decision_phases.interventions import Intervention

    if maps is not None:
        under = under + Intervention.load(maps)
    if not under and sparsify is None:
        raise click.UsageError(
            "nothing is changed: give --skip, --skip-attention, --skip-mlp, --maps or --sparsify.", ctx
        )
    if texts is not None and sparsify is None:
        raise click.UsageError("--texts is what --sparsify is calibrated on; give --sparsify too.", ctx)
    from decision_phases.pruning.sparsity import find_sparsity
    from decision_phases.pruning.sparsity import sparsify as made_sparse

    if sparsify is not None:
        find_sparsity(sparsify)[0].check_texts(texts)
    check_target(folder)
    model = load_model(given)
    if sparsify is not None:
        under = under + made_sparse(model, sparsify, texts=texts, under=under)
    click.echo(save(model, under, folder))
