"""The trajectory criterion's cheap relative: what one backward pass says of the margin that would be lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.special import softmax
from torch import Tensor
from tqdm.auto import tqdm

from decision_phases.engine import Batch, evaluate, make_batches
from decision_phases.models.gradients import final_residual
from decision_phases.pruning.criteria.contract import ON_DECISION_SLOPES, Criterion, Needs, Request
from decision_phases.pruning.criteria.outputs import MAX_TOKENS, kept_outputs
from decision_phases.pruning.criteria.scores import Scores
from decision_phases.readout.loss import targets_of, token_losses
from decision_phases.readout.observe import FinalObserver
from decision_phases.tasks import EncodedQuestions, cloze_scores, is_cloze

OptionScores = Float[np.ndarray, "question option"]


def margin_slopes(scores: OptionScores, gold: Int[np.ndarray, " question"]) -> OptionScores:
    """Return the gradient of the decision margin with respect to the option scores.

    With p = softmax(s), g the gold option and r the most probable other one:
    ∂(p_g − p_r) / ∂s_o = p_g (1[o = g] − p_o) − p_r (1[o = r] − p_o).

    Args:
        scores: Option scores, NaN where a question has fewer options.
        gold: Index of the right option.

    Returns:
        Slopes, 0 where there is no option.

    Example:
        >>> margin_slopes(np.array([[0.0, 0.0]]), np.array([1])).tolist()
        [[-0.5, 0.5]]
    """
    rows = np.arange(len(gold))
    p = softmax(np.where(np.isnan(scores), -np.inf, scores), axis=1)
    others = p.copy()
    others[rows, gold] = -1.0
    rival = others.argmax(axis=1)
    slopes = -(p[rows, gold] - p[rows, rival])[:, None] * p
    slopes[rows, gold] += p[rows, gold]
    slopes[rows, rival] -= p[rows, rival]
    return np.asarray(slopes)


@dataclass(frozen=True)
class TrajectoryLocalCriterion(Criterion):
    """First-order estimate of the final margin that is lost with a unit, mean over questions.

    score = E[ max(0, Σ_p ⟨∂m/∂h_p, Δh_p⟩) ]

    m is the final decision margin, h the stream behind the unit (for attention and MLP what they put out), Δh what the
    unit adds to it, and p runs over token positions: m(h − Δh) ≈ m(h) − ⟨∂m/∂h, Δh⟩. It takes one dense pass to know
    the margins and one with a backward pass, however many units there are.

    What is heuristic: a straight line stands for what all later blocks, the final norm and the softmax make of a
    removal, so estimates are worst for the units that matter most; and of the trajectory only its end is estimated,
    neither the margins on the way nor the transition. Zero for a unit that adds nothing. The details have `margin_net`,
    the estimated loss less what is gained.

    Attributes:
        positions: "all", or "read" for only those where options are read off, which leaves out what a unit writes for
            later blocks to fetch from other positions.
    """

    needs: Needs = ON_DECISION_SLOPES
    vanishes: bool = True
    positions: Literal["all", "read"] = "all"

    def score(self, request: Request) -> Scores:
        """See `Criterion.score`."""
        encoded = request.measured.encoded
        assert encoded is not None
        key = ("margin changes", self.positions)
        losses = request.once(key, lambda: _losses(request, encoded, self.positions))
        lost = np.maximum(losses, 0.0)
        details = {"margin_net": losses.mean(axis=1)}
        return Scores(lost.mean(axis=1), lost, np.ones(lost.shape[1]), details)


def _losses(
    request: Request, encoded: EncodedQuestions, positions: str
) -> Float[np.ndarray, "unit question"]:
    """Estimated loss of margin of every question without each unit; negative where something is gained."""
    (run,) = evaluate(
        request.model, encoded, [request.under], [FinalObserver()], store=request.store, progress=request.progress
    )  # fmt: skip
    slopes = margin_slopes(run["final"].scores, encoded.gold)
    found = np.full((len(request.units), len(encoded.sequences)), np.nan)
    batches = make_batches(encoded.sequences, device=request.model.device, max_tokens=MAX_TOKENS)
    for batch in tqdm(batches, disable=not request.progress, desc="margin gradients"):
        found[:, list(batch.indices)] = _of_batch(request, encoded, batch, slopes, positions)
    if is_cloze(encoded.scoring):  # so far of every option's log-probability
        return np.asarray(np.nansum(cloze_scores(found.T, encoded) * slopes[:, None], axis=2).T)
    owners = [s.owner for s in encoded.sequences]
    return np.asarray(found[:, np.argsort(owners)])


def _of_batch(
    request: Request, encoded: EncodedQuestions, batch: Batch, slopes: OptionScores, positions: str
) -> Float[np.ndarray, "unit row"]:
    """Σ_p ⟨∂/∂h_p, Δh_p⟩ of each sequence's margin, or of its log-probability in cloze scorings."""
    cells = batch.cells("read")
    with kept_outputs(request, batch) as outputs:
        ends = final_residual(request.model, batch.tokens)
        read = ends[cells.rows.to(ends.device), cells.columns.to(ends.device)]
        if is_cloze(encoded.scoring):
            total = -token_losses(request.model, read, targets_of(batch)).sum()
        else:
            total = _linear_margin(request, encoded, batch, read, slopes)
        found = torch.autograd.grad(total, [outputs.of(unit) for unit in request.units])
    rows = []
    for unit, slope in zip(request.units, found, strict=True):
        products = (slope.double() * outputs.added(unit).double()).sum(-1)
        if positions == "read":
            chosen = torch.zeros_like(products)
            chosen[cells.rows, cells.columns] = 1.0
            products = products * chosen
        rows.append(products.sum(dim=1).cpu().numpy())
    return np.stack(rows)


def _linear_margin(
    request: Request, encoded: EncodedQuestions, batch: Batch, read: Tensor, slopes: OptionScores
) -> Tensor:
    """Σ slope · score over the options of all sequences: has the margin's gradient at the intact scores."""
    owners = [s.owner for s in batch.sequences]
    wanted = sorted({token for owner in owners for token in encoded.option_ids[owner]})
    column = {token: i for i, token in enumerate(wanted)}
    weights = np.zeros((len(owners), len(wanted)))
    for row, owner in enumerate(owners):
        for option, token in enumerate(encoded.option_ids[owner]):
            weights[row, column[token]] += slopes[owner, option]
    logits = request.model.readout(read, torch.tensor(wanted, device=read.device))
    return (logits.double() * torch.from_numpy(weights).to(logits.device)).sum()


TRAJECTORY_LOCAL = TrajectoryLocalCriterion(
    "trajectory_local",
    "⟨∂m/∂h, Δh⟩ where positive, m the final decision margin, Δh what the unit adds",
    "ours; first-order expansion in activations, after Molchanov et al., arXiv 1611.06440",
)
