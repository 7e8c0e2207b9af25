"""What a comparison is asked for, checked before anything runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from decision_phases.errors import InputError
from decision_phases.models import ModelAccess
from decision_phases.pruning.criteria.contract import Criterion
from decision_phases.pruning.criteria.data import Texts
from decision_phases.pruning.criteria.registry import CRITERIA, find_criterion
from decision_phases.pruning.criteria.units import units_of
from decision_phases.pruning.objectives import Objective, find_objective
from decision_phases.pruning.orders import SEARCHES
from decision_phases.pruning.search import check_width
from decision_phases.pruning.strategies import CONTROLS, STRATEGIES, find_strategy, with_starts
from decision_phases.pruning.strategy import Strategy
from decision_phases.pruning.timing import Timing, check_timing
from decision_phases.tasks import TextSet


def one_name(given: object) -> str:
    """The name of a strategy.

    Args:
        given: What was given as such.

    Returns:
        The name; whether there is such a strategy is not asked.

    Raises:
        InputError: If it is no text; a criterion is told how it is named.

    Example:
        >>> one_name("margin")
        'margin'
    """
    if isinstance(given, str):
        return given
    if not isinstance(given, Criterion):
        msg = f"by={given!r} names no strategy; give a text, such as 'margin' or 'kl:iterative'"
    elif CRITERIA.get(given.name) == given:
        msg = f"a criterion is searched by under its name: give '{given.name}:one_shot' or '{given.name}:iterative'"
    else:
        msg = (
            f"the criterion {given.name} has settings of its own, and strategies go by names in CRITERIA; rank by it "
            "(dp.rank) and remove what ranks lowest (.cut)"
        )
    raise InputError(msg)


def all_names(given: object) -> list[str]:
    """The names of strategies, one or several.

    Args:
        given: A name, or names.

    Returns:
        The names in the order given.

    Raises:
        InputError: If something among them is no text.

    Example:
        >>> all_names("margin"), all_names(("margin", "kl"))
        (['margin'], ['margin', 'kl'])
    """
    if isinstance(given, Iterable) and not isinstance(given, str):
        return [one_name(one) for one in given]
    return [one_name(given)]


def with_controls(names: Iterable[str], *, wanted: bool = True) -> list[str]:
    """Add what no curve should be without.

    Args:
        names: Strategies asked for.
        wanted: Whether to add anything.

    Returns:
        Every name once: those asked for, random cuts of each part that is removed, random and deepest blocks.

    Example:
        >>> with_controls(["margin", "cosine_mlp"])
        ['margin', 'cosine_mlp', 'random_mlp', 'random', 'deepest']
    """
    asked = list(dict.fromkeys(names))
    found = [find_strategy(name) for name in asked]
    if not wanted or not asked:
        return asked
    drawn = [f"random_{strategy.part}" for strategy in found]
    return list(dict.fromkeys([*asked, *(name for name in drawn if name in STRATEGIES), *CONTROLS]))


def parts_of(names: Iterable[str]) -> tuple[str, ...]:
    """What the budget must be there for: the parts that strategies choose among, or draw if nothing is chosen.

    Controls that have fewer units end earlier, and say so.

    Args:
        names: Strategies.

    Returns:
        Names in `PARTS`.

    Example:
        >>> parts_of(["cosine_joint", "random_joint", "random"]), parts_of(["random"])
        (('joint',), ('block',))
    """
    found = [find_strategy(name) for name in names]
    choosing = [strategy for strategy in found if SEARCHES[strategy.search].by != "order"]
    return tuple(dict.fromkeys(strategy.part for strategy in choosing or found)) or ("block",)


def check_request(
    names: Sequence[str],
    *,
    model: ModelAccess | None = None,
    objective: str = "margin",
    width: int = 4,
    evaluate: Collection[str] = (),
    timing: Timing | None = None,
    texts: Texts | None = None,
    split: float | None = 0.5,
    splits: int = 1,
    screen: str | None = None,
) -> None:
    """Refuse what cannot be, before anything runs.

    Args:
        names: Strategies.
        model: The model, if it is there already.
        objective: What searches make best that have no objective of their own.
        width: How many cuts of each size a beam search keeps.
        evaluate: What else is measured of every cut.
        timing: How forward passes are timed.
        texts: What objectives that need no labels are measured on.
        split: Share of the questions that choose.
        splits: Number of splits.
        screen: Number format to screen candidates in.

    Raises:
        InputError: If a name is not known, no strategy screens although that is asked for, an objective lacks its
            texts, a model cannot give what a criterion needs, or a number is out of range.
    """
    strategies = [find_strategy(name) for name in names]
    if screen is not None and not any(_screens(strategy) for strategy in strategies):
        msg = (
            f"screen={screen!r} is for strategies that search greedily, and {', '.join(names)} do not; leave it out, "
            "or add one such as margin, sleb or kl:greedy"
        )
        raise InputError(msg)
    check_width(width)
    find_objective(objective)
    for strategy in strategies:
        for one in with_starts(strategy):
            if SEARCHES[one.search].by in ("objective", "strategy"):
                _check_texts(
                    find_objective(one.objective or objective), texts, f"the strategy {strategy.name}"
                )
            if model is not None:
                _check_criterion(one, model)
    for name in evaluate:
        wanted = find_objective(name)
        _check_texts(wanted, texts, f"evaluate={name!r}")
        if wanted.on != "questions" and isinstance(texts, TextSet) and texts.half:
            msg = (
                f"evaluate={name!r} is measured on texts that chose nothing, but {texts.name!r} is the {texts.half} "
                "half of its set; give the whole set, of which one half chooses and the other measures"
            )
            raise InputError(msg)
    if splits < 1 or (splits > 1 and split is None):
        msg = f"splits={splits} with split={split}: give at least 1, and to repeat the split a share that chooses"
        raise InputError(msg)
    if timing is not None and model is not None:
        check_timing(model, timing)


def _screens(strategy: Strategy) -> bool:
    """Whether some step of a strategy looks at candidates in low precision first."""
    return any(SEARCHES[one.search].screens for one in with_starts(strategy))


def _check_texts(objective: Objective, texts: Texts | None, who: str) -> None:
    if objective.on == "texts" and texts is None:
        msg = f"{who} needs texts, for {objective.name} is measured on texts; give texts=, such as texts='pydoc'"
        raise InputError(msg)


def _check_criterion(strategy: Strategy, model: ModelAccess) -> None:
    """Whether the model has the parts, and the criterion is defined for them."""
    units_of(model, strategy.part)
    if strategy.criterion:
        find_criterion(strategy.criterion).check_model(model, strategy.part)
