"""Shapley criterion: what a unit adds to the model, averaged over which others are there."""

from __future__ import annotations

from dataclasses import dataclass

from decision_phases.pruning.criteria.contract import BY_DECISION, BY_REMOVAL, Criterion, Request
from decision_phases.pruning.criteria.scores import Scores
from decision_phases.pruning.game.estimate import Setup
from decision_phases.pruning.game.model_game import ModelGame
from decision_phases.pruning.game.result import LEAST_R2
from decision_phases.pruning.game.shapley import play
from decision_phases.pruning.game.units import Units


@dataclass(frozen=True)
class ShapleyCriterion(Criterion):
    """What a unit adds to the objective, averaged over masks, by `dp.shapley`.

    As published (arXiv 2602.07804) the average is over masks that keep about as many units as pruning leaves
    (`index="published"`; "shapley" for Shapley's own, over masks of every size), and it is that of a surrogate fitted
    to the masks that were run; a line unless another is asked for. The masks are cuts of the random pool. The budget
    is `masks_per_unit` for every unit; where that is enough for all masks there are, all are run and no surrogate is
    needed. A surrogate whose R² on held-out masks is below `least_r2` orders nothing, and is refused. Units that must
    stay should not be ranked (`layers=`): every mask that lacks one of them is spent on a broken model.

    Attributes:
        objective: A name in `GAME_OBJECTIVES`.
        index: A name in `INDICES`.
        surrogate: A name in `SURROGATES`.
        masks_per_unit: How many masks are run, for each unit.
        least_r2: Held-out R² that the surrogate must have.
    """

    objective: str = "margin"
    index: str = "published"
    surrogate: str = "linear"
    masks_per_unit: int = 12
    least_r2: float = LEAST_R2

    def score(self, request: Request) -> Scores:
        """See `Criterion.score`.

        Raises:
            UntrustedError: If the surrogate knows too little of masks it has not seen.
        """
        units = Units(tuple(map(str, request.units)), tuple(unit.cut for unit in request.units))
        game = ModelGame(
            request.model,
            request.measured,
            units,
            objective=self.objective,
            under=request.under,
            store=request.store,
            progress=request.progress,
        )
        found = play(game, self._setup(len(units), request))
        found.order(least_r2=self.least_r2)  # refuses values that order nothing
        note = (
            f"{found.method} method on {found.n_masks} masks, {found.forward_passes} forward passes; intervals "
            f"resample {found.over}"
        )
        notes = (note,) if found.surrogate is None else (note, str(found.surrogate))
        return Scores(found.values, ends=(found.low, found.high), notes=notes)

    def _setup(self, n_units: int, request: Request) -> Setup:
        budget = self.masks_per_unit * n_units
        if 2**n_units <= budget:
            return Setup(method="exact", index=self.index, seed=request.seed, confidence=request.confidence)
        sampler = "published" if self.index == "published" else "stratified"
        return Setup(
            method="surrogate",
            index=self.index,
            surrogate=self.surrogate,
            sampler=sampler,
            n_masks=budget,
            seed=request.seed,
            confidence=request.confidence,
        )


SHAPLEY = ShapleyCriterion(
    "shapley",
    "what a unit adds to the mean decision margin, averaged over masks near the sizes that pruning leaves",
    "pruning as a cooperative game, arXiv 2602.07804, with the Decision Margin as utility",
    needs=BY_DECISION,
)
SHAPLEY_PERPLEXITY = ShapleyCriterion(
    "shapley_perplexity",
    "what a unit adds to PPL(all) / PPL(mask), averaged over masks near the sizes that pruning leaves",
    "pruning as a cooperative game, arXiv 2602.07804",
    needs=BY_REMOVAL,
    objective="perplexity_ratio",
)
