"""From residual streams to decisions: lenses, margins, phases."""

from decision_phases.readout.ask import ask
from decision_phases.readout.capturing import capture
from decision_phases.readout.decisions import Decisions, Final
from decision_phases.readout.find import find_phases
from decision_phases.readout.observe import DecisionObserver
from decision_phases.readout.phases import Phases
from decision_phases.readout.read import LENSES, read
from decision_phases.readout.states import StateObserver

__all__ = [
    "LENSES",
    "DecisionObserver",
    "Decisions",
    "Final",
    "Phases",
    "StateObserver",
    "ask",
    "capture",
    "find_phases",
    "read",
]
