"""Pruning as a cooperative game: what units of a model are worth, from what it says with some of them removed."""

from decision_phases.pruning.game.defects import DEFECTS
from decision_phases.pruning.game.estimate import METHODS, Estimate, Setup, estimate
from decision_phases.pruning.game.indices import INDICES
from decision_phases.pruning.game.interactions import Interactions, interaction_index
from decision_phases.pruning.game.luck import Luck, better_than_luck
from decision_phases.pruning.game.masks import Game, all_masks
from decision_phases.pruning.game.model_game import MaskValues, ModelGame, values_of_masks
from decision_phases.pruning.game.objectives import GAME_OBJECTIVES, Objective
from decision_phases.pruning.game.quality import LearningPoint, SurrogateQuality
from decision_phases.pruning.game.result import ShapleyValues
from decision_phases.pruning.game.samplers import SAMPLERS, Draws, draw_masks, draw_orders
from decision_phases.pruning.game.shapley import shapley
from decision_phases.pruning.game.surrogates import SURROGATES
from decision_phases.pruning.game.swaps import Swapped, improve_by_swaps
from decision_phases.pruning.game.units import Units, find_units

__all__ = [
    "DEFECTS",
    "GAME_OBJECTIVES",
    "INDICES",
    "METHODS",
    "SAMPLERS",
    "SURROGATES",
    "Draws",
    "Estimate",
    "Game",
    "Interactions",
    "LearningPoint",
    "Luck",
    "MaskValues",
    "ModelGame",
    "Objective",
    "Setup",
    "ShapleyValues",
    "SurrogateQuality",
    "Swapped",
    "Units",
    "all_masks",
    "better_than_luck",
    "draw_masks",
    "draw_orders",
    "estimate",
    "find_units",
    "improve_by_swaps",
    "interaction_index",
    "shapley",
    "values_of_masks",
]
