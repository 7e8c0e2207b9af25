"""Edits of a model's computation as immutable values, and their algebra; never a model."""

from decision_phases.interventions.arrays import Array
from decision_phases.interventions.builders import (
    insert,
    noise,
    scale,
    skip,
    steer,
    weights,
    zero,
)
from decision_phases.interventions.captured import Captured
from decision_phases.interventions.draws import noise_values, resample_index
from decision_phases.interventions.edit import ACTIVATIONS, OPS, PARTS, SITES, Edit
from decision_phases.interventions.flags import cut_from_flags
from decision_phases.interventions.intervention import Intervention, check_intervention
from decision_phases.interventions.layer_sets import format_layers, layer_runs, parse_layers
from decision_phases.interventions.low_rank import LowRank
from decision_phases.interventions.masks import Mask
from decision_phases.interventions.measured import mean, patch, resample
from decision_phases.interventions.per_question import PerQuestion
from decision_phases.interventions.positions import POSITIONS, check_position, resolve
from decision_phases.interventions.values import Affine, Bottleneck, Held, Noise, Value, Weights

__all__ = [
    "ACTIVATIONS",
    "OPS",
    "PARTS",
    "POSITIONS",
    "SITES",
    "Affine",
    "Array",
    "Bottleneck",
    "Captured",
    "Edit",
    "Held",
    "Intervention",
    "LowRank",
    "Mask",
    "Noise",
    "PerQuestion",
    "Value",
    "Weights",
    "check_intervention",
    "check_position",
    "cut_from_flags",
    "format_layers",
    "insert",
    "layer_runs",
    "mean",
    "noise",
    "noise_values",
    "parse_layers",
    "patch",
    "resample",
    "resample_index",
    "resolve",
    "scale",
    "skip",
    "steer",
    "weights",
    "zero",
]
