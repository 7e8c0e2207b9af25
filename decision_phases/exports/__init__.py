"""Models under an intervention as folders that load again."""

from decision_phases.exports.card import mergekit_recipe
from decision_phases.exports.folder import Exported, export

__all__ = ["Exported", "export", "mergekit_recipe"]
