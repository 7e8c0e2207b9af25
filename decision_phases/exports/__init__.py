"""Models under an intervention as folders that load again."""

from decision_phases.exports.card import mergekit_recipe
from decision_phases.exports.folder import Exported, export
from decision_phases.exports.target import check_target

__all__ = ["Exported", "check_target", "export", "mergekit_recipe"]
