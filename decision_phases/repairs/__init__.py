"""What makes up for removed parts and changed weights: fitted, or trained, on texts without labels."""

from decision_phases.repairs.compare import compare_repairs
from decision_phases.repairs.comparison import Recovered, RepairComparison, RepairRow
from decision_phases.repairs.components import (
    COMPENSATIONS,
    Compensation,
    LearnedCompensation,
    is_compensation,
)
from decision_phases.repairs.contract import MapRepair, Repair, TrainedRepair
from decision_phases.repairs.hadamard import hadamard
from decision_phases.repairs.places import places_of
from decision_phases.repairs.registry import MAPS, REPAIRS, find_repair
from decision_phases.repairs.repair import repair
from decision_phases.repairs.result import Fit, FittedRepair, PlaceFit
from decision_phases.repairs.trained import LoraRepair, PatchRepair

__all__ = [
    "COMPENSATIONS",
    "MAPS",
    "REPAIRS",
    "Compensation",
    "Fit",
    "FittedRepair",
    "LearnedCompensation",
    "LoraRepair",
    "MapRepair",
    "PatchRepair",
    "PlaceFit",
    "Recovered",
    "Repair",
    "RepairComparison",
    "RepairRow",
    "TrainedRepair",
    "compare_repairs",
    "find_repair",
    "hadamard",
    "is_compensation",
    "places_of",
    "repair",
]
