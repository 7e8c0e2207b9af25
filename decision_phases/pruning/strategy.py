"""What a strategy is: a way of searching, and what it goes by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Scope = Literal["all", "silent", "decisive"]


@dataclass(frozen=True)
class Strategy:
    """A way of choosing what to remove.

    Attributes:
        name: Its name.
        search: How it looks, a name in `SEARCHES`.
        objective: What a search by whole cuts makes best, a name in `OBJECTIVES`; "" for the comparison's own.
        scope: Which layers may be touched: all that are not protected, or those of one phase.
        what: A sentence.
        criterion: What ranks, a name in `CRITERIA`.
        part: What is removed, a name in `PARTS`: whole blocks, attentions, MLPs, or "joint" for both of them.
        start: The strategy whose cuts are refined, for searches that refine.
    """

    name: str
    search: str
    objective: str
    scope: Scope
    what: str
    criterion: str = ""
    part: str = "block"
    start: str = ""
