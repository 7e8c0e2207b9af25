"""What is made of several trainings of one kind: means over them, question by question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from decision_phases.repairs.comparison import INTACT, NOTHING
from decision_phases.stats import holm, paired_difference, recovered_shares, resample_weights, with_ends

#: Measure → whether the perplexity's texts are its items, not the questions.
MEASURES = ("accuracy", "margin", "log_perplexity")
N_BOOT = 2000


def values_of(
    rows: Mapping[str, Any], paths: Mapping[str, np.ndarray], groups: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, np.ndarray]]:
    """One value a question or text, the mean over the members of each group; higher is better.

    Args:
        rows: Name → row of a comparison of repairs.
        paths: Name → margins `[question, layer]`, NaN in removed layers.
        groups: Name of a group → its members.

    Returns:
        Group → accuracy, margin, log_perplexity, each one an item, and path `[question, layer]`.
    """
    found = {}
    for group, names in groups.items():
        mine = [rows[name] for name in names]
        found[group] = {
            "accuracy": np.mean([row.correct.astype(np.float64) for row in mine], axis=0),
            "margin": np.mean([row.margins for row in mine], axis=0),
            # longer texts count for more, as they do in the perplexity
            "log_perplexity": np.mean(
                [-row.perplexity.nll / row.perplexity.tokens.mean() for row in mine], axis=0
            ),
            "path": np.mean([paths[name] for name in names], axis=0),
        }
    return found


def off_the_way(values: Mapping[str, Mapping[str, np.ndarray]], group: str) -> np.ndarray:
    """How far the margins of a model are from the intact one's, over surviving layers, one value a question."""
    distance = np.abs(values[group]["path"] - values[INTACT]["path"])
    return np.nanmean(distance[:, ~np.isnan(distance).all(axis=0)], axis=1)


def pooled(values: Mapping[str, Mapping[str, np.ndarray]], seed: int) -> pd.DataFrame:
    """One row a group: means, and the share of what the cut costs that comes back, with its interval.

    Args:
        values: What `values_of` gives.
        seed: Of the resampling.

    Returns:
        Columns method, accuracy, margin, perplexity, off_the_way; and of each measure recovered_, with _low and _high.
    """
    rows = []
    for group, mine in values.items():
        row: dict[str, Any] = {
            "method": group,
            "accuracy": mine["accuracy"].mean(),
            "margin": mine["margin"].mean(),
            "perplexity": float(np.exp(-mine["log_perplexity"].mean())),
            "off_the_way": off_the_way(values, group).mean(),
        }
        for measure in MEASURES:
            parts = [values[name][measure] for name in (INTACT, NOTHING, group)]
            row |= dict(
                zip(
                    (f"recovered_{measure}{end}" for end in ("", "_low", "_high")),
                    share(*parts, seed=seed),
                    strict=True,
                )
            )
        rows.append(row)
    return pd.DataFrame(rows)


def share(
    intact: np.ndarray, cut: np.ndarray, repaired: np.ndarray, *, seed: int
) -> tuple[float, float, float]:
    """(repaired − cut) / (intact − cut) of means, with a bootstrap interval; NaN where the cut may cost nothing."""
    weights = np.vstack([np.full(len(cut), 1 / len(cut)), resample_weights(len(cut), N_BOOT, seed=seed)])
    return with_ends(recovered_shares(weights @ (repaired - cut), weights @ (intact - cut)))


def compared(
    values: Mapping[str, Mapping[str, np.ndarray]], groups: Sequence[str], seed: int
) -> pd.DataFrame:
    """Every repair minus every other, on the same questions or texts, p adjusted for their number.

    Args:
        values: What `values_of` gives.
        groups: The repairs.
        seed: Of the resampling.

    Returns:
        Columns measure, first, second, estimate, low, high, p_value, p_holm, minimum_detectable. "on_the_way" is the
        distance of the second from the intact model's margins minus that of the first.
    """
    rows = []
    for measure in (*MEASURES, "on_the_way"):
        for second, first in combinations(groups, 2):
            a, b = (
                -off_the_way(values, name) if measure == "on_the_way" else values[name][measure]
                for name in (first, second)
            )
            found = paired_difference(a, b, seed=seed)
            rows.append(
                {"measure": measure, "first": first, "second": second, "estimate": found.difference, "low": found.low,
                 "high": found.high, "p_value": found.p_value, "minimum_detectable": found.minimum_detectable}
            )  # fmt: skip
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(table["p_value"].to_numpy(dtype=np.float64))
    return table
