"""Which layers to remove: criteria, objectives, searches and curves."""

from decision_phases.pruning.budget import Budget
from decision_phases.pruning.criteria import CRITERIA, Criterion, Unit
from decision_phases.pruning.curves import Curves
from decision_phases.pruning.objectives import OBJECTIVES, Objective
from decision_phases.pruning.orders import SEARCHES
from decision_phases.pruning.pool import RandomPool
from decision_phases.pruning.prune import prune, prune_one
from decision_phases.pruning.rank import rank
from decision_phases.pruning.ranking import Ranking, Rankings
from decision_phases.pruning.safe import SafeCut, safe_cut
from decision_phases.pruning.screener import Screener
from decision_phases.pruning.screening import Screening
from decision_phases.pruning.search import Found, greedy
from decision_phases.pruning.setting import Setting
from decision_phases.pruning.step import Step
from decision_phases.pruning.strategies import STRATEGIES
from decision_phases.pruning.strategy import Strategy
from decision_phases.pruning.timing import Timing

__all__ = [
    "CRITERIA",
    "OBJECTIVES",
    "SEARCHES",
    "STRATEGIES",
    "Budget",
    "Criterion",
    "Curves",
    "Found",
    "Objective",
    "RandomPool",
    "Ranking",
    "Rankings",
    "SafeCut",
    "Screener",
    "Screening",
    "Setting",
    "Step",
    "Strategy",
    "Timing",
    "Unit",
    "greedy",
    "prune",
    "prune_one",
    "rank",
    "safe_cut",
]
