"""How alike two readouts are: centred kernel alignment of states, Jensen–Shannon similarity of decisions."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import entr

from decision_phases.errors import InputError
from decision_phases.readout.metrics import choices, option_probabilities
from decision_phases.stats import permutation_p


@dataclass(frozen=True)
class Alignment:
    """Linear CKA of two sets of states, with what unrelated questions would have given.

    Attributes:
        biased: The plain estimate; well above zero for unrelated states when questions are few.
        debiased: The estimate from unbiased HSIC; near zero, possibly below, for unrelated states.
        null_mean: Mean of the debiased estimate after shuffling the rows of one side.
        null_high: Its 95 % quantile.
        p_value: Share of shuffles at least as aligned, with the +1 correction.
    """

    biased: float
    debiased: float
    null_mean: float
    null_high: float
    p_value: float


@dataclass(frozen=True, eq=False)
class DecisionSimilarity:
    """How alike the decisions of two readouts are, for every pair of layers (first's, second's).

    Attributes:
        divergence: 1 − JSD(p, q) / log 2, mean over questions: 1 for equal, 0 for disjoint decisions.
        agreement: Share of questions on which both choose the same option (ties: lowest index).
    """

    divergence: Float[np.ndarray, "layer other"]
    agreement: Float[np.ndarray, "layer other"]


def linear_cka(x: Float[np.ndarray, "question d"], y: Float[np.ndarray, "same e"]) -> float:
    """Return linear CKA, ‖X̃ᵀỸ‖² / (‖X̃ᵀX̃‖ ‖ỸᵀỸ‖) with centred columns, from 0 to 1.

    Invariant under rotation, a common scale and shifts of either side. With fewer questions than channels
    it is biased upward; use :func:`debiased_cka` for claims.

    Raises:
        InputError: If the numbers of questions differ, are fewer than two, or one side never varies.

    Source: Kornblith et al., Similarity of Neural Network Representations Revisited (2019), §3.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(20, 5))
        >>> round(linear_cka(x, 3 * x[:, ::-1] + 1), 12)
        1.0
    """
    K, L = _gram(x, y, least=2)
    return _cosine(_double_centred(K), _double_centred(L))


def debiased_cka(x: Float[np.ndarray, "question d"], y: Float[np.ndarray, "same e"]) -> float:
    """Return linear CKA from the unbiased estimator of HSIC: near 0 for unrelated states at any sample size.

    HSIC₁(K, L) = [tr K̃L̃ + (1ᵀK̃1)(1ᵀL̃1) / ((n−1)(n−2)) − 2 · 1ᵀK̃L̃1 / (n−2)] / (n(n−3)), where the tilde
    sets the diagonal to zero; computed as the inner product of U-centred Gram matrices, which is the same.

    Raises:
        InputError: If the numbers of questions differ, are fewer than four, or one side never varies.

    Source: Song et al., Feature Selection via Dependence Maximization (2012), eq. 5; Nguyen, Raghu and
        Kornblith, Do Wide and Deep Networks Learn the Same Things? (2021), eq. 3.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x, y = rng.normal(size=(50, 400)), rng.normal(size=(50, 400))
        >>> linear_cka(x, y) > 0.8, abs(debiased_cka(x, y)) < 0.1
        (True, True)
    """
    K, L = _gram(x, y, least=4)
    return _cosine(_u_centred(K), _u_centred(L))


def alignment(
    x: Float[np.ndarray, "question d"],
    y: Float[np.ndarray, "same e"],
    *,
    n_shuffles: int = 200,
    seed: int = 0,
) -> Alignment:
    """Return both estimates of linear CKA beside a null in which the questions of one side are shuffled.

    Raises:
        InputError: As :func:`debiased_cka`.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(30, 8))
        >>> found = alignment(x, x)
        >>> round(found.debiased, 12), found.null_high < 0.5, found.p_value < 0.01
        (1.0, True, True)
    """
    K, L = _gram(x, y, least=4)
    A, B = _u_centred(K), _u_centred(L)
    debiased = _cosine(A, B)
    rng = np.random.default_rng([seed, 1])
    norm = np.linalg.norm(A) * np.linalg.norm(B)
    orders = (rng.permutation(len(B)) for _ in range(n_shuffles))
    null = np.array([np.vdot(A, B[np.ix_(order, order)]) / norm for order in orders])
    return Alignment(
        biased=_cosine(_double_centred(K), _double_centred(L)),
        debiased=debiased,
        null_mean=float(null.mean()),
        null_high=float(np.quantile(null, 0.95)),
        p_value=permutation_p(debiased, null),
    )


def decision_similarity(
    scores: Float[np.ndarray, "question layer option"], other: Float[np.ndarray, "question other option"]
) -> DecisionSimilarity:
    """Return how alike two readouts of the same questions decide, at every pair of layers.

    Rows and columns of removed layers are NaN.

    Args:
        scores: Option scores of the first readout, NaN where an option is absent or a layer removed.
        other: Those of the second; it may have another number of layers.

    Raises:
        InputError: If scores are malformed, or the options present differ.

    Source: §1.7 of the notes on arXiv 2605.07271 (decision-representation similarity; the estimator is ours).

    Example:
        >>> intact = np.array([[[0.0, 0.0], [5.0, 0.0]]])
        >>> decision_similarity(intact, intact).divergence.round(3).tolist()
        [[1.0, 0.712], [0.712, 1.0]]
    """
    p, q = option_probabilities(scores), option_probabilities(other)
    if (np.isnan(p).all(axis=1) != np.isnan(q).all(axis=1)).any():
        raise InputError("the two readouts have different options; give readouts of the same questions.")
    first, second = choices(scores), choices(other)
    divergence = np.full((p.shape[1], q.shape[1]), np.nan)
    agreement = divergence.copy()
    for layer in range(p.shape[1]):
        here = p[:, layer, None]
        jsd = entr((here + q) / 2) - (entr(here) + entr(q)) / 2
        total = np.where(np.isnan(q).all(axis=2), np.nan, np.nansum(jsd, axis=2))
        if not np.isnan(here).all():
            divergence[layer] = 1 - total.mean(axis=0) / np.log(2)
            same = (first[:, layer, None] == second).mean(axis=0)
            agreement[layer] = np.where(np.isnan(divergence[layer]), np.nan, same)
    return DecisionSimilarity(divergence, agreement)


def _gram(
    x: Float[np.ndarray, "question d"], y: Float[np.ndarray, "same e"], *, least: int
) -> tuple[Float[np.ndarray, "question question"], Float[np.ndarray, "question question"]]:
    if len(x) != len(y):
        raise InputError(
            f"{len(x)} and {len(y)} questions given; CKA needs the same questions on both sides."
        )
    if len(x) < least:
        raise InputError(f"{len(x)} questions given; this estimate of CKA needs at least {least}.")
    both = [np.asarray(side, dtype=np.float64) for side in (x, y)]
    if not all(np.isfinite(side).all() for side in both):
        raise InputError("states with NaN or infinity given; a removed layer has no states to compare.")
    if any((np.ptp(side, axis=0) == 0).all() for side in both):
        raise InputError("one side has the same state for every question; CKA is undefined there.")
    centred = [side - side.mean(axis=0) for side in both]
    # A common scale changes nothing and keeps the fourth powers of large residuals in range.
    centred = [side / np.abs(side).max() for side in centred]
    return centred[0] @ centred[0].T, centred[1] @ centred[1].T


def _double_centred(K: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    return np.asarray(K - K.mean(axis=0) - K.mean(axis=1)[:, None] + K.mean())


def _u_centred(K: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    n = len(K)
    hollow = K - np.diag(np.diag(K))
    rows = hollow.sum(axis=1)
    centred: np.ndarray = hollow - (rows[:, None] + rows) / (n - 2) + rows.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(centred, 0.0)
    return centred


def _cosine(A: Float[np.ndarray, "n n"], B: Float[np.ndarray, "n n"]) -> float:
    norm = float(np.linalg.norm(A) * np.linalg.norm(B))
    if norm < 1e-13:  # states are scaled to 1, so this is rounding
        raise InputError(
            "one side differs in a single question only; CKA is undefined there. Give more questions."
        )
    return float(np.vdot(A, B)) / norm
