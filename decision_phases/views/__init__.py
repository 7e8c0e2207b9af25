"""Interactive pictures of one question, drawn by CircuitsVis from the files of the installed package alone."""

from decision_phases.views.page import View
from decision_phases.views.question import view_attention, view_contributions, view_top_tokens

__all__ = ["View", "view_attention", "view_contributions", "view_top_tokens"]
