"""KL criterion: how far the distribution over the next token moves when a unit is removed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from decision_phases.engine import evaluate
from decision_phases.pruning.criteria.contract import Criterion, Request
from decision_phases.pruning.criteria.scores import Scores
from decision_phases.readout.divergence import DivergenceObserver, EndingObserver


@dataclass(frozen=True)
class KLCriterion(Criterion):
    """KL(reference ‖ without) over the whole vocabulary, mean over the positions where something is predicted.

    The reference is the model with the unit, or in a search that ranks anew after every removal, the intact one.
    """

    vanishes: bool = True

    def score(self, request: Request) -> Scores:
        """See `Criterion.score`."""
        data = request.measured
        reference = request.under if request.reference is None else request.reference
        (intact,) = evaluate(
            request.model, data.sequences, [reference], [EndingObserver()], progress=request.progress
        )
        look = DivergenceObserver(intact["endings"])
        runs = evaluate(
            request.model,
            data.sequences,
            list(map(request.without, request.units)),
            [look],
            store=request.store,
            progress=request.progress,
        )
        sums = np.stack([run[look.name].kl for run in runs])
        return Scores.mean(data.by_group(sums), data.by_group(data.tokens))


KL = KLCriterion(
    "kl",
    "KL divergence of the model without the unit from the model with it, in nats a position",
    "KL(intact ‖ pruned), arXiv 2603.24652, Theorem 3",
)
