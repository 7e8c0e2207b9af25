"""The game that a model plays on questions or texts: what it says with some of its units removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from decision_phases.engine import Inputs, evaluate
from decision_phases.engine.observers import AnyObserver
from decision_phases.engine.stored import Store
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.pruning.criteria.data import Data, question_data
from decision_phases.pruning.game.masks import distinct_masks
from decision_phases.pruning.game.objectives import Measure, Objective, check_texts, find_objective
from decision_phases.pruning.game.units import Units
from decision_phases.readout.loss import LossObserver
from decision_phases.readout.observe import FinalObserver
from decision_phases.stats import resample_weights
from decision_phases.tasks import EncodedQuestions, TokenSequence


@dataclass(frozen=True, eq=False)
class MaskValues:
    """What masks are worth, question by question, or text by text.

    Attributes:
        masks: The masks, True where kept.
        per_question: The measure of each question (text, or window of a single text) under each mask.
        values: Value of each mask.
    """

    masks: Bool[np.ndarray, "mask unit"]
    per_question: Float[np.ndarray, "mask question"]
    values: Float[np.ndarray, " mask"]


class ModelGame:
    """A model, questions or texts, and units as a game; no mask is run twice.

    Masks that are asked for together share stretches of depth (see `engine.evaluate`), so ask for many at once.

    Args:
        model: The model.
        asked: The questions, or texts as `criteria.text_data` gives them.
        units: What is kept or removed.
        objective: A name in `GAME_OBJECTIVES`, or a function of final decisions and gold options.
        under: What else is done to the model, in every mask; what it does within a unit, or at its ends, goes with the
            unit.
        store: Where results are kept and looked for.
        progress: Show a bar.

    Raises:
        InputError: If there is no such objective, or texts do not have it.
    """

    def __init__(
        self,
        model: ModelAccess,
        asked: EncodedQuestions | Data,
        units: Units,
        *,
        objective: str | Measure | Objective = "margin",
        under: Intervention | None = None,
        store: Store = None,
        progress: bool = False,
    ) -> None:
        self.data = asked if isinstance(asked, Data) else question_data(asked)
        self.model, self.units = model, units
        self.objective = find_objective(objective)
        if self.data.encoded is None:
            check_texts(self.objective)
        self.under = under or Intervention()
        self.store, self.progress = store, progress
        self._counts = np.ones(self.data.n_groups)
        if self.data.encoded is None:
            self._counts = self.data.by_group(self.data.tokens)
        self._known: dict[bytes, Float[np.ndarray, " question"]] = {}

    @property
    def n_masks(self) -> int:
        """Number of different masks that were asked for so far."""
        return len(self._known)

    @property
    def n_questions(self) -> int:
        """Number of questions or texts."""
        return self.data.n_groups

    def __call__(self, masks: Bool[np.ndarray, "mask unit"]) -> Float[np.ndarray, " mask"]:
        """The value of every mask."""
        return self._value(masks, np.ones((self.data.n_groups, 1)))[:, 0]

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
        return self._value(masks, resample_weights(self.data.n_groups, n_boot, seed=seed).T)

    def per_question(self, masks: Bool[np.ndarray, "mask unit"]) -> Float[np.ndarray, "mask question"]:
        """The measure of every question (or text) under every mask, run if it is not known yet.

        Args:
            masks: The masks.

        Returns:
            The measure, before its mean is taken; of a text the mean over its tokens.

        Raises:
            InputError: If masks are of another number of units, or a cut does not fit the model.
        """
        return self._sums(masks) / self._counts

    @property
    def sequences(self) -> Sequence[TokenSequence]:
        """What is put to the model."""
        return self.data.sequences if self.data.encoded is None else self.data.encoded.sequences

    def _value(
        self, masks: Bool[np.ndarray, "mask unit"], weights: Float[np.ndarray, "question column"]
    ) -> Float[np.ndarray, "mask column"]:
        total = self._counts @ weights
        intact = self._intact() @ weights / total
        return self.objective.value(self._sums(masks) @ weights / total, intact)

    def _sums(self, masks: Bool[np.ndarray, "mask unit"]) -> Float[np.ndarray, "mask question"]:
        """The measure, of a text summed over its tokens."""
        if masks.shape[1] != len(self.units):
            msg = f"masks of {masks.shape[1]} units given for a game of {len(self.units)}"
            raise InputError(msg)
        once, places = distinct_masks(masks)
        todo = [mask for mask in once if mask.tobytes() not in self._known]
        variants = [self.under.removing(self.units.cut(mask)) for mask in todo]
        inputs: Inputs | Sequence[TokenSequence] = self.data.encoded or self.data.sequences
        look: AnyObserver = LossObserver() if self.data.encoded is None else FinalObserver()
        if todo:
            runs = evaluate(self.model, inputs, variants, [look], store=self.store, progress=self.progress)
            for mask, run in zip(todo, runs, strict=True):
                self._known[mask.tobytes()] = self._measured(run[look.name])
        return np.asarray(np.stack([self._known[mask.tobytes()] for mask in once])[places])

    def _measured(self, seen: Any) -> Float[np.ndarray, " question"]:
        if self.data.encoded is None:
            return self.data.by_group(-seen.nll)
        return np.asarray(self.objective.measure(seen, self.data.encoded.gold), dtype=np.float64)

    def _intact(self) -> Float[np.ndarray, "1 question"]:
        """The measure with all units kept; only a ratio needs it."""
        if not self.objective.ratio:
            return np.zeros((1, self.data.n_groups))
        return self._sums(np.ones((1, len(self.units)), dtype=bool))


def values_of_masks(
    model: ModelAccess,
    asked: EncodedQuestions | Data,
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
        asked: The questions, or texts as `criteria.text_data` gives them.
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
    game = ModelGame(model, asked, units, objective=objective, under=under, store=store, progress=progress)
    values = game(masks)
    return MaskValues(masks, game.per_question(masks), values)
