"""Loading models and looking at them narrowly: the only part that imports TransformerLens."""

from decision_phases.models.access import SITES, ModelAccess
from decision_phases.models.bundled import bundled_folder, cache_folder
from decision_phases.models.description import Capabilities, Entry, Parity
from decision_phases.models.loading import as_model, known_models, load
from decision_phases.models.tiny import FAMILIES, tiny_hf, tiny_tokenizer
from decision_phases.models.twins import InDouble, twin

__all__ = [
    "FAMILIES",
    "SITES",
    "Capabilities",
    "Entry",
    "InDouble",
    "ModelAccess",
    "Parity",
    "as_model",
    "bundled_folder",
    "cache_folder",
    "known_models",
    "load",
    "tiny_hf",
    "tiny_tokenizer",
    "twin",
]
