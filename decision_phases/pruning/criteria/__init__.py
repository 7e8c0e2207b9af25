"""Importance criteria: one number a unit, lower is removed first."""

from decision_phases.pruning.criteria.contract import Criterion, Needs, Request
from decision_phases.pruning.criteria.data import Data, question_data, text_data
from decision_phases.pruning.criteria.registry import CRITERIA, find_criterion
from decision_phases.pruning.criteria.scores import Scores
from decision_phases.pruning.criteria.units import PARTS, Cut, Part, Unit, removal, units_of

__all__ = [
    "CRITERIA",
    "PARTS",
    "Criterion",
    "Cut",
    "Data",
    "Needs",
    "Part",
    "Request",
    "Scores",
    "Unit",
    "find_criterion",
    "question_data",
    "removal",
    "text_data",
    "units_of",
]
