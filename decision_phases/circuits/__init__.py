"""Which parts of a model make a decision: attribution of its margin, and activations moved from one run to another."""

from decision_phases.circuits.attribution import Attribution, attribute
from decision_phases.circuits.interchange import CausalTransition, causal_transition
from decision_phases.circuits.paired import KINDS, Pairs
from decision_phases.circuits.pairing import pairs
from decision_phases.circuits.restoration import Restoration
from decision_phases.circuits.restoring import restore
from decision_phases.circuits.sweep import attribution_patching, patch_sweep
from decision_phases.circuits.sweep_result import PatchSweep

__all__ = [
    "KINDS",
    "Attribution",
    "CausalTransition",
    "Pairs",
    "PatchSweep",
    "Restoration",
    "attribute",
    "attribution_patching",
    "causal_transition",
    "pairs",
    "patch_sweep",
    "restore",
]
