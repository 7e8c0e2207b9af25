"""What all pairs of a model and a task say together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from correlations import spearman
from jaxtyping import Float

from decision_phases.stats import permutation_p, resample_weights


def relate(pairs: list[dict[str, Any]], s: SimpleNamespace) -> dict[str, Any]:
    """Correlate how late pairs decide with how much they keep, strategy by strategy.

    A pair counts where it has a transition and accuracy above chance. What is kept is the accuracy above chance, as a
    share of the intact model's, mean over all numbers of blocks up to half: unlike the collapse ratio it is there also
    for what does not collapse.

    Args:
        pairs: What is in pairs/.
        s: Settings: `LEAST_PAIRS`, `N_BOOT`, `SEED`.

    Returns:
        One entry a strategy; without a correlation where there are too few pairs.
    """
    found = {}
    for name in dict.fromkeys(name for pair in pairs for name in pair["pruned"]):
        usable = [
            (pair["relative_transition"], pair["pruned"][name]["kept"])
            for pair in pairs
            if name in pair["pruned"]
            and pair["relative_transition"] is not None
            and pair["pruned"][name]["kept"] is not None
        ]
        found[name] = {"n": len(usable)}
        if len(usable) >= s.LEAST_PAIRS:
            late, kept = np.array(usable).T
            found[name] |= correlation(late, kept, n_boot=s.N_BOOT, seed=s.SEED)
    return {"least_pairs": s.LEAST_PAIRS, "correlations": found}


def correlation(
    x: Float[np.ndarray, " pair"], y: Float[np.ndarray, " pair"], *, n_boot: int, seed: int
) -> dict[str, Any]:
    """Rank and linear correlation with bootstrap intervals over pairs, and a permutation p-value of the former.

    Args:
        x: One side.
        y: The other.
        n_boot: Resamples, and permutations.
        seed: Of both.

    Returns:
        "spearman" and "pearson" with estimate, low and high, and "p", two-sided.
    """
    n = len(x)
    rows = [
        np.repeat(np.arange(n), np.round(w * n).astype(int)) for w in resample_weights(n, n_boot, seed=seed)
    ]
    told: dict[str, Any] = {}
    for name, statistic in (("spearman", spearman), ("pearson", _pearson)):
        drawn = np.array([float(statistic(x[row], y[row])) for row in rows])
        low, high = np.nanquantile(drawn, [0.025, 0.975])
        told[name] = {"estimate": float(statistic(x, y)), "low": float(low), "high": float(high)}
    rng = np.random.default_rng([seed, 1])
    null = np.array([float(spearman(x, rng.permutation(y))) for _ in range(n_boot)])
    return {**told, "p": permutation_p(told["spearman"]["estimate"], null, alternative="two-sided")}


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])
