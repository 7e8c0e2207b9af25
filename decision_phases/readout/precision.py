"""How far what the engine reads is from the same in float64, computed without any of its shortcuts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from decision_phases.engine import evaluate
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import InDouble, ModelAccess, as_model, twin
from decision_phases.readout.ask import Questions, ask
from decision_phases.readout.decisions import Decisions
from decision_phases.readout.deviation import Deviation, Precision
from decision_phases.readout.observe import DecisionObserver
from decision_phases.readout.read import read
from decision_phases.tasks import EncodedQuestions


def precision(
    model: object,
    questions: Questions,
    *,
    under: Intervention | None = None,
    progress: bool = False,
    **settings: Any,
) -> Precision:
    """Measure how far the engine's results deviate from float64.

    The same questions are put to the same weights in float64, with every operation that asks for float32 done in
    float64 too, each sequence by itself through the whole model: no padding, no shared text, no block called alone.
    That takes twice the memory of float32 and much longer, so a few dozen questions will do.

    Args:
        model: What `load` gives or takes, from Hugging Face weights, in any number format.
        questions: A name ("facts"), a file, questions, or encoded questions.
        under: An intervention; none by default.
        progress: Show bars.
        **settings: Of `tasks.encode_questions`: scoring, shots, template, symbols, show_options, seed.

    Returns:
        Deviations of option scores and margins at every layer and in the end, and how many choices changed.

    Raises:
        InputError: If no second model can be made from this one, if it has hooks of its owner's, or questions, model
            and intervention do not fit.

    Example:
        >>> from decision_phases.tasks import questions as as_set
        >>> precision("tiny-gpt2", as_set("facts", limit=8)).final.changed
        0
    """
    access = as_model(model)
    if access.has_own_hooks:
        msg = (
            f"{access.name} has hooks of your own, which the same model in float64 would lack; remove them "
            "(model.tl.reset_hooks()), or give what they do as under="
        )
        raise InputError(msg)
    variant = under or Intervention()
    encoded = ask(access, questions, **settings)
    wide = twin(access, "float64")
    found = read(access, encoded, under=variant, progress=progress)
    exact = _alone(wide, encoded, variant, progress=progress)
    return Precision(
        model=access.name,
        dtype=str(access.dtype).removeprefix("torch."),
        device=str(access.device),
        questions=encoded.questions.name,
        n_questions=len(encoded),
        scoring=encoded.scoring,
        under=variant,
        layers={
            layer: _deviation(
                *((d.scores[:, layer], d.margin[:, layer], d.choice[:, layer]) for d in (found, exact))
            )
            for layer in found.survivors
        },
        final=_deviation(*((d.final.scores, d.final.margin, d.final.choice) for d in (found, exact))),
        reference="the same weights in float64, each sequence by itself through the whole model",
    )


def _alone(
    wide: ModelAccess, encoded: EncodedQuestions, variant: Intervention, *, progress: bool
) -> Decisions:
    """Every sequence by itself through the whole model."""
    wide.capabilities = replace(wide.capabilities, direct=False, plain=False)
    with InDouble():
        (run,) = evaluate(wide, encoded, [variant], [DecisionObserver()], max_tokens=1, progress=progress)
    decisions: Decisions = run["decisions"]
    return decisions


_Read = tuple[
    Float[np.ndarray, "question option"], Float[np.ndarray, " question"], Int[np.ndarray, " question"]
]


def _deviation(found: _Read, exact: _Read) -> Deviation:
    """Of (scores, margins, choices)."""
    scores, margins = (np.abs(a - b) for a, b in zip(found[:2], exact[:2], strict=True))
    return Deviation(
        score_max=float(np.nanmax(scores)),
        score_rms=float(np.sqrt(np.nanmean(scores**2))),
        margin_max=float(margins.max()),
        margin_rms=float(np.sqrt(np.mean(margins**2))),
        changed=int((found[2] != exact[2]).sum()),
    )
