"""What a mask is worth, from what the model then answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from jaxtyping import Float, Int
from scipy.special import log_softmax

from decision_phases.errors import InputError, unknown_name
from decision_phases.readout.decisions import Final

Measure = Callable[[Final, Int[np.ndarray, " question"]], Float[np.ndarray, " question"]]


@dataclass(frozen=True)
class Objective:
    """A measure of one question, and what becomes of its mean.

    Attributes:
        name: Its name.
        measure: Takes the final decisions and the gold options; gives a number a question, more for better.
        ratio: Whether the value is exp(mean − the intact model's mean) instead of the mean.
        what: A sentence.
        texts: Whether it can be had on texts, where log p of the next tokens stands for the measure.
    """

    name: str
    measure: Measure
    ratio: bool
    what: str
    texts: bool = False

    def value(
        self, mean: Float[np.ndarray, "*shape"], intact: Float[np.ndarray, "*columns"]
    ) -> Float[np.ndarray, "*shape"]:
        """The value of masks.

        Args:
            mean: Mean measure of each mask, trailing columns for resampled questions.
            intact: That of the intact model.

        Returns:
            The values.
        """
        return np.exp(mean - intact) if self.ratio else mean


def log_probability(final: Final, gold: Int[np.ndarray, " question"]) -> Float[np.ndarray, " question"]:
    """Return log p(gold) among the options, the negative cross-entropy.

    Args:
        final: The final decisions.
        gold: Index of the right option of each question.

    Returns:
        At most 0.

    Example:
        >>> scores = np.array([[0.0, 0.0, np.nan]])
        >>> final = Final(scores, np.zeros(1), np.zeros(1, dtype=int), np.ones(1, dtype=bool))
        >>> log_probability(final, np.array([0])).round(3).tolist()
        [-0.693]
    """
    filled = np.where(np.isnan(final.scores), -np.inf, final.scores)
    found: Float[np.ndarray, " question"] = log_softmax(filled, axis=1)[np.arange(len(gold)), gold]
    return found


def _margin(final: Final, gold: Int[np.ndarray, " question"]) -> Float[np.ndarray, " question"]:
    del gold
    return final.margin


def _correct(final: Final, gold: Int[np.ndarray, " question"]) -> Float[np.ndarray, " question"]:
    del gold
    return final.correct.astype(np.float64)


#: The perplexity ratio is arXiv 2602.07804's utility, PPL(all) / PPL(mask); on questions the gold option is the text.
GAME_OBJECTIVES: Mapping[str, Objective] = MappingProxyType(
    {
        objective.name: objective
        for objective in (
            Objective("margin", _margin, ratio=False, what="mean Decision Margin"),
            Objective("accuracy", _correct, ratio=False, what="share of right choices"),
            Objective(
                "log_probability",
                log_probability,
                ratio=False,
                what="mean log p(gold) among the options; on texts of the next token: the negative cross-entropy",
                texts=True,
            ),
            Objective(
                "perplexity_ratio",
                log_probability,
                ratio=True,
                what="perplexity of the gold option, on texts of the texts, intact over cut: 1 for the intact model",
                texts=True,
            ),
        )
    }
)


def find_objective(objective: str | Measure | Objective) -> Objective:
    """Return the objective that is meant.

    Args:
        objective: A name in `GAME_OBJECTIVES`, an `Objective`, or a function of final decisions and gold options.

    Returns:
        The objective.

    Raises:
        InputError: If there is none of that name.

    Example:
        >>> find_objective("accuracy").what
        'share of right choices'
    """
    if isinstance(objective, Objective):
        return objective
    if isinstance(objective, str):
        if objective not in GAME_OBJECTIVES:
            raise unknown_name("objective", objective, GAME_OBJECTIVES)
        return GAME_OBJECTIVES[objective]
    name = getattr(objective, "__name__", type(objective).__name__)
    return Objective(name, objective, ratio=False, what="the mean of a function of the caller's")


def check_texts(objective: Objective) -> None:
    """Refuse an objective that texts do not have.

    Args:
        objective: The objective.

    Raises:
        InputError: If it needs options to choose from.

    Example:
        >>> check_texts(GAME_OBJECTIVES["perplexity_ratio"])
    """
    if not objective.texts:
        names = ", ".join(name for name, known in GAME_OBJECTIVES.items() if known.texts)
        msg = f"objective {objective.name!r} needs options, which texts do not have; give questions, or use {names}"
        raise InputError(msg)
