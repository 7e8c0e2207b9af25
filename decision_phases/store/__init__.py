"""Results on disk: rows, arrays and run folders that cannot be half written."""

from decision_phases.store.files import read_json, write_json, write_table
from decision_phases.store.folder import new_folder, resume_folder, to_continue, why_unwritable
from decision_phases.store.manifest import Manifest, versions
from decision_phases.store.results import DamagedResultWarning, Packed, ResultStore

__all__ = [
    "DamagedResultWarning",
    "Manifest",
    "Packed",
    "ResultStore",
    "new_folder",
    "read_json",
    "resume_folder",
    "to_continue",
    "versions",
    "why_unwritable",
    "write_json",
    "write_table",
]
