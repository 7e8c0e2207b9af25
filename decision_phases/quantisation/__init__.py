"""Weights of a few bits, on top of cuts and repairs."""

from decision_phases.quantisation.compress import Compressed, compress
from decision_phases.quantisation.quantise import quantise
from decision_phases.quantisation.result import Quantisation, Quantised
from decision_phases.quantisation.rounding import Rounded, rounded
from decision_phases.quantisation.scheme import Scheme

__all__ = [
    "Compressed",
    "Quantisation",
    "Quantised",
    "Rounded",
    "Scheme",
    "compress",
    "quantise",
    "rounded",
]
