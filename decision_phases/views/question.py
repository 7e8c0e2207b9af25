"""Views of one question: where heads look, which tokens speak for which option, what each layer would say next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess, as_model
from decision_phases.plots.interactive import bundled_script
from decision_phases.readout import Lens, ask
from decision_phases.tasks import EncodedQuestions, Question, QuestionSet
from decision_phases.views.page import View, make_view
from decision_phases.views.pictures import (
    Picture,
    attention_picture,
    contributions_picture,
    top_tokens_picture,
)


def view_attention(
    model: object,
    question: Question,
    *,
    layers: Sequence[int] | None = None,
    heads: bool = False,
    under: Intervention | None = None,
    **settings: Any,
) -> View:
    """Colour the tokens of a question by how much is attended to them from the answer position.

    Args:
        model: What `load` gives or takes.
        question: The question.
        layers: Layers to show; all that are left by default.
        heads: Show every head by itself, instead of the mean over the heads of a layer.
        under: An intervention; none by default.
        **settings: Of `tasks.encode_questions`; a question needs a scoring.

    Returns:
        A picture with one colouring for each layer or head.

    Raises:
        MissingPackageError: If CircuitsVis is not installed.
        InputError: If the question cannot be put, or the model shows no attention weights.
    """
    access, asked = _asked(model, question, settings)
    return _drawn(
        asked, attention_picture(access, asked, under or Intervention(), layers=layers, heads=heads)
    )


def view_contributions(
    model: object, question: Question, *, under: Intervention | None = None, **settings: Any
) -> View:
    """Colour the tokens of a question by what each adds to the logit of each option, to first order.

    Args:
        model: What `load` gives or takes.
        question: The question.
        under: An intervention; none by default.
        **settings: Of `tasks.encode_questions`; letter or first_token scoring.

    Returns:
        A picture with one colouring for each option, and one for the right option minus the mean of the others.

    Raises:
        MissingPackageError: If CircuitsVis is not installed.
        InputError: If the question cannot be put so, or the model has no gradients.
    """
    access, asked = _asked(model, question, settings)
    return _drawn(asked, contributions_picture(access, asked, under or Intervention()))


def view_top_tokens(
    model: object,
    question: Question,
    *,
    lenses: Sequence[Lens | None] = (None,),
    k: int = 10,
    under: Intervention | None = None,
    **settings: Any,
) -> View:
    """List the tokens that each layer would say next at the answer position, and those that it would say last.

    Args:
        model: What `load` gives or takes.
        question: The question.
        lenses: Lenses to read through; None is the logit lens.
        k: How many tokens.
        under: An intervention; none by default.
        **settings: Of `tasks.encode_questions`; a question needs a scoring.

    Returns:
        A table of tokens with their log-probabilities, a column for each surviving layer.

    Raises:
        MissingPackageError: If CircuitsVis is not installed.
        InputError: If the question cannot be put, or a lens belongs to another model.
    """
    access, asked = _asked(model, question, settings)
    return _drawn(asked, top_tokens_picture(access, asked, under or Intervention(), lenses=lenses, k=k))


def _asked(
    model: object, question: Question, settings: dict[str, Any]
) -> tuple[ModelAccess, EncodedQuestions]:
    bundled_script()  # before anything runs
    access = as_model(model)
    return access, ask(access, QuestionSet("view", (question,)), **settings)


def _drawn(asked: EncodedQuestions, picture: Picture) -> View:
    item = asked.questions[0]
    put = f"“{item.text}” ({', '.join(item.options)}; {asked.scoring})."
    return make_view(picture.title, f"{put} {picture.note}", picture.element, picture.values)
