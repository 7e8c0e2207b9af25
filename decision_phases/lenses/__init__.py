"""Lenses that are fitted, and how much of a transition depends on the lens and on every other choice."""

from decision_phases.lenses.divergence import LensDivergence
from decision_phases.lenses.fitting import tuned_lens
from decision_phases.lenses.onset_depths import onsets
from decision_phases.lenses.onset_result import Onset, Onsets
from decision_phases.lenses.specification import NORMALISATIONS, specification_curve
from decision_phases.lenses.specifications import Specification, SpecificationCurve
from decision_phases.lenses.tuned import LensFit, TunedLens

__all__ = [
    "NORMALISATIONS",
    "LensDivergence",
    "LensFit",
    "Onset",
    "Onsets",
    "Specification",
    "SpecificationCurve",
    "TunedLens",
    "onsets",
    "specification_curve",
    "tuned_lens",
]
