"""`compare_circuits`: what two circuits share, beyond what their places in the model would let one expect."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from scipy.stats import spearmanr

from decision_phases.circuits.faithfulness import Bench, Faithfulness
from decision_phases.circuits.selection import FoundCircuit
from decision_phases.engine import Store
from decision_phases.errors import InputError
from decision_phases.models import ModelAccess, as_model
from decision_phases.stats import permutation_p


@dataclass(frozen=True, eq=False)
class CircuitOverlap:
    """Two circuits compared over the components that both models have.

    Attributes:
        shared: Components in both.
        sizes: Components of each that both models have.
        components: Components that both models have.
        jaccard: Shared, of those in either.
        expected: Mean of the same when members change places within their band of layers and kind.
        p_value: Share of such arrangements with at least as much overlap, with the +1 correction.
        correlation: Spearman correlation of the scores; NaN where one of them never varies.
        correlation_p: The same test of it.
        transfer: (whose circuit, on whose questions and model) → faithfulness and completeness; empty if not asked for.
        names: What the two are.
        bands: Bands of layers.
        n_perm: Number of arrangements.
    """

    shared: int
    sizes: tuple[int, int]
    components: int
    jaccard: float
    expected: float
    p_value: float
    correlation: float
    correlation_p: float
    transfer: dict[tuple[str, str], Faithfulness] = field(repr=False)
    names: tuple[str, str]
    bands: int
    n_perm: int

    def to_pandas(self) -> pd.DataFrame:
        """One row for each circuit on each set of questions.

        Returns:
            Columns circuit, on, and those of `Faithfulness.to_dict`; empty without transfer.
        """
        rows: list[dict[str, Any]] = [
            {"circuit": of, "on": on, **found.to_dict()} for (of, on), found in self.transfer.items()
        ]
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        """What they share, and what carries over."""
        head = (
            f"{self.names[0]} and {self.names[1]} share {self.shared} of {self.sizes[0]} and {self.sizes[1]} "
            f"components ({self.components} there in both): Jaccard {self.jaccard:.2f}, {self.expected:.2f} expected "
            f"within {self.bands} bands of layers (p = {self.p_value:.2g}); scores correlate {self.correlation:+.2f} "
            f"(p = {self.correlation_p:.2g})"
        )
        carried = [
            f"{of} keeps {found.faithfulness:.2f} of {on}"
            for (of, on), found in self.transfer.items()
            if of != on
        ]
        return "; ".join([head, *carried])

    __repr__ = __str__


def compare_circuits(
    first: FoundCircuit,
    second: FoundCircuit,
    *,
    model: object = None,
    names: tuple[str, str] = ("first", "second"),
    bands: int = 4,
    n_perm: int = 2000,
    seed: int = 0,
    store: Store = None,
) -> CircuitOverlap:
    """Compare two circuits: of the dense and the pruned model, of two tasks, of two templates.

    Components that only one of the two models has are left out. The null keeps how many members of each kind a circuit
    has in each band of layers, and moves them within it: two circuits that only prefer the same depths are not alike.

    Args:
        first: A circuit that `find_circuit` found.
        second: Another.
        model: What both were found on; if given, each circuit is also measured on the questions of the other, under
            the other's intervention.
        names: What they are called.
        bands: Bands of layers of about equal width.
        n_perm: Number of arrangements.
        seed: Of these.
        store: A store or its folder, where results are kept and found again.

    Returns:
        Overlap, correlation of scores and transfer of faithfulness.

    Raises:
        InputError: Before anything runs, if the circuits are of models of other shapes, were not found on `model`,
            names are equal, or a number is out of range.
    """
    a, b = first.circuit, second.circuit
    if a.members.shape != b.members.shape:
        msg = (
            f"the circuits are of models of the shapes {a.members.shape} and {b.members.shape} [layer, component]; "
            "only those of one model, intact or pruned, can be compared"
        )
        raise InputError(msg)
    if not 1 <= bands <= len(a.members) or n_perm < 20 or len(set(names)) != 2:
        msg = (
            f"bands={bands}, n_perm={n_perm}, names={names} given; 1 to {len(a.members)} bands, at least 20 "
            "arrangements and two different names are needed"
        )
        raise InputError(msg)
    access = None if model is None else as_model(model)
    if access is not None and {first.model, second.model} != {access.name}:
        msg = (
            f"the circuits were found on {first.model} and {second.model}, but {access.name} is given to measure them "
            "on; give the one model that both were found on, or none"
        )
        raise InputError(msg)
    both = a.present & b.present
    if not both.any():
        msg = "there is no component that both models have"
        raise InputError(msg)
    one, other = a.members[both], b.members[both]
    strata = _strata(both, bands)
    scores = first.scores[both], second.scores[both]
    rng = np.random.default_rng([seed, 7])
    orders = [_within(strata, rng) for _ in range(n_perm)]
    overlaps = np.array([jaccard(one, other[order]) for order in orders])
    correlation = _correlation(*scores)
    correlations = np.array([_correlation(scores[0], scores[1][order]) for order in orders])
    return CircuitOverlap(
        shared=int((one & other).sum()),
        sizes=(int(one.sum()), int(other.sum())),
        components=int(both.sum()),
        jaccard=jaccard(one, other),
        expected=float(overlaps.mean()),
        p_value=permutation_p(jaccard(one, other), overlaps),
        correlation=correlation,
        correlation_p=float("nan") if np.isnan(correlation) else permutation_p(correlation, correlations),
        transfer={}
        if access is None
        else _transfer(access, dict(zip(names, (first, second), strict=True)), store),
        names=names,
        bands=bands,
        n_perm=n_perm,
    )


def jaccard(one: Bool[np.ndarray, " member"], other: Bool[np.ndarray, " member"]) -> float:
    """Return the share of members of either that are members of both; 0 for two empty sets.

    Example:
        >>> jaccard(np.array([True, True, False]), np.array([True, False, True])) == 1 / 3
        True
    """
    either = int((one | other).sum())
    return int((one & other).sum()) / either if either else 0.0


def _strata(both: Bool[np.ndarray, "layer component"], bands: int) -> Int[np.ndarray, " member"]:
    """Band of layers and kind of each component that is there, as one number."""
    layers, columns = np.nonzero(both)
    band = layers * bands // len(both)
    return np.asarray(2 * band + (columns == both.shape[1] - 1))


def _within(strata: Int[np.ndarray, " member"], rng: np.random.Generator) -> Int[np.ndarray, " member"]:
    """A random order that moves nothing out of its stratum."""
    order = np.arange(len(strata))
    for stratum in np.unique(strata):
        own = np.flatnonzero(strata == stratum)
        order[own] = rng.permutation(own)
    return order


def _correlation(a: Float[np.ndarray, " member"], b: Float[np.ndarray, " member"]) -> float:
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(spearmanr(a, b).statistic)


def _transfer(
    model: ModelAccess, found: dict[str, FoundCircuit], store: Store
) -> dict[tuple[str, str], Faithfulness]:
    """Each circuit where each was reported, under the ablation that found the one whose ground it is."""
    told = {}
    for on, ground in found.items():
        bench = Bench(
            model,
            ground.encoded,
            ground.reference,
            kind=ground.search.ablation,
            metric=ground.search.metric,
            under=ground.under,
            seed=ground.search.seed,
            store=store,
        )
        for of, circuit in found.items():
            told[of, on] = bench.measure(circuit.circuit)
    return told
