"""Interactive pictures of single questions, for the page to draw where CircuitsVis is installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from decision_phases.errors import DecisionPhasesError
from decision_phases.plots.interactive import bundled_script
from decision_phases.report.folder import RunFolder


@dataclass(frozen=True)
class Gallery:
    """The pictures of a run, and what draws them.

    Attributes:
        questions: As the run left them, with the answer in words and the ids of the places of their pictures.
        script: What draws; empty if there is nothing to draw or nothing to draw with.
        reason: Why nothing can be drawn; empty if something can.

    Example:
        >>> Gallery((), "", "nothing to show").places
        {}
    """

    questions: Sequence[Mapping[str, Any]]
    script: str = field(repr=False)
    reason: str

    @property
    def places(self) -> dict[str, dict[str, Any]]:
        """Id of a place on the page → the element that goes there and its properties; empty without a script."""
        if not self.script:
            return {}
        return {
            picture["place"]: {name: picture[name] for name in ("element", "values")}
            for question in self.questions
            for picture in question["pictures"]
        }


def gallery(run: RunFolder) -> Gallery | None:
    """Return the pictures that a run left, if it left any.

    Args:
        run: A run folder.

    Returns:
        The pictures with the script that draws them, or with the reason why there is none; None where the folder has no
        pictures.

    Example:
        >>> from pathlib import Path
        >>> gallery(RunFolder(Path("."), {}, {}, None, {}, complete=True)) is None
        True
    """
    if not run.pictures:
        return None
    questions = tuple(_told(question, row) for row, question in enumerate(run.pictures["questions"]))
    if not any(question["pictures"] for question in questions):
        return Gallery(questions, "", "")
    try:
        return Gallery(questions, bundled_script(), "")
    except DecisionPhasesError as error:
        return Gallery(questions, "", str(error))


def _told(question: Mapping[str, Any], row: int) -> dict[str, Any]:
    options = question["options"]
    right = question["choice"] == question["gold"]
    pictures = [
        {**picture, "place": f"picture-{row}-{at}"} for at, picture in enumerate(question["pictures"])
    ]
    reasons: dict[str, list[str]] = {}
    for name, why in question["left_out"].items():
        reasons.setdefault(why, []).append(name)
    return {
        **question,
        "right": right,
        "chosen": options[question["choice"]],
        "correct": options[question["gold"]],
        "pictures": pictures,
        "missing": [f"{', '.join(names)}: {why}" for why, names in reasons.items()],
    }
