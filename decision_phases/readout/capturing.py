"""`capture`: activations on questions, as a source for patches and means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from decision_phases.engine import capture as capture_inputs
from decision_phases.interventions import Captured, Intervention
from decision_phases.models import as_model
from decision_phases.readout.ask import Questions, ask


def capture(
    model: object,
    questions: Questions,
    *,
    sites: Sequence[str] = ("resid_post",),
    layers: Sequence[int] | None = None,
    positions: str = "answer",
    under: Intervention | None = None,
    **settings: Any,
) -> Captured:
    """Run a model on questions and keep activations, for `patch`, `mean` and `resample`.

    Args:
        model: What `load` gives or takes.
        questions: A name, a file, questions, or encoded questions.
        sites: Sites to keep: "resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post", "head_out".
        layers: Layers to keep; all by default.
        positions: A symbolic position: "answer", "question", "option:0", "all".
        under: The intervention to run under; none by default.
        **settings: Of `tasks.encode_questions`.

    Returns:
        Activations in float32, `[question, d_model]` at the answer, made without gradients.

    Raises:
        InputError: If a site, layer or position does not exist.

    Example:
        >>> from decision_phases.tasks import questions
        >>> found = capture("tiny-gpt2", questions("facts", limit=20), layers=[3])
        >>> found.at("resid_post", 3).shape
        (20, 32)
    """
    access = as_model(model)
    encoded = ask(access, questions, **settings)
    return capture_inputs(access, encoded, sites=sites, layers=layers, positions=positions, under=under)
