"""The game that a model plays on questions: what it answers with some of its units removed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from decision_phases.engine import evaluate
from decision_phases.engine.stored import Store
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.pruning.game.masks import distinct_masks
from decision_phases.pruning.game.objectives import Measure, Objective, find_objective
from decision_phases.pruning.game.units import Units
from decision_phases.readout.observe import FinalObserver
from decision_phases.stats import resample_weights
from decision_phases.tasks import EncodedQuestions


@dataclass(frozen=True, eq=False)
class MaskValues:
    """What masks are worth, question by question.

    Attributes:
        masks: The masks, True where kept.
        per_question: The measure of each question under each mask.
        values: Value of each mask.
    """

    masks: Bool[np.ndarray, "mask unit"]
    per_question: Float[np.ndarray, "mask question"]
    values: Float[np.ndarray, " mask"]


class ModelGame:
    """A model, questions and units as a game; no mask is run twice.

    Masks that are asked for together share stretches of depth (see `engine.evaluate`), so ask for many at once.

    Args:
        model: The model.
        encoded: The questions.
        units: What is kept or removed.
        objective: A name in `GAME_OBJECTIVES`, or a function of final decisions and gold options.
        under: What else is done to the model, in every mask.
        store: Where results are kept and looked for.
        progress: Show a bar.
    """

    def __init__(
        self,
        model: ModelAccess,
        encoded: EncodedQuestions,
        units: Units,
        *,
        objective: str | Measure | Objective = "margin",
        under: Intervention | None = None,
        store: Store = None,
        progress: bool = False,
    ) -> None:
        self.model, self.encoded, self.units = model, encoded, units
        self.objective = find_objective(objective)
        self.under = under or Intervention()
        self.store, self.progress = store, progress
        self._known: dict[bytes, Float[np.ndarray, " question"]] = {}

    @property
    def n_masks(self) -> int:
        """Number of different masks that were asked for so far."""
        return len(self._known)

    def __call__(self, masks: Bool[np.ndarray, "mask unit"]) -> Float[np.ndarray, " mask"]:
        """The value of every mask."""
        means = self.per_question(masks).mean(axis=1)
        return self.objective.value(means, self._intact().mean(axis=1))

    def resampled(
        self, masks: Bool[np.ndarray, "mask unit"], n_boot: int, *, seed: int
    ) -> Float[np.ndarray, "mask boot"]:
        """The value of every mask on resampled questions, the same ones for all masks.

        Args:
            masks: The masks.
            n_boot: Number of resamples.
            seed: Of the resamples.

        Returns:
            One column a resample.
        """
        weights = resample_weights(len(self.encoded), n_boot, seed=seed).T
        return self.objective.value(self.per_question(masks) @ weights, self._intact() @ weights)

    def per_question(self, masks: Bool[np.ndarray, "mask unit"]) -> Float[np.ndarray, "mask question"]:
        """The measure of every question under every mask, run if it is not known yet.

        Args:
            masks: The masks.

        Returns:
            The measure, before its mean is taken.

        Raises:
            InputError: If masks are of another number of units, or a cut does not fit the model.
        """
        if masks.shape[1] != len(self.units):
            msg = f"masks of {masks.shape[1]} units given for a game of {len(self.units)}"
            raise InputError(msg)
        once, places = distinct_masks(masks)
        todo = [mask for mask in once if mask.tobytes() not in self._known]
        variants = [self.under + self.units.cut(mask) for mask in todo]
        if todo:
            runs = evaluate(
                self.model,
                self.encoded,
                variants,
                [FinalObserver()],
                store=self.store,
                progress=self.progress,
            )
            for mask, run in zip(todo, runs, strict=True):
                measured = self.objective.measure(run["final"], self.encoded.gold)
                self._known[mask.tobytes()] = np.asarray(measured, dtype=np.float64)
        return np.asarray(np.stack([self._known[mask.tobytes()] for mask in once])[places])

    def _intact(self) -> Float[np.ndarray, "1 question"]:
        """The measure with all units kept; only a ratio needs it."""
        if not self.objective.ratio:
            return np.zeros((1, len(self.encoded)))
        return self.per_question(np.ones((1, len(self.units)), dtype=bool))


def values_of_masks(
    model: ModelAccess,
    encoded: EncodedQuestions,
    masks: Bool[np.ndarray, "mask unit"],
    units: Units,
    *,
    objective: str | Measure | Objective = "margin",
    under: Intervention | None = None,
    store: Store = None,
    progress: bool = False,
) -> MaskValues:
    """Run a model with some of its units removed, once for each different mask.

    Args:
        model: The model.
        encoded: The questions.
        masks: The masks, True where the unit is kept.
        units: What is kept or removed.
        objective: A name in `GAME_OBJECTIVES`, or a function of final decisions and gold options.
        under: What else is done to the model.
        store: Where results are kept and looked for.
        progress: Show a bar.

    Returns:
        The values, and the measure of every question.

    Raises:
        InputError: If something does not fit, before anything runs.

    Example:
        >>> from decision_phases.models import load
        >>> from decision_phases.pruning.game.units import find_units
        >>> from decision_phases.readout import ask
        >>> from decision_phases.tasks import questions
        >>> model = load("tiny-gpt2", quiet=True)
        >>> encoded, units = ask(model, questions("facts", limit=8)), find_units([1, 2], 6)
        >>> values_of_masks(model, encoded, np.array([[True, True], [True, False]]), units).per_question.shape
        (2, 8)
    """
    game = ModelGame(model, encoded, units, objective=objective, under=under, store=store, progress=progress)
    values = game(masks)
    return MaskValues(masks, game.per_question(masks), values)
