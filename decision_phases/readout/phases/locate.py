"""From the option scores of every layer to the phases: detectors, intervals, and whether there is any."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

from decision_phases.errors import InputError, unknown_name
from decision_phases.readout.metrics import (
    at_gold,
    choices,
    commitment_layer,
    excess,
    margins_by_gold,
    option_probabilities,
    survivors,
)
from decision_phases.readout.phases.detectors import DETECTORS, change_ratio, crossing_depth, sharpness
from decision_phases.readout.phases.result import LEVEL, Detection, Outcome, Phases
from decision_phases.stats import minimum_detectable_effect, permutation_p, resample_weights

ROUNDING = 1e-9
"""A rise up to this is none, whatever its standard error."""


def locate(
    scores: Float[np.ndarray, "question layer option"],
    gold: Int[np.ndarray, " question"],
    *,
    log_normaliser: Float[np.ndarray, "question layer"] | None = None,
    method: str = "zero_crossing",
    lens_name: str = "",
    lens_transition: int | None = None,
    confidence: float = 0.95,
    n_boot: int = 2000,
    n_perm: int = 2000,
    seed: int = 0,
) -> Phases:
    """Return where the decision forms, how sure that is, and whether there is a transition at all.

    Two questions must be answered yes before a transition is named. *Is the final decision informed?* The
    mean excess margin at the last layer is compared with its value when every question's gold option is drawn
    anew, uniformly among its options; p < 0.05 is needed. *Was it informed less before?* The rise, the mean
    excess margin at the last layer minus that over the first quarter of surviving layers, must exceed two
    standard errors over questions. (That floor is fixed beforehand; the lowest layer would be picked by
    noise.) Then the transition is the layer that ``method`` finds; if it finds none, the outcome is
    ``"not located"``.

    The null takes gold positions as uniform: a readout that favours the position that is gold most often
    beats it without knowing anything, so balance or rotate positions.

    Args:
        scores: Option scores; NaN for absent options and in the rows of removed layers.
        gold: Index of the right option.
        log_normaliser: logsumexp over the vocabulary, for margins in vocabulary space.
        method: Detector that decides, a name in ``DETECTORS``.
        lens_name: Name of another lens that was asked too, for the agreement.
        lens_transition: The transition it gave (None: it found none).
        confidence: Nominal coverage of the percentile intervals.
        n_boot: Number of bootstrap resamples of the questions.
        n_perm: Number of gold shuffles; at least 20, for p cannot fall below 0.05 otherwise.
        seed: Of both.

    Raises:
        InputError: If the scores or gold are malformed, there are fewer than two questions, ``n_perm`` is
            below 20, the method is unknown, or a lens transition comes without a name.

    Source: arXiv 2605.07271, §3 (phases, sign change); test, floor and intervals are ours.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> gold = rng.integers(4, size=60)
        >>> scores = rng.normal(size=(60, 12, 4))
        >>> scores[:, 8:] += 6 * np.eye(4)[gold][:, None]
        >>> locate(scores, gold)
        Phases(transition=8, ci=(8, 8), silent=0..7, decisive=8..11)
    """
    if method not in DETECTORS:
        raise unknown_name("detector", method, DETECTORS)
    if len(gold) < 2 or n_perm < 20:
        raise InputError(f"{len(gold)} questions and {n_perm} shuffles given; at least 2 and 20 are needed.")
    if lens_transition is not None and not lens_name:
        raise InputError("lens_transition given without lens_name; name the lens that it comes from.")
    layers = survivors(scores)
    by_gold = margins_by_gold(option_probabilities(scores, log_normaliser))[:, layers]
    margin, over = at_gold(by_gold, gold), excess(by_gold, gold)
    committed = (commitment_layer(choices(scores))[:, None] <= layers).astype(np.float64)
    curves = {"margin": margin, "excess": over, "committed": committed}
    weights = resample_weights(len(gold), n_boot, seed=seed)
    detections = tuple(_detect(name, curves, layers, weights, confidence) for name in DETECTORS)
    p_value = _shuffle_p(by_gold[:, -1], float(over[:, -1].mean()), n_perm, seed)
    rises = over[:, -1] - over[:, : max(1, len(layers) // 4)].mean(axis=1)
    rise, rise_se = float(rises.mean()), float(rises.std(ddof=1) / np.sqrt(len(gold)))
    there = p_value < LEVEL and rise > max(2 * rise_se, ROUNDING)
    return Phases(
        outcome=_outcome(there, next(d.layer for d in detections if d.name == method)),
        method=method,
        detections=detections,
        layers=tuple(layers.tolist()),
        n_layers=scores.shape[1],
        p_value=p_value,
        rise=rise,
        rise_se=rise_se,
        rise_detectable=minimum_detectable_effect(rises),
        depth=_known(crossing_depth(margin.mean(axis=0), layers)),
        width=_known(sharpness(margin.mean(axis=0), layers)),
        change_ratio=_known(change_ratio(over.mean(axis=0))),
        commitment=tuple(np.diff(committed.mean(axis=0), prepend=0.0).tolist()),
        n_questions=len(gold),
        lens_name=lens_name,
        lens_transition=lens_transition,
        confidence=confidence,
        n_boot=n_boot,
        n_perm=n_perm,
        seed=seed,
    )


def _outcome(there: bool, layer: int | None) -> Outcome:  # noqa: FBT001
    if not there:
        return "no transition"
    return "not located" if layer is None else "transition"


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def _detect(
    name: str,
    curves: Mapping[str, Float[np.ndarray, "question layer"]],
    layers: Int[np.ndarray, " layer"],
    weights: Float[np.ndarray, "boot question"],
    confidence: float,
) -> Detection:
    """One detector on the mean curve and on the mean curve of every resample."""
    detector = DETECTORS[name]
    values = curves[detector.curve]
    layer = float(detector.find(values.mean(axis=0), layers))
    resampled = detector.find(weights @ values, layers)
    found = resampled[~np.isnan(resampled)]
    ci = None
    if len(found):
        tails = [(1 - confidence) / 2, (1 + confidence) / 2]
        low, high = np.quantile(
            found, tails, method="inverted_cdf"
        )  # layers that did occur, never between two
        ci = (int(low), int(high))
    return Detection(
        name, detector.curve, None if np.isnan(layer) else int(layer), ci, len(found) / len(resampled)
    )


def _shuffle_p(final: Float[np.ndarray, "question option"], observed: float, n_perm: int, seed: int) -> float:
    """Test the final mean excess margin against gold options drawn uniformly within each question.

    ``final`` holds the margin of every option as gold. The statistic is the mean excess; subtracting each
    question's mean over options makes its expectation under the null exactly zero.
    """
    absent = np.isnan(final)
    present_first = np.argsort(absent, axis=1, kind="stable")
    count = (~absent).sum(axis=1)
    centred = final - np.nansum(final, axis=1, keepdims=True) / count[:, None]
    rng = np.random.default_rng([seed, 1])
    drawn = (rng.random((n_perm, len(final))) * count).astype(np.int64)
    questions = np.arange(len(final))
    null = centred[questions, present_first[questions, drawn]].mean(axis=1)
    return permutation_p(observed, null)
