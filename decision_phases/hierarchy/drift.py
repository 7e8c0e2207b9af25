"""`generation_drift`: what an intervention does to text that a model writes, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from decision_phases.engine import Generation, evaluate, generate
from decision_phases.engine.generating import check_generation, chosen, uniform_draws
from decision_phases.errors import DecisionPhasesError, InputError, unknown_name
from decision_phases.hierarchy.drift_result import (
    DISTINCT,
    MODES,
    REPEATED,
    GenerationDrift,
    Steps,
    TextQuality,
)
from decision_phases.hierarchy.repetition import distinct_ngrams, repeated_ngrams
from decision_phases.hierarchy.steps import MEASURES, step_choices, step_deviations, step_losses
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess, as_model
from decision_phases.readout.divergence import EndingObserver
from decision_phases.tasks import encode_prompts


def generation_drift(
    model: object,
    prompts: object,
    *,
    under: Intervention,
    steps: int = 32,
    mode: str | Sequence[str] = ("teacher_forced", "free"),
    temperature: float | None = None,
    seed: int = 0,
    prompt_tokens: int = 64,
    limit: int | None = None,
    intact: Generation | None = None,
    progress: bool = False,
    **settings: Any,
) -> GenerationDrift:
    """Compare a changed model with the intact one while text is written.

    Only where both models read the same text is the deviation that of the model: with teacher forcing the text of the
    intact model, with "changed_text" that of the changed one, which shows whether the deviation grows as the model
    leads itself astray. Running free, the texts part as well; "paths" says what the texts alone do. Probabilities are
    at the temperature of the sampling, or at 1 where the likeliest token is taken.

    Args:
        model: What `load` gives or takes.
        prompts: As for `generate`: strings, texts, or questions asked openly.
        under: The intervention; it must treat all positions and questions alike.
        steps: Tokens to write.
        mode: One or several of `MODES`.
        temperature: Of the sampling; None takes the likeliest token. Both models get the same draws.
        seed: Of sampling and of the bootstrap over prompts.
        prompt_tokens: Tokens taken of each text.
        limit: Use at most this many prompts.
        intact: What `generate` gave for the intact model with the same settings, if it is known already.
        progress: Show bars.
        **settings: For questions: those of `tasks.encode_questions`.

    Returns:
        Deviations by prompt and step, both texts and their quality.

    Raises:
        InputError: Before anything runs, if something does not fit; later, if a deviation is undefined.
        DecisionPhasesError: If what was written under the intervention is not what the engine computes under it.

    Source: arXiv 2603.24652; h here behind the final norm, KL(intact ‖ changed).

    Example:
        >>> from decision_phases.interventions import skip
        >>> drift = generation_drift("tiny-llama", ["Which animal", "Is water"], under=skip(4), steps=4)
        >>> drift.values("free", "kl_dense_from_pruned").shape, drift.shared_prefix.shape
        ((2, 4), (2,))
    """
    access = as_model(model)
    modes = (mode,) if isinstance(mode, str) else tuple(dict.fromkeys(mode))
    for name in modes or ("",):
        if name not in MODES:
            raise unknown_name("mode", name, MODES)
    asked = encode_prompts(
        prompts, access.tokenizer, prompt_tokens=prompt_tokens, limit=limit, seed=seed,
        context_length=access.context_length, **settings,
    )  # fmt: skip
    check_generation(access, asked, under, steps=steps, temperature=temperature)
    writing: dict[str, Any] = {"steps": steps, "temperature": temperature, "seed": seed, "progress": progress}
    if intact is None:
        intact = generate(access, asked, **writing)
    elif _described(intact) != (access.name, asked.key, Intervention(), steps, temperature, seed):
        msg = "intact= is of another model, other prompts or other settings; leave it out, or generate it with the same"
        raise InputError(msg)
    scale = temperature or 1.0
    own, forced = _endings(access, intact, under, progress=progress)
    quality = {"intact": _quality(access, intact, own)}
    found: dict[str, Mapping[str, Steps]] = {}
    if "teacher_forced" in modes:
        found["teacher_forced"] = step_deviations(access, own, forced, temperature=scale)
    changed = None
    if set(modes) - {"teacher_forced"}:
        changed = generate(access, asked, under=under, **writing)
        read, written = _endings(access, changed, under, progress=progress)
        _check_written(access, changed, written)
        quality["changed"] = _quality(access, changed, read)
        if "free" in modes:
            found["free"] = step_deviations(access, own, written, temperature=scale)
        if "changed_text" in modes:
            found["changed_text"] = step_deviations(access, read, written, temperature=scale)
        if "paths" in modes:
            found["paths"] = step_deviations(access, own, read, temperature=scale)
    ordered = {name: found[name] for name in modes}
    _check_finite(ordered, under)
    return GenerationDrift(
        ordered, intact, changed, quality, under, _notes(intact, under, np.array_equal(own, forced)), seed
    )


def _described(intact: Generation) -> tuple[Any, ...]:
    settings = (intact.steps, intact.temperature, intact.seed)
    return (intact.model, intact.prompts.key, intact.under, *settings)


def _endings(
    model: ModelAccess, generation: Generation, under: Intervention, *, progress: bool
) -> tuple[Float[np.ndarray, "prompt step d_model"], Float[np.ndarray, "prompt step d_model"]]:
    """What the intact and the changed model end with, wherever a token of a text is predicted."""
    runs = evaluate(
        model, generation.sequences(), [Intervention(), under], [EndingObserver()], progress=progress
    )
    first, second = (np.stack(run["endings"].rows) for run in runs)
    return first, second


def _quality(
    model: ModelAccess, generation: Generation, endings: Float[np.ndarray, "prompt step d_model"]
) -> TextQuality:
    losses = step_losses(model, endings, generation.tokens)
    lengths = generation.lengths
    written = [generation.written(i) for i in range(len(lengths))]
    inside = np.arange(generation.steps) < lengths[:, None]
    return TextQuality(
        np.array([repeated_ngrams(row, REPEATED) for row in written]),
        np.array([[distinct_ngrams(row, n) for n in DISTINCT] for row in written]),
        np.where(inside, losses, 0.0).sum(axis=1) / lengths,
        lengths,
    )


def _check_written(
    model: ModelAccess, changed: Generation, endings: Float[np.ndarray, "prompt step d_model"]
) -> None:
    """Does the engine, reading the whole text under the intervention, choose the tokens that were written under it?

    The text was written with a key-value cache and hooks on the model, the engine calls its blocks one by one; that
    both do the same rules out an intervention that has no effect in one of them. Ties may be rounded either way.
    """
    draws = None
    if changed.temperature is not None:
        draws = uniform_draws(changed.prompts.tokens, changed.steps, changed.seed).reshape(-1)

    def choose(logits: Float[Tensor, "cell vocab"], at: slice) -> Int[Tensor, " cell"]:
        return chosen(logits, changed.temperature, None if draws is None else torch.from_numpy(draws[at]))

    other = int((step_choices(model, endings, choose) != changed.tokens).sum())
    rounding = 0.02 if torch.finfo(model.dtype).bits >= 32 else 0.25
    if other > max(1.0, rounding * changed.tokens.size):
        msg = (
            f"{other} of {changed.tokens.size} tokens written by {changed.model} under {changed.under} are not those "
            "that the engine computes under it; the intervention does not do the same in both"
        )
        raise DecisionPhasesError(msg)


def _check_finite(found: Mapping[str, Mapping[str, Steps]], under: Intervention) -> None:
    for mode, values in found.items():
        for measure, value in values.items():
            if not np.isfinite(value).all():
                prompt, step = np.argwhere(~np.isfinite(value))[0].tolist()
                msg = (
                    f"{measure} ({MEASURES[measure]}) is undefined at step {step} of prompt {prompt}, {mode}, under "
                    f"{under}: a state has no length or is not finite; try dtype='float32', or a smaller intervention"
                )
                raise InputError(msg)


def _notes(intact: Generation, under: Intervention, same: bool) -> tuple[str, ...]:  # noqa: FBT001
    notes = []
    if under and same:
        notes.append(f"{under} changes nothing: every state is exactly that of the intact model")
    if not intact.cached:
        notes.append("written without a key-value cache, which this family does not offer")
    return tuple(notes)
