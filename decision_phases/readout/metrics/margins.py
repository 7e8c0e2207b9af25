"""By how much a readout prefers the gold option, at every layer and for every question."""

import numpy as np
from jaxtyping import Float, Int
from scipy.special import logsumexp, softmax

from decision_phases.errors import InputError
from decision_phases.readout.metrics.choices import choices
from decision_phases.readout.metrics.scores import survivors


def option_probabilities(
    scores: Float[np.ndarray, "question layer option"],
    log_normaliser: Float[np.ndarray, "question layer"] | None = None,
) -> Float[np.ndarray, "question layer option"]:
    """Return p_l(o): softmax of the scores over a question's options, or over the vocabulary.

    Args:
        scores: Option scores.
        log_normaliser: logsumexp of all logits; when given, p = exp(score − log_normaliser), which leaves
            room for the rest of the vocabulary.

    Raises:
        InputError: If the scores are malformed, or the options alone exceed the normaliser.

    Example:
        >>> option_probabilities(np.array([[[0.0, 0.0, np.nan]]])).tolist()
        [[[0.5, 0.5, nan]]]
    """
    kept = survivors(scores)
    filled = np.where(np.isnan(scores), -np.inf, scores.astype(np.float64))[:, kept]
    result = np.full(scores.shape, np.nan)
    if log_normaliser is None:
        result[:, kept] = softmax(filled, axis=2)
    else:
        total = log_normaliser.astype(np.float64)[:, kept]
        if not (logsumexp(filled, axis=2) <= total + 1e-3).all():
            raise InputError(
                "log_normaliser is below the logsumexp of the options; it must cover the whole vocabulary."
            )
        result[:, kept] = np.exp(filled - total[..., None])
    result[np.isnan(scores)] = np.nan
    return result


def margins_by_gold(
    values: Float[np.ndarray, "question layer option"],
) -> Float[np.ndarray, "question layer option"]:
    """Return, for every option, the margin that the question would have were that option the gold one.

    values(o) − max over other options: probabilities give decision margins, scores give logit margins.

    Example:
        >>> margins_by_gold(np.array([[[0.5, 0.25, 0.25]]])).tolist()
        [[[0.25, -0.25, -0.25]]]
    """
    filled = np.where(np.isnan(values), -np.inf, values)
    ranked = np.sort(filled, axis=2)
    rival = np.where(filled == ranked[..., -1:], ranked[..., -2:-1], ranked[..., -1:])
    return values - rival


def at_gold(
    by_option: Float[np.ndarray, "question layer option"], gold: Int[np.ndarray, " same"]
) -> Float[np.ndarray, "question layer"]:
    """Return the values at each question's gold option.

    Raises:
        InputError: If a gold index names no option of its question, or there is not one per question.

    Example:
        >>> at_gold(np.array([[[0.1, 0.9]]]), np.array([1])).tolist()
        [[0.9]]
    """
    if len(gold) != len(by_option):
        raise InputError(f"{len(gold)} gold options for {len(by_option)} questions; give one for each.")
    absent = np.isnan(by_option).all(axis=1)
    for question, option in enumerate(gold):
        if not 0 <= option < absent.shape[1] or absent[question, option]:
            count = int((~absent[question]).sum())
            raise InputError(f"gold {option} of question {question} is not one of its {count} options.")
    return np.take_along_axis(by_option, gold[:, None, None], axis=2)[..., 0]


def decision_margin(
    scores: Float[np.ndarray, "question layer option"],
    gold: Int[np.ndarray, " question"],
    *,
    log_normaliser: Float[np.ndarray, "question layer"] | None = None,
) -> Float[np.ndarray, "question layer"]:
    """Return the Decision Margin p(gold) − max p(other), from −1 to 1.

    Its sign is the same in both spaces, options and vocabulary (``log_normaliser`` given); its mean over
    questions is not.

    Source: arXiv 2605.07271, §3.

    Example:
        >>> decision_margin(np.log([[[0.7, 0.2, 0.1]]]), np.array([0])).round(12).tolist()
        [[0.5]]
    """
    return at_gold(margins_by_gold(option_probabilities(scores, log_normaliser)), gold)


def excess_margin(
    scores: Float[np.ndarray, "question layer option"],
    gold: Int[np.ndarray, " question"],
    *,
    log_normaliser: Float[np.ndarray, "question layer"] | None = None,
) -> Float[np.ndarray, "question layer"]:
    """Return the Decision Margin minus its mean were the gold option uniform over those of the question.

    The mean is exact, by enumeration. A readout that knows nothing of the gold option has expected excess 0,
    however confident, whereas its margin is −0.5 when it is sure of one of four.

    Example:
        >>> sure = np.array([[[50.0, 0.0, 0.0, 0.0]]])
        >>> [excess_margin(sure, np.array([g])).round(12).item() for g in range(4)]
        [1.5, -0.5, -0.5, -0.5]
    """
    return excess(margins_by_gold(option_probabilities(scores, log_normaliser)), gold)


def excess(
    by_gold: Float[np.ndarray, "question layer option"], gold: Int[np.ndarray, " question"]
) -> Float[np.ndarray, "question layer"]:
    """Return what the gold option's margin has above the mean of :func:`margins_by_gold` over the options.

    Example:
        >>> excess(np.array([[[0.25, -0.25, -0.25]]]), np.array([0])).round(3).tolist()
        [[0.333]]
    """
    count = (~np.isnan(by_gold).all(axis=1)).sum(axis=1)
    return np.asarray(at_gold(by_gold, gold) - np.nansum(by_gold, axis=2) / count[:, None])


def logit_margin(
    scores: Float[np.ndarray, "question layer option"], gold: Int[np.ndarray, " question"]
) -> Float[np.ndarray, "question layer"]:
    """Return score(gold) − max score(other), in the unit of the scores (nats for logits).

    Example:
        >>> logit_margin(np.array([[[1.0, 3.0, 2.5]]]), np.array([1])).tolist()
        [[0.5]]
    """
    survivors(scores)
    return at_gold(margins_by_gold(scores.astype(np.float64)), gold)


def soft_margin(
    scores: Float[np.ndarray, "question layer option"],
    gold: Int[np.ndarray, " question"],
    *,
    tau: float = 1.0,
) -> Float[np.ndarray, "question layer"]:
    """Return score(gold) − τ · logsumexp over others of score / τ; the logit margin as τ → 0.

    It has no jumps where the strongest rival changes; at τ = 1 it is the log-odds of the gold option.

    Raises:
        InputError: If ``tau`` is not positive.

    Source: arXiv 2606.01202, companion draft.

    Example:
        >>> soft_margin(np.log([[[0.5, 0.3, 0.2]]]), np.array([0])).round(12).item() + 0.0
        0.0
    """
    if not tau > 0:
        raise InputError(f"tau = {tau} given; it must be positive. For the limit 0 use logit_margin.")
    kept = survivors(scores)
    at = at_gold(scores.astype(np.float64), gold)
    rivals = np.where(np.isnan(scores), -np.inf, scores.astype(np.float64))
    rivals[np.arange(len(gold)), :, gold] = -np.inf
    at[:, kept] -= tau * logsumexp(rivals[:, kept] / tau, axis=2)
    return at


def top_margin(
    scores: Float[np.ndarray, "question layer option"],
    *,
    log_normaliser: Float[np.ndarray, "question layer"] | None = None,
) -> Float[np.ndarray, "question layer"]:
    """Return p of the first option minus p of the second, whichever they are: decidedness without a label.

    Example:
        >>> top_margin(np.log([[[0.2, 0.7, 0.1]]])).round(12).tolist()
        [[0.5]]
    """
    by_gold = margins_by_gold(option_probabilities(scores, log_normaliser))
    return np.asarray(np.fmax.reduce(by_gold, axis=2))


def self_margin(
    scores: Float[np.ndarray, "question layer option"],
    choice: Int[np.ndarray, " question"] | None = None,
    *,
    log_normaliser: Float[np.ndarray, "question layer"] | None = None,
) -> Float[np.ndarray, "question layer"]:
    """Return the Decision Margin of a given choice in place of the gold option.

    Args:
        scores: Option scores.
        choice: Option per question, for instance the intact model's final choice; by default the final choice
            of these scores.
        log_normaliser: As in :func:`option_probabilities`.

    Example:
        >>> self_margin(np.log([[[0.7, 0.3], [0.4, 0.6]]])).round(12).tolist()
        [[-0.4, 0.2]]
    """
    if choice is None:
        choice = choices(scores)[:, survivors(scores)[-1]]
    return decision_margin(scores, choice, log_normaliser=log_normaliser)
