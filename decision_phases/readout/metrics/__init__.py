"""What a readout says at every layer: probabilities, margins, choices, Option Frequency, accuracy.

Scores are ``[question, layer, option]``. NaN marks an option that a question does not have (at every layer)
and a removed layer (in every question and option); both pass through as NaN. Choices are
``[question, layer]`` indices of options, :data:`REMOVED` in removed layers.
"""

from decision_phases.readout.metrics.choices import (
    REMOVED,
    accuracy,
    agreement_with_final,
    choices,
    commitment_layer,
    flips,
    frequency_distance,
    frequency_entropy,
    gold_frequency,
    option_frequency,
    tie_rate,
)
from decision_phases.readout.metrics.margins import (
    at_gold,
    decision_margin,
    excess,
    excess_margin,
    logit_margin,
    margins_by_gold,
    option_probabilities,
    self_margin,
    soft_margin,
    top_margin,
)
from decision_phases.readout.metrics.scores import (
    survivors,
)

__all__ = [
    "REMOVED",
    "accuracy",
    "agreement_with_final",
    "at_gold",
    "choices",
    "commitment_layer",
    "decision_margin",
    "excess",
    "excess_margin",
    "flips",
    "frequency_distance",
    "frequency_entropy",
    "gold_frequency",
    "logit_margin",
    "margins_by_gold",
    "option_frequency",
    "option_probabilities",
    "self_margin",
    "soft_margin",
    "survivors",
    "tie_rate",
    "top_margin",
]
