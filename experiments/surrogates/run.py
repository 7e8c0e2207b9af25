"""How many masks does a surrogate need, and how good are the Shapley values that it, or sampling, gives?

    uv run python experiments/surrogates/run.py             # under an hour on 2 cores; continues where it stopped
    uv run python experiments/surrogates/run.py --quick     # a small random model, as a check

Writes results.json, quality.csv, estimates.csv, figure.png and README.md beside this file (or to --out).
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import decision_phases as dp
from decision_phases.pruning.game import (
    SURROGATES,
    ModelGame,
    Setup,
    all_masks,
    draw_masks,
    estimate,
    find_units,
)
from decision_phases.pruning.game.indices import size_chances
from decision_phases.pruning.game.quality import measure
from decision_phases.pruning.game.surrogates import find_surrogate

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))
import settings
from common import Job, begin
from correlations import spearman
from figure import draw
from story import tell

FOLDER = Path(__file__).parent


def main(argv: list[str] | None = None) -> None:
    """Run what is not there yet, then write tables, figure and text."""
    job = begin(__doc__, settings, FOLDER, argv)
    s, model = job.settings, job.model
    encoded = dp.ask(model, dp.questions(s.QUESTIONS).limit(s.N_SEARCH, s.SEED))
    n_layers = model.n_layers
    free = range(1, n_layers - 1)
    blocks = ModelGame(
        model, encoded, find_units(free, n_layers), objective=s.OBJECTIVE, store=job.store, progress=not job.quick
    )  # fmt: skip
    # Masks near the sizes that pruning leaves: the first blocks of the orders of the random pool are gone.
    masks = draw_masks(len(free), s.N_MASKS, sampler="published", seed=s.SEED).masks
    values = blocks(masks)
    job.say(f"{len(masks)} masks of blocks are there")
    # In [0, 1], which changes no R², but which a network that ends in a sigmoid can say.
    quality = learn(masks, (1 + values) / 2, s)
    per_mask = timed(job, encoded, masks)
    groups = [range(start, min(start + s.GROUP, n_layers)) for start in range(0, n_layers, s.GROUP)]
    grouped = ModelGame(
        model, encoded, find_units(groups, n_layers), objective=s.OBJECTIVE, store=job.store, progress=not job.quick
    )  # fmt: skip
    every = grouped(all_masks(len(groups)))
    job.say(f"all {len(every)} masks of {len(groups)} groups are there")
    estimates = estimators(every, len(groups), per_mask, s)
    sampled = permutation_against_surrogate(blocks, masks, values, s)
    job.say("permutation sampling of all blocks is there")
    pd.DataFrame(quality).to_csv(job.out / "quality.csv", index=False)
    pd.DataFrame(estimates["rows"]).to_csv(job.out / "estimates.csv", index=False)
    told = job.write(
        {
            "questions": {"name": s.QUESTIONS, "n": len(encoded)},
            "objective": s.OBJECTIVE,
            "n_masks": len(masks),
            "n_different": len(np.unique(masks, axis=0)),
            "sizes": sorted(set(masks.sum(axis=1).tolist())),
            "value": {"mean": float(values.mean()), "sd": float(values.std()),
                      "between_sizes": between_sizes(masks, values)},
            "quality": quality,
            "seconds_per_mask": per_mask,
            "groups": [list(group) for group in groups],
            "group_value": {"intact": float(every[-1]), "empty": float(every[0])},
            "estimates": estimates,
            "blocks": sampled,
        }
    )  # fmt: skip
    draw(told, job.out / "figure.png")
    (job.out / "README.md").write_text(tell(told), encoding="utf-8")
    job.say(f"written to {job.out}")


def learn(masks: np.ndarray, values: np.ndarray, s: Any) -> list[dict[str, Any]]:
    """Quality on held-out masks against the number of masks trained on, for every surrogate."""
    once, first = np.unique(masks, axis=0, return_index=True)
    order = np.random.default_rng([s.SEED, 1]).permutation(first)
    held, rest = order[: s.N_HELD_OUT], order[s.N_HELD_OUT :]
    grid = list(dict.fromkeys(min(n, len(rest)) for n in s.GRID))
    rows = []
    for name in s.SURROGATES:
        for n in grid:
            if n < SURROGATES[name].least(once.shape[1]):
                continue
            points, began = [], time.monotonic()
            for repeat in range(s.REPEATS):
                chosen = np.random.default_rng([s.SEED, 2, repeat]).permutation(rest)[:n]
                fitted = find_surrogate(name).fit(masks[chosen], values[chosen, None], None, repeat)
                predicted = fitted(masks[held])[:, 0]
                point = measure(predicted, values[held], n_masks=n)
                points.append(
                    (point.r2, point.rank_correlation, within_sizes(masks[held], predicted, values[held]))
                )
            r2, rank, within = np.nanmean(points, axis=0)
            low, high = np.min(points, axis=0)[0], np.max(points, axis=0)[0]
            rows.append(
                {"surrogate": name, "n_masks": n, "r2": r2, "r2_low": low, "r2_high": high, "rank_correlation": rank,
                 "r2_within": within, "fit_seconds": (time.monotonic() - began) / s.REPEATS}
            )  # fmt: skip
    return rows


def within_sizes(masks: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> float:
    """R² of what is left once the mean of each number of kept blocks is known: how many go is no merit."""
    kept = masks.sum(axis=1)
    spread = error = 0.0
    for k in np.unique(kept):
        mine = kept == k
        centred = true[mine] - true[mine].mean()
        spread += float((centred**2).sum())
        error += float(((predicted[mine] - predicted[mine].mean() - centred) ** 2).sum())
    return 1 - error / spread if spread > 0 else float("nan")


def between_sizes(masks: np.ndarray, values: np.ndarray) -> float:
    """Share of the variance of values that the number of kept blocks explains by itself."""
    kept = masks.sum(axis=1)
    means = np.array([values[kept == k].mean() for k in kept])
    return float(means.var() / values.var()) if values.var() > 0 else float("nan")


def timed(job: Job, encoded: Any, masks: np.ndarray) -> float:
    """Seconds that a mask takes here, run among others that share stretches of depth, without a store."""
    units = find_units(range(1, job.model.n_layers - 1), job.model.n_layers)
    game = ModelGame(job.model, encoded, units, objective=job.settings.OBJECTIVE)
    few = masks[: job.settings.TIMED]
    began = time.monotonic()
    game(few)
    return (time.monotonic() - began) / len(np.unique(few, axis=0))


def estimators(every: np.ndarray, n: int, per_mask: float, s: Any) -> dict[str, Any]:
    """Every estimator with every budget against all masks, over several seeds; a mask is looked up, not run."""
    places = 1 << np.arange(n)

    def game(masks: np.ndarray) -> np.ndarray:
        return np.asarray(every[masks @ places])

    targets = {
        index: estimate(game, n, Setup(method="exact", index=index)).values
        for index in ("shapley", "published")
    }
    ways: dict[str, dict[str, Any]] = {
        "permutation": {"method": "permutation"},
        "kernel": {"method": "kernel", "sampler": "kernel"},
        **{f"{name} surrogate": {"method": "surrogate", "surrogate": name} for name in s.FITTED},
        **{
            f"published average, {name} surrogate": {
                "method": "surrogate",
                "surrogate": name,
                "index": "published",
            }
            for name in s.FITTED
        },
    }
    rows = []
    for way, given in ways.items():
        target = given.get("index", "shapley")
        for budget in s.BUDGETS:
            found = []
            for seed in range(s.REPEATS):
                began = time.monotonic()
                try:
                    one = estimate(game, n, Setup(**given, n_masks=budget, n_boot=2, seed=seed))
                except dp.InputError:
                    continue
                seconds = time.monotonic() - began
                found.append(
                    (
                        one.n_masks,
                        seconds,
                        *distance(one.values, targets[target]),
                        *distance(one.values, targets["shapley"]),
                    )
                )
            if found:
                masks, seconds, error, rank, from_shapley, _ = np.nanmean(found, axis=0)
                rows.append({"estimator": way, "of": target, "budget": budget, "masks": masks, "seconds": masks * per_mask + seconds,
                             "error": error, "rank_correlation": rank, "error_of_shapley": from_shapley,
                             "runs": len(found)})  # fmt: skip
    apart, rank = distance(targets["published"], targets["shapley"])
    return {"exact": targets["shapley"], "published": targets["published"],
            "spread": {index: float(values.std()) for index, values in targets.items()},
            "apart": apart, "rank_apart": rank, "rows": rows}  # fmt: skip


def distance(values: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """The root mean square error of values, and their rank correlation with the true ones."""
    return float(np.sqrt(((values - true) ** 2).mean())), float(spearman(values, true))


def permutation_against_surrogate(
    blocks: ModelGame, masks: np.ndarray, values: np.ndarray, s: Any
) -> dict[str, Any]:
    """Shapley's own values of all blocks by permutation sampling, and the published average of a fitted line."""
    n = masks.shape[1]
    sampled = estimate(blocks, n, Setup(method="permutation", n_masks=s.ORDERS * (n - 1), seed=s.SEED))
    other = estimate(blocks, n, Setup(method="permutation", n_masks=s.ORDERS * (n - 1), seed=s.SEED + 1))
    line = SURROGATES["linear"].fit(masks, values[:, None], None, s.SEED)
    average = line.values(size_chances("published", n), seed=s.SEED)[:, 0]
    return {
        "permutation": sampled.values, "low": sampled.low, "high": sampled.high, "masks": sampled.n_masks,
        "published": average, "rank_correlation": float(spearman(sampled.values, average)),
        "again": float(spearman(sampled.values, other.values)),
        "forward_passes": {"permutation": sampled.n_masks * len(blocks.sequences),
                           "published": len(np.unique(masks, axis=0)) * len(blocks.sequences)},
    }  # fmt: skip


if __name__ == "__main__":
    main()
