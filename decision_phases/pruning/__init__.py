"""Which layers to remove: criteria, searches and curves."""

from decision_phases.pruning.curves import Curves, Step
from decision_phases.pruning.pool import RandomPool
from decision_phases.pruning.prune import Setting, prune, prune_one
from decision_phases.pruning.search import OBJECTIVES, Found, greedy
from decision_phases.pruning.strategies import STRATEGIES, Strategy

__all__ = [
    "OBJECTIVES",
    "STRATEGIES",
    "Curves",
    "Found",
    "RandomPool",
    "Setting",
    "Step",
    "Strategy",
    "greedy",
    "prune",
    "prune_one",
]
