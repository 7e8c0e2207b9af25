"""Activation magnitudes: how long the residual stream is, and how much is added to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from decision_phases.pruning.criteria.change import Change
from decision_phases.pruning.criteria.stream import StreamCriterion


@dataclass(frozen=True)
class NormCriterion(StreamCriterion):
    """A length, mean over positions.

    Activation magnitude is said of all three, and there is no single source; the strategy of that name goes by the
    last.

    Attributes:
        of: "output" ‖y‖ of the stream behind the unit, "update" ‖y − x‖ of what it adds, "relative" ‖y − x‖ / ‖x‖.
    """

    of: Literal["output", "update", "relative"] = "output"

    def measure(self, change: Change) -> Float[np.ndarray, "unit cell"]:
        """The length."""
        if self.of == "output":
            return np.asarray(np.sqrt(change.behind))
        added = np.asarray(np.sqrt(change.added))
        if self.of == "update":
            return added
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(added / np.sqrt(change.before))


ACTIVATION_NORM = NormCriterion(
    "activation_norm", "‖h‖ of the stream behind a unit, mean over positions", "activation magnitude"
)
UPDATE_NORM = NormCriterion(
    "update_norm", "‖Δh‖ of what a unit adds, mean over positions", "activation magnitude",
    vanishes=True, of="update",
)  # fmt: skip
RELATIVE_NORM = NormCriterion(
    "relative_norm", "‖Δh‖ / ‖h‖ of what a unit adds to the stream before it, mean over positions",
    "activation magnitude", vanishes=True, of="relative",
)  # fmt: skip
