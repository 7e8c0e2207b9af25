"""Where in depth the decision forms: Silent Phase before the transition, Decisive Phase from it on."""

from decision_phases.readout.phases.detectors import (
    DETECTORS,
    Detector,
    change_point,
    change_ratio,
    crossing_depth,
    half_committed,
    max_jump,
    sharpness,
    zero_crossing,
)
from decision_phases.readout.phases.locate import detect, has_risen, locate, rises_of
from decision_phases.readout.phases.result import LEVEL, Detection, Phases

__all__ = [
    "DETECTORS",
    "LEVEL",
    "Detection",
    "Detector",
    "Phases",
    "change_point",
    "change_ratio",
    "crossing_depth",
    "detect",
    "half_committed",
    "has_risen",
    "locate",
    "max_jump",
    "rises_of",
    "sharpness",
    "zero_crossing",
]
