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
from decision_phases.readout.phases.locate import locate
from decision_phases.readout.phases.result import Detection, Phases

__all__ = [
    "DETECTORS",
    "Detection",
    "Detector",
    "Phases",
    "change_point",
    "change_ratio",
    "crossing_depth",
    "half_committed",
    "locate",
    "max_jump",
    "sharpness",
    "zero_crossing",
]
