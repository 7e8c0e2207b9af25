"""The named ways of choosing which blocks to remove."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from decision_phases.errors import unknown_name


@dataclass(frozen=True)
class Strategy:
    """A way of choosing blocks.

    Attributes:
        name: Its name.
        kind: "greedy" re-measures every candidate after every step; "order" is fixed beforehand.
        objective: What a greedy search keeps high.
        scope: Which blocks may be removed: all that are not protected, or those of one phase.
        what: A sentence.
    """

    name: str
    kind: Literal["greedy", "order"]
    objective: Literal["margin", "accuracy", ""]
    scope: Literal["all", "silent", "decisive"]
    what: str


#: Iterative pruning by decision margin (arXiv 2605.07271), and what it is compared with.
STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        s.name: s
        for s in (
            Strategy(
                "margin", "greedy", "margin", "all", "the block whose removal leaves the largest mean margin"
            ),
            Strategy(
                "accuracy", "greedy", "accuracy", "all", "the block whose removal leaves the highest accuracy"
            ),
            Strategy("within_silent", "greedy", "margin", "silent", "as margin, from the Silent Phase only"),
            Strategy(
                "within_decisive", "greedy", "margin", "decisive", "as margin, from the Decisive Phase only"
            ),
            Strategy("random", "order", "", "all", "any block, several draws from one stored pool"),
            Strategy("deepest", "order", "", "all", "the deepest block left"),
            Strategy("shallowest", "order", "", "all", "the shallowest block left"),
        )
    }
)


def find_strategy(name: str) -> Strategy:
    """Look a strategy up.

    Args:
        name: Its name.

    Returns:
        The strategy.

    Raises:
        InputError: If there is none of that name; near ones are suggested.
    """
    if name not in STRATEGIES:
        raise unknown_name("strategy", name, STRATEGIES)
    return STRATEGIES[name]
