"""From residual streams to decisions: lenses, margins, phases."""

from decision_phases.readout.ask import ask
from decision_phases.readout.capturing import capture
from decision_phases.readout.decisions import Decisions, Final
from decision_phases.readout.deviation import Deviation, Precision
from decision_phases.readout.divergence import DivergenceObserver, EndingObserver
from decision_phases.readout.find import find_phases
from decision_phases.readout.lens import Lens
from decision_phases.readout.loss import Losses, LossObserver
from decision_phases.readout.observe import DecisionObserver
from decision_phases.readout.perplexity import Perplexity, perplexities, perplexity
from decision_phases.readout.phases import Phases
from decision_phases.readout.precision import precision
from decision_phases.readout.read import LENSES, read
from decision_phases.readout.states import StateObserver

__all__ = [
    "LENSES",
    "DecisionObserver",
    "Decisions",
    "Deviation",
    "DivergenceObserver",
    "EndingObserver",
    "Final",
    "Lens",
    "LossObserver",
    "Losses",
    "Perplexity",
    "Phases",
    "Precision",
    "StateObserver",
    "ask",
    "capture",
    "find_phases",
    "perplexities",
    "perplexity",
    "precision",
    "read",
]
