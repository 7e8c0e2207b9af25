"""Trajectory criterion: what the removal of a unit takes from the way on which the decision forms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from decision_phases.pruning.criteria.contract import BY_DECISION, Criterion, Needs, Request
from decision_phases.pruning.criteria.removal import with_and_without
from decision_phases.pruning.criteria.scores import Scores
from decision_phases.pruning.criteria.units import Unit
from decision_phases.readout.decisions import Decisions
from decision_phases.readout.observe import DecisionObserver
from decision_phases.readout.phases.detectors import zero_crossing


@dataclass(frozen=True, eq=False)
class Harm:
    """What a removal takes from the trajectory of every question.

    Attributes:
        vanished: 1 where the question had a transition and has none.
        shift: By how much the transition comes later, as a share of the depth; 0 where it does not.
        lost: Mean loss of margin behind the unit; what is gained somewhere does not count.
        net: The same with what is gained.
    """

    vanished: Float[np.ndarray, " question"]
    shift: Float[np.ndarray, " question"]
    lost: Float[np.ndarray, " question"]
    net: Float[np.ndarray, " question"]

    @property
    def total(self) -> Float[np.ndarray, " question"]:
        """The score of every question."""
        return np.asarray(self.vanished + self.shift + self.lost)


def trajectory_harm(
    intact: Float[np.ndarray, "question layer"],
    without: Float[np.ndarray, "question layer"],
    layers: Int[np.ndarray, " layer"],
    *,
    first: int,
    n_layers: int,
) -> Harm:
    """Compare the decision margins of a model with those of the same without a unit.

    Both are read at the layers that survive the removal, of which the last is the final decision: what is missing where
    the unit was is no harm. Of each question, the transition is the first of these layers from which its margin stays
    above zero to the end.

    Args:
        intact: Margins with the unit.
        without: Margins without it.
        layers: The layers that survive, ascending.
        first: The first layer that the removal can change.
        n_layers: Layers of the intact model.

    Returns:
        The harm.

    Example:
        >>> intact = np.array([[-0.5, 0.25, 0.5, 0.75]])
        >>> later = trajectory_harm(intact, np.array([[-0.5, -0.5, 0.5, 0.5]]), np.arange(4), first=1, n_layers=4)
        >>> later.vanished.item(), later.shift.item(), later.lost.item()
        (0.0, 0.25, 0.3125)
        >>> trajectory_harm(intact, intact, np.arange(4), first=1, n_layers=4).total.item()
        0.0
    """
    before, behind = zero_crossing(intact, layers), zero_crossing(without, layers)
    vanished = ~np.isnan(before) & np.isnan(behind)
    shift = np.maximum(np.nan_to_num(behind - before), 0.0) / n_layers
    drop = intact - without
    between = layers[:-1] >= first

    def weighted(values: Float[np.ndarray, "question layer"]) -> Float[np.ndarray, " question"]:
        if not between.any():
            return values[:, -1]
        return np.asarray((values[:, :-1][:, between].mean(axis=1) + values[:, -1]) / 2)

    return Harm(vanished.astype(np.float64), shift, weighted(np.maximum(drop, 0.0)), weighted(drop))


@dataclass(frozen=True)
class TrajectoryCriterion(Criterion):
    """What the trajectory of the decision loses with a unit, mean over questions.

    With m_k the margin p(gold) − max p(other) at layer k, m′_k that without the unit, L layers, Ω the last layer that
    is left and B the others behind the unit:

        score = E[ v + s + ½ max(0, m_Ω − m′_Ω) + ½ mean_{k ∈ B} max(0, m_k − m′_k) ]

    where t is the first layer from which m stays above zero to the end, v = 1 if there is a t and no t′, and
    s = max(0, t′ − t) / L if there are both. Where B is empty the final margin counts whole. So the final decision
    counts as much as the whole way to it, no transition as much as one that is later by the whole depth, and what a
    removal improves on one question makes up for nothing on another. All of it is read at layers that are left in both
    cases: the missing layer itself is no harm. Zero if nothing is lost, and always for a unit that adds nothing.

    That the three are added with these weights is a choice, by which each is at most 1 (the loss of margin at most 2);
    the details of the ranking have them one by one: `vanished` (share of questions), `shift` (share of the depth),
    `margin_lost`, and beside them `margin_net`, the loss of margin less what is gained, and `transition`, the layer
    at which the mean margin of all questions crosses zero without the unit (NaN if it does not).
    """

    needs: Needs = BY_DECISION
    vanishes: bool = True

    def score(self, request: Request) -> Scores:
        """See `Criterion.score`."""
        encoded = request.measured.encoded
        assert encoded is not None
        intact, without = with_and_without(request, encoded, DecisionObserver())
        harms = [_harm(unit, intact, left) for unit, left in zip(request.units, without, strict=True)]
        details = {
            "vanished": np.array([harm.vanished.mean() for harm in harms]),
            "shift": np.array([harm.shift.mean() for harm in harms]),
            "margin_lost": np.array([harm.lost.mean() for harm in harms]),
            "margin_net": np.array([harm.net.mean() for harm in harms]),
            "transition": np.array([_transition(left) for left in without]),
        }
        totals = np.stack([harm.total for harm in harms])
        return Scores(totals.mean(axis=1), totals, np.ones(totals.shape[1]), details)


def _harm(unit: Unit, intact: Decisions, without: Decisions) -> Harm:
    layers = np.array(without.survivors, dtype=np.int64)
    before, behind = intact.margin[:, layers], without.margin[:, layers]
    if not len(layers) or layers[-1] < unit.layer:  # the last decision is lost with the unit that made it
        final = np.stack([intact.final.margin, without.final.margin])[:, :, None]
        before, behind = (
            np.concatenate([before, final[0]], axis=1),
            np.concatenate([behind, final[1]], axis=1),
        )
        layers = np.append(layers, unit.layer)
    return trajectory_harm(before, behind, layers, first=unit.layer, n_layers=intact.n_layers)


def _transition(decisions: Decisions) -> float:
    layers = np.array(decisions.survivors, dtype=np.int64)
    if not len(layers):
        return float("nan")
    return float(zero_crossing(decisions.margin[:, layers].mean(axis=0), layers))


TRAJECTORY = TrajectoryCriterion(
    "trajectory",
    "transitions that vanish or come later, and margin lost on the way and at the end, when removed",
    "ours, after the decision transition of arXiv 2605.07271",
)
