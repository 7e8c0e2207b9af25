"""Tables that compare the strategies of some curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float

from decision_phases.pruning.endurance import trapezoid_weights
from decision_phases.stats import bootstrap_ci, holm, paired_difference, wilson_interval

if TYPE_CHECKING:
    from decision_phases.pruning.curves import Curves

_AGAINST = (
    "strategy", "control", "step", "difference", "low", "high", "p_value", "p_holm", "minimum_detectable",
    "n_questions",
)  # fmt: skip


def against_random(curves: Curves, step: int | None = None, *, seed: int = 0) -> pd.DataFrame:
    """Every strategy minus the random one; see `Curves.against_random`.

    Args:
        curves: The curves.
        step: Number of units removed; None for the mean height of the curves.
        seed: Of the resampling.

    Returns:
        One row a strategy that has a control and, if one is given, the step.
    """
    rows = []
    for name in curves.strategies:
        control = curves.control_of(name)
        if control is None:
            continue
        last = min(curves.last_step(name), curves.last_step(control))
        if last < (step or 0):
            continue
        mine, theirs = (
            _heights(curves, one, last) if step is None else curves.right(one, step)[-1]
            for one in (name, control)
        )
        found = paired_difference(mine, theirs, seed=seed)
        rows.append(
            {
                "strategy": name,
                "control": control,
                "step": last if step is None else step,
                "difference": found.difference,
                "low": found.low,
                "high": found.high,
                "p_value": found.p_value,
                "minimum_detectable": found.minimum_detectable,
                "n_questions": found.n_questions,
            }
        )
    table = pd.DataFrame(rows, columns=list(_AGAINST))
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
                "half": curves.collapse(name, share=0.5),
                "collapse": curves.collapse(name),
                "splits": len(over_splits),
                "area_split_mean": float(np.mean(over_splits)) if over_splits else np.nan,
                "area_split_sd": _sd(over_splits),
            }
        )
    columns = [
        "strategy", "last_step", "parameters", "area", "area_low", "area_high", "last_above_chance", "half", "collapse",
        "splits", "area_split_mean", "area_split_sd",
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=columns)
    whole = dict.fromkeys(["last_step", "last_above_chance", "half", "collapse", "splits"], "Int64")
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
            row = {
                "strategy": name,
                "step": step,
                "parameters": _parameters(curves, name, step),
                "accuracy": float(right.mean()),
                "low": float(inside.low),
                "high": float(inside.high),
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
                }
            rows.append(row)
    columns = [
        "strategy", "step", "parameters", "accuracy", "low", "high", "splits", "split_mean", "split_sd", "split_low",
        "split_high", "difference", "difference_low", "difference_high",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _parameters(curves: Curves, strategy: str, step: int) -> float:
    """Parameters removed at a step, mean over draws."""
    return float(np.mean([row.parameters for row in curves.of(strategy) if row.step == step]))


def _sd(values: list[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else np.nan
