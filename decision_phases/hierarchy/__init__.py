"""How deviations travel from the residual stream to logits and probabilities (arXiv 2603.24652)."""

from decision_phases.hierarchy.compare import NoEffectWarning, compare_spaces
from decision_phases.hierarchy.comparison import SpaceComparison, SpaceComparisons
from decision_phases.hierarchy.settings import NORMS, SPACES, Column, SpaceSettings

__all__ = [
    "NORMS",
    "SPACES",
    "Column",
    "NoEffectWarning",
    "SpaceComparison",
    "SpaceComparisons",
    "SpaceSettings",
    "compare_spaces",
]
