"""The named ways of choosing which blocks to remove."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from decision_phases.errors import unknown_name
from decision_phases.pruning.criteria.registry import find_criterion

Kind = Literal["greedy", "one_shot", "iterative", "window", "order"]


@dataclass(frozen=True)
class Strategy:
    """A way of choosing blocks.

    Attributes:
        name: Its name.
        kind: How blocks are chosen. "greedy" re-measures an objective for every candidate after every step; "one_shot"
            ranks by a criterion once, "iterative" after every step; "window" takes the run of neighbours that a
            criterion ranks lowest, anew for every number of blocks; "order" is fixed beforehand.
        objective: What a greedy search keeps high.
        criterion: What ranks, a name in `CRITERIA`.
        scope: Which blocks may be removed: all that are not protected, or those of one phase.
        what: A sentence.
    """

    name: str
    kind: Kind
    objective: Literal["margin", "accuracy", ""]
    scope: Literal["all", "silent", "decisive"]
    what: str
    criterion: str = ""


_ONE_SHOT = (
    (
        "block_influence",
        "block_influence",
        "1 − cosine of what enters and leaves (ShortGPT, arXiv 2403.03853)",
    ),
    ("perplexity", "perplexity", "rise of perplexity when removed alone"),
    ("kl", "kl", "divergence from the intact model when removed alone"),
    ("cka", "cka", "1 − CKA of what enters and leaves"),
    (
        "trajectory",
        "trajectory",
        "transition lost or delayed, and margin lost on the way, when removed alone",
    ),
    ("trajectory_local", "trajectory_local", "first-order estimate of the final margin that is lost"),
    ("shapley", "shapley", "margin that a block adds, averaged over 12 masks a block (arXiv 2602.07804)"),
    (
        "shapley_perplexity",
        "shapley_perplexity",
        "share of the perplexity that a block keeps, averaged over 12 masks a block (arXiv 2602.07804)",
    ),
    ("taylor", "taylor", "first-order Taylor estimate of the loss (LLM-Pruner, arXiv 2305.11627)"),
    ("gradient_norm", "gradient_norm", "norm of the gradient of the parameters"),
    ("magnitude", "magnitude_l2", "norm of the weights"),
    ("activation_magnitude", "relative_norm", "norm of what is added, relative to the residual"),
)

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
            Strategy(
                "sleb",
                "iterative",
                "",
                "all",
                "the block whose removal raises perplexity least, re-measured (SLEB, arXiv 2402.09025)",
                "perplexity",
            ),
            Strategy(
                "angular",
                "window",
                "",
                "all",
                "the run of neighbours across which the residual turns least (arXiv 2403.17887)",
                "angular_distance",
            ),
            *(
                Strategy(name, "one_shot", "", "all", f"the blocks that matter least: {what}", criterion)
                for name, criterion, what in _ONE_SHOT
            ),
            Strategy("random", "order", "", "all", "any block, several draws from one stored pool"),
            Strategy("deepest", "order", "", "all", "the deepest block left"),
            Strategy("shallowest", "order", "", "all", "the shallowest block left"),
        )
    }
)


_CRITERIA = {name: strategy.criterion for name, strategy in STRATEGIES.items() if strategy.criterion}
_SEARCHES: Mapping[str, Kind] = {"one_shot": "one_shot", "iterative": "iterative", "window": "window"}


def find_strategy(name: str) -> Strategy:
    """Look a strategy up.

    Args:
        name: Its name, or a criterion and how to search by it: "kl:iterative", "block_influence:window".

    Returns:
        The strategy.

    Raises:
        InputError: If there is none of that name; near ones are suggested.
    """
    criterion, colon, kind = name.partition(":")
    if colon:
        ranks = find_criterion(_CRITERIA.get(criterion, criterion)).name
        if kind not in _SEARCHES:
            raise unknown_name("search by a criterion", kind, _SEARCHES)
        return Strategy(name, _SEARCHES[kind], "", "all", f"{kind.replace('_', ' ')} by {criterion}", ranks)
    if name not in STRATEGIES:
        raise unknown_name("strategy", name, STRATEGIES)
    return STRATEGIES[name]
