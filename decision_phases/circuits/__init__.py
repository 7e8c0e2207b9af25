"""Which heads and MLPs a decision needs, and how alike two such sets are."""

from decision_phases.circuits.ablation import ABLATIONS
from decision_phases.circuits.circuit import Circuit, Component, components_of
from decision_phases.circuits.faithfulness import Faithfulness, circuit_faithfulness
from decision_phases.circuits.overlap import CircuitOverlap, compare_circuits
from decision_phases.circuits.selection import FoundCircuit, find_circuit

__all__ = [
    "ABLATIONS",
    "Circuit",
    "CircuitOverlap",
    "Component",
    "Faithfulness",
    "FoundCircuit",
    "circuit_faithfulness",
    "compare_circuits",
    "components_of",
    "find_circuit",
]
