"""`decision-phases spaces`: a pruned model against the dense one in h, z and p."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import click
from click.core import ParameterSource

from decision_phases.cli import options
from decision_phases.cli.arguments import settings_from
from decision_phases.cli.job import do
from decision_phases.cli.run import out, where


@click.command(short_help="How far a cut moves the residual stream, the logits and the probabilities.")
@options.model
@options.asking
@click.option(
    "--texts",
    metavar="NAME|FILE",
    help="Compare on texts instead of questions: pydoc, self (sampled from the model), or a file.",
)
@options.subset
@options.cutting
@click.option(
    "--temperature", type=float, default=1.0, show_default=True, metavar="T", help="Of the softmax."
)
@click.option(
    "--norm",
    default="final",
    show_default=True,
    metavar="final|none",
    help="Logits behind the final norm, as the model has them; none leaves it out, as the published code does.",
)
@click.option(
    "--local/--no-local",
    default=True,
    show_default=True,
    help="Also change each layer by itself, on what the dense model has before it.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=0),
    default=16,
    show_default=True,
    metavar="N",
    help="Tokens that both models write after each prompt; 0 leaves this out.",
)
@click.option(
    "--prompts",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    metavar="N",
    help="How many of the questions, asked without options, or of the texts are written on.",
)
@out
@options.keeping
@options.hardware
@options.progress
@options.debug
@click.pass_context
def spaces(
    ctx: click.Context,
    /,
    texts: str | None,
    temperature: float,
    norm: str,
    local: bool,
    steps: int,
    prompts: int,
    **_: Any,
) -> None:
    """Compare a cut model with the intact one in the residual stream h, the logits z and the probabilities p.

    At every layer the three are read at the answer position of the questions, or at the last token of windows of texts.
    Deviations accumulate with the cut in place throughout; local ones come of a single layer that is cut while all
    before it is intact. Cosines of different spaces have no common unit: each deviation is also given as a share of the
    mean distance between different prompts in the same space. Probabilities among the options alone stand beside those
    among random tokens of like rank. Then both models write on after some of the prompts, each by itself and the cut
    one also along the text of the intact one; generation.parquet follows their deviation step by step.

    \b
    Examples:
      decision-phases spaces --skip 20-24 --out runs/spaces
      decision-phases spaces --skip-attention 10,14,18 --limit 64
      decision-phases spaces --skip-mlp 5-8 --texts pydoc --temperature 0.5

    The folder holds report.html, spaces.parquet, generation.parquet, texts.parquet, their .json, manifest.json and
    figures/. With --resume, what was measured is not measured again.
    """  # noqa: D301 - \b is click's mark for lines to be left as they are
    if texts is not None and ctx.get_parameter_source("questions") is not ParameterSource.DEFAULT:
        raise click.UsageError("--questions and --texts exclude each other: give one of them.", ctx)
    asked = replace(settings_from(ctx, ()), texts=texts)
    if not asked.under:
        raise click.UsageError("nothing is cut: give --skip, --skip-attention or --skip-mlp.", ctx)
    from decision_phases.hierarchy.distances import check_temperature
    from decision_phases.hierarchy.settings import check_norm
    from decision_phases.report.spaces import write_spaces_report
    from decision_phases.store import read_json
    from decision_phases.studies.spaces import SpacesSettings, run_spaces

    check_temperature(temperature)
    check_norm(norm)
    settings = SpacesSettings(asked, temperature, norm, local, steps, prompts)
    folder = do(
        ctx, asked, ctx.params["out"], job=partial(run_spaces, settings=settings), show=write_spaces_report
    )
    for name in ("spaces.json", "generation.json"):
        if (folder / name).is_file():
            click.echo(f"{read_json(folder / name)['summary']}\n")
    where(folder)
