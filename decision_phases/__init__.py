"""See at which layer a language model decides, and what pruning, ablating or patching does to that decision.

Public names are listed here and nowhere else; each is imported when it is first used, so that `import decision_phases`
costs nothing.
"""

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from decision_phases.circuits import Attribution as Attribution
    from decision_phases.circuits import CausalTransition as CausalTransition
    from decision_phases.circuits import Circuit as Circuit
    from decision_phases.circuits import CircuitOverlap as CircuitOverlap
    from decision_phases.circuits import Component as Component
    from decision_phases.circuits import Faithfulness as Faithfulness
    from decision_phases.circuits import FoundCircuit as FoundCircuit
    from decision_phases.circuits import Pairs as Pairs
    from decision_phases.circuits import PatchSweep as PatchSweep
    from decision_phases.circuits import Restoration as Restoration
    from decision_phases.circuits import attribute as attribute
    from decision_phases.circuits import attribution_patching as attribution_patching
    from decision_phases.circuits import causal_transition as causal_transition
    from decision_phases.circuits import circuit_faithfulness as circuit_faithfulness
    from decision_phases.circuits import compare_circuits as compare_circuits
    from decision_phases.circuits import components_of as components_of
    from decision_phases.circuits import find_circuit as find_circuit
    from decision_phases.circuits import pairs as pairs
    from decision_phases.circuits import patch_sweep as patch_sweep
    from decision_phases.circuits import restore as restore
    from decision_phases.engine import Generation as Generation
    from decision_phases.engine import applied as applied
    from decision_phases.engine import evaluate as evaluate
    from decision_phases.engine import generate as generate
    from decision_phases.engine import texts as texts
    from decision_phases.engine import workers as workers
    from decision_phases.errors import DecisionPhasesError as DecisionPhasesError
    from decision_phases.errors import InputError as InputError
    from decision_phases.errors import MissingPackageError as MissingPackageError
    from decision_phases.errors import ParityError as ParityError
    from decision_phases.errors import StorageError as StorageError
    from decision_phases.exports import Exported as Exported
    from decision_phases.exports import export as export
    from decision_phases.hierarchy import TASK_FAMILIES as TASK_FAMILIES
    from decision_phases.hierarchy import FamilyScores as FamilyScores
    from decision_phases.hierarchy import GenerationDrift as GenerationDrift
    from decision_phases.hierarchy import NoEffectWarning as NoEffectWarning
    from decision_phases.hierarchy import OpenDecisions as OpenDecisions
    from decision_phases.hierarchy import SpaceComparison as SpaceComparison
    from decision_phases.hierarchy import SpaceComparisons as SpaceComparisons
    from decision_phases.hierarchy import compare_spaces as compare_spaces
    from decision_phases.hierarchy import generation_drift as generation_drift
    from decision_phases.hierarchy import read_open as read_open
    from decision_phases.hierarchy import task_families as task_families
    from decision_phases.interventions import Captured as Captured
    from decision_phases.interventions import Edit as Edit
    from decision_phases.interventions import Intervention as Intervention
    from decision_phases.interventions import insert as insert
    from decision_phases.interventions import mean as mean
    from decision_phases.interventions import noise as noise
    from decision_phases.interventions import patch as patch
    from decision_phases.interventions import resample as resample
    from decision_phases.interventions import scale as scale
    from decision_phases.interventions import skip as skip
    from decision_phases.interventions import steer as steer
    from decision_phases.interventions import weights as weights
    from decision_phases.interventions import zero as zero
    from decision_phases.lenses import LensDivergence as LensDivergence
    from decision_phases.lenses import Onsets as Onsets
    from decision_phases.lenses import SpecificationCurve as SpecificationCurve
    from decision_phases.lenses import TunedLens as TunedLens
    from decision_phases.lenses import onsets as onsets
    from decision_phases.lenses import specification_curve as specification_curve
    from decision_phases.lenses import tuned_lens as tuned_lens
    from decision_phases.lm_harness import harness as harness
    from decision_phases.models import ModelAccess as ModelAccess
    from decision_phases.models import load as load
    from decision_phases.pruning import CRITERIA as CRITERIA
    from decision_phases.pruning import OBJECTIVES as OBJECTIVES
    from decision_phases.pruning import SEARCHES as SEARCHES
    from decision_phases.pruning import STRATEGIES as STRATEGIES
    from decision_phases.pruning import Budget as Budget
    from decision_phases.pruning import Curves as Curves
    from decision_phases.pruning import Ranking as Ranking
    from decision_phases.pruning import Rankings as Rankings
    from decision_phases.pruning import SafeCut as SafeCut
    from decision_phases.pruning import Timing as Timing
    from decision_phases.pruning import prune as prune
    from decision_phases.pruning import rank as rank
    from decision_phases.pruning import safe_cut as safe_cut
    from decision_phases.pruning.game import ShapleyValues as ShapleyValues
    from decision_phases.pruning.game import shapley as shapley
    from decision_phases.pruning.sparsity import SPARSITY_METHODS as SPARSITY_METHODS
    from decision_phases.pruning.sparsity import Sparsity as Sparsity
    from decision_phases.pruning.sparsity import sparsify as sparsify
    from decision_phases.pruning.sparsity import sparsity_of as sparsity_of
    from decision_phases.quantisation import Compressed as Compressed
    from decision_phases.quantisation import Quantised as Quantised
    from decision_phases.quantisation import compress as compress
    from decision_phases.quantisation import quantise as quantise
    from decision_phases.readout import Decisions as Decisions
    from decision_phases.readout import Perplexity as Perplexity
    from decision_phases.readout import Phases as Phases
    from decision_phases.readout import Precision as Precision
    from decision_phases.readout import ask as ask
    from decision_phases.readout import capture as capture
    from decision_phases.readout import find_phases as find_phases
    from decision_phases.readout import perplexity as perplexity
    from decision_phases.readout import precision as precision
    from decision_phases.readout import read as read
    from decision_phases.repairs import COMPENSATIONS as COMPENSATIONS
    from decision_phases.repairs import REPAIRS as REPAIRS
    from decision_phases.repairs import FittedRepair as FittedRepair
    from decision_phases.repairs import RepairComparison as RepairComparison
    from decision_phases.repairs import compare_repairs as compare_repairs
    from decision_phases.repairs import repair as repair
    from decision_phases.store import ResultStore as ResultStore
    from decision_phases.studies.steered import Steering as Steering
    from decision_phases.studies.steering import steering as steering
    from decision_phases.tasks import Question as Question
    from decision_phases.tasks import QuestionSet as QuestionSet
    from decision_phases.tasks import TextSet as TextSet
    from decision_phases.tasks import questions as questions
    from decision_phases.views import View as View
    from decision_phases.views import view_attention as view_attention
    from decision_phases.views import view_contributions as view_contributions
    from decision_phases.views import view_top_tokens as view_top_tokens

_HOMES = {
    "decision_phases.circuits": (
        "Attribution", "CausalTransition", "Circuit", "CircuitOverlap", "Component", "Faithfulness", "FoundCircuit",
        "Pairs", "PatchSweep", "Restoration", "attribute", "attribution_patching", "causal_transition",
        "circuit_faithfulness", "compare_circuits", "components_of", "find_circuit", "pairs", "patch_sweep", "restore",
    ),
    "decision_phases.engine": ("Generation", "applied", "evaluate", "generate", "texts", "workers"),
    "decision_phases.errors": (
        "DecisionPhasesError", "InputError", "MissingPackageError", "ParityError", "StorageError",
    ),
    "decision_phases.hierarchy": (
        "TASK_FAMILIES", "FamilyScores", "GenerationDrift", "NoEffectWarning", "OpenDecisions", "SpaceComparison",
        "SpaceComparisons", "compare_spaces", "generation_drift", "read_open", "task_families",
    ),
    "decision_phases.exports": ("Exported", "export"),
    "decision_phases.interventions": (
        "Captured", "Edit", "Intervention", "insert", "mean", "noise", "patch", "resample", "scale", "skip", "steer",
        "weights", "zero",
    ),
    "decision_phases.lenses": (
        "LensDivergence", "Onsets", "SpecificationCurve", "TunedLens", "onsets", "specification_curve", "tuned_lens",
    ),
    "decision_phases.lm_harness": ("harness",),
    "decision_phases.models": ("ModelAccess", "load"),
    "decision_phases.pruning": (
        "CRITERIA", "OBJECTIVES", "SEARCHES", "STRATEGIES", "Budget", "Curves", "Ranking", "Rankings", "SafeCut",
        "Timing", "prune", "rank", "safe_cut",
    ),
    "decision_phases.pruning.game": ("ShapleyValues", "shapley"),
    "decision_phases.pruning.sparsity": ("SPARSITY_METHODS", "Sparsity", "sparsify", "sparsity_of"),
    "decision_phases.quantisation": ("Compressed", "Quantised", "compress", "quantise"),
    "decision_phases.readout": (
        "Decisions", "Perplexity", "Phases", "Precision", "ask", "capture", "find_phases", "perplexity", "precision",
        "read",
    ),
    "decision_phases.repairs": (
        "COMPENSATIONS", "REPAIRS", "FittedRepair", "RepairComparison", "compare_repairs", "repair",
    ),
    "decision_phases.store": ("ResultStore",),
    "decision_phases.studies.steered": ("Steering",),
    "decision_phases.studies.steering": ("steering",),
    "decision_phases.tasks": ("Question", "QuestionSet", "TextSet", "questions"),
    "decision_phases.views": ("View", "view_attention", "view_contributions", "view_top_tokens"),
}  # fmt: skip
_WHERE = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "COMPENSATIONS",
    "CRITERIA",
    "OBJECTIVES",
    "REPAIRS",
    "SEARCHES",
    "SPARSITY_METHODS",
    "STRATEGIES",
    "TASK_FAMILIES",
    "Attribution",
    "Budget",
    "Captured",
    "CausalTransition",
    "Circuit",
    "CircuitOverlap",
    "Component",
    "Compressed",
    "Curves",
    "DecisionPhasesError",
    "Decisions",
    "Edit",
    "Exported",
    "Faithfulness",
    "FamilyScores",
    "FittedRepair",
    "FoundCircuit",
    "Generation",
    "GenerationDrift",
    "InputError",
    "Intervention",
    "LensDivergence",
    "MissingPackageError",
    "ModelAccess",
    "NoEffectWarning",
    "Onsets",
    "OpenDecisions",
    "Pairs",
    "ParityError",
    "PatchSweep",
    "Perplexity",
    "Phases",
    "Precision",
    "Quantised",
    "Question",
    "QuestionSet",
    "Ranking",
    "Rankings",
    "RepairComparison",
    "Restoration",
    "ResultStore",
    "SafeCut",
    "ShapleyValues",
    "SpaceComparison",
    "SpaceComparisons",
    "Sparsity",
    "SpecificationCurve",
    "Steering",
    "StorageError",
    "TextSet",
    "Timing",
    "TunedLens",
    "View",
    "applied",
    "ask",
    "attribute",
    "attribution_patching",
    "capture",
    "causal_transition",
    "circuit_faithfulness",
    "compare_circuits",
    "compare_repairs",
    "compare_spaces",
    "components_of",
    "compress",
    "evaluate",
    "export",
    "find_circuit",
    "find_phases",
    "generate",
    "generation_drift",
    "harness",
    "insert",
    "load",
    "mean",
    "noise",
    "onsets",
    "pairs",
    "patch",
    "patch_sweep",
    "perplexity",
    "precision",
    "prune",
    "quantise",
    "questions",
    "rank",
    "read",
    "read_open",
    "repair",
    "resample",
    "restore",
    "safe_cut",
    "scale",
    "shapley",
    "skip",
    "sparsify",
    "sparsity_of",
    "specification_curve",
    "steer",
    "steering",
    "task_families",
    "texts",
    "tuned_lens",
    "view_attention",
    "view_contributions",
    "view_top_tokens",
    "weights",
    "workers",
    "zero",
]

# Where torchao is installed, transformers imports it, and torch then logs two lines about its own future.
logging.getLogger("torch.utils._pytree").addFilter(
    lambda record: "register_constant() on Enum" not in record.getMessage()
)


def __getattr__(name: str) -> Any:
    """Import a public name from its home when it is first used."""
    if name not in _WHERE:
        msg = f"module 'decision_phases' has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
