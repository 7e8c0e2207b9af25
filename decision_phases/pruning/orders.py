"""What a strategy removes: orders, ranked or searched, and windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tqdm.auto import tqdm

from decision_phases.interventions import skip
from decision_phases.pruning.pool import RandomPool
from decision_phases.pruning.rank import rank
from decision_phases.pruning.ranking import Ranking
from decision_phases.pruning.screening import Screening
from decision_phases.pruning.search import greedy
from decision_phases.pruning.setting import Setting
from decision_phases.pruning.strategies import Strategy

Cut = tuple[int, ...]


@dataclass(frozen=True)
class Chosen:
    """The cuts of a strategy.

    Attributes:
        cuts: Draw (None where there is one order) → cuts of 1, 2, … blocks.
        values: Cut → the objective or the score on what chose it, where there is one.
        nested: Whether each cut is the one before with one layer more, behind.
        screenings: Cut → how its candidates were screened, if they were.
    """

    cuts: Mapping[int | None, tuple[Cut, ...]]
    values: Mapping[Cut, float] = field(default_factory=dict)
    nested: bool = True
    screenings: Mapping[Cut, Screening] = field(default_factory=dict)


def choose(setting: Setting, strategy: Strategy, *, progress: bool = False) -> Chosen:
    """Choose what to remove, on the search questions or on texts.

    Args:
        setting: What all strategies share.
        strategy: The strategy; it is applicable.
        progress: Show bars.

    Returns:
        The cuts.
    """
    scope = setting.scope(strategy)
    steps = min(setting.up_to, len(scope))
    if strategy.kind == "order":
        return _given(setting, strategy, scope, steps)
    if strategy.kind == "greedy":
        return _searched(setting, strategy, scope, steps, progress=progress)
    if strategy.kind == "window":
        return _windows(setting, strategy, scope, steps, progress=progress)
    return _ranked(setting, strategy, scope, steps, progress=progress)


def _prefixes(order: Cut) -> tuple[Cut, ...]:
    return tuple(order[:k] for k in range(1, len(order) + 1))


def _given(setting: Setting, strategy: Strategy, scope: Cut, steps: int) -> Chosen:
    if strategy.name == "random":
        pool = RandomPool(scope, setting.seed)
        return Chosen({draw: _prefixes(pool.order(draw)[:steps]) for draw in range(setting.draws)})
    return Chosen({None: _prefixes(tuple(sorted(scope, reverse=strategy.name == "deepest"))[:steps])})


def _searched(setting: Setting, strategy: Strategy, scope: Cut, steps: int, *, progress: bool) -> Chosen:
    found = greedy(
        setting.model,
        setting.search,
        objective=strategy.objective,
        candidates=scope,
        steps=steps,
        known=setting.known,
        store=setting.store,
        screen=setting.screener,
        progress=progress,
    )
    cuts = _prefixes(tuple(step.removed for step in found))
    steps_of = dict(zip(cuts, found, strict=True))
    return Chosen(
        {None: cuts},
        {cut: step.value for cut, step in steps_of.items()},
        screenings={cut: step.screening for cut, step in steps_of.items() if step.screening},
    )


def _ranked(setting: Setting, strategy: Strategy, scope: Cut, steps: int, *, progress: bool) -> Chosen:
    """The least important blocks of one ranking, or of a new one after every removal."""
    gone: Cut = ()
    values: dict[Cut, float] = {}
    rounds = tqdm(range(steps), disable=not progress, desc=f"{strategy.criterion}, {strategy.kind}")
    ranking, least = _ranking(setting, strategy, layers=scope), list[int]()
    for step in rounds:
        if step and strategy.kind == "iterative":
            ranking, least = _ranking(setting, strategy, gone, layers=scope), []
        least = least or [layer for layer in ranking.layers if layer in scope and layer not in gone]
        if not least:
            break
        gone = (*gone, least.pop(0))
        values[gone] = _score(ranking, gone[-1])
    return Chosen({None: _prefixes(gone)}, values)


def _windows(setting: Setting, strategy: Strategy, scope: Cut, steps: int, *, progress: bool) -> Chosen:
    """For every number of blocks, the best run of neighbours."""
    cuts, values = list[Cut](), dict[Cut, float]()
    for size in tqdm(range(1, steps + 1), disable=not progress, desc=f"{strategy.criterion}, windows"):
        ranking = _ranking(setting, strategy, size=size)
        inside = [unit.layers for unit in ranking.order if set(unit.layers) <= set(scope)]
        if not inside:
            break
        cuts.append(inside[0])
        values[inside[0]] = _score(ranking, inside[0][0])
    return Chosen({None: tuple(cuts)}, values, nested=False)


def _ranking(
    setting: Setting, strategy: Strategy, gone: Cut = (), *, size: int = 1, layers: Cut | None = None
) -> Ranking:
    return rank(
        setting.model,
        setting.search,
        by=strategy.criterion,
        texts=setting.texts,
        size=size,
        layers=layers,
        under=skip(*gone) if gone else None,
        seed=setting.seed,
        store=setting.store,
    )


def _score(ranking: Ranking, layer: int) -> float:
    place = next(i for i, unit in enumerate(ranking.units) if unit.layer == layer)
    return float(ranking.scores[place])
