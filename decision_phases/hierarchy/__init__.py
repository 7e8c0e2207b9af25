"""What a change of the model does on the way from its hidden states to what it says (arXiv 2603.24652)."""

from decision_phases.hierarchy.compare import NoEffectWarning, compare_spaces
from decision_phases.hierarchy.comparison import SpaceComparison, SpaceComparisons
from decision_phases.hierarchy.drift import generation_drift
from decision_phases.hierarchy.drift_result import MODES, GenerationDrift, TextQuality
from decision_phases.hierarchy.families import TASK_FAMILIES, TaskFamily
from decision_phases.hierarchy.family_scores import FamilyScores
from decision_phases.hierarchy.open_decisions import OpenDecisions, read_open
from decision_phases.hierarchy.settings import NORMS, SPACES, Column, SpaceSettings
from decision_phases.hierarchy.task_families import task_families

__all__ = [
    "MODES",
    "NORMS",
    "SPACES",
    "TASK_FAMILIES",
    "Column",
    "FamilyScores",
    "GenerationDrift",
    "NoEffectWarning",
    "OpenDecisions",
    "SpaceComparison",
    "SpaceComparisons",
    "SpaceSettings",
    "TaskFamily",
    "TextQuality",
    "compare_spaces",
    "generation_drift",
    "read_open",
    "task_families",
]
