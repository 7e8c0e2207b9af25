"""What a family of tasks is: items with a score each, and a floor that a model without knowledge would reach."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from decision_phases.engine.lower import check_variant
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess


@dataclass(frozen=True, eq=False)
class Measured:
    """What one model, under one intervention, does on the items of a task.

    Attributes:
        score: One number an item, higher is better; the score of the task is their mean.
        floor: What each item would have been expected to give without knowledge.
        extra: Other measures by name, one number an item.

    Raises:
        InputError: If there is not one of each for every item.
    """

    score: Float[np.ndarray, " item"]
    floor: Float[np.ndarray, " item"]
    extra: Mapping[str, Float[np.ndarray, " item"]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shapes = {self.score.shape, self.floor.shape, *(values.shape for values in self.extra.values())}
        if len(shapes) != 1:
            msg = f"scores, floors and other measures have shapes {sorted(shapes)}; one number an item is needed"
            raise InputError(msg)


class Task(ABC):
    """A family, put to one model.

    Attributes:
        key: Identifies items and settings.
    """

    key: str

    def __init__(self, model: ModelAccess) -> None:
        self.model = model

    def check(self, under: Intervention) -> None:
        """Refuse an intervention that the task cannot run under, before anything runs.

        Args:
            under: The intervention.

        Raises:
            InputError: Saying what does not fit.
        """
        check_variant(self.model, under)

    @abstractmethod
    def measure(self, under: Intervention) -> Measured:
        """Run the task.

        Args:
            under: The intervention; it passed `check`.

        Returns:
            Scores by item.
        """


class TaskFamily(ABC):
    """A kind of task with all its settings.

    Attributes:
        name: Under which its results are found.
        what: What the score is, in words.
        floor: How the floor is known, in words.
    """

    name: str
    what: str
    floor: str

    @abstractmethod
    def prepare(self, model: ModelAccess, *, limit: int | None, seed: int) -> Task:
        """Put the family to a model, without running it.

        Args:
            model: The model.
            limit: Use at most this many items.
            seed: Of the draw of items.

        Returns:
            The task.

        Raises:
            InputError: If its items cannot be put to this model.
        """
