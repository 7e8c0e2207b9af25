"""Objectives: what a whole cut is worth, in one number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float

from decision_phases.engine import Inputs
from decision_phases.engine.observers import AnyObserver
from decision_phases.errors import InputError, unknown_name
from decision_phases.interventions import Intervention
from decision_phases.pruning.criteria.data import Data
from decision_phases.pruning.ground import Ground
from decision_phases.readout.decisions import Final
from decision_phases.readout.divergence import DivergenceObserver, Divergences, EndingObserver
from decision_phases.readout.loss import Losses, LossObserver
from decision_phases.readout.metrics import self_margin
from decision_phases.readout.observe import FinalObserver
from decision_phases.stats import resample_weights
from decision_phases.tasks import EncodedQuestions


@dataclass(frozen=True)
class Objective(ABC):
    """One number a cut.

    Attributes:
        name: Its name.
        what: What it is, in a few words.
        higher: Whether more is better.
        on: What it is measured on: "questions", "texts", or "either", texts where there are some.
        labels: Whether it compares with right answers.
    """

    name: str
    what: str
    higher: bool
    on: Literal["questions", "texts", "either"]
    labels: bool = False

    @abstractmethod
    def inputs(self, ground: Ground) -> Inputs:
        """What is put to the model.

        Args:
            ground: What the objective is measured on.
        """

    @abstractmethod
    def look(self, ground: Ground) -> AnyObserver:
        """What is looked at.

        Args:
            ground: What the objective is measured on.
        """

    @abstractmethod
    def items(
        self, seen: Any, ground: Ground
    ) -> tuple[Float[np.ndarray, " item"], Float[np.ndarray, " item"]]:
        """What was seen, one number a question or window of text.

        Args:
            seen: What the observer gave.
            ground: What the objective is measured on.

        Returns:
            Sums, and what they are sums over: the value follows from the sum of the first over that of the second.
        """

    def of_mean(self, mean: Float[np.ndarray, "*means"]) -> Float[np.ndarray, "*means"]:
        """The value that belongs to a mean: the mean itself.

        Args:
            mean: Sums over what they are sums of.

        Returns:
            The values.
        """
        return mean

    def value(self, seen: Any, ground: Ground) -> float:
        """Reduce what was seen.

        Args:
            seen: What the observer gave.
            ground: What the objective is measured on.

        Returns:
            The value.
        """
        sums, counts = self.items(seen, ground)
        return float(self.of_mean(np.asarray(sums.sum() / counts.sum())))

    def interval(self, seen: Any, ground: Ground, *, seed: int = 0) -> tuple[float, float]:
        """The 95% bootstrap interval of the value over questions or documents.

        Args:
            seen: What the observer gave.
            ground: What the objective is measured on.
            seed: Of the resampling.

        Returns:
            Its ends.
        """
        sums, counts = self.items(seen, ground)
        drawn = resample_weights(len(sums), 2000, seed=seed)
        found = self.of_mean((drawn @ sums) / (drawn @ counts))
        low, high = np.quantile(found, [0.025, 0.975], method="inverted_cdf")  # some may be infinite
        return float(low), float(high)

    def check(self, questions: EncodedQuestions | None, texts: Data | None) -> None:
        """Refuse to be measured on what is not there, before anything runs.

        Args:
            questions: The questions.
            texts: The texts.

        Raises:
            InputError: If there is nothing that it can be measured on.
        """
        if self.on == "questions" and questions is None:
            why = " and compares with right answers" if self.labels else ""
            msg = f"{self.name} is measured on questions{why}, and there are none; give questions"
            raise InputError(msg)
        if self.on == "texts" and texts is None:
            msg = f"{self.name} is measured on texts, and there are none; give texts=, such as texts='pydoc'"
            raise InputError(msg)
        if questions is None and texts is None:
            msg = f"{self.name} is measured on texts or questions, and there are neither; give one of them"
            raise InputError(msg)

    def resolution(self, ground: Ground) -> float:
        """The least difference that counts, for telling rounding from a difference.

        Args:
            ground: What the objective is measured on.
        """
        return float(torch.finfo(ground.model.dtype).eps)


@dataclass(frozen=True)
class DecisionObjective(Objective):
    """The mean over questions of something that follows from the final decision.

    Attributes:
        of: Takes the final decisions, and those of the intact model; gives a number a question.
        counts: Whether that number is 0 or 1.
    """

    of: Callable[[Final, Callable[[], Final]], Float[np.ndarray, " question"]] = lambda final, _: final.margin
    counts: bool = False

    def inputs(self, ground: Ground) -> Inputs:
        """The questions."""
        assert ground.questions is not None
        return ground.questions

    def look(self, ground: Ground) -> AnyObserver:
        """The final decision."""
        return FinalObserver()

    def items(
        self, seen: Final, ground: Ground
    ) -> tuple[Float[np.ndarray, " item"], Float[np.ndarray, " item"]]:
        """One number a question."""
        values = self.of(seen, lambda: ground.intact(self.inputs(ground), self.look(ground)))
        return values, np.ones(len(values))

    def resolution(self, ground: Ground) -> float:
        """One question more or less, or rounding."""
        return 1 / len(self.inputs(ground)) if self.counts else super().resolution(ground)


@dataclass(frozen=True)
class PerplexityObjective(Objective):
    """exp of the mean cross-entropy of all tokens."""

    def inputs(self, ground: Ground) -> Inputs:
        """The windows."""
        return ground.text_inputs

    def look(self, ground: Ground) -> AnyObserver:
        """The cross-entropy."""
        return LossObserver()

    def items(
        self, seen: Losses, ground: Ground
    ) -> tuple[Float[np.ndarray, " item"], Float[np.ndarray, " item"]]:
        """Cross-entropy and tokens of every document, whose windows are not independent."""
        return ground.by_document(seen.nll), ground.by_document(seen.tokens)

    def of_mean(self, mean: Float[np.ndarray, "*means"]) -> Float[np.ndarray, "*means"]:
        """The perplexity; infinite where a float cannot hold it."""
        with np.errstate(over="ignore"):
            return np.asarray(np.exp(mean))


@dataclass(frozen=True)
class KLObjective(Objective):
    """KL(intact ‖ cut) over the vocabulary, mean over the positions where something is predicted."""

    def inputs(self, ground: Ground) -> Inputs:
        """The windows, or the questions."""
        return ground.text_inputs

    def look(self, ground: Ground) -> AnyObserver:
        """The divergence from what the intact model ends with."""
        return DivergenceObserver(ground.intact(self.inputs(ground), EndingObserver(), kept=False))

    def items(
        self, seen: Divergences, ground: Ground
    ) -> tuple[Float[np.ndarray, " item"], Float[np.ndarray, " item"]]:
        """Nats and positions of every document or question."""
        return ground.by_document(seen.kl), ground.by_document(seen.positions)


def _self_margin(final: Final, intact: Callable[[], Final]) -> Float[np.ndarray, " question"]:
    return np.asarray(self_margin(final.scores[:, None], intact().choice)[:, 0])


#: What a search can make best, and what can be measured at every step of a curve.
OBJECTIVES: Mapping[str, Objective] = MappingProxyType(
    {
        objective.name: objective
        for objective in (
            DecisionObjective(
                "margin", "mean Decision Margin", higher=True, on="questions", labels=True,
                of=lambda final, _: final.margin,
            ),
            DecisionObjective(
                "accuracy", "share of right choices", higher=True, on="questions", labels=True,
                of=lambda final, _: final.correct.astype(np.float64), counts=True,
            ),
            DecisionObjective(
                "self_margin", "mean margin of what the intact model chooses; no right answers are needed",
                higher=True, on="questions", of=_self_margin,
            ),
            PerplexityObjective("perplexity", "perplexity of texts", higher=False, on="texts"),
            KLObjective(
                "kl", "KL divergence of the cut model from the intact one, in nats a position",
                higher=False, on="either",
            ),
        )
    }
)  # fmt: skip


def find_objective(given: str | Objective) -> Objective:
    """Look an objective up; one that is given as such is left alone.

    Args:
        given: Its name, or itself.

    Returns:
        The objective.

    Raises:
        InputError: If there is none of that name; near ones are suggested.

    Example:
        >>> find_objective("kl").higher, find_objective("self_margin").labels
        (False, False)
    """
    if isinstance(given, Objective):
        return given
    if given not in OBJECTIVES:
        raise unknown_name("objective", given, OBJECTIVES)
    return OBJECTIVES[given]


@dataclass(frozen=True, eq=False)
class Valuer:
    """Gives interventions their values by one objective.

    Attributes:
        objective: The objective.
        ground: What it is measured on.

    Raises:
        InputError: If it cannot be measured on that.

    Example:
        >>> from decision_phases.interventions import skip
        >>> from decision_phases.models import load
        >>> from decision_phases.readout import ask
        >>> model = load("tiny-gpt2", quiet=True)
        >>> valuer = Valuer(OBJECTIVES["self_margin"], Ground(model, ask(model, "facts")))
        >>> intact, cut = valuer([Intervention(), skip(2, 3)])
        >>> bool(intact > cut)
        True
    """

    objective: Objective
    ground: Ground

    def __post_init__(self) -> None:
        self.objective.check(self.ground.questions, self.ground.texts)

    def __call__(
        self, variants: Sequence[Intervention], *, progress: bool = False
    ) -> Float[np.ndarray, " variant"]:
        """The value of every variant; `InputError` if one is not a number, or several are infinite alike."""
        inputs, look = self.objective.inputs(self.ground), self.objective.look(self.ground)
        seen = self.ground.see(inputs, look, variants, progress=progress)
        values = np.array([self.objective.value(one, self.ground) for one in seen], dtype=np.float64)
        for variant, value in zip(variants, values, strict=True):
            if np.isnan(value):
                msg = f"{self.objective.name} is not a number under '{variant}'; try dtype='float32'"
                raise InputError(msg)
        if len(values) > 1 and np.isinf(values).all():
            msg = (
                f"{self.objective.name} is infinite under all of {len(values)} cuts, '{variants[0]}' among them, so it "
                "orders none of them; choose by another objective (kl stays finite), or see whether the model is broken"
            )
            raise InputError(msg)
        return values

    def intervals(
        self, variants: Sequence[Intervention], *, seed: int = 0
    ) -> Float[np.ndarray, "variant end"]:
        """95% bootstrap intervals of the values over questions or documents.

        Args:
            variants: The interventions.
            seed: Of the resampling.

        Returns:
            Both ends of each.
        """
        inputs, look = self.objective.inputs(self.ground), self.objective.look(self.ground)
        seen = self.ground.see(inputs, look, variants)
        return np.array([self.objective.interval(one, self.ground, seed=seed) for one in seen])

    def known(self, variants: Sequence[Intervention]) -> Float[np.ndarray, " variant"]:
        """The values that are known already.

        Args:
            variants: The interventions.

        Returns:
            One value each, NaN where it is not known.
        """
        inputs, look = self.objective.inputs(self.ground), self.objective.look(self.ground)
        there = self.ground.knows(inputs, look, variants)
        values = dict(zip(there, self(there), strict=True))
        return np.array([values.get(variant, np.nan) for variant in variants], dtype=np.float64)
