"""What makes up for changed weights by a constant vector on the outputs of heads, estimated or learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from decision_phases.errors import InputError, check_numbers, unknown_name
from decision_phases.interventions import Array, Intervention
from decision_phases.interventions.builders import single
from decision_phases.repairs.contract import Task
from decision_phases.training import Trained

POSITIONS = ("all", "last")
NOT_TRAINED = Trained((), 0.0)


def dense_of(under: Intervention) -> Intervention:
    """What is done to the dense model: everything but changes of weights.

    Args:
        under: The whole intervention.

    Returns:
        The rest of it.

    Example:
        >>> from decision_phases.interventions import skip, weights
        >>> dense_of(skip(1) + weights(2, {"norm.weight": np.zeros(4)}))
        <Intervention: skip {1}>
    """
    return Intervention(tuple(edit for edit in under if edit.op != "weights"))


@dataclass(frozen=True, eq=False)
class HeadComponents:
    """What is added to the outputs of some heads of one layer.

    Attributes:
        layer: The layer.
        heads: The heads, ascending.
        vectors: What is added to each.
        directions: The right singular vectors of what each lost, one a column.
    """

    layer: int
    heads: tuple[int, ...]
    vectors: Float[np.ndarray, "head d"] = field(repr=False)
    directions: Float[np.ndarray, "head d d"] = field(repr=False)

    def edits(self, label: str, *, double: bool) -> Intervention:
        """As an intervention: one addition a head, at every token; none where there is nothing to add.

        Args:
            label: Names the edits.
            double: Whether to keep the vectors in float64.

        Returns:
            The intervention.
        """
        kind = np.float64 if double else np.float32
        return sum(
            (
                single("add", "head_out", self.layer, head, "all", Array.of(vector.astype(kind), label), label=label)
                for head, vector in zip(self.heads, self.vectors, strict=True)
                if vector.any()
            ),
            start=Intervention(),
        )  # fmt: skip


@dataclass(frozen=True)
class Compensation:
    """Adds to the output of each head the constant that it lost, estimated without training (RestoreLCC).

    With δ what a head puts out in the dense model less what it puts out in the sparse one, and vᵢ the right singular
    vectors of δ over tokens, the lost component is c = Σ αᵢ vᵢ over the first `rank` of them, αᵢ being the mean of
    δ · vᵢ: the mean of δ, as far as it lies in the directions in which most is lost. It is added in front of the output
    projection, at every token, so that it would fold into a bias.

    From the paper are δ, its singular vectors, c, the rank of the published code (10; the paper's text has 1) and the
    share of heads (10 to 25%). Of this package are three choices. Heads are ranked by the squared error that c removes
    over the tokens, ‖c‖² times their number; the paper trains a probe for each head on pairs of replies that a sentence
    encoder finds alike, and reports a little less for heads picked by squared error. δ is taken over all tokens, since
    c is added to all, where the paper takes the last one of each sample (`positions="last"`). And with `sequential` the
    layers are estimated from left to right, each in the model as compensated before it.

    A member of `COMPENSATIONS` is an instance; `dataclasses.replace` gives one with other settings.

    Attributes:
        name: Its name.
        what: What it does, in a few words.
        source: Where it comes from.
        rank: Number of directions; as wide as a head, or more, for the whole mean.
        share: Share of all heads that get something added: those that lost most.
        positions: "all" tokens, or the "last" of each window.
    """

    name: str
    what: str
    source: str
    rank: int = 10
    share: float = 0.25
    positions: str = "all"

    def check(self) -> None:
        """Refuse settings that make no sense.

        Raises:
            InputError: Naming the setting.
        """
        check_numbers(
            self.name, above_zero={"rank": self.rank}, from_zero={"share": self.share}, whole=("rank",)
        )
        if not 0 < self.share <= 1:
            msg = f"{self.name} with share={self.share:g}: the share of heads must be above 0 and at most 1"
            raise InputError(msg)
        if self.positions not in POSITIONS:
            raise unknown_name("positions of a compensation", self.positions, POSITIONS)

    def check_checkpoint(self, task: Task) -> None:
        """Refuse a checkpoint that belongs to something else, before anything runs.

        Args:
            task: What is asked.

        Raises:
            InputError: Naming the file.
        """

    def n_fitted(self, width: int) -> int:
        """How many numbers are fitted for one head.

        Args:
            width: Width of a head.

        Returns:
            The number.
        """
        return width

    def improved(
        self, found: Sequence[HeadComponents], task: Task
    ) -> tuple[Sequence[HeadComponents], Trained]:
        """Make more of what was estimated.

        Args:
            found: The estimates, of the heads that get something added.
            task: What is asked.

        Returns:
            What is added in the end, here the estimates; and what came of the training, if there was any.
        """
        del task
        return found, NOT_TRAINED
