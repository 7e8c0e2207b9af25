"""The named ways of choosing what to remove."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from decision_phases.errors import InputError, unknown_name
from decision_phases.pruning.criteria.registry import CRITERIA, find_criterion
from decision_phases.pruning.criteria.units import PARTS
from decision_phases.pruning.objectives import OBJECTIVES, find_objective
from decision_phases.pruning.orders import SEARCHES, Search
from decision_phases.pruning.strategy import Strategy

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
    (
        "magnitude",
        "magnitude_l2",
        "Σ w² of its weights, the published magnitude with p = 2 (Shortened LLaMA, arXiv 2402.02834)",
    ),
    (
        "activation_magnitude",
        "relative_norm",
        "‖Δh‖ / ‖h‖ of what it adds to the residual, mean over positions (no single source)",
    ),
)
_SUBLAYERS = {"attention": "attentions", "mlp": "MLPs", "joint": "attentions and MLPs in one list"}

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
            Strategy(
                "self_margin", "greedy", "self_margin", "all",
                "the block whose removal leaves the largest margin of what the intact model chooses",
            ),
            Strategy("within_silent", "greedy", "", "silent", "as greedy, from the Silent Phase only"),
            Strategy("within_decisive", "greedy", "", "decisive", "as greedy, from the Decisive Phase only"),
            Strategy("greedy", "greedy", "", "all", "the block whose removal leaves the objective best"),
            Strategy("beam", "beam", "", "all", "as greedy, keeping the best few cuts of each size"),
            Strategy(
                "swaps", "swaps", "", "all", "greedy cuts, swapping blocks while that helps", start="greedy"
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
            *(
                Strategy(
                    f"cosine_{part}", "one_shot", "", "all",
                    f"{noun}: those that turn the residual least (LLM-Drop, arXiv 2406.15786)", "cosine", part,
                )
                for part, noun in _SUBLAYERS.items()
            ),
            Strategy("random", "random", "", "all", "any block, several draws from one stored pool"),
            *(
                Strategy(f"random_{part}", "random", "", "all", f"any of the {noun}, several draws", part=part)
                for part, noun in _SUBLAYERS.items()
            ),
            Strategy("deepest", "deepest", "", "all", "the deepest block left"),
            Strategy("shallowest", "shallowest", "", "all", "the shallowest block left"),
        )
    }
)  # fmt: skip

#: What no curve should be without.
CONTROLS = ("random", "deepest")


def find_strategy(name: str) -> Strategy:
    """Look a strategy up.

    Args:
        name: Its name; or a criterion, an objective or a strategy and how to search by it ("kl:iterative",
            "block_influence:window", "margin:beam", "sleb:swaps"); and behind that, what is to be removed
            ("margin:greedy:attention").

    Returns:
        The strategy.

    Raises:
        InputError: If there is none of that name; near ones are suggested.

    Example:
        >>> find_strategy("perplexity:beam").objective, find_strategy("kl:iterative:mlp").part
        ('perplexity', 'mlp')
    """
    given, *rest = name.split(":")
    if not rest:
        if name not in STRATEGIES:
            raise unknown_name("strategy", name, STRATEGIES)
        return STRATEGIES[name]
    search, part, *more = (*rest, "") if len(rest) == 1 else rest
    if more:
        msg = f"{name!r} has too many colons; a strategy is NAME, NAME:SEARCH or NAME:SEARCH:PART"
        raise InputError(msg)
    if part and part not in PARTS:
        raise unknown_name("part", part, PARTS)
    found = _combined(name, given, search, part)
    if found.search == "window" and found.part != "block":
        msg = (
            f"{name!r}: only whole blocks have runs of neighbours; use one_shot or iterative for {found.part}"
        )
        raise InputError(msg)
    return found


def with_starts(strategy: Strategy) -> tuple[Strategy, ...]:
    """A strategy, and all whose cuts it refines.

    Args:
        strategy: The strategy.

    Returns:
        The strategy, what it starts from, what that starts from, ….

    Example:
        >>> [one.name for one in with_starts(find_strategy("sleb:swaps"))]
        ['sleb:swaps', 'sleb']
    """
    return (strategy, *(with_starts(find_strategy(strategy.start)) if strategy.start else ()))


def goes_by_texts(strategy: Strategy, objective: str) -> bool:
    """Whether what a strategy goes by needs no right answers, and is measured on texts where there are some.

    Args:
        strategy: The strategy.
        objective: What searches make best that have no objective of their own.

    Returns:
        True if a criterion or an objective of it, or of what it starts from, is so measured.

    Example:
        >>> [goes_by_texts(find_strategy(name), "margin") for name in ("sleb:swaps", "kl:greedy", "margin", "random")]
        [True, True, False, False]
    """
    for one in with_starts(strategy):
        by = SEARCHES[one.search].by
        if by in ("objective", "strategy") and find_objective(one.objective or objective).on != "questions":
            return True
        needs = find_criterion(one.criterion).needs if one.criterion else None
        if needs is not None and needs.data and not needs.labels:
            return True
    return False


def searched_by(names: Iterable[str], search: str | None) -> list[str]:
    """Names with how to search behind those that do not say it themselves.

    Those that do are names with a colon, ways of searching ("beam", "deepest") and random orders ("random_mlp").

    Args:
        names: Names of strategies, criteria or objectives.
        search: A name in `SEARCHES`; None for each name's own.

    Returns:
        Names of strategies, in the order given.

    Raises:
        InputError: If there is no such search, a name does not go with it, or all say themselves how to search.

    Example:
        >>> searched_by(["kl", "margin", "sleb:swaps", "beam"], "iterative")
        ['kl:iterative', 'margin:iterative', 'sleb:swaps', 'beam']
    """
    given = list(names)
    if search is None or not given:
        return given
    if search not in _usable():
        raise unknown_name("search", search, _usable())
    found = [name if _says_how(name) else f"{name}:{search}" for name in given]
    if found == given:
        msg = f"search={search!r} would change nothing, for {', '.join(given)} say how to search; leave one of them out"
        raise InputError(msg)
    for name in found:
        find_strategy(name)
    return found


def _says_how(name: str) -> bool:
    strategy = STRATEGIES.get(name)
    drawn = strategy is not None and SEARCHES[strategy.search].by == "order"
    return ":" in name or name in SEARCHES or drawn


def _usable() -> dict[str, Search]:
    """Searches that go by something that can be named."""
    return {known: way for known, way in SEARCHES.items() if way.by != "order"}


def _combined(name: str, given: str, search: str, part: str) -> Strategy:
    usable = _usable()
    if search not in usable:
        raise unknown_name("search", search, usable)
    known = STRATEGIES.get(given)
    if usable[search].by == "criterion":
        start = (
            known
            if known and known.criterion
            else Strategy("", "", "", "all", "", find_criterion(given).name)
        )
        what = f"{search.replace('_', ' ')} by {given}"
        return replace(start, name=name, search=search, what=what, part=part or start.part)
    if known is None and given not in OBJECTIVES and given not in CRITERIA:
        raise unknown_name("strategy, criterion or objective", given, {*STRATEGIES, *CRITERIA, *OBJECTIVES})
    if usable[search].by == "objective":
        return _by_objective(name, given, search, part, known)
    return _refined(name, given, search, part, known)


def _by_objective(name: str, given: str, search: str, part: str, known: Strategy | None) -> Strategy:
    """A search among whole cuts, which a criterion of single units cannot value."""
    if known is not None and SEARCHES[known.search].by == "objective":
        start = known
    elif given in OBJECTIVES:
        start = Strategy("", "", given, "all", "", part=known.part if known else "block")
    else:
        others = ", ".join(f"{given}:{way.name}" for way in SEARCHES.values() if way.by == "criterion")
        msg = (
            f"{name!r}: {search} goes by what whole cuts are worth, and {given} ranks single units; use {others} or "
            f"{given}:swaps, or an objective: {', '.join(OBJECTIVES)}"
        )
        raise InputError(msg)
    return replace(start, name=name, search=search, what=f"{search} by {given}", part=part or start.part)


def _refined(name: str, given: str, search: str, part: str, known: Strategy | None) -> Strategy:
    """A refinement of what a strategy, an objective or a criterion finds by itself."""
    start = given
    if known is None:
        start = f"{given}:greedy" if given in OBJECTIVES else f"{given}:one_shot"
    if part:
        way = find_strategy(start).search
        start = f"{given}:{way}:{part}"
    begun = find_strategy(start)
    if begun.search == "random":
        msg = f"{name!r}: {given} draws several orders, of which none is the one to refine; start from one order"
        raise InputError(msg)
    objective = given if given in OBJECTIVES else begun.objective
    return Strategy(
        name,
        search,
        objective,
        begun.scope,
        f"{given}, {search} refining its cuts",
        part=begun.part,
        start=start,
    )
