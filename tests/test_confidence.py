"""Whatever takes a confidence refuses one that is no share, before it runs a model."""

import inspect

import numpy as np
import pytest

import decision_phases as dp
from decision_phases.circuits import Circuit, Faithfulness
from decision_phases.pruning.criteria.scores import Scores
from decision_phases.pruning.endurance import normalised_area
from decision_phases.pruning.safe import certify, questions_needed
from decision_phases.readout import Perplexity
from decision_phases.readout.phases import locate
from decision_phases.stats import bootstrap_ci, paired_difference, wilson_interval

RIGHT = np.array([[True, True, False], [True, False, False]])
MARGINS = np.array([0.1, 0.2, 0.4])
TOOLS = {
    "bootstrap_ci": lambda c: bootstrap_ci(MARGINS, confidence=c),
    "paired_difference": lambda c: paired_difference(MARGINS, MARGINS[::-1], confidence=c),
    "wilson_interval": lambda c: wilson_interval(1, 3, confidence=c),
    "normalised_area": lambda c: normalised_area(RIGHT.astype(float), 0.0, confidence=c),
    "locate": lambda c: locate(np.zeros((3, 2, 2)), np.zeros(3, dtype=int), confidence=c),
    "Scores.interval": lambda c: Scores(np.ones(2)).interval(confidence=c, seed=0),
    "Perplexity.interval": lambda c: Perplexity(
        np.array([1.0, 2.0]), np.array([3, 4]), 8, 8, False, "made up", dp.Intervention(), "tiny-llama"
    ).interval(confidence=c),
    "Faithfulness.interval": lambda c: Faithfulness(
        Circuit(RIGHT, RIGHT), *[MARGINS] * 4, "mean", "margin", "made up", dp.Intervention()
    ).interval(confidence=c),
    "questions_needed": lambda c: questions_needed(0.1, c),
    "certify": lambda c: certify(RIGHT[0], RIGHT[1:], max_drop=0.1, confidence=c),
}
WITH_MODEL = {
    "rank": {"by": "kl"},
    "shapley": {"units": [1, 2], "method": "exact"},
    "safe_cut": {"by": "deepest", "up_to": 1},
    "compare_spaces": {"under": dp.skip(2)},
    "specification_curve": {},
}


@pytest.mark.parametrize("confidence", [95.0, 1.0, 0.0, -0.5, float("nan")])
@pytest.mark.parametrize("name", TOOLS)
def test_a_confidence_that_is_no_share_is_refused(name, confidence):
    with pytest.raises(dp.InputError, match=f"confidence={confidence}: give a share above 0 and below 1"):
        TOOLS[name](confidence)


@pytest.mark.parametrize("name", WITH_MODEL)
def test_it_is_refused_before_a_model_runs(name, monkeypatch):
    model = dp.load("tiny-llama", quiet=True)
    monkeypatch.setattr(type(model), "logits", None)
    with pytest.raises(dp.InputError, match=r"confidence=95\.0: give a share"):
        getattr(dp, name)(model, dp.questions("facts", limit=8), confidence=95.0, **WITH_MODEL[name])


def test_every_public_function_with_a_confidence_is_among_them():
    named = {
        name
        for name in dp.__all__
        if inspect.isfunction(found := getattr(dp, name))
        and "confidence" in inspect.signature(found).parameters
    }
    assert named == set(WITH_MODEL)
