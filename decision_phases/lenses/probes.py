"""Linear probes: what can be read off states by a logistic regression, on groups that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import minimize

from decision_phases.errors import InputError

#: The rows that fit a probe, and the rows that it is tried on.
Fold: TypeAlias = tuple[Int[np.ndarray, " fit"], Int[np.ndarray, " test"]]
_DIRECTIONS = 64  # principal components of the fitting rows that a probe sees


def make_folds(
    words: Sequence[str], templates: Sequence[str], *, n_folds: int = 5, seed: int = 0
) -> tuple[Fold, ...]:
    """Divide rows so that no probe is tried on an answer word, or in a template, that fitted it.

    Words are dealt into folds at random; each fold is tried template by template, on what the other words in the other
    templates fitted. With one template only words are held out.

    Args:
        words: The right answer of each row.
        templates: The template of each row.
        n_folds: Number of parts that the words are dealt into.
        seed: Of the deal.

    Returns:
        Rows that fit and rows that test; every row is tested once.

    Raises:
        InputError: If there are fewer words than folds, or fewer than two folds.

    Example:
        >>> for fit, test in make_folds(["a", "b", "a", "b"], ["x", "x", "y", "y"], n_folds=2):
        ...     assert not {"abab"[i] for i in fit} & {"abab"[i] for i in test}
        ...     assert not {"xxyy"[i] for i in fit} & {"xxyy"[i] for i in test}
    """
    names = sorted(set(words))
    if not 2 <= n_folds <= len(names):
        msg = (
            f"{n_folds} folds over {len(names)} different right answers given; at least two folds are needed, and an "
            "answer for each. Give questions with more different answers"
        )
        raise InputError(msg)
    order = np.random.default_rng([seed, 0]).permutation(len(names))
    fold_of = {names[name]: place % n_folds for place, name in enumerate(order.tolist())}
    dealt, kinds = np.array([fold_of[word] for word in words]), np.array(templates)
    several = len(set(templates)) > 1
    found = []
    for fold in range(n_folds):
        for kind in dict.fromkeys(templates):
            test = (dealt == fold) & (kinds == kind)
            fit = (dealt != fold) & (kinds != kind) if several else dealt != fold
            if test.any():
                found.append((np.flatnonzero(fit), np.flatnonzero(test)))
    return tuple(found)


def predicted(
    states: Float[np.ndarray, "row d"],
    labels: Int[np.ndarray, "labelling row"],
    folds: Sequence[Fold],
    *,
    penalty: float = 1.0,
) -> Int[np.ndarray, "labelling row"]:
    """Predict every row by a probe that was fitted on the other folds, for several ways to label the rows.

    A multinomial logistic regression on the leading principal components of the rows that fit it, scaled as a whole;
    classes count equally in the fit, however often they occur.

    Args:
        states: What is read.
        labels: Class of each row, from 0, in every labelling.
        folds: Of `make_folds`.
        penalty: Weight of ½ ‖weights‖² beside the summed loss.

    Returns:
        The predicted class of each row.

    Raises:
        InputError: If the rows of a fold that fit are all of one class.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> labels = np.arange(40) % 2
        >>> states = rng.normal(size=(40, 3)) + 4 * labels[:, None]
        >>> folds = make_folds([str(i // 2) for i in range(40)], ["x"] * 40)
        >>> float((predicted(states, labels[None], folds) == labels).mean()) > 0.9
        True
    """
    found = np.full(labels.shape, -1)
    for fit, test in folds:
        if any(len(np.unique(own)) < 2 for own in labels[:, fit]):
            msg = "the rows that fit a probe are all of one class; give more questions, or fewer folds"
            raise InputError(msg)
        centre = states[fit].mean(axis=0)
        # The right singular vectors of the centred rows; what lies outside them is not in the fit.
        _, sizes, directions = np.linalg.svd(states[fit] - centre, full_matrices=False)
        kept = directions[: int((sizes[:_DIRECTIONS] > 1e-10 * max(sizes[0], 1e-300)).sum())]
        scale = max(float(np.sqrt((sizes**2).sum() / (len(fit) * max(len(kept), 1)))), 1e-300)
        inside, outside = ((states[rows] - centre) @ kept.T / scale for rows in (fit, test))
        for row, own in enumerate(labels[:, fit]):
            weights = _fitted(inside, own, int(labels.max()) + 1, penalty)
            found[row, test] = np.argmax(_with_one(outside) @ weights, axis=1)
    return found


def _with_one(x: Float[np.ndarray, "row d"]) -> Float[np.ndarray, "row d+1"]:
    return np.column_stack([x, np.ones(len(x))])


def _fitted(
    x: Float[np.ndarray, "row d"], labels: Int[np.ndarray, " row"], n_classes: int, penalty: float
) -> Float[np.ndarray, "d+1 k"]:
    """Minimise the weighted log loss with a ridge on everything but the intercepts."""
    rows = _with_one(x)
    target = np.eye(n_classes)[labels]
    count = target.sum(axis=0)
    weight = (len(labels) / (np.maximum(count, 1) * (count > 0).sum()))[labels]
    absent = np.where(count > 0, 0.0, -1e9)  # what never occurs is never predicted
    ridge = np.ones((rows.shape[1], 1))
    ridge[-1] = 0.0

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = flat.reshape(rows.shape[1], n_classes)
        z = rows @ w + absent
        z -= z.max(axis=1, keepdims=True)  # scipy's logsumexp takes longer than everything else here
        logp = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        value = -float((weight[:, None] * target * logp).sum()) + 0.5 * penalty * float((ridge * w * w).sum())
        slope = rows.T @ (weight[:, None] * (np.exp(logp) - target)) + penalty * ridge * w
        return value, slope.ravel()

    start = np.zeros(rows.shape[1] * n_classes)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 200, "ftol": 1e-7})
    fitted = np.asarray(found.x).reshape(rows.shape[1], n_classes)
    fitted[-1] += absent
    return fitted


def balanced_accuracy(
    hits: Bool[np.ndarray, "row layer"],
    labels: Int[np.ndarray, " row"],
    groups: Int[np.ndarray, " row"],
    weights: Float[np.ndarray, "resample group"],
) -> Float[np.ndarray, "resample layer"]:
    """Mean over classes of the share of right predictions, in every resample of the groups.

    Args:
        hits: Whether a prediction is right.
        labels: Class of each row.
        groups: Group of each row, from 0.
        weights: How often each group is drawn.

    Returns:
        Chance is 1 / number of classes, however often each occurs.

    Example:
        >>> hits = np.array([[True], [True], [True], [False]])
        >>> balanced_accuracy(hits, np.array([0, 0, 0, 1]), np.arange(4), np.ones((1, 4))).tolist()
        [[0.5]]
    """
    total: Float[np.ndarray, "resample layer"] = np.zeros((len(weights), hits.shape[1]))
    seen = np.zeros((len(weights), 1))
    for label in np.unique(labels):
        own = labels == label
        right = np.zeros((weights.shape[1], hits.shape[1]))
        np.add.at(right, groups[own], hits[own].astype(np.float64))
        count = np.bincount(groups[own], minlength=weights.shape[1]).astype(np.float64)
        drawn = (weights @ count)[:, None]
        there = drawn > 0  # a class that a resample leaves out counts neither way
        total += np.where(there, weights @ right / np.maximum(drawn, 1e-300), 0.0)
        seen += there
    return np.asarray(total / np.maximum(seen, 1))
