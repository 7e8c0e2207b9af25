"""What a strategy removes: every way of searching, by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from tqdm.auto import tqdm

from decision_phases.interventions import Intervention
from decision_phases.pruning.criteria.units import PARTS, Cut, Unit, removal
from decision_phases.pruning.pool import RandomPool
from decision_phases.pruning.rank import rank
from decision_phases.pruning.ranking import Ranking
from decision_phases.pruning.screening import Screening
from decision_phases.pruning.search import as_values, best_cuts, swap_cut, weighing
from decision_phases.pruning.setting import Setting
from decision_phases.pruning.strategy import Strategy


@dataclass(frozen=True)
class Chosen:
    """The cuts of a strategy.

    Attributes:
        cuts: Draw (None where there is one order) → cuts of 1, 2, … units.
        values: Cut → the objective or the score on what chose it, where there is one.
        nested: Whether each cut is the one before with one unit more, behind.
        screenings: Cut → how its candidates were screened, if they were.
    """

    cuts: Mapping[int | None, tuple[Cut, ...]]
    values: Mapping[Cut, float] = field(default_factory=dict)
    nested: bool = True
    screenings: Mapping[Cut, Screening] = field(default_factory=dict)


@dataclass(frozen=True)
class Search(ABC):
    """A way of searching.

    Attributes:
        name: Its name.
        by: What it goes by: a "criterion", which ranks units; an "objective", which values whole cuts; a "strategy",
            whose cuts it refines; or its own "order".
        what: What it removes, in a few words.
    """

    name: str
    by: Literal["criterion", "objective", "strategy", "order"]
    what: str

    @property
    def screens(self) -> bool:
        """Whether it can look at its candidates in low precision first."""
        return False

    @abstractmethod
    def choose(self, setting: Setting, strategy: Strategy, *, progress: bool) -> Chosen:
        """Choose what to remove, on the search questions or on texts.

        Args:
            setting: What all strategies share.
            strategy: The strategy; it is applicable.
            progress: Show bars.

        Returns:
            The cuts.
        """


class Draws(Search):
    """Random orders from one pool."""

    def choose(self, setting: Setting, strategy: Strategy, *, progress: bool) -> Chosen:
        """See `Search.choose`."""
        joint = len(PARTS[strategy.part]) > 1
        by_number = {unit.depth if joint else unit.layer: unit for unit in setting.units(strategy)}
        pool = RandomPool(tuple(by_number), setting.seed)
        orders = {draw: [by_number[number] for number in pool.order(draw)] for draw in range(setting.draws)}
        return Chosen({draw: in_order(setting, order) for draw, order in orders.items()})


class Deepest(Search):
    """From the deepest unit on."""

    def choose(self, setting: Setting, strategy: Strategy, *, progress: bool) -> Chosen:
        """See `Search.choose`."""
        return Chosen({None: in_order(setting, setting.units(strategy)[::-1])})


class Shallowest(Search):
    """From the shallowest unit on."""

    def choose(self, setting: Setting, strategy: Strategy, *, progress: bool) -> Chosen:
        """See `Search.choose`."""
        return Chosen({None: in_order(setting, setting.units(strategy))})


class OneShot(Search):
    """The least important units of one ranking."""

    def choose(self, setting: Setting, strategy: Strategy, *, progress: bool) -> Chosen:
        """See `Search.choose`."""
        units, ranking = setting.units(strategy), _ranking(setting, strategy)
        cuts = in_order(setting, [unit for unit in ranking.order if unit in units])
        return Chosen({None: cuts}, {cut: _score(ranking, cut[-1]) for cut in cuts})


class Iterative(Search):
    """The least important unit, ranked anew after every removal."""

    def choose(self, setting: Setting, strategy: Strategy, *, progress: bool) -> Chosen:
        """See `Search.choose`."""
        units = setting.units(strategy)
        gone: Cut = ()
        values: dict[Cut, float] = {}
        steps = range(setting.steps(strategy))
        for _ in tqdm(steps, disable=not progress, desc=f"{strategy.criterion}, iterative"):
            left = [unit for unit in units if unit not in gone and setting.fits((*gone, unit))]
            ranking = _ranking(setting, strategy, gone) if left else None
            order = [] if ranking is None else [unit for unit in ranking.order if unit in left]
            if ranking is None or not order:
                break
            gone = (*gone, order[0])
            values[gone] = _score(ranking, order[0])
        return Chosen({None: tuple(values)}, values)


class Window(Search):
    """For every number of blocks, the best run of neighbours."""

    def choose(self, setting: Setting, strategy: Strategy, *, progress: bool) -> Chosen:
        """See `Search.choose`."""
        scope = setting.scope(strategy)
        values: dict[Cut, float] = {}
        sizes = range(1, setting.steps(strategy) + 1)
        for size in tqdm(sizes, disable=not progress, desc=f"{strategy.criterion}, windows"):
            runs = [tuple(Unit((layer,)) for layer in range(first, first + size)) for first in scope]
            fitting = [
                run for run in runs if {unit.layer for unit in run} <= set(scope) and setting.fits(run)
            ]
            ranking = _ranking(setting, strategy, size=size) if fitting else None
            inside = {tuple(unit.layer for unit in run): run for run in fitting}
            order = [] if ranking is None else [unit for unit in ranking.order if unit.layers in inside]
            if ranking is None or not order:
                break
            values[inside[order[0].layers]] = _score(ranking, order[0])
        return Chosen({None: tuple(values)}, values, nested=False)


@dataclass(frozen=True)
class Whole(Search):
    """The best cut of each size by an objective.

    Attributes:
        beam: Whether several cuts of each size are kept, and not only the best.
    """

    beam: bool = False

    @property
    def screens(self) -> bool:
        """A greedy one can."""
        return not self.beam

    def choose(self, setting: Setting, strategy: Strategy, *, progress: bool) -> Chosen:
        """See `Search.choose`."""
        valuer = setting.valuer(strategy.objective)
        found = best_cuts(
            setting.units(strategy),
            weighing(valuer, screener=None if self.beam else setting.screener),
            steps=setting.steps(strategy),
            width=setting.width if self.beam else 1,
            fits=setting.fits,
            progress=f"{self.name} by {valuer.objective.name}" if progress else "",
        )
        valued = as_values(found, valuer.objective)
        return Chosen(
            {None: tuple(one.cut for one in valued)},
            {one.cut: one.value for one in valued},
            nested=not self.beam,
            screenings={one.cut: one.screening for one in valued if one.screening},
        )


class Swaps(Search):
    """The cuts of another strategy, each refined by swaps."""

    def choose(self, setting: Setting, strategy: Strategy, *, progress: bool) -> Chosen:
        """See `Search.choose`."""
        from decision_phases.pruning.strategies import find_strategy  # which lists strategies of this search

        begun = choose(setting, find_strategy(strategy.start), progress=progress)
        (cuts,) = begun.cuts.values()
        valuer = setting.valuer(strategy.objective)
        weigh, units = weighing(valuer), setting.units(strategy)
        sign = 1.0 if valuer.objective.higher else -1.0
        values: dict[Cut, float] = {}
        screenings: dict[Cut, Screening] = {}
        for cut in tqdm(cuts, disable=not progress, desc=f"swaps by {valuer.objective.name}"):
            better, worth = swap_cut(units, cut, weigh, fits=setting.fits)
            values[better] = sign * worth
            if cut in begun.screenings:
                screenings[better] = begun.screenings[cut]  # how the search that was started from came to it
        return Chosen({None: tuple(values)}, values, nested=False, screenings=screenings)


#: Every way of searching. A new one is a class here; where it has a name of its own, a strategy in `STRATEGIES` too.
SEARCHES: Mapping[str, Search] = MappingProxyType(
    {
        search.name: search
        for search in (
            OneShot("one_shot", "criterion", "what ranks lowest, ranked once"),
            Iterative("iterative", "criterion", "what ranks lowest, ranked anew after every removal"),
            Window("window", "criterion", "the run of neighbours that ranks lowest, anew for every number of blocks"),
            Whole("greedy", "objective", "what leaves the objective best, re-measured after every removal"),
            Whole("beam", "objective", "as greedy, keeping the best few cuts of each size", beam=True),
            Swaps("swaps", "strategy", "the cuts of another strategy, swapping units while that helps"),
            Draws("random", "order", "anything, in several orders"),
            Deepest("deepest", "order", "the deepest left"),
            Shallowest("shallowest", "order", "the shallowest left"),
        )
    }
)  # fmt: skip


def choose(setting: Setting, strategy: Strategy, *, progress: bool = False) -> Chosen:
    """Choose what to remove, on the search questions or on texts.

    Args:
        setting: What all strategies share.
        strategy: The strategy; it is applicable.
        progress: Show bars.

    Returns:
        The cuts.
    """
    return SEARCHES[strategy.search].choose(setting, strategy, progress=progress)


def in_order(setting: Setting, order: Sequence[Unit]) -> tuple[Cut, ...]:
    """Cuts along an order of removal, as far as the budget goes.

    A unit that does not fit any more is passed over for the next that does.

    Args:
        setting: What all strategies share.
        order: What goes first, second, ….

    Returns:
        Cuts of 1, 2, … units.
    """
    cuts = list[Cut]()
    for unit in order:
        longer = (*(cuts[-1] if cuts else ()), unit)
        if setting.fits(longer):
            cuts.append(longer)
    return tuple(cuts)


def _ranking(setting: Setting, strategy: Strategy, gone: Cut = (), *, size: int = 1) -> Ranking:
    return rank(
        setting.model,
        setting.search,
        by=strategy.criterion,
        texts=setting.texts,
        window=setting.window,
        limit=setting.limit,
        part=strategy.part,
        size=size,
        layers=setting.scope(strategy),
        under=removal(gone) if gone else None,
        reference=Intervention(),
        seed=setting.seed,
        store=setting.store,
        intervals=False,
    )


def _score(ranking: Ranking, unit: Unit) -> float:
    return float(ranking.scores[ranking.units.index(unit)])
