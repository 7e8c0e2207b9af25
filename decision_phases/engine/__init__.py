"""Running a model under many interventions: exactly, and computing nothing twice."""

from decision_phases.engine.apply import applied
from decision_phases.engine.batches import Batch, Cells, make_batches
from decision_phases.engine.capture import capture
from decision_phases.engine.evaluate import Evaluated, evaluate
from decision_phases.engine.generating import Generation, generate
from decision_phases.engine.inputs import Inputs
from decision_phases.engine.observers import Collector, Observer, Reads
from decision_phases.engine.plan import Plan, make_plan
from decision_phases.engine.self_texts import sample_texts, texts
from decision_phases.engine.stored import Store, as_store
from decision_phases.engine.workers import Pool, workers

__all__ = [
    "Batch",
    "Cells",
    "Collector",
    "Evaluated",
    "Generation",
    "Inputs",
    "Observer",
    "Plan",
    "Pool",
    "Reads",
    "Store",
    "applied",
    "as_store",
    "capture",
    "evaluate",
    "generate",
    "make_batches",
    "make_plan",
    "sample_texts",
    "texts",
    "workers",
]
