"""Which layers to remove: criteria, searches and curves."""

from decision_phases.pruning.criteria import CRITERIA, Criterion, Unit
from decision_phases.pruning.curves import Curves, Step
from decision_phases.pruning.pool import RandomPool
from decision_phases.pruning.prune import prune, prune_one
from decision_phases.pruning.rank import rank
from decision_phases.pruning.ranking import Ranking, Rankings
from decision_phases.pruning.safe import SafeCut, safe_cut
from decision_phases.pruning.screener import Screener
from decision_phases.pruning.screening import Screening
from decision_phases.pruning.search import OBJECTIVES, Found, greedy
from decision_phases.pruning.setting import Setting
from decision_phases.pruning.strategies import STRATEGIES, Strategy

__all__ = [
    "CRITERIA",
    "OBJECTIVES",
    "STRATEGIES",
    "Criterion",
    "Curves",
    "Found",
    "RandomPool",
    "Ranking",
    "Rankings",
    "SafeCut",
    "Screener",
    "Screening",
    "Setting",
    "Step",
    "Strategy",
    "Unit",
    "greedy",
    "prune",
    "prune_one",
    "rank",
    "safe_cut",
]
