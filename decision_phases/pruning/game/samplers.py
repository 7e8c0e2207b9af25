"""Drawing masks and orders from the one pool of random cuts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import comb

from decision_phases.errors import InputError, unknown_name
from decision_phases.pruning.game.indices import check_kept, published_counts
from decision_phases.pruning.game.masks import nested_masks
from decision_phases.pruning.pool import RandomPool

_Sizes = Float[np.ndarray, " size"]


@dataclass(frozen=True, eq=False)
class Draws:
    """Masks drawn at random.

    Attributes:
        sampler: Name of the sampler.
        masks: The masks, True where kept.
        group: Number of the draw that each belongs to: masks of one pair or order are not independent of each other.
        chances: Chance of each number of kept units, from none to all; within a number all masks are alike.
    """

    sampler: str
    masks: Bool[np.ndarray, "mask unit"]
    group: Int[np.ndarray, " mask"]
    chances: Float[np.ndarray, " size"]

    @property
    def n_groups(self) -> int:
        """Number of independent draws."""
        return int(self.group.max()) + 1


@dataclass(frozen=True)
class Sampler:
    """A way of drawing masks.

    Attributes:
        name: Its name.
        chances: Takes the number of units and the kept counts; gives the chance of each number of kept units.
        what: A sentence.
        balanced: Whether those numbers are dealt out evenly instead of drawn.
        nested: Whether masks come as the way of an order from all units to none.
    """

    name: str
    chances: Callable[[int, Sequence[int]], _Sizes]
    what: str
    balanced: bool = False
    nested: bool = False


def _even(n: int, kept: Sequence[int]) -> _Sizes:
    chances = np.zeros(n + 1)
    chances[list(kept)] = 1 / len(kept)
    return chances


def _uniform(n: int, kept: Sequence[int]) -> _Sizes:
    del kept
    return np.asarray(comb(n, np.arange(n + 1)) / 2.0**n, dtype=np.float64)


def _kernel(n: int, kept: Sequence[int]) -> _Sizes:
    del kept
    return kernel_mass(n)


def kernel_mass(n_units: int) -> Float[np.ndarray, " size"]:
    """Return the share of the Shapley kernel that falls on each number of kept units, ∝ 1 / (k (n − k)).

    Args:
        n_units: Number of units.

    Returns:
        Shares from none kept to all kept, 0 at both ends, which the regression holds exactly.

    Source: Lundberg and Lee, A Unified Approach to Interpreting Model Predictions (2017), theorem 2: the kernel
        (n − 1) / (C(n, k) k (n − k)), summed over the C(n, k) masks of a size.

    Example:
        >>> kernel_mass(4).round(3).tolist()
        [0.0, 0.364, 0.273, 0.364, 0.0]
    """
    k = np.arange(1, n_units)
    mass = 1 / (k * (n_units - k))
    return np.concatenate([[0.0], mass / mass.sum(), [0.0]])


SAMPLERS: Mapping[str, Sampler] = MappingProxyType(
    {
        sampler.name: sampler
        for sampler in (
            Sampler("stratified", _even, "every number of kept units equally often", balanced=True),
            Sampler("uniform", _uniform, "every unit kept with probability one half"),
            Sampler("kernel", _kernel, "numbers of kept units by the Shapley kernel"),
            Sampler("permutation", _even, "the cuts of the random pool, nested in one another", nested=True),
            Sampler("published", _even, "stratified over the kept counts of arXiv 2602.07804", balanced=True),
        )
    }
)


def draw_masks(
    n_units: int,
    n_masks: int,
    *,
    sampler: str = "stratified",
    antithetic: bool | None = None,
    kept: Sequence[int] | None = None,
    seed: int = 0,
) -> Draws:
    """Draw masks at random, each a cut of the random pool: the first units of its order number i are gone in mask i.

    So what a surrogate learns from, what a cut is compared with (`better_than_luck`) and what every comparison shows as
    its baseline ("random") are cuts of one pool, and a store that knows them from one use need not run them for another
    on the same questions. With units other than whole layers, or other protected layers, the pool is another.

    "All kept" and "none kept" are left to whoever evaluates the masks, except by the uniform sampler, which may draw
    them as any other.

    Args:
        n_units: Number of units.
        n_masks: Most masks; fewer are drawn where the last pair or order would not be whole.
        sampler: A name in `SAMPLERS`.
        antithetic: Draw pairs: with every mask its complement, with every order its reverse. None does so wherever a
            mask is as likely as its complement.
        kept: Kept counts of the stratified sampler; 1 to n − 1 by default.
        seed: Of the draw.

    Returns:
        The masks.

    Raises:
        InputError: If something does not fit, or not even one draw is whole.

    Source: Castro et al., Polynomial calculation of the Shapley value based on sampling (2009); Mitchell et al.,
        Sampling Permutations for Shapley Value Estimation (2022), §3 for antithetic pairs.

    Example:
        >>> draws = draw_masks(5, 40, seed=1)
        >>> np.bincount(draws.masks.sum(axis=1)).tolist(), draws.n_groups
        ([0, 10, 10, 10, 10], 20)
    """
    if sampler not in SAMPLERS:
        raise unknown_name("sampler", sampler, SAMPLERS)
    check_units(n_units)
    how = SAMPLERS[sampler]
    if kept is not None and sampler != "stratified":
        msg = f"kept counts {list(kept)} given to the sampler {sampler!r}; only 'stratified' takes them"
        raise InputError(msg)
    own = published_counts(n_units) if sampler == "published" else tuple(range(1, n_units))
    counts = own if kept is None else check_kept(kept, n_units)
    mirrored = {n_units - k for k in counts} == set(counts)
    paired = mirrored if antithetic is None else antithetic
    if paired and not mirrored:
        msg = (
            f"antithetic pairs need kept counts that stay the same under k → {n_units} − k; {list(counts)} do not "
            "(leave antithetic=None, or give other counts)"
        )
        raise InputError(msg)
    chances = how.chances(n_units, counts)
    if how.nested:
        return _along_orders(n_units, n_masks, chances, paired=paired, seed=seed)
    n_draws = n_masks // 2 if paired else n_masks
    if n_draws < 1:
        msg = f"n_masks={n_masks} is less than one {'pair of masks' if paired else 'mask'}; give more"
        raise InputError(msg)
    rng = np.random.default_rng([seed, 0, 2])
    if not how.balanced:
        sizes = rng.choice(n_units + 1, size=n_draws, p=chances)
    else:
        sizes = _dealt(_strata(n_units, counts, paired=paired), n_draws, rng)
    orders = draw_orders(n_units, n_draws, antithetic=False, seed=seed)
    masks = orders.argsort(axis=1) >= (n_units - sizes)[:, None]  # the first of each order are gone
    group = np.arange(n_draws)
    if paired:
        masks, group = np.concatenate([masks, ~masks]), np.concatenate([group, group])
    return Draws(sampler, masks, group, chances)


def draw_orders(
    n_units: int, n_orders: int, *, antithetic: bool = True, seed: int = 0
) -> Int[np.ndarray, "order unit"]:
    """Draw orders of removal from the random pool.

    They are the pool's, so the cuts on their way are the random cuts that every comparison of strategies shows.

    Args:
        n_units: Number of units.
        n_orders: Number of orders, even for pairs.
        antithetic: After all orders come their reverses, in the same order.
        seed: Of the pool.

    Returns:
        One permutation of the units a row.

    Example:
        >>> orders = draw_orders(4, 2)
        >>> orders[1].tolist() == orders[0, ::-1].tolist() == list(RandomPool(tuple(range(4))).order(0))[::-1]
        True
    """
    pool = RandomPool(tuple(range(n_units)), seed)
    forward = np.array([pool.order(draw) for draw in range(n_orders // 2 if antithetic else n_orders)])
    return np.concatenate([forward, forward[:, ::-1]]) if antithetic else forward


def orders_within(n_units: int, n_masks: int, *, antithetic: bool) -> int:
    """Return how many whole orders a number of masks is enough for; each costs n − 1, as its two ends are shared.

    Args:
        n_units: Number of units.
        n_masks: Most masks.
        antithetic: Whether orders come in pairs.

    Returns:
        Number of orders, even for pairs.

    Raises:
        InputError: If it is not enough for one.

    Example:
        >>> orders_within(11, 55, antithetic=False), orders_within(11, 55, antithetic=True)
        (5, 4)
    """
    step = 2 if antithetic else 1
    n_orders = n_masks // ((n_units - 1) * step) * step
    if not n_orders:
        what = "pair of orders" if antithetic else "order"
        msg = (
            f"n_masks={n_masks} is not enough for one {what} of {n_units} units, which takes {(n_units - 1) * step}; "
            "give more"
        )
        raise InputError(msg)
    return n_orders


def check_units(n_units: int) -> None:
    """Refuse a game of a single unit, whose value is just what it adds.

    Args:
        n_units: Number of units.

    Raises:
        InputError: If there are fewer than two.

    Example:
        >>> check_units(2)
    """
    if n_units < 2:
        msg = f"{n_units} unit(s) given; a game needs at least two"
        raise InputError(msg)


def _along_orders(n_units: int, n_masks: int, chances: _Sizes, *, paired: bool, seed: int) -> Draws:
    n_orders = orders_within(n_units, n_masks, antithetic=paired)
    orders = draw_orders(n_units, n_orders, antithetic=paired, seed=seed)
    masks = nested_masks(orders)[:, 1:-1].reshape(-1, n_units)
    draw = np.arange(n_orders) % (n_orders // 2 if paired else n_orders)
    return Draws("permutation", masks, np.repeat(draw, n_units - 1), chances)


def _strata(n_units: int, counts: Sequence[int], *, paired: bool) -> Int[np.ndarray, " stratum"]:
    """Kept counts to deal out; of a pair only the smaller one, as the complement has the other."""
    if not paired:
        return np.array(counts)
    low = [k for k in counts if 2 * k < n_units]
    middle = [k for k in counts if 2 * k == n_units]  # its complement keeps as many: half as many pairs
    return np.array(low * 2 + middle if middle else low)


def _dealt(
    strata: Int[np.ndarray, " stratum"], n_draws: int, rng: np.random.Generator
) -> Int[np.ndarray, " draw"]:
    """Every stratum equally often; the rest goes to strata drawn at random, none of them twice."""
    whole, rest = divmod(n_draws, len(strata))
    return np.concatenate([np.repeat(strata, whole), rng.choice(strata, size=rest, replace=False)])
