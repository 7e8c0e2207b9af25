"""The options that commands share, each described once, with the defaults of the library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import reduce
from pathlib import Path
from typing import Any

import click

from decision_phases.studies.settings import RunSettings

DEBUG = "decision_phases.debug"
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_DEFAULTS = {field.name: field.default for field in fields(RunSettings)}


class NumberOr(click.ParamType):  # type: ignore[type-arg]
    """A number, or one word that stands for None.

    Attributes:
        name: What help calls a value.
        word: The word.
        number: The click type of the number.
    """

    def __init__(self, name: str, word: str, number: Any) -> None:
        self.name, self.word, self.number = name, word, number

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Turn what was typed into a number, or into the word itself.

        Args:
            value: What was typed, or the default.
            param: The option.
            ctx: The context.

        Returns:
            A number, or the word: click takes None for "not given".
        """
        if value == self.word:
            return value
        try:
            return self.number.convert(value, param, ctx)
        except click.BadParameter as error:
            self.fail(f"{error.message.rstrip('.')}; it can also be {self.word!r}.", param, ctx)


class Amount(click.ParamType):  # type: ignore[type-arg]
    """A whole number of at least 1, a percentage such as "30%", or another budget such as "20% latency"."""

    name = "amount"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Turn what was typed into a number, or into the budget as it is written.

        Args:
            value: What was typed, or the default.
            param: The option.
            ctx: The context.

        Returns:
            A number, or the budget in words.
        """
        text = str(value).strip()
        if "%" not in text:
            return click.IntRange(min=1).convert(value, param, ctx)
        from decision_phases.errors import InputError
        from decision_phases.pruning.budget import find_budget

        try:
            return str(find_budget(text))
        except InputError as error:
            self.fail(str(error), param, ctx)


def together(*options: Decorator) -> Decorator:
    """Put options into one decorator.

    Args:
        *options: Options, in the order in which help lists them.

    Returns:
        The decorator.
    """
    return lambda command: reduce(lambda made, option: option(made), reversed(options), command)


def setting(flags: str, name: str, **more: Any) -> Decorator:
    """An option that sets a field of `RunSettings`, with that field's default.

    Args:
        flags: What is typed, as in "--up-to" or "--a/--no-a".
        name: The field.
        **more: For `click.option`.

    Returns:
        The option.
    """
    default = _DEFAULTS[name]  # given even if None: a flag without a default would be False
    return click.option(flags, name, default=default, show_default=default is not None, **more)


model = click.option(
    "--model",
    metavar="NAME|FOLDER",
    help="A Hugging Face name, a local folder, or one of `decision-phases models`.  "
    "[default: the bundled SmolLM2-135M-Instruct]",
)

hardware = together(
    click.option(
        "--device",
        default="auto",
        show_default=True,
        metavar="DEVICE",
        help="cpu, cuda or cuda:N; auto takes CUDA where there is one.",
    ),
    click.option(
        "--device-map",
        metavar="MAP",
        help="auto, balanced or sequential: spread a model that no one device can hold; in place of --device.",
    ),
    click.option(
        "--offload-folder",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="FOLDER",
        help="Where --device-map may keep on disk what fits nowhere else.",
    ),
    click.option(
        "--dtype",
        default="auto",
        show_default=True,
        metavar="DTYPE",
        help="float32, bfloat16, float16 or float64; auto is float32 where that fits in half of the memory.",
    ),
    click.option(
        "--backend",
        default="bridge",
        show_default=True,
        metavar="BACKEND",
        help="TransformerLens object: bridge, or hooked (TransformerLens 3.9).",
    ),
    click.option(
        "--threads",
        type=click.IntRange(min=1),
        metavar="N",
        help="Threads to compute with.  [default: torch decides]",
    ),
    click.option(
        "--workers",
        type=click.IntRange(min=1),
        metavar="N",
        help="Spread the work over N processes that each hold the model (needs ray).  [default: this process]",
    ),
    click.option(
        "--cluster",
        metavar="ADDRESS",
        help="The workers run on this Ray cluster: auto, or ray://HOST:10001.  [default: this machine]",
    ),
)

questions = setting(
    "--questions",
    "questions",
    metavar="NAME|FILE",
    help="One of `decision-phases questions`, or a .jsonl, .csv or .parquet file.",
)

wording = together(
    setting(
        "--scoring",
        "scoring",
        metavar="SCORING",
        help="letter, first_token, cloze (log-probability of the option), cloze_mean (per token), cloze_char (per "
        "character) or cloze_pmi.  [default: the question set's own; a file must name one]",
    ),
    setting(
        "--template",
        "template",
        metavar="NAME",
        help="How a question is written: question_answer, q_a, answer, continuation or exam.  [default: the set's own]",
    ),
    setting(
        "--show-options/--no-show-options",
        "show_options",
        help="Write the options into the prompt, or not.  [default: only in letter scoring]",
    ),
    setting(
        "--shots",
        "shots",
        type=click.IntRange(min=0),
        metavar="N",
        help="Solved examples before each question.",
    ),
)

asking = together(questions, wording)

subset = together(
    setting(
        "--limit",
        "limit",
        metavar="N|all",
        type=NumberOr("number", "all", click.IntRange(min=1)),
        help="Use at most so many questions, drawn by --seed in proportion to their categories; or all.",
    ),
    setting("--seed", "seed", type=click.IntRange(min=0), metavar="N", help="Seed of everything random."),
)

cutting = together(
    *(
        click.option(
            flag,
            metavar="LAYERS",
            help=f"{what} of these layers throughout, as in 5,8 or 5-8. Layers count from 0.",
        )
        for flag, what in (
            ("--skip", "Leave out the whole blocks"),
            ("--skip-attention", "Leave out the attention"),
            ("--skip-mlp", "Leave out the MLP"),
        )
    )
)

sparsify = setting(
    "--sparsify",
    "sparsify",
    metavar="METHOD:AMOUNT",
    help="Set weights of the blocks to zero throughout: magnitude, wanda or sparsegpt, and a share or a pattern, as in "
    "wanda:0.5 or magnitude:2:4.",
)

sparsity = together(
    sparsify,
    setting(
        "--texts",
        "texts",
        metavar="NAME|FILE",
        help="What wanda and sparsegpt are calibrated on: pydoc, self (sampled from the model), or a file; one half of "
        "it.",
    ),
)

pruning = together(
    setting(
        "--split",
        "split",
        metavar="FRACTION|none",
        type=NumberOr("fraction", "none", click.FloatRange(min=0, max=1, min_open=True, max_open=True)),
        help="Share of the questions that choose what to remove; the others measure. "
        "none uses all for both, which flatters.",
    ),
    setting(
        "--up-to",
        "up_to",
        type=Amount(),
        metavar="N|P%",
        help="Remove at most so many blocks (attentions, MLPs), or such a share of the parameters, as in 30%, or of "
        "the time or memory of a forward pass, as in '20% latency' or '20% memory'.",
    ),
    click.option(
        "--protect",
        metavar="LAYERS|none",
        help="Never remove these layers, as in 0,29.  [default: the first and the last]",
    ),
    setting(
        "--draws", "draws", type=click.IntRange(min=1), metavar="N", help="Random orders to compare with."
    ),
    setting(
        "--screen",
        "screen",
        metavar="DTYPE",
        help="bfloat16 or float16: searches look at all candidates in it, and confirm in the model's own precision "
        "what its errors leave open.  [default: all are measured in the model's own]",
    ),
)

texts = setting(
    "--texts",
    "texts",
    metavar="NAME|FILE",
    help="What criteria that need no right answers are measured on: pydoc, self (sampled from the model), or a file.  "
    "[default: the questions that choose]",
)

search = click.option(
    "--search",
    metavar="NAME",
    help="How to search by all strategies that do not say it themselves: one_shot, iterative or window (criteria), "
    "greedy or beam (objectives), or swaps.  [default: each its own way]",
)

searching = together(
    setting(
        "--objective",
        "objective",
        metavar="NAME",
        help="What greedy, beam and swaps make best, and searches within a phase: margin, accuracy, self_margin "
        "(of what the intact model chooses), perplexity or kl (of texts).",
    ),
    setting(
        "--width",
        "width",
        type=click.IntRange(min=1),
        metavar="N",
        help="How many cuts of each size a beam search keeps.",
    ),
)

measuring = together(
    click.option(
        "--evaluate",
        default="",
        metavar="NAME,NAME",
        help="What else is measured of every cut, on what did not choose it: perplexity, kl, self_margin.",
    ),
    setting(
        "--splits",
        "splits",
        type=click.IntRange(min=1),
        metavar="N",
        help="Choose and measure on so many splits of the questions, by the seeds from --seed on.",
    ),
    setting(
        "--timing",
        "timing",
        metavar="BxT",
        help="Time forward passes of every cut on B sequences of T tokens, as in 1x128.  [default: none are timed]",
    ),
)

keeping = together(
    click.option(
        "--resume",
        is_flag=True,
        help="Continue an interrupted run: what is finished is not run again. Give the "
        "options of that run again.",
    ),
    click.option(
        "--quick",
        is_flag=True,
        help="Fewer questions, blocks and draws, for a first look; what is given wins.",
    ),
)

progress = click.option("--no-progress", is_flag=True, help="Show no progress bars.")


def _remember(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.meta[DEBUG] = value


debug = click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_remember,
    help="Show the traceback of an error.",
)
