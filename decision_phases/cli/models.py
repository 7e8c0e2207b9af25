"""`decision-phases models`: what can be loaded, and what one model can do."""

from __future__ import annotations

from typing import Any

import click

from decision_phases.cli import options
from decision_phases.cli.job import load_model
from decision_phases.errors import MissingPackageError


@click.command(short_help="Models that need no network, or what one model can do.")
@click.argument("name", required=False, metavar="[NAME|FOLDER]")
@options.hardware
@options.debug
def models(name: str | None, **given: Any) -> None:
    """List the models that need no network, or load one and say what it is.

    With a name (any that --model takes), the model is loaded and compared with plain transformers, and its sizes, the
    sites where it can be edited and what it can do are printed.

    \b
    Examples:
      decision-phases models
      decision-phases models SmolLM2-135M-Instruct
      decision-phases models openai-community/gpt2 --device cpu --dtype bfloat16
    """  # noqa: D301 - \b is click's mark for lines to be left as they are
    click.echo(_describe({**given, "model": name}) if name else _list(given))


def _describe(given: dict[str, Any]) -> str:
    from decision_phases.models import SITES

    model = load_model(given, quiet=True)
    can, sites = model.capabilities, [site for site in SITES if site in model.sites]
    rows = [
        ["sizes", f"{model.n_layers} layers, {model.n_heads} heads of {model.d_head}, width {model.d_model}, "
         f"vocabulary {model.d_vocab}, {model.n_params:,} parameters"],
        ["context", "not limited" if model.context_length is None else f"{model.context_length} tokens"],
        ["tokenizer", "none" if model.tokenizer is None else type(model.tokenizer).__name__],
        ["fingerprint", model.fingerprint],
        ["sites", ", ".join(sites)],
        *([what, "yes" if able else "no"] for what, able in (
            ("blocks one by one", can.direct),
            ("residual between attention and MLP", can.resid_mid),
            ("generation with its cache", can.cached_generation),
            ("plain Hugging Face copy", can.fresh),
        )),
    ]  # fmt: skip
    width = max(len(what) for what, _ in rows)
    lines = [f"{what.ljust(width)}  {value}" for what, value in rows]
    return "\n".join([repr(model), str(model.parity), *lines])


def _list(given: dict[str, Any]) -> str:
    from decision_phases.models import known_models
    from decision_phases.models.bundled import gguf_file

    try:
        gguf_file()
        bundled = "The bundled model is installed."
    except MissingPackageError as error:
        bundled = str(error)
    known = known_models()
    width = max(map(len, known))
    first = next(name for name in known if name.startswith("tiny-"))
    tried = load_model({**given, "model": first}, quiet=True)
    return "\n".join(
        [
            *(f"{name.ljust(width)}  {what}" for name, what in known.items()),
            "",
            bundled,
            "Also: a Hugging Face name (organisation/name) or a local folder with config.json.",
            f"Here, {first} is loaded on {tried.device} in {str(tried.dtype).removeprefix('torch.')} with "
            f"--device {given['device']} --dtype {given['dtype']} (auto: CUDA where there is one; float32 where that "
            "fits in half of the memory, else the format of the checkpoint).",
        ]
    )
