"""The contract of all criteria, and what they are handed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.models.gradients import quantised
from decision_phases.pruning.criteria.data import Data
from decision_phases.pruning.criteria.scores import Scores
from decision_phases.pruning.criteria.units import PARTS, Unit
from decision_phases.store import ResultStore

_Made = TypeVar("_Made")
_FOLDS = 10


@dataclass(frozen=True)
class Needs:
    """What a criterion cannot do without.

    Attributes:
        data: Questions or texts.
        labels: Questions, whose right answers are known.
        gradients: A backward pass.
        raw_weights: Parameters as published, neither folded nor quantised.
        raw_stream: A residual stream as published: folded norms and centred weights change it.
    """

    data: bool = True
    labels: bool = False
    gradients: bool = False
    raw_weights: bool = False
    raw_stream: bool = False


BY_REMOVAL = Needs()
BY_DECISION = Needs(labels=True)
ON_STREAM = Needs(raw_stream=True)
ON_STREAM_SLOPES = Needs(gradients=True, raw_stream=True)
ON_WEIGHTS = Needs(data=False, raw_weights=True)
ON_WEIGHT_SLOPES = Needs(gradients=True, raw_weights=True)
ON_DECISION_SLOPES = Needs(labels=True, gradients=True)
ON_NOTHING = Needs(data=False)


@dataclass(frozen=True, eq=False)
class Request:
    """What a criterion is asked.

    Attributes:
        model: The model.
        units: What is to be scored; all of one part, or attentions and MLPs together.
        data: What to measure on; None if nothing was given.
        under: What else is done to the model, and is what "intact" means here.
        reference: What criteria that measure a distance from another model measure it from; `under` by default.
        seed: Of everything random.
        progress: Show bars.
        store: Where runs without units are kept and looked for, if anywhere.
        confidence: Nominal coverage of the intervals.
        intervals: Whether intervals are wanted that cost more runs.
        known: What has been computed already, which criteria share.
    """

    model: ModelAccess
    units: tuple[Unit, ...]
    data: Data | None = None
    under: Intervention = field(default_factory=Intervention)
    seed: int = 0
    progress: bool = False
    store: ResultStore | None = None
    confidence: float = 0.95
    intervals: bool = True
    known: dict[object, Any] = field(default_factory=dict, repr=False)
    reference: Intervention | None = None

    @property
    def measured(self) -> Data:
        """The data, of which the criterion said that it needs them."""
        assert self.data is not None
        return self.data

    def without(self, unit: Unit) -> Intervention:
        """What the model runs under when a unit is removed.

        Args:
            unit: The unit.

        Returns:
            `under` and the removal, with which goes all that `under` does within the unit or at its ends.
        """
        return self.under.removing(unit.cut)

    def folds(self) -> tuple[frozenset[int], ...]:
        """Groups of the data, dealt at random into folds, each to be left out once.

        Returns:
            Up to ten folds of group numbers; none if intervals are not wanted or there is a single group.
        """
        n_groups = self.measured.n_groups
        if not self.intervals or n_groups < 2:
            return ()
        dealt = np.random.default_rng([self.seed, 6]).permutation(n_groups)
        return tuple(frozenset(fold.tolist()) for fold in np.array_split(dealt, min(_FOLDS, n_groups)))

    def once(self, key: object, make: Callable[[], _Made]) -> _Made:
        """Do something once, however many criteria ask for it.

        Args:
            key: Identifies what is made.
            make: Makes it.

        Returns:
            What was made.
        """
        if key not in self.known:
            self.known[key] = make()
        made: _Made = self.known[key]
        return made


@dataclass(frozen=True)
class Criterion(ABC):
    """One number a unit, lower is removed first.

    A member of `CRITERIA` is an instance; `dataclasses.replace` gives one with other settings.

    Attributes:
        name: Its name.
        what: What is measured, in a few words.
        source: Where it comes from.
        needs: What it cannot do without.
        parts: Which parts it is defined for, of `PARTS`.
        vanishes: Whether it is zero for a unit that adds nothing to the stream, and below zero for none.
        protect_first: How many of the first blocks are never removed by it.
        protect_last: How many of the last blocks are never removed by it.
    """

    name: str
    what: str
    source: str
    needs: Needs = BY_REMOVAL
    parts: tuple[str, ...] = tuple(PARTS)
    vanishes: bool = False
    protect_first: int = 0
    protect_last: int = 0

    @abstractmethod
    def score(self, request: Request) -> Scores:
        """Score every unit.

        Args:
            request: What is asked; `check` has passed.

        Returns:
            Scores in the order of `request.units`, finite or not: `rank` refuses those that are not.
        """

    def protected(self, model: ModelAccess, unit: Unit) -> bool:
        """Whether a unit is never removed by this criterion.

        Args:
            model: The model.
            unit: The unit.

        Returns:
            True if one of its blocks is among the first or the last that are protected.
        """
        allowed = range(self.protect_first, model.n_layers - self.protect_last)
        return any(layer not in allowed for layer in unit.layers)

    def check(self, model: ModelAccess, part: str, data: Data | None) -> None:
        """Refuse what cannot be scored, before anything runs.

        Args:
            model: The model.
            part: A name in `PARTS`.
            data: What would be measured on.

        Raises:
            InputError: If part, data or model are not what the criterion needs.
        """
        self.check_model(model, part)
        if self.needs.data and data is None:
            what = "questions" if self.needs.labels else "questions or texts="
            msg = f"{self.name} is measured on data, and none is given; give {what}"
            raise InputError(msg)
        if self.needs.labels and data is not None and data.encoded is None:
            msg = f"{self.name} compares with right answers, which texts do not have; give questions"
            raise InputError(msg)

    def check_model(self, model: ModelAccess, part: str) -> None:
        """Refuse a part or a model that cannot be scored.

        Args:
            model: The model.
            part: A name in `PARTS`.

        Raises:
            InputError: If part or model are not what the criterion needs.
        """
        if part not in self.parts:
            msg = (
                f"{self.name} is defined for part={', '.join(self.parts)}, not for {part!r}; use cosine there"
            )
            raise InputError(msg)
        why = quantised(model) if self.needs.gradients or self.needs.raw_weights else ""
        if why:
            what = "gradients" if self.needs.gradients else "the values of weights"
            msg = (
                f"{self.name} takes {what}, but {model.name} is quantised ({why}); load it unquantised "
                "(dtype='bfloat16' if memory is short), or use a criterion such as margin or block_influence"
            )
            raise InputError(msg)
        if model.processed and (self.needs.raw_weights or self.needs.raw_stream):
            msg = (
                f"{self.name} depends on weights as published, but those of {model.name} are processed (norms folded, "
                "weights centred); load it without processing, or use a criterion such as margin, perplexity or kl"
            )
            raise InputError(msg)
