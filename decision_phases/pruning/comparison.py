"""Tables that compare the strategies of some curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float

from decision_phases.pruning.endurance import trapezoid_weights
from decision_phases.stats import bootstrap_ci, holm, paired_difference, resample_weights, wilson_interval

if TYPE_CHECKING:
    from decision_phases.pruning.curves import Curves
    from decision_phases.pruning.step import Step

_DIFFERENCE = (
    "step", "difference", "low", "high", "p_value", "p_holm", "minimum_detectable", "n_questions",
)  # fmt: skip


def against(curves: Curves, reference: str, step: int | None = None, *, seed: int = 0) -> pd.DataFrame:
    """Every strategy minus one of them; see `Curves.against`.

    Args:
        curves: The curves.
        reference: The strategy that the others are compared with.
        step: Number of units removed; None for the mean height of the curves.
        seed: Of the resampling.

    Returns:
        One row for every other strategy that removes the same kind of unit and, if one is given, has the step.

    Raises:
        InputError: If the reference was not run.
    """
    kind = curves.parts(reference)
    others = [name for name in curves.strategies if name != reference and curves.parts(name) == kind]
    pairs = dict.fromkeys(others, reference)
    return _differences(curves, pairs, step, column="reference", seed=seed)


def against_random(curves: Curves, step: int | None = None, *, seed: int = 0) -> pd.DataFrame:
    """Every strategy minus the random one; see `Curves.against_random`.

    Args:
        curves: The curves.
        step: Number of units removed; None for the mean height of the curves.
        seed: Of the resampling.

    Returns:
        One row a strategy that has a control and, if one is given, the step.
    """
    controls = {name: curves.control_of(name) for name in curves.strategies}
    pairs = {name: control for name, control in controls.items() if control is not None}
    return _differences(curves, pairs, step, column="control", seed=seed)


def _differences(
    curves: Curves, pairs: Mapping[str, str], step: int | None, *, column: str, seed: int
) -> pd.DataFrame:
    """Strategies minus others on the same questions, p-values adjusted by Holm for how many pairs there are."""
    rows = []
    for name, other in pairs.items():
        last = min(curves.last_step(name), curves.last_step(other))
        if last < (step or 0):
            continue
        mine, theirs = (
            _heights(curves, one, last) if step is None else curves.right(one, step)[-1]
            for one in (name, other)
        )
        found = paired_difference(mine, theirs, seed=seed)
        rows.append(
            {
                "strategy": name,
                column: other,
                "step": last if step is None else step,
                "difference": found.difference,
                "low": found.low,
                "high": found.high,
                "p_value": found.p_value,
                "minimum_detectable": found.minimum_detectable,
                "n_questions": found.n_questions,
            }
        )
    table = pd.DataFrame(rows, columns=["strategy", column, *_DIFFERENCE])
    table["p_holm"] = holm(table["p_value"].to_numpy(dtype=np.float64))
    return table


def _heights(curves: Curves, strategy: str, last: int) -> Float[np.ndarray, " question"]:
    """Mean height of the curve, question by question."""
    return np.asarray(trapezoid_weights(np.arange(last + 1)) @ curves.right(strategy, last))


def summary(curves: Curves, *, seed: int = 0) -> pd.DataFrame:
    """One row a strategy; see `Curves.summary`.

    Args:
        curves: The curves.
        seed: Of the resampling.

    Returns:
        The table.
    """
    every = (curves, *curves.repeats)
    rows = []
    for name in curves.strategies:
        last, area = curves.last_step(name), curves.area(name, seed=seed)
        areas = [
            float(one.area(name, up_to=last).estimate)
            for one in every
            if name in one.strategies and one.last_step(name) >= last
        ]
        over_splits = [value for value in areas if not np.isnan(value)]
        rows.append(
            {
                "strategy": name,
                "last_step": last,
                "parameters": _parameters(curves, name, last),
                "area": float(area.estimate),
                "area_low": float(area.low),
                "area_high": float(area.high),
                "last_above_chance": curves.last_above_chance(name),
                **_collapse(curves, name, "half", 0.5, seed=seed),
                **_collapse(curves, name, "collapse", 0.25, seed=seed),
                **_luck(curves, name, last),
                "splits": len(over_splits),
                "area_split_mean": float(np.mean(over_splits)) if over_splits else np.nan,
                "area_split_sd": _sd(over_splits),
            }
        )
    columns = [
        "strategy", "last_step", "parameters", "area", "area_low", "area_high", "last_above_chance", "half", "half_low",
        "half_high", "collapse", "collapse_low", "collapse_high", "p_luck", "draws", "splits", "area_split_mean",
        "area_split_sd",
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=columns)
    ends = [f"{name}{end}" for name in ("half", "collapse") for end in ("", "_low", "_high")]
    whole = dict.fromkeys(["last_step", "last_above_chance", "draws", "splits", *ends], "Int64")
    return table.astype(whole).merge(against_random(curves, seed=seed), on="strategy", how="left")


def by_step(curves: Curves, *, seed: int = 0) -> pd.DataFrame:
    """One row a strategy and step; see `Curves.by_step`.

    Args:
        curves: The curves.
        seed: Of the resampling.

    Returns:
        The table.
    """
    every = (curves, *curves.repeats)
    rows = []
    for name in curves.strategies:
        control = curves.control_of(name)
        several = len({row.seed for row in curves.of(name)}) > 1
        for step in range(curves.last_step(name) + 1):
            right = curves.right(name, step)[-1]
            inside = (
                bootstrap_ci(right, seed=seed)
                if several
                else wilson_interval(round(float(right.sum())), len(right))
            )
            over_splits = [
                float(one.right(name, step)[-1].mean())
                for one in every
                if name in one.strategies and one.last_step(name) >= step
            ]
            margin = bootstrap_ci(
                np.mean([one.margins for one in curves.of(name, step=step)], axis=0), seed=seed
            )
            row = {
                "strategy": name,
                "step": step,
                "parameters": _parameters(curves, name, step),
                "accuracy": float(right.mean()),
                "low": float(inside.low),
                "high": float(inside.high),
                "margin": float(margin.estimate),
                "margin_low": float(margin.low),
                "margin_high": float(margin.high),
                **({} if several else _transition(curves.of(name, step=step)[0])),
                "splits": len(over_splits),
                "split_mean": float(np.mean(over_splits)),
                "split_sd": _sd(over_splits),
                "split_low": min(over_splits),
                "split_high": max(over_splits),
            }
            if control is not None and curves.last_step(control) >= step:
                apart = bootstrap_ci(right - curves.right(control, step)[-1], seed=seed)
                row |= {
                    "difference": float(apart.estimate),
                    "difference_low": float(apart.low),
                    "difference_high": float(apart.high),
                    **_luck(curves, name, step),
                }
            rows.append(row)
    columns = [
        "strategy", "step", "parameters", "accuracy", "low", "high", "margin", "margin_low", "margin_high",
        "transition", "transition_low", "transition_high", "splits", "split_mean", "split_sd", "split_low",
        "split_high", "difference", "difference_low", "difference_high", "p_luck", "draws",
    ]  # fmt: skip
    whole = dict.fromkeys(["transition", "transition_low", "transition_high", "draws"], "Int64")
    return pd.DataFrame(rows, columns=columns).astype({**whole, "p_luck": "float64"})


def _transition(row: Step) -> dict[str, int | None]:
    low, high = row.transition_ci or (None, None)
    return {"transition": row.transition, "transition_low": low, "transition_high": high}


def _luck(curves: Curves, strategy: str, step: int) -> dict[str, float | int]:
    """How often random cuts of as many units have as large a mean margin; nothing for these or the intact model."""
    control = curves.control_of(strategy)
    drawn = len({row.seed for row in curves.of(strategy)}) > 1
    if control is None or drawn or not 0 < step <= curves.last_step(control):
        return {}
    found = curves.better_than_luck(strategy, step)
    return {"p_luck": found.p_value, "draws": len(found.null)}


def _collapse(curves: Curves, strategy: str, name: str, share: float, *, seed: int) -> dict[str, int | None]:
    """Where some share of the accuracy above chance is left, with its bootstrap interval over questions.

    An end beyond the last step has no number. Both have none where the intact model is not above chance in every
    resample.
    """
    at = curves.collapse(strategy, share=share)
    accuracy = curves.right(strategy) @ resample_weights(curves.n_evaluation, 2000, seed=seed).T
    above = accuracy[0] - curves.chance
    last = len(accuracy) - 1
    if (above <= 0).any():
        return {name: at}
    gone = accuracy <= curves.chance + share * above
    first = np.where(gone.any(axis=0), gone.argmax(axis=0), last + 1)
    low, high = np.quantile(first, [0.025, 0.975], method="inverted_cdf").tolist()
    return {
        name: at,
        f"{name}_low": low if low <= last else None,
        f"{name}_high": high if high <= last else None,
    }


def _parameters(curves: Curves, strategy: str, step: int) -> float:
    """Parameters removed at a step, mean over draws."""
    return float(np.mean([row.parameters for row in curves.of(strategy, step=step)]))


def _sd(values: list[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else np.nan
