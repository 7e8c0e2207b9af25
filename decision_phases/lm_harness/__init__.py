"""A model under an intervention, for the tasks of lm-evaluation-harness."""

from decision_phases.lm_harness.adapter import harness
from decision_phases.lm_harness.likelihood import LikelihoodObserver, Likelihoods

__all__ = ["LikelihoodObserver", "Likelihoods", "harness"]
