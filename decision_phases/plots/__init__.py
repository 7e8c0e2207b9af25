"""Figures: pure functions from arrays to matplotlib figures, without pyplot's global state."""

from decision_phases.plots.drift import drift_by_step
from decision_phases.plots.families import normalised_scores
from decision_phases.plots.frequency import CategoryFrequency, option_frequency, option_frequency_by_category
from decision_phases.plots.margin import margin_by_layer
from decision_phases.plots.open_margin import margin_by_step
from decision_phases.plots.path import transition_path
from decision_phases.plots.pruning import Curve, pruning_curves
from decision_phases.plots.ranking import ScorePanel, unit_scores
from decision_phases.plots.style import save_figure
from decision_phases.plots.units import LearningCurve, unit_values

__all__ = [
    "CategoryFrequency",
    "Curve",
    "LearningCurve",
    "ScorePanel",
    "drift_by_step",
    "margin_by_layer",
    "margin_by_step",
    "normalised_scores",
    "option_frequency",
    "option_frequency_by_category",
    "pruning_curves",
    "save_figure",
    "transition_path",
    "unit_scores",
    "unit_values",
]
