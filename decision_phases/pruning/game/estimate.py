"""From a game to the values of its units, with intervals: any method, any game."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

from decision_phases.errors import InputError, check_confidence, unknown_name
from decision_phases.pruning.game.designs import Design, Exact, Kernel, Permutations, Solved, enumerated
from decision_phases.pruning.game.exact import check_exact
from decision_phases.pruning.game.indices import size_chances
from decision_phases.pruning.game.masks import Game, distinct_masks
from decision_phases.pruning.game.quality import SurrogateQuality
from decision_phases.pruning.game.samplers import check_units, draw_masks, draw_orders, orders_within
from decision_phases.pruning.game.surrogates import find_surrogate
from decision_phases.pruning.game.trained import Trained

N_BOOT = 200


@runtime_checkable
class QuestionGame(Game, Protocol):
    """A game whose values are means over questions, which can be drawn anew."""

    @property
    def n_questions(self) -> int:
        """Number of questions."""
        ...

    def resampled(
        self, masks: Bool[np.ndarray, "mask unit"], n_boot: int, *, seed: int
    ) -> Float[np.ndarray, "mask boot"]:
        """The value of every mask on resampled questions, the same ones for all masks."""
        ...


@dataclass(frozen=True)
class Setup:
    """How a game is estimated.

    Attributes:
        method: A name in `METHODS`.
        index: A name in `INDICES`.
        n_masks: Most masks to draw.
        sampler: A name in `SAMPLERS`; None for the method's own.
        antithetic: Whether to draw pairs; None where it is possible and helps.
        kept: Kept counts of the stratified sampler and of the published index.
        surrogate: A name in `SURROGATES`.
        defects: Names in `DEFECTS`.
        over: What intervals resample; None for masks if they are drawn, else questions.
        n_boot: Resamples; None for the method's own.
        confidence: Nominal coverage.
        seed: Of everything random.
    """

    method: str = "permutation"
    index: str = "shapley"
    n_masks: int = 400
    sampler: str | None = None
    antithetic: bool | None = None
    kept: tuple[int, ...] | None = None
    surrogate: str = "linear"
    defects: tuple[str, ...] = ()
    over: str | None = None
    n_boot: int | None = None
    confidence: float = 0.95
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Estimate:
    """The values of all units.

    Attributes:
        values: One a unit.
        low: Lower ends of the intervals, NaN where there is none.
        high: Upper ends.
        empty: Value of no unit.
        full: Value of all units.
        n_masks: Number of different masks that were asked for, "all kept" and "none kept" included.
        sampler: How masks were drawn, "" if all were run.
        over: What the intervals resample, "" if there are none.
        surrogate: How good the surrogate is, for the method that has one.
        interactions: What pairs of units add together beyond what each adds, for the exact method and for surrogates
            that are no line.
        interactions_low: Lower ends of their intervals, NaN where there is none.
        interactions_high: Upper ends.
    """

    values: Float[np.ndarray, " unit"]
    low: Float[np.ndarray, " unit"]
    high: Float[np.ndarray, " unit"]
    empty: float
    full: float
    n_masks: int
    sampler: str
    over: str
    surrogate: SurrogateQuality | None
    interactions: Float[np.ndarray, "unit unit"] | None
    interactions_low: Float[np.ndarray, "unit unit"] | None
    interactions_high: Float[np.ndarray, "unit unit"] | None


def _exact(n_units: int, setup: Setup) -> Design:
    _refuse(setup, "sampler", "antithetic")
    check_exact(n_units)
    return Exact(n_units, size_chances(setup.index, n_units, setup.kept))


def _permutation(n_units: int, setup: Setup) -> Design:
    if setup.sampler not in (None, "permutation"):
        _refuse(setup, "sampler")
    paired = setup.antithetic is not False
    n_orders = orders_within(n_units, setup.n_masks, antithetic=paired)
    orders = draw_orders(n_units, n_orders, antithetic=paired, seed=setup.seed)
    return Permutations(orders, size_chances(setup.index, n_units, setup.kept), antithetic=paired)


def _kernel(n_units: int, setup: Setup) -> Design:
    if setup.index != "shapley":
        msg = f"KernelSHAP gives Shapley values only; for index={setup.index!r} use another method"
        raise InputError(msg)
    if 2**n_units - 2 <= setup.n_masks and setup.sampler is None:
        return Kernel(enumerated(n_units))
    draws = draw_masks(
        n_units,
        setup.n_masks,
        sampler=setup.sampler or "kernel",
        antithetic=setup.antithetic,
        kept=setup.kept,
        seed=setup.seed,
    )
    return Kernel(draws)


def _surrogate(n_units: int, setup: Setup) -> Design:
    sampler, surrogate = setup.sampler or "stratified", find_surrogate(setup.surrogate)
    paired = setup.antithetic
    if paired is None and not surrogate.paired:
        paired = False
    draws = draw_masks(
        n_units,
        setup.n_masks,
        sampler=sampler,
        antithetic=paired,
        kept=setup.kept if sampler == "stratified" else None,
        seed=setup.seed,
    )
    chances = size_chances(setup.index, n_units, setup.kept)
    return Trained(draws, surrogate, chances, defects=setup.defects, seed=setup.seed)


#: Name → what sets the method up.
METHODS: Mapping[str, Callable[[int, Setup], Design]] = MappingProxyType(
    {"exact": _exact, "permutation": _permutation, "kernel": _kernel, "surrogate": _surrogate}
)


def make_design(n_units: int, setup: Setup) -> Design:
    """Set a method up, without asking the game anything.

    Args:
        n_units: Number of units.
        setup: How to estimate.

    Returns:
        The masks to ask for, and what to make of them.

    Raises:
        InputError: If something does not fit.

    Example:
        >>> len(make_design(4, Setup(method="exact")).masks)
        16
    """
    if setup.method not in METHODS:
        raise unknown_name("method", setup.method, METHODS)
    if setup.over not in (None, "masks", "questions"):
        raise unknown_name("resampling", str(setup.over), ("masks", "questions"))
    check_confidence(setup.confidence)
    if setup.n_boot is not None and setup.n_boot < 1:
        msg = f"n_boot={setup.n_boot}: an interval takes at least one resample; None for the method's own number"
        raise InputError(msg)
    if setup.defects and setup.method != "surrogate":
        _refuse(setup, "defects")
    check_units(n_units)
    design = METHODS[setup.method](n_units, setup)
    if setup.over == "masks" and not design.n_groups:
        msg = f"the {setup.method} method draws no masks here, as it runs them all; use over='questions'"
        raise InputError(msg)
    return design


def estimate(game: Game, n_units: int, setup: Setup | None = None) -> Estimate:
    """Estimate the value of every unit of a game.

    Intervals over masks give every independent draw (a mask, a pair, an order) a random weight, and solve again; those
    over questions resample the questions of all masks alike. Either is conditional on what is not resampled, and on the
    form of a surrogate.

    Args:
        game: The game.
        n_units: Number of its units.
        setup: How to estimate.

    Returns:
        The values.

    Raises:
        InputError: If something does not fit, or a value is not a number and the method cannot leave it out.

    Source: Rubin, The Bayesian Bootstrap (1981), for weights over masks: unlike resampling with replacement, it never
        leaves a regression with too few masks.

    Example:
        >>> found = estimate(lambda masks: masks @ np.array([1.0, 2.0, 4.0]), 3, Setup(n_masks=8))
        >>> found.values.tolist(), found.full
        ([1.0, 2.0, 4.0], 7.0)
    """
    how = setup or Setup()
    design = make_design(n_units, how)
    ends = np.array([[False], [True]]).repeat(n_units, axis=1)
    masks = np.concatenate([design.masks, ends])
    values = game(masks)
    known = np.isfinite(values)
    if not known[-2:].all() or not (known.all() or how.method == "surrogate"):
        row = masks[np.flatnonzero(~known)[-1]]
        msg = (
            f"the value of the mask that keeps units {np.flatnonzero(row).tolist()} is not a number; use another "
            "objective, or the surrogate method, which leaves such masks out unless they keep all or none"
        )
        raise InputError(msg)
    inner = values[:-2]
    found = design.solve(inner[:, None])
    over = how.over or ("masks" if design.n_groups else "questions")
    drawn = _replicates(game, design, masks[:-2], inner, over, how)
    low, high = _ends(found.values, None if drawn is None else drawn.values, how.confidence)
    pairs, pairs_low, pairs_high = None, None, None
    if found.interactions is not None:
        pairs, others = found.interactions[:, :, 0], None if drawn is None else drawn.interactions
        pairs_low, pairs_high = _ends(found.interactions, others, how.confidence)
    return Estimate(
        values=found.values[:, 0],
        low=low,
        high=high,
        empty=float(values[-2]),
        full=float(values[-1]),
        n_masks=len(distinct_masks(masks)[0]),
        sampler=design.sampler,
        over="" if drawn is None else over,
        surrogate=design.quality(inner),
        interactions=pairs,
        interactions_low=pairs_low,
        interactions_high=pairs_high,
    )


def _ends(
    found: Float[np.ndarray, "*shape 1"], drawn: Float[np.ndarray, "*shape boot"] | None, confidence: float
) -> tuple[Float[np.ndarray, "*shape"], Float[np.ndarray, "*shape"]]:
    """Ends of percentile intervals; NaN where nothing was resampled."""
    if drawn is None:
        return np.full(found.shape[:-1], np.nan), np.full(found.shape[:-1], np.nan)
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2], axis=-1)
    return low, high


def _replicates(
    game: Game,
    design: Design,
    masks: Bool[np.ndarray, "mask unit"],
    values: Float[np.ndarray, " mask"],
    over: str,
    setup: Setup,
) -> Solved | None:
    """Values of all units, and pairs, in every resample; None where there is nothing to resample."""
    n_boot = setup.n_boot
    if n_boot is None:
        n_boot = find_surrogate(setup.surrogate).n_boot if setup.method == "surrogate" else N_BOOT
    if over == "questions":
        if isinstance(game, QuestionGame):
            if game.n_questions < 2:
                return None  # one question, resampled, is always itself
            return design.solve(game.resampled(masks, n_boot, seed=setup.seed))
        if setup.over == "questions":
            msg = "intervals over questions need a game with questions, such as ModelGame; use over='masks'"
            raise InputError(msg)
        return None
    if design.n_groups < 2:
        return None
    rng = np.random.default_rng([setup.seed, 0, 5])
    weights = rng.dirichlet(np.ones(design.n_groups), size=n_boot).T * design.n_groups
    return design.solve(np.repeat(values[:, None], n_boot, axis=1), weights)


def _refuse(setup: Setup, *names: str) -> None:
    given = {name: getattr(setup, name) for name in names if getattr(setup, name) not in (None, ())}
    if given:
        told: Sequence[str] = [f"{name}={value!r}" for name, value in given.items()]
        msg = f"the {setup.method} method takes no {', '.join(told)}; leave it out, or choose another method"
        raise InputError(msg)
