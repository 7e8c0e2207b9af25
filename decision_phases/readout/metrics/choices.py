"""Which option a readout chooses at every layer, how often, and when it stops changing."""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import entropy

from decision_phases.errors import InputError
from decision_phases.readout.metrics.scores import survivors

REMOVED = -1
"""Stands for the choice of a removed layer and for the identity of an absent option."""


def choices(scores: Float[np.ndarray, "question layer option"]) -> Int[np.ndarray, "question layer"]:
    """Return the option with the highest score (ties: lowest index), :data:`REMOVED` in removed layers.

    Example:
        >>> choices(np.array([[[1.0, 1.0], [0.0, 2.0], [np.nan, np.nan]]])).tolist()
        [[0, 1, -1]]
    """
    chosen = np.full(scores.shape[:2], REMOVED)
    kept = survivors(scores)
    chosen[:, kept] = np.nanargmax(scores[:, kept], axis=2)
    return chosen


def tie_rate(scores: Float[np.ndarray, "question layer option"]) -> Float[np.ndarray, " layer"]:
    """Return the share of questions whose highest score is shared by two options or more.

    Example:
        >>> tie_rate(np.array([[[1.0, 1.0]], [[1.0, 2.0]]])).tolist()
        [0.5]
    """
    rate = np.full(scores.shape[1], np.nan)
    kept = survivors(scores)
    top = np.nanmax(scores[:, kept], axis=2, keepdims=True)
    rate[kept] = ((scores[:, kept] == top).sum(axis=2) > 1).mean(axis=0)
    return rate


def _per_layer(
    hits: Bool[np.ndarray, "question layer ..."], chosen: Int[np.ndarray, "question layer"]
) -> Float[np.ndarray, "layer ..."]:
    """Mean over questions, NaN in removed layers."""
    rate: np.ndarray = hits.mean(axis=0, dtype=np.float64)
    rate[(chosen == REMOVED).any(axis=0)] = np.nan
    return rate


def accuracy(
    chosen: Int[np.ndarray, "question layer"], gold: Int[np.ndarray, " question"]
) -> Float[np.ndarray, " layer"]:
    """Return the share of questions on which each layer chooses the gold option.

    Example:
        >>> accuracy(np.array([[1, 0], [1, 1]]), np.array([0, 1])).tolist()
        [0.5, 1.0]
    """
    return _per_layer(chosen == gold[:, None], chosen)


def agreement_with_final(chosen: Int[np.ndarray, "question layer"]) -> Float[np.ndarray, " layer"]:
    """Return the share of questions on which each layer chooses what the last surviving layer does.

    Example:
        >>> agreement_with_final(np.array([[1, 0, 0], [1, 0, 1]])).tolist()
        [0.5, 0.5, 1.0]
    """
    return _per_layer(chosen == chosen[:, _kept(chosen)[-1:]], chosen)


def _kept(chosen: Int[np.ndarray, "question layer"]) -> Int[np.ndarray, " survivor"]:
    kept = np.flatnonzero((chosen != REMOVED).all(axis=0))
    if not len(kept):
        raise InputError("every layer is removed; there is no choice to follow.")
    return kept


def commitment_layer(chosen: Int[np.ndarray, "question layer"]) -> Int[np.ndarray, " question"]:
    """Return, per question, the first layer from which the choice never changes again (intact index).

    Source: arXiv 2606.01202 and the notes on 2605.07271, §1.5.

    Example:
        >>> commitment_layer(np.array([[0, 2, 1, 1], [3, 3, 3, 3]])).tolist()
        [2, 0]
    """
    kept = _kept(chosen)
    differs = chosen[:, kept] != chosen[:, kept[-1:]]
    return np.asarray(kept[np.where(differs, np.arange(1, len(kept) + 1), 0).max(axis=1)])


def flips(chosen: Int[np.ndarray, "question layer"]) -> Int[np.ndarray, " question"]:
    """Return, per question, how often the choice changes from one surviving layer to the next.

    Example:
        >>> flips(np.array([[0, 2, 1, 1], [3, 3, 3, 3]])).tolist()
        [2, 0]
    """
    return np.asarray(np.count_nonzero(np.diff(chosen[:, _kept(chosen)], axis=1), axis=1))


def option_frequency(
    chosen: Int[np.ndarray, "question layer"],
    identities: Int[np.ndarray, "question option"],
    n_identities: int,
) -> Float[np.ndarray, "layer identity"]:
    """Return Option Frequency: how often each option identity is the one chosen, at every layer.

    Args:
        chosen: Choices.
        identities: Index of each option's identity (its symbol in letter scoring, its text in a closed set);
            :data:`REMOVED` for absent options.
        n_identities: Number of identities.

    Raises:
        InputError: If an identity is out of range or an absent option is chosen.

    Source: arXiv 2605.07271, §3.

    Example:
        >>> option_frequency(np.array([[0], [1]]), np.array([[0, 1], [1, 0]]), 2).tolist()
        [[1.0, 0.0]]
    """
    picked = np.take_along_axis(identities, np.maximum(chosen, 0), axis=1)
    if not ((picked >= 0) & (picked < n_identities))[chosen != REMOVED].all():
        raise InputError(f"a chosen option has no identity from 0 to {n_identities - 1}.")
    return _per_layer(picked[..., None] == np.arange(n_identities), chosen)


def gold_frequency(
    gold: Int[np.ndarray, " question"], identities: Int[np.ndarray, "question option"], n_identities: int
) -> Float[np.ndarray, " identity"]:
    """Return how often each option identity is the gold one.

    Example:
        >>> gold_frequency(np.array([0, 0]), np.array([[0, 1], [1, 0]]), 2).tolist()
        [0.5, 0.5]
    """
    return np.asarray(option_frequency(gold[:, None], identities, n_identities)[0])


def frequency_entropy(frequency: Float[np.ndarray, "layer identity"]) -> Float[np.ndarray, " layer"]:
    """Return the entropy of Option Frequency over its largest value log K: 1 even, 0 always one option.

    Example:
        >>> frequency_entropy(np.array([[0.5, 0.5], [1.0, 0.0]])).tolist()
        [1.0, 0.0]
    """
    if frequency.shape[1] < 2:
        raise InputError("one option identity given; the entropy of Option Frequency needs at least two.")
    return np.asarray(entropy(frequency, axis=1) / np.log(frequency.shape[1]))


def frequency_distance(
    frequency: Float[np.ndarray, "layer identity"], reference: Float[np.ndarray, " identity"]
) -> Float[np.ndarray, " layer"]:
    """Return the total variation distance ½ Σ |frequency − reference| from, for instance, gold frequency.

    Example:
        >>> frequency_distance(np.array([[1.0, 0.0]]), np.array([0.5, 0.5])).tolist()
        [0.5]
    """
    return np.asarray(np.abs(frequency - reference).sum(axis=1) / 2)
