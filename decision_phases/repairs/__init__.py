"""Maps that make up for removed parts, fitted on texts without labels."""

from decision_phases.repairs.compare import compare_repairs
from decision_phases.repairs.comparison import Recovered, RepairComparison, RepairRow
from decision_phases.repairs.contract import Repair
from decision_phases.repairs.hadamard import hadamard
from decision_phases.repairs.places import places_of
from decision_phases.repairs.registry import REPAIRS, find_repair
from decision_phases.repairs.repair import repair
from decision_phases.repairs.result import Fit, FittedRepair, PlaceFit

__all__ = [
    "REPAIRS",
    "Fit",
    "FittedRepair",
    "PlaceFit",
    "Recovered",
    "Repair",
    "RepairComparison",
    "RepairRow",
    "compare_repairs",
    "find_repair",
    "hadamard",
    "places_of",
    "repair",
]
