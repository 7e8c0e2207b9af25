"""Which parts make a decision: attribution of its margin, patches between runs, and the sets of parts that carry it."""

from decision_phases.circuits.ablation import ABLATIONS
from decision_phases.circuits.attribution import Attribution, attribute
from decision_phases.circuits.circuit import Circuit, Component, components_of
from decision_phases.circuits.faithfulness import Faithfulness, circuit_faithfulness
from decision_phases.circuits.interchange import CausalTransition, causal_transition
from decision_phases.circuits.overlap import CircuitOverlap, compare_circuits
from decision_phases.circuits.paired import KINDS, Pairs
from decision_phases.circuits.pairing import pairs
from decision_phases.circuits.restoration import Restoration
from decision_phases.circuits.restoring import restore
from decision_phases.circuits.selection import FoundCircuit, find_circuit
from decision_phases.circuits.sweep import attribution_patching, patch_sweep
from decision_phases.circuits.sweep_result import PatchSweep

__all__ = [
    "ABLATIONS",
    "KINDS",
    "Attribution",
    "CausalTransition",
    "Circuit",
    "CircuitOverlap",
    "Component",
    "Faithfulness",
    "FoundCircuit",
    "Pairs",
    "PatchSweep",
    "Restoration",
    "attribute",
    "attribution_patching",
    "causal_transition",
    "circuit_faithfulness",
    "compare_circuits",
    "components_of",
    "find_circuit",
    "pairs",
    "patch_sweep",
    "restore",
]
