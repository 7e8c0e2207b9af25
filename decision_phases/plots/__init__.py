"""Figures: pure functions from arrays to matplotlib figures, without pyplot's global state."""

from decision_phases.plots.areas import Area, strategy_areas
from decision_phases.plots.drift import drift_by_step
from decision_phases.plots.families import normalised_scores
from decision_phases.plots.frequency import CategoryFrequency, option_frequency, option_frequency_by_category
from decision_phases.plots.layer_lines import LinePanel, line_panels
from decision_phases.plots.margin import margin_by_layer
from decision_phases.plots.onsets import onset_panels
from decision_phases.plots.open_margin import margin_by_step
from decision_phases.plots.path import transition_path
from decision_phases.plots.pruning import Curve, pruning_curves
from decision_phases.plots.quantisation import rounding_by_layer
from decision_phases.plots.ranking import ScorePanel, unit_scores
from decision_phases.plots.repairs import RepairPoint, fit_errors, repair_comparison, training_loss
from decision_phases.plots.spaces import SpaceCurve, SpacePanel, space_panels
from decision_phases.plots.sparsity import sparsity_by_layer
from decision_phases.plots.specification import divergence_by_layer, specification_panels
from decision_phases.plots.steering import steering_by_layer
from decision_phases.plots.style import save_figure
from decision_phases.plots.units import LearningCurve, unit_values

__all__ = [
    "Area",
    "CategoryFrequency",
    "Curve",
    "LearningCurve",
    "LinePanel",
    "RepairPoint",
    "ScorePanel",
    "SpaceCurve",
    "SpacePanel",
    "divergence_by_layer",
    "drift_by_step",
    "fit_errors",
    "line_panels",
    "margin_by_layer",
    "margin_by_step",
    "normalised_scores",
    "onset_panels",
    "option_frequency",
    "option_frequency_by_category",
    "pruning_curves",
    "repair_comparison",
    "rounding_by_layer",
    "save_figure",
    "space_panels",
    "sparsity_by_layer",
    "specification_panels",
    "steering_by_layer",
    "strategy_areas",
    "training_loss",
    "transition_path",
    "unit_scores",
    "unit_values",
]
