"""Searches among whole cuts by what each is worth: greedy, beam, and swaps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from tqdm.auto import tqdm

from decision_phases.engine import Store
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.pruning.criteria.data import Data
from decision_phases.pruning.criteria.units import Cut, Unit, removal
from decision_phases.pruning.game.swaps import improve_by_swaps
from decision_phases.pruning.ground import Ground, Known
from decision_phases.pruning.objectives import Objective, Valuer, find_objective
from decision_phases.pruning.screener import ScreenedSearch, Screener
from decision_phases.pruning.screening import Screening
from decision_phases.tasks import EncodedQuestions

#: Whether a cut is within the budget.
Fits = Callable[[Collection[Unit]], bool]
#: Cuts → what each is worth, more for better, and how they were screened, if they were.
Weigh = Callable[[Sequence[Cut]], tuple[Float[np.ndarray, " cut"], "Screening | None"]]


@dataclass(frozen=True)
class Found:
    """The best cut of one size.

    Attributes:
        cut: What it removes, in the order of removal.
        value: The objective without it, on what chose it.
        candidates: Cut → objective, for all that were looked at; of those that screening did not confirm, the
            low-precision one less its bias.
        screening: How candidates were screened, if they were.
    """

    cut: Cut
    value: float
    candidates: Mapping[Cut, float]
    screening: Screening | None = None

    @property
    def removed(self) -> Unit:
        """What was removed last."""
        return self.cut[-1]


def best_cuts(
    units: Sequence[Unit],
    weigh: Weigh,
    *,
    steps: int | None = None,
    width: int = 1,
    fits: Fits = lambda _: True,
    progress: str = "",
) -> list[Found]:
    """Search cuts of 1, 2, … units, each made from the best few of the size before.

    From every cut that was kept, every unit left is removed in turn; cuts that are reached in several orders count
    once, and the best `width` are kept. Width 1 is greedy search; a width that keeps all is exhaustive. Of cuts that
    are worth the same the deepest is the best: the one whose deepest unit is deeper, then whose second is, and so on.

    Args:
        units: What may be removed.
        weigh: Gives cuts their worth, more for better; the values found are on its scale.
        steps: Most units to remove; None for as many as fit.
        width: How many cuts of each size are kept.
        fits: Whether a cut is within the budget.
        progress: Heading of a bar; none without.

    Returns:
        The best cut found of each size; fewer than asked for where nothing more fits.

    Source: beam search, Lowerre 1976.

    Example:
        >>> worth = {0: 3.0, 1: 1.0, 2: 2.0}
        >>> def weigh(cuts):
        ...     return np.array([-sum(worth[unit.layer] for unit in cut) for cut in cuts]), None
        >>> [[unit.layer for unit in found.cut] for found in best_cuts([Unit((i,)) for i in range(3)], weigh)]
        [[1], [1, 2], [1, 2, 0]]
    """
    kept: list[Cut] = [()]
    found: list[Found] = []
    bar = tqdm(range(len(units) if steps is None else steps), disable=not progress, desc=progress)
    for _ in bar:
        reached: dict[frozenset[Unit], Cut] = {}
        for cut in kept:
            for unit in units:
                if unit not in cut and fits((*cut, unit)):
                    reached.setdefault(frozenset((*cut, unit)), (*cut, unit))
        if not reached:
            break
        tried = sorted(reached.values(), key=_depths)
        worth, screening = weigh(tried)
        order = np.lexsort((-np.arange(len(tried)), -worth))  # ties go to the last
        kept = [tried[i] for i in order[:width]]
        values = dict(zip(tried, worth.tolist(), strict=True))
        found.append(Found(kept[0], values[kept[0]], values, screening))
        bar.set_postfix_str(f"removed {kept[0][-1]}, {values[kept[0]]:+.3f}")
    return found


def _depths(cut: Cut) -> list[int]:
    return sorted((unit.depth for unit in cut), reverse=True)


def swap_cut(
    units: Sequence[Unit], cut: Cut, weigh: Weigh, *, fits: Fits = lambda _: True, rounds: int | None = None
) -> tuple[Cut, float]:
    """Refine a cut: put one unit back and remove another in its place, the best such swap, until none is better.

    Args:
        units: What may be removed.
        cut: Where to begin.
        weigh: Gives cuts their worth, more for better.
        fits: Whether a cut is within the budget.
        rounds: Most swaps; None for as many as help.

    Returns:
        A cut of as many units, by depth, that is worth at least as much, and its worth.

    Example:
        >>> def weigh(cuts):
        ...     return np.array([float({unit.layer for unit in cut} == {1, 2}) for cut in cuts]), None
        >>> units = [Unit((i,)) for i in range(4)]
        >>> [unit.layer for unit in swap_cut(units, (units[1], units[3]), weigh)[0]]
        [1, 2]
    """
    ordered = sorted(units, key=lambda unit: unit.depth)

    def gone(mask: Bool[np.ndarray, " unit"]) -> Cut:
        return tuple(unit for unit, there in zip(ordered, mask, strict=True) if not there)

    def game(masks: Bool[np.ndarray, "mask unit"]) -> Float[np.ndarray, " mask"]:
        return weigh([gone(mask) for mask in masks])[0]

    start = np.array([unit not in cut for unit in ordered])
    found = improve_by_swaps(game, start, rounds=rounds, allowed=lambda mask: fits(gone(mask)))
    return gone(found.mask), found.value


def weighing(
    valuer: Valuer,
    under: Intervention | None = None,
    *,
    screener: Screener | None = None,
    progress: bool = False,
) -> Weigh:
    """Weigh cuts by an objective: its value, or minus it where less is better.

    Args:
        valuer: The objective, on what it is measured on.
        under: What else is done to the model.
        screener: What looks at candidates first, if anything.
        progress: Show bars.

    Returns:
        What gives cuts their worth.
    """
    sign = 1.0 if valuer.objective.higher else -1.0
    base = under or Intervention()
    screened = screener and ScreenedSearch(screener, valuer, sign=sign)

    def weigh(cuts: Sequence[Cut]) -> tuple[Float[np.ndarray, " cut"], Screening | None]:
        variants = [base.removing(removal(cut)) for cut in cuts]
        if screened:
            return screened.step([cut[-1].layer for cut in cuts], variants)
        return sign * valuer(variants, progress=progress), None

    return weigh


def as_values(found: Sequence[Found], objective: Objective) -> list[Found]:
    """Turn what cuts are worth back into the objective itself.

    Args:
        found: The best cut of each size.
        objective: The objective that weighed them.

    Returns:
        The same cuts.
    """
    sign = 1.0 if objective.higher else -1.0
    return [
        Found(one.cut, sign * one.value, {cut: sign * v for cut, v in one.candidates.items()}, one.screening)
        for one in found
    ]


def greedy(
    model: ModelAccess,
    questions: EncodedQuestions | None = None,
    *,
    objective: str | Objective = "margin",
    candidates: Sequence[int | Unit],
    steps: int,
    width: int = 1,
    texts: Data | None = None,
    under: Intervention | None = None,
    known: Known | None = None,
    store: Store = None,
    screen: str | Screener | None = None,
    progress: bool = False,
) -> list[Found]:
    """Remove one unit after the other, each time the one whose removal leaves the objective best.

    Every remaining candidate is measured again after every step; ties go to the deepest. Costs
    `Σ_{k<steps} (candidates − k)` evaluations of the model, of which the engine shares the unchanged beginnings, and
    `width` times as many as a beam search, which keeps the best few cuts of each size and not only the best one.
    With `screen` all candidates are measured by a twin of the model in low precision, and in the model's own precision
    only the best of them, some at random, and those within the error band of the best that these show.

    Args:
        model: The model.
        questions: Questions that choose.
        objective: A name in `OBJECTIVES`, or an objective.
        candidates: Layers whose blocks may be removed, or units.
        steps: How many to remove.
        width: How many cuts of each size are kept.
        texts: Windows of texts that choose, for objectives that need them.
        under: What else is done to the model, before and while it is searched.
        known: What is known already, added to; searches on the same ground share one.
        store: Where the engine keeps and finds results.
        screen: "bfloat16" or "float16", or a `Screener` that several searches share; None measures all candidates in
            the model's own precision.
        progress: Show a bar.

    Returns:
        The best cut of each size.

    Raises:
        InputError: If there are fewer candidates than steps, the objective lacks what it is measured on, or the model
            has no twin to screen with.

    Source: Iterative Pruning, arXiv 2605.07271; the objective and the order are ours, as its text leaves them open.
    """
    if not 0 <= steps <= len(candidates):
        msg = f"{steps} blocks cannot be removed from {len(candidates)} candidates ({sorted(map(str, candidates))})"
        raise InputError(msg)
    check_width(width, screened=screen is not None)
    base = under or Intervention()
    wanted = find_objective(objective)
    valuer = Valuer(wanted, Ground(model, questions, texts, base, store, {} if known is None else known))
    units = [unit if isinstance(unit, Unit) else Unit((unit,)) for unit in candidates]
    screener = Screener(model, screen) if isinstance(screen, str) else screen
    weigh = weighing(valuer, base, screener=screener)
    title = f"search by {wanted.name}" if progress else ""
    return as_values(best_cuts(units, weigh, steps=steps, width=width, progress=title), wanted)


def check_width(width: int, *, screened: bool = False) -> None:
    """Refuse a beam that keeps nothing, or that screening cannot serve.

    Args:
        width: How many cuts of each size are kept.
        screened: Whether candidates are screened.

    Raises:
        InputError: If it is below 1, or above 1 with screening.
    """
    if width < 1:
        msg = f"width={width}: a beam keeps at least one cut of each size"
        raise InputError(msg)
    if width > 1 and screened:
        msg = (
            f"width={width} with screening, which confirms the best candidate and not the best few; leave screen out, "
            "or search greedily"
        )
        raise InputError(msg)
