"""Weights set to zero: magnitude, Wanda and SparseGPT, anywhere in a matrix or in a pattern."""

from decision_phases.pruning.sparsity.amount import Amount
from decision_phases.pruning.sparsity.contract import SparsityMethod
from decision_phases.pruning.sparsity.registry import SPARSITY_METHODS, find_sparsity
from decision_phases.pruning.sparsity.result import Sparsity, sparsity_of
from decision_phases.pruning.sparsity.sparse import checked_sparsity, sparsify

__all__ = [
    "SPARSITY_METHODS",
    "Amount",
    "Sparsity",
    "SparsityMethod",
    "checked_sparsity",
    "find_sparsity",
    "sparsify",
    "sparsity_of",
]
