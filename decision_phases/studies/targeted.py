"""Is pruning the Decisive Phase cheaper than pruning the Silent Phase, than pruning anywhere?

Random cuts of equal size from each phase and from the whole depth, scattered and contiguous, measured on questions
that did not set the boundary.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool

from decision_phases.engine import Store, evaluate
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention, skip
from decision_phases.models import ModelAccess
from decision_phases.pruning import RandomPool
from decision_phases.readout.observe import FinalObserver
from decision_phases.readout.phases import Phases
from decision_phases.stats import N_FINE, PairedDifference, bootstrap_ci, holm, paired_difference
from decision_phases.tasks import EncodedQuestions

SHAPES = ("scattered", "contiguous")
REGIONS = ("silent", "decisive", "anywhere")
_SMALLEST = 3  # a phase of fewer blocks cannot be compared with another


@dataclass(frozen=True)
class Cell:
    """Random cuts of one size from one region.

    Attributes:
        region: "silent", "decisive" or "anywhere".
        shape: "scattered" or "contiguous".
        size: Blocks removed.
        exclude: Name of the exclusion in force.
        cuts: The cuts; all there are where those are no more than the draws.
        exhaustive: Whether these are all.
    """

    region: str
    shape: str
    size: int
    exclude: str
    cuts: tuple[tuple[int, ...], ...]
    exhaustive: bool

    @property
    def name(self) -> str:
        """A name for files and tables."""
        return f"{self.exclude}-{self.region}-{self.shape}-{self.size}"


@dataclass(frozen=True, eq=False)
class Targeted:
    """What random cuts of each phase cost.

    Attributes:
        cells: What was cut.
        correct: Cell's name → whether each question is right after each cut.
        intact: Whether the intact model gets each question right.
        chance: Accuracy of guessing.
        phases: The phases that the cells were drawn from.
        not_testable: Comparison → why it cannot be made.
        seed: Of draws and resampling.
    """

    cells: tuple[Cell, ...]
    correct: Mapping[str, Bool[np.ndarray, "cut question"]] = field(repr=False)
    intact: Bool[np.ndarray, " question"] = field(repr=False)
    chance: float
    phases: Phases
    not_testable: Mapping[str, str]
    seed: int

    def to_pandas(self) -> pd.DataFrame:
        """One row a cell.

        Returns:
            Columns exclude, shape, size, region, cuts, exhaustive, accuracy, low, high (bootstrap over questions,
            of the mean over cuts), worst, best (over cuts).
        """
        rows = []
        for cell in self.cells:
            right = self.correct[cell.name]
            interval = bootstrap_ci(right.mean(axis=0, dtype=np.float64), seed=self.seed)
            by_cut = right.mean(axis=1)
            rows.append(
                {
                    "exclude": cell.exclude,
                    "shape": cell.shape,
                    "size": cell.size,
                    "region": cell.region,
                    "cuts": len(cell.cuts),
                    "exhaustive": cell.exhaustive,
                    "accuracy": float(interval.estimate),
                    "low": float(interval.low),
                    "high": float(interval.high),
                    "worst": float(by_cut.min()),
                    "best": float(by_cut.max()),
                }
            )
        return pd.DataFrame(rows)

    def compare(self) -> pd.DataFrame:
        """Paired differences of accuracy between regions, at equal size, shape and exclusion.

        Returns:
            Columns exclude, shape, size, comparison, difference, low, high, p_value, p_holm (over
            all rows), detectable.
        """
        by_name = {cell.name: cell for cell in self.cells}
        rows: list[dict[str, Any]] = []
        for cell in self.cells:
            if cell.region != "decisive":
                continue
            for other in ("silent", "anywhere"):
                twin = f"{cell.exclude}-{other}-{cell.shape}-{cell.size}"
                if twin not in by_name:
                    continue
                found = self._difference(cell.name, twin)
                rows.append(
                    {
                        "exclude": cell.exclude,
                        "shape": cell.shape,
                        "size": cell.size,
                        "comparison": f"decisive - {other}",
                        "difference": found.difference,
                        "low": found.low,
                        "high": found.high,
                        "p_value": found.p_value,
                        "detectable": found.minimum_detectable,
                    }
                )
        table = pd.DataFrame(rows)
        if rows:
            table.insert(8, "p_holm", holm(table["p_value"].to_numpy(dtype=np.float64)))
        return table

    def _difference(self, a: str, b: str) -> PairedDifference:
        mean = {name: self.correct[name].mean(axis=0, dtype=np.float64) for name in (a, b)}
        return paired_difference(mean[a], mean[b], n_perm=N_FINE, seed=self.seed)


def plan_cells(
    phases: Phases,
    *,
    exclusions: Mapping[str, Iterable[int]],
    sizes: Sequence[int] | None = None,
    draws: int = 20,
    seed: int = 0,
) -> tuple[tuple[Cell, ...], dict[str, str]]:
    """Draw the cuts of a comparison of phases.

    Args:
        phases: Found on questions that do not measure.
        exclusions: Name → layers that no cut may hold.
        sizes: Sizes of the cuts; by default every size up to the smaller phase.
        draws: Cuts of each kind, or all where there are fewer.
        seed: Of the draws.

    Returns:
        The cells, and comparison → why it cannot be made.

    Raises:
        InputError: If there are no phases.
    """
    if not phases.found:
        msg = f"there are no phases to compare: {phases.verdict}"
        raise InputError(msg)
    cells: list[Cell] = []
    reasons: dict[str, str] = {}
    for exclude, layers in exclusions.items():
        gone = set(layers)
        regions = {
            "silent": tuple(layer for layer in phases.silent if layer not in gone),
            "decisive": tuple(layer for layer in phases.decisive if layer not in gone),
        }
        regions["anywhere"] = tuple(sorted((*regions["silent"], *regions["decisive"])))
        smaller = min(len(regions["silent"]), len(regions["decisive"]))
        if smaller < _SMALLEST:
            reasons[exclude] = (
                f"not testable: the smaller phase has {smaller} blocks left, {_SMALLEST} are needed"
            )
            continue
        for size in sizes or range(1, smaller + 1):
            if size > smaller:
                reasons[f"{exclude}, {size} blocks"] = f"not testable: the smaller phase has {smaller} blocks"
                continue
            for shape in SHAPES:
                for region in REGIONS:
                    cuts, every = _draw(regions[region], shape, size, draws, seed)
                    cells.append(Cell(region, shape, size, exclude, cuts, every))
    return tuple(cells), reasons


def run_targeted(
    model: ModelAccess,
    encoded: EncodedQuestions,
    phases: Phases,
    cells: Sequence[Cell],
    *,
    not_testable: Mapping[str, str],
    store: Store = None,
    seed: int = 0,
    progress: bool = True,
) -> Targeted:
    """Measure every cell, each cut once however many cells hold it.

    Args:
        model: The model.
        encoded: Questions that did not set the boundary.
        phases: The phases that the cells were drawn from.
        cells: What to cut.
        not_testable: Comparison → why it cannot be made.
        store: A store or its folder, where every cut is kept and found again.
        seed: Of the resampling.
        progress: Show bars.

    Returns:
        The result.
    """
    cuts = list(dict.fromkeys([(), *(cut for cell in cells for cut in cell.cuts)]))
    variants = [skip(*cut) if cut else Intervention() for cut in cuts]
    runs = evaluate(model, encoded, variants, [FinalObserver()], store=store, progress=progress)
    known: dict[tuple[int, ...], Bool[np.ndarray, " question"]] = {
        cut: run["final"].correct for cut, run in zip(cuts, runs, strict=True)
    }
    return Targeted(
        tuple(cells),
        {cell.name: np.stack([known[cut] for cut in cell.cuts]) for cell in cells},
        known[()],
        encoded.questions.chance,
        phases,
        dict(not_testable),
        seed,
    )


def _draw(
    layers: tuple[int, ...], shape: str, size: int, draws: int, seed: int
) -> tuple[tuple[tuple[int, ...], ...], bool]:
    """Distinct cuts of one size, in a fixed order, and whether these are all."""
    if shape == "contiguous":
        every = [layers[i : i + size] for i in range(len(layers) - size + 1)]
        every = [cut for cut in every if cut[-1] - cut[0] == size - 1]
        if len(every) <= draws:
            return tuple(every), True
        rng = np.random.default_rng([seed, size])
        chosen = sorted(rng.choice(len(every), draws, replace=False).tolist())
        return tuple(every[i] for i in chosen), False
    if comb(len(layers), size) <= draws:
        return tuple(combinations(layers, size)), True
    pool, found, draw = RandomPool(layers, seed), dict[tuple[int, ...], None](), 0
    while len(found) < draws:
        found[tuple(sorted(pool.order(draw)[:size]))] = None
        draw += 1
    return tuple(found), False
