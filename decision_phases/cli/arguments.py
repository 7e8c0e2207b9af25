"""From what was typed to settings, with every cheap check made before a model is loaded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click
from click.core import ParameterSource

from decision_phases.errors import InputError
from decision_phases.studies.settings import RunSettings

_AS_GIVEN = (
    "questions", "scoring", "template", "show_options", "shots", "up_to", "draws", "seed", "screen", "texts",
    "sparsify", "objective", "width", "splits", "timing",
)  # fmt: skip


def names_in(text: str) -> tuple[str, ...]:
    """Names that were typed with commas between them, each once.

    Args:
        text: What was typed.

    Returns:
        The names.

    Example:
        >>> names_in("margin, sleb,margin")
        ('margin', 'sleb')
    """
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def settings_from(ctx: click.Context, strategies: tuple[str, ...], *, compare: bool = False) -> RunSettings:
    """The settings that a command line asks for.

    Args:
        ctx: The context of the command, whose options are among those of `RunSettings`.
        strategies: Strategies to compare; empty for reading only.
        compare: Whether their comparison is written.

    Returns:
        The settings: with `--quick` small, where nothing else was typed.

    Raises:
        InputError: If a list of layers cannot be read.
    """
    given = ctx.params
    values: dict[str, Any] = {name: given[name] for name in _AS_GIVEN if name in given}
    if "limit" in given:
        values["limit"] = None if given["limit"] == "all" else given["limit"]
    if "split" in given:
        values["split"] = None if given["split"] == "none" else given["split"]
    if "evaluate" in given:
        values["evaluate"] = names_in(given["evaluate"])
    if given.get("protect") is not None:
        values["protect"] = _layers(given["protect"])
    if any(given.get(name) is not None for name in ("skip", "skip_attention", "skip_mlp")):
        values["under"] = cut_from(given)
    settings = RunSettings(strategies=strategies, compare=compare, **values)
    if not given.get("quick"):
        return settings
    typed = {
        name: value
        for name, value in values.items()
        if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    return replace(settings.quick(), **typed)


def _layers(text: str) -> tuple[int, ...]:
    from decision_phases.interventions.layer_sets import parse_layers

    return () if text.strip() == "none" else tuple(sorted(set(parse_layers(text, "--protect"))))


def cut_from(given: dict[str, Any]) -> Any:
    """The cut that `--skip`, `--skip-attention` and `--skip-mlp` ask for.

    Args:
        given: The values of the options.

    Returns:
        The cut; the empty intervention if none was given.

    Raises:
        InputError: If a list of layers cannot be read.
    """
    from decision_phases.interventions import cut_from_flags

    return cut_from_flags(**{name: given[name] for name in ("skip", "skip_attention", "skip_mlp")})


def check_settings(settings: RunSettings) -> None:
    """Refuse what can be refused without a model.

    Args:
        settings: The settings.

    Raises:
        InputError: If a strategy, template or scoring is not known, the questions cannot be read or divided, or there
            are too few for the solved examples.
    """
    from decision_phases.studies.run import choose_questions
    from decision_phases.tasks import SCORINGS, draw_examples, find_scoring, find_template

    settings.check()
    if settings.template is not None:
        find_template(settings.template)
    chosen = choose_questions(settings)
    if settings.scoring is None and chosen.scoring is None:
        msg = (
            f"{settings.questions} has no scoring of its own; give --scoring, one of {', '.join(SCORINGS)}. "
            f"`decision-phases questions {settings.questions} --check` tries each of them"
        )
        raise InputError(msg)
    find_scoring(chosen, settings.scoring)
    alone = settings.split is None or not settings.strategies
    for part in (chosen,) if alone else chosen.split(settings.split or 0.0, settings.seed):
        draw_examples(part, settings.shots, seed=settings.seed)


def check_model(model: Any, settings: RunSettings) -> None:
    """Refuse what does not fit the model, before a folder is made.

    Args:
        model: The model.
        settings: The settings.

    Raises:
        InputError: If a layer does not exist, or none would be left.
    """
    settings.under.validate(n_layers=model.n_layers, n_heads=model.n_heads, sites=model.sites)
    if len(settings.under.removed_blocks) == model.n_layers:
        msg = f"--skip removes every one of the {model.n_layers} layers; leave at least one"
        raise InputError(msg)
