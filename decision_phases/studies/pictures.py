"""`pictures.json`: what interactive pictures of a right and a wrong answer show, for the report to draw."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from decision_phases.circuits.paired import some_of
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.models.gradients import quantised
from decision_phases.readout import Decisions
from decision_phases.store import write_json
from decision_phases.tasks import EncodedQuestions
from decision_phases.views.pictures import (
    Picture,
    attention_picture,
    contributions_picture,
    top_tokens_picture,
)

MAX_TOKENS = 1024
"""Of a prompt that is drawn: every token is there once for each layer."""
_DIGITS = 4


def keep_pictures(model: ModelAccess, decisions: Decisions, folder: Path) -> None:
    """Look at one question that is answered right and one that is answered wrong, unless that was done before.

    Args:
        model: The model.
        decisions: What it decides on the questions that measure.
        folder: Where `pictures.json` goes. It has no script in it: whether pictures can be drawn is found out when the
            report is written.
    """
    path = folder / "pictures.json"
    if not path.is_file():
        write_json(path, {"questions": [_looked_at(model, decisions, row) for row in typical(decisions)]})


def typical(decisions: Decisions) -> list[int]:
    """Choose the questions that are pictured.

    Args:
        decisions: The decisions.

    Returns:
        The right answer with the median margin among the right ones, then the same of the wrong ones; one of the two
        where there are no others.
    """
    final = decisions.final
    found = []
    for rows in (np.flatnonzero(final.correct), np.flatnonzero(~final.correct)):
        if len(rows):
            order = rows[np.argsort(final.margin[rows], kind="stable")]
            found.append(int(order[len(order) // 2]))
    return found


def _looked_at(model: ModelAccess, decisions: Decisions, row: int) -> dict[str, Any]:
    encoded, final = decisions.encoded, decisions.final
    item = encoded.questions[row]
    pictures, left_out = _pictures(model, encoded, decisions.under, row)
    return {
        "question": item.text,
        "options": list(item.options),
        "gold": item.answer,
        "choice": int(final.choice[row]),
        "margin": float(final.margin[row]),
        "pictures": pictures,
        "left_out": left_out,
    }


def _pictures(
    model: ModelAccess, encoded: EncodedQuestions, under: Intervention, row: int
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The pictures that can be made, and why the others cannot."""
    makers = {
        "attention": attention_picture,
        "contributions": _contributions,
        "top tokens": top_tokens_picture,
    }
    why = ""
    if not encoded.option_ids:
        why = f"{encoded.scoring} scoring has several sequences a question"
    elif any(edit.per_question for edit in under.edits):
        why = "what is done to the model differs from question to question"
    elif (length := len(encoded.sequences[row])) > MAX_TOKENS:
        why = f"the prompt has {length} tokens, more than {MAX_TOKENS}"
    if why:
        return [], dict.fromkeys(makers, why)
    asked = some_of(encoded, [row])
    found, left_out = [], {}
    for name, make in makers.items():
        try:
            picture = make(model, asked, under)
        except InputError as error:
            left_out[name] = str(error)
        else:
            found.append(
                {
                    "title": picture.title,
                    "note": picture.note,
                    "element": picture.element,
                    "values": _short(picture.values),
                }
            )
    return found, left_out


def _contributions(model: ModelAccess, asked: EncodedQuestions, under: Intervention) -> Picture:
    """The same, unless gradients cannot be had, or only at the price of holding all weights at once."""
    why = quantised(model)
    if not why and any(parameter.is_meta for parameter in model.unique_parameters()):
        why = "its weights are fetched only while they are used"
    if why:
        msg = f"{model.name} has no gradients, because {why}"
        raise InputError(msg)
    return contributions_picture(model, asked, under)


def _short(value: Any) -> Any:
    """Values with as many digits as a picture can show."""
    if isinstance(value, Mapping):
        return {name: _short(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_short(inner) for inner in value]
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
