"""Perplexity criterion: by how much the loss rises when a unit is removed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from decision_phases.pruning.criteria.contract import Criterion, Request
from decision_phases.pruning.criteria.removal import with_and_without
from decision_phases.pruning.criteria.scores import Scores
from decision_phases.readout.loss import LossObserver


@dataclass(frozen=True)
class PerplexityCriterion(Criterion):
    """log(PPL without the unit / PPL with it): the rise of the mean cross-entropy, in nats a token.

    The order is that of the perplexity itself, which overflows where a model is broken. On questions the tokens
    predicted are those of the right answer, over the whole vocabulary. Below zero where removal helps.
    """

    def score(self, request: Request) -> Scores:
        """See `Criterion.score`."""
        data = request.measured
        whole, without = with_and_without(request, data.sequences, LossObserver())
        rises = np.stack([losses.nll - whole.nll for losses in without])
        return Scores.mean(data.by_group(rises), data.by_group(data.tokens))


PERPLEXITY = PerplexityCriterion(
    "perplexity",
    "rise of the log perplexity when removed, in nats a token",
    "SLEB, arXiv 2402.09025; Shortened LLaMA, arXiv 2402.02834 (PPL)",
)
