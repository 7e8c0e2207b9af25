"""Pruning rows as curves over blocks removed and as paths, one for each strategy and draw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from decision_phases.plots import Curve

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Path:
    """The steps that one draw of one strategy took.

    Attributes:
        strategy: Name of the strategy.
        seed: Seed of the draw; None for a deterministic strategy.
        rows: Its rows, from the intact model on.

    Example:
        >>> Path("random", 3, ()).label
        'random, draw 3'
    """

    strategy: str
    seed: int | None
    rows: tuple[Mapping[str, Any], ...]

    @property
    def label(self) -> str:
        """What to call the path in a chart."""
        name = self.strategy.replace("_", " ")
        return name if self.seed is None else f"{name}, draw {self.seed}"


def paths(pruning: Mapping[str, Rows]) -> tuple[Path, ...]:
    """Return every path of a run: strategies in the order given, draws by seed.

    Several draws may share one row of the intact model, written once with a seed of null.

    Args:
        pruning: Strategy to rows with ``step`` and ``seed``.

    Returns:
        The paths.

    Example:
        >>> rows = [{"step": 0, "seed": None}, {"step": 1, "seed": 4}, {"step": 1, "seed": 2}]
        >>> [(path.label, len(path.rows)) for path in paths({"random": rows})]
        [('random, draw 2', 2), ('random, draw 4', 2)]
    """
    found = []
    for strategy, rows in pruning.items():
        seeds = sorted({row["seed"] for row in rows if row.get("seed") is not None})
        shared = [row for row in rows if row.get("seed") is None]
        for seed in seeds or [None]:
            own = [row for row in rows if row.get("seed") == seed] if seed is not None else []
            steps = {row["step"] for row in own}
            mine = own + [row for row in shared if row["step"] not in steps]
            ordered = tuple(sorted(mine, key=lambda row: row["step"]))
            if ordered:
                found.append(Path(strategy, None if seed is None else int(seed), ordered))
    return tuple(found)


def curves(pruning: Mapping[str, Rows]) -> tuple[Curve, ...]:
    """Return accuracy against blocks removed, one curve for each strategy.

    Args:
        pruning: Strategy to rows with ``cut``, ``accuracy`` and ``accuracy_ci``.

    Returns:
        The curves. Where a strategy has several draws, a point is their mean, between the lowest and the
        highest draw; otherwise it has its interval over questions.

    Example:
        >>> row = {"step": 0, "seed": None, "cut": [], "accuracy": 0.9, "accuracy_ci": [0.8, 1.0]}
        >>> curve = curves({"margin": [row]})[0]
        >>> curve.removed.tolist(), curve.low.tolist(), curve.draws
        ([0], [0.8], 1)
    """
    found = []
    for strategy in pruning:
        members = [path for path in paths(pruning) if path.strategy == strategy]
        points: dict[int, list[Mapping[str, Any]]] = {}
        for path in members:
            for row in path.rows:
                points.setdefault(len(row.get("cut") or ()), []).append(row)
        if members:
            found.append(_curve(strategy, points, len(members)))
    return tuple(found)


def _curve(strategy: str, points: Mapping[int, Rows], draws: int) -> Curve:
    removed = np.array(sorted(points))
    accuracy, low, high = (np.full(removed.size, np.nan) for _ in range(3))
    for index, count in enumerate(removed):
        values = np.array([number(row.get("accuracy")) for row in points[count]])
        values = values[~np.isnan(values)]
        if not values.size:
            continue
        accuracy[index] = values.mean()
        if draws > 1:
            low[index], high[index] = values.min(), values.max()
        else:
            low[index], high[index] = pair(points[count][0].get("accuracy_ci"))
    return Curve(strategy, removed, accuracy, low, high, draws)


def unit(pruning: Mapping[str, Rows]) -> str:
    """Return what a step removes, in a word.

    Args:
        pruning: Strategy to rows, with ``parts`` where attentions or MLPs go by themselves.

    Returns:
        "block", or "unit".

    Example:
        >>> unit({"margin": [{"step": 1, "parts": ["block"]}]}), unit({"cosine_mlp": [{"parts": ["mlp"]}]})
        ('block', 'unit')
    """
    parts = {part for rows in pruning.values() for row in rows for part in row.get("parts") or ()}
    return "block" if parts <= {"block"} else "unit"


def removed(row: Mapping[str, Any]) -> int | str | None:
    """Return what a step removed.

    Args:
        row: A row of ``pruning``.

    Returns:
        The layer of a block; a part with its layer; the whole cut in words where steps do not remove one each; None
        for the intact model.

    Example:
        >>> removed({"step": 1, "removed": 5}), removed({"step": 1, "removed": 5, "parts": ["mlp"]})
        (5, 'mlp 5')
        >>> removed({"step": 2, "removed": None, "cut": [3, 4], "under": "skip {3, 4}"}), removed({"step": 0})
        ('skip {3, 4}', None)
    """
    if not row["step"]:
        return None
    layer, parts = row.get("removed"), row.get("parts") or ()
    if layer is None:
        return str(row.get("under") or ", ".join(map(str, row.get("cut") or ())))
    return int(layer) if not parts or parts[-1] == "block" else f"{parts[-1]} {int(layer)}"


def number(value: Any) -> float:
    """Return a JSON number as a float, NaN for null.

    Args:
        value: A number or None.

    Returns:
        The float.

    Example:
        >>> number(1), number(None)
        (1.0, nan)
    """
    return float("nan") if value is None else float(value)


def pair(value: Sequence[Any] | None) -> tuple[float, float]:
    """Return a JSON interval as two floats, NaN for null.

    Args:
        value: Two numbers, or None.

    Returns:
        Both ends.

    Example:
        >>> pair([0, None]), pair(None)
        ((0.0, nan), (nan, nan))
    """
    low, high = value if value is not None else (None, None)
    return number(low), number(high)
