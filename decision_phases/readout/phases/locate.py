"""From the option scores of every layer to the phases: detectors, intervals, and whether there is any."""

import numpy as np
from jaxtyping import Float, Int

from decision_phases.errors import InputError, check_confidence, unknown_name
from decision_phases.readout.metrics import (
    at_gold,
    choices,
    commitment_layer,
    excess,
    margins_by_gold,
    option_probabilities,
    survivors,
)
from decision_phases.readout.phases.detectors import (
    DETECTORS,
    Detector,
    change_ratio,
    crossing_depth,
    sharpness,
)
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
            below 20, the method is unknown, the confidence is no share, or a lens transition comes without a name.

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
    check_confidence(confidence)
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
    detections = tuple(
        detect(name, DETECTORS[name], curves[DETECTORS[name].curve], layers, weights, confidence)
        for name in DETECTORS
    )
    p_value = _shuffle_p(by_gold[:, -1], float(over[:, -1].mean()), n_perm, seed)
    rises = rises_of(over)
    rise, rise_se, risen = has_risen(rises)
    there = p_value < LEVEL and risen
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


def rises_of(curve: Float[np.ndarray, "question layer"]) -> Float[np.ndarray, " question"]:
    """Return the last value of every question's curve minus its mean over the first quarter of the layers.

    Example:
        >>> rises_of(np.array([[0.0, 0.0, 0.0, 0.0, 1.0]])).tolist()
        [1.0]
    """
    return np.asarray(curve[:, -1] - curve[:, : max(1, curve.shape[1] // 4)].mean(axis=1))


def has_risen(rises: Float[np.ndarray, " question"]) -> tuple[float, float, bool]:
    """Return the mean rise, its standard error, and whether it is more than two of them.

    Example:
        >>> has_risen(np.array([1.0, 1.0, 2.0]))[2]
        True
    """
    mean, error = float(rises.mean()), float(rises.std(ddof=1) / np.sqrt(len(rises)))
    return mean, error, mean > max(2 * error, ROUNDING)


def detect(
    name: str,
    detector: Detector,
    values: Float[np.ndarray, "question layer"],
    layers: Int[np.ndarray, " layer"],
    weights: Float[np.ndarray, "boot question"],
    confidence: float,
) -> Detection:
    """Return what one detector finds on the mean curve, and on the mean curve of every resample.

    Args:
        name: What the detection is called.
        detector: The rule.
        values: A curve over the surviving layers for every question.
        layers: These layers.
        weights: Resamples of the questions, of `stats.resample_weights`.
        confidence: Nominal coverage of the interval.

    Example:
        >>> step = np.tile([-1.0, -1.0, 1.0], (4, 1))
        >>> detect("step", DETECTORS["max_jump"], step, np.arange(3), np.full((5, 4), 0.25), 0.95).ci
        (2, 2)
    """
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
