"""What the numbers of this experiment are worth: arrays in, JSON values out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from correlations import difference, halves, reliability, shared, shift_p, spearman, with_interval

from decision_phases.stats import permutation_p, resample_weights


def correlate(
    scores: dict[str, np.ndarray],
    damage: dict[str, np.ndarray],
    sets: dict[str, list[int]],
    s: SimpleNamespace,
) -> dict[str, Any]:
    """Rank correlation of every criterion with the damage of single removals, over several sets of layers.

    Args:
        scores: Criterion → one score a layer, NaN where it has none.
        damage: What is lost → one row a question, one column a layer.
        sets: Name → layers that are compared.
        s: Settings: `COMPARED`, `N_BOOT`, `N_SPLITS`, `SEED`.

    Returns:
        Rows; the ceiling for each set and damage, the root of the damage's own reliability; and for each pair that is
        compared the difference of its correlations.
    """
    rows: list[dict[str, Any]] = []
    ceilings: list[dict[str, Any]] = []
    differences: list[dict[str, Any]] = []
    for set_name, layers in sets.items():
        for what, values in damage.items():
            own = values[:, layers]
            trusted = reliability(own, n_splits=s.N_SPLITS, seed=s.SEED)
            ceilings.append(
                {"set": set_name, "damage": what, "reliability": trusted, "ceiling": trusted**0.5}
            )
            for name, score in scores.items():
                mine = score[layers]
                if not np.isfinite(mine).all():
                    continue
                found = with_interval(mine, own, n_boot=s.N_BOOT, seed=s.SEED)
                rows.append(
                    {"criterion": name, "set": set_name, "damage": what, **found,
                     "shift_p": shift_p(mine, own.mean(axis=0))}
                )  # fmt: skip
            for one, other in s.COMPARED:
                pair = [scores[name][layers] for name in (one, other) if name in scores]
                if len(pair) == 2 and np.isfinite(pair).all():
                    found = difference(*pair, own, n_boot=s.N_BOOT, seed=s.SEED)
                    differences.append({"one": one, "other": other, "set": set_name, "damage": what, **found})
    return {"rows": rows, "ceilings": ceilings, "differences": differences}


def collapse(accuracies: list[float], sizes: list[int], bar: float) -> int | None:
    """The smallest size at which the accuracy is at most a bar.

    Args:
        accuracies: One a size.
        sizes: Ascending.
        bar: Where a quarter of the accuracy above chance is left.

    Returns:
        The size, or None.

    Example:
        >>> collapse([0.9, 0.3, 0.5], [1, 2, 3], 0.4)
        2
    """
    return next((k for k, accuracy in zip(sizes, accuracies, strict=True) if accuracy <= bar), None)


def collapse_bar(intact: float, chance: float) -> float:
    """The accuracy at which a quarter of what is above chance is left; none for a model that is not above it.

    Args:
        intact: Accuracy of the intact model.
        chance: Accuracy of guessing.

    Returns:
        The bar; −∞ where nothing can collapse.

    Example:
        >>> collapse_bar(0.65, 0.25), collapse_bar(0.2, 0.25)
        (0.35, -inf)
    """
    return chance + 0.25 * (intact - chance) if intact > chance else -float("inf")


def judge_cuts(
    orders: dict[str, tuple[int, ...]],
    random: list[tuple[int, ...]],
    kept: dict[tuple[int, ...], tuple[float, float]],
    sizes: list[int],
    chance: float,
) -> list[dict[str, Any]]:
    """What the cuts of every criterion keep, against the random cuts of the pool.

    Args:
        orders: Criterion → layers in the order of removal.
        random: Random orders.
        kept: Cut → margin and accuracy under it.
        sizes: Blocks removed.
        chance: Accuracy of guessing.

    Returns:
        One row a criterion and size, with the size at which the criterion's accuracy collapses.
    """
    rows = []
    bar = collapse_bar(kept[()][1], chance)
    for name, order in orders.items():
        own = [kept[order[:k]] for k in sizes]
        at = collapse([accuracy for _, accuracy in own], sizes, bar)
        for k, (margin, accuracy) in zip(sizes, own, strict=True):
            null = np.array([kept[other[:k]][0] for other in random])
            rows.append(
                {"criterion": name, "blocks": k, "layers": sorted(order[:k]), "margin": margin, "accuracy": accuracy,
                 "random_margin": float(null.mean()), "luck_p": permutation_p(margin, null), "collapse": at}
            )  # fmt: skip
    return rows


def foretell(
    predicted: np.ndarray, damage: np.ndarray, collapses: np.ndarray, s: SimpleNamespace
) -> dict[str, Any]:
    """How well predicted damage orders random cuts of equal size, and their collapse.

    Args:
        predicted: Sum of scores of each draw's first blocks, one column a size.
        damage: What these cuts cost.
        collapses: The size at which each draw collapses, NaN if it does not: later than all.
        s: Settings: `N_BOOT`, `SEED`.

    Returns:
        Rank correlation within sizes, mean over sizes, with its interval over draws, and the rank correlation between
        draws of all that is predicted with how early they collapse.
    """
    many = [column for column in range(predicted.shape[1]) if np.ptp(predicted[:, column]) > 0]
    if not many:
        return {"estimate": None, "low": None, "high": None, "collapse": None}

    def within(rows: np.ndarray) -> float:
        found = spearman(predicted[rows][:, many].T, damage[rows][:, many].T)
        return float(np.nanmean(found)) if np.isfinite(found).any() else float("nan")

    weights = resample_weights(len(predicted), s.N_BOOT, seed=s.SEED)
    drawn = [
        within(np.repeat(np.arange(len(predicted)), np.round(w * len(predicted)).astype(int)))
        for w in weights
    ]
    low, high = np.nanquantile(drawn, [0.025, 0.975]) if np.isfinite(drawn).any() else (np.nan, np.nan)
    early = -np.where(np.isnan(collapses), np.inf, collapses)
    return {
        "estimate": within(np.arange(len(predicted))),
        "low": float(low),
        "high": float(high),
        "collapse": float(spearman(predicted.sum(axis=1), early)),
    }


def perplexity_against_decisions(
    margin: np.ndarray,
    loss: np.ndarray,
    sets: dict[str, list[int]],
    sizes: list[int],
    s: SimpleNamespace,
) -> list[dict[str, Any]]:
    """Whether perplexity ranks blocks otherwise than decisions do, beyond what each disagrees with itself.

    Args:
        margin: Loss of margin, one row a question, one column a layer.
        loss: Rise of the cross-entropy, one row a text.
        sets: Name → layers.
        sizes: Numbers of blocks that would be removed.
        s: Settings: `N_SPLITS`, `N_BOOT`, `SEED`.

    Returns:
        One row a set: the rank correlation with an interval over questions and texts, its ceiling (the root of the product of both reliabilities), its p-value
        under shifts, and for each size the share of blocks that both would remove, beside the share that halves of the
        questions, and halves of the texts, have in common, and that of blocks taken blindly.
    """
    rows = []
    for name, layers in sets.items():
        a, b = margin[:, layers], loss[:, layers]
        one, other = a.mean(axis=0), b.mean(axis=0)
        trusted = [reliability(side, n_splits=s.N_SPLITS, seed=s.SEED) for side in (a, b)]
        drawn = spearman(*(resample_weights(len(side), s.N_BOOT, seed=s.SEED) @ side for side in (a, b)))
        low, high = np.nanquantile(drawn, [0.025, 0.975]) if np.isfinite(drawn).any() else (np.nan, np.nan)
        overlaps = []
        for k in [k for k in sizes if k < len(layers)]:

            def same(x: np.ndarray, y: np.ndarray, k: int = k) -> float:
                return shared(x, y, k)

            within = [halves(side, same, n_splits=s.N_SPLITS, seed=s.SEED) for side in (a, b)]
            overlaps.append(
                {"blocks": k, "shared": shared(one, other, k), "questions": within[0], "texts": within[1],
                 "blindly": k / len(layers)}
            )  # fmt: skip
        rows.append(
            {
                "set": name,
                "estimate": float(spearman(one, other)),
                "low": float(low),
                "high": float(high),
                "shift_p": shift_p(one, other),
                "reliability_margin": trusted[0],
                "reliability_loss": trusted[1],
                "ceiling": float(np.sqrt(trusted[0] * trusted[1])),
                "overlaps": overlaps,
            }
        )
    return rows
