"""Which criterion predicts what the removal of blocks costs, and does perplexity choose other blocks than decisions do?

    uv run python experiments/criteria/run.py             # under an hour on 2 cores; continues where it stopped
    uv run python experiments/criteria/run.py --quick     # a small random model, as a check

Writes results.json, scores.csv, correlations.csv, cuts.csv, figure.png and README.md beside this file (or to --out).
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

import decision_phases as dp
from decision_phases.errors import UntrustedError
from decision_phases.pruning import CRITERIA, RandomPool
from decision_phases.pruning.criteria import text_data
from decision_phases.readout.loss import LossObserver
from decision_phases.readout.observe import FinalObserver

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))
import settings
from analysis import (
    collapse,
    collapse_bar,
    correlate,
    foretell,
    judge_cuts,
    perplexity_against_decisions,
)
from common import Job, begin, divided
from figure import draw
from story import tell

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Damage:
    """What the removal of each block by itself costs on what scored nothing.

    Attributes:
        margin: Loss of margin of each evaluation question.
        accuracy: 1 where a right answer is lost, −1 where one is won.
        loss: Rise of the cross-entropy of each text, in nats a token.
    """

    margin: Float[np.ndarray, "question layer"]
    accuracy: Float[np.ndarray, "question layer"]
    loss: Float[np.ndarray, "text layer"]


def main(argv: list[str] | None = None) -> None:
    """Run what is not there yet, then write tables, figure and text."""
    job = begin(__doc__, settings, FOLDER, argv)
    s, model = job.settings, job.model
    search, evaluation = divided(job)
    texts = dp.texts(s.TEXTS)
    phases = dp.find_phases(dp.read(model, search, store=job.store), seed=s.SEED)
    free = list(range(1, model.n_layers - 1))
    near = {*s.FIRST_BLOCKS, phases.transition}
    sets = {
        "all": list(range(model.n_layers)),
        "not protected": free,
        "inner": [layer for layer in free if layer not in near],
    }
    scores, seconds, refused = score(job, search, texts.fit, free)
    job.say("scores are there; measuring removals")
    damage = measure(job, evaluation, texts.evaluation)
    orders = {name: order_of(values, free) for name, values in scores.items()}
    orders["measured damage"] = order_of(damage.margin.mean(axis=0), free)
    pool = RandomPool(tuple(free), s.SEED)
    sizes = [k for k in s.SIZES if k <= len(free)]
    random = [pool.order(draw) for draw in range(s.DRAWS)]
    finals = run_cuts(job, evaluation, [order[:k] for order in (*orders.values(), *random) for k in sizes])
    intact = finals[()]
    kept = {cut: (float(f.margin.mean()), f.accuracy) for cut, f in finals.items()}
    correlations = correlate(scores, {"margin": damage.margin, "accuracy": damage.accuracy}, sets, s)
    chance = evaluation.questions.chance
    cuts = judge_cuts(orders, random, kept, sizes, chance)
    by_draw = judge_random(scores, random, kept, sizes, chance, s)
    scores_table(scores, damage).to_csv(job.out / "scores.csv", index=False)
    pd.DataFrame(correlations["rows"]).to_csv(job.out / "correlations.csv", index=False)
    pd.DataFrame(cuts).to_csv(job.out / "cuts.csv", index=False)
    result = {
        "questions": {"name": s.QUESTIONS, "n_search": len(search), "n_evaluation": len(evaluation)},
        "texts": {"name": s.TEXTS, "hash": texts.content_hash, "windows": s.WINDOWS, "window": s.WINDOW},
        "transition": phases.transition,
        "verdict": phases.verdict,
        "chance": chance,
        "intact": {"margin": float(intact.margin.mean()), "accuracy": intact.accuracy},
        "sets": sets,
        "scores": scores,
        "criterion_seconds": seconds,
        "refused": refused,
        "damage": {
            "margin": damage.margin.mean(0),
            "accuracy": damage.accuracy.mean(0),
            "loss": damage.loss.mean(0),
        },
        "correlations": correlations,
        "random_cuts": by_draw,
        "cuts": cuts,
        "random": {k: [kept[order[:k]] for order in random] for k in sizes},
        "perplexity": perplexity_against_decisions(damage.margin, damage.loss, sets, sizes, s),
    }
    told = job.write(result)
    draw(told, job.out / "figure.png")
    (job.out / "README.md").write_text(tell(told), encoding="utf-8")
    job.say(f"written to {job.out}")


def score(
    job: Job, search: Any, fit: dp.TextSet, free: list[int]
) -> tuple[dict[str, np.ndarray], dict[str, float], dict[str, str]]:
    """Scores of all layers by all criteria, how long each took in this run, and what was refused.

    Criteria that need no labels are asked twice, on the search questions and on texts.
    """
    s, model = job.settings, job.model
    found: dict[str, np.ndarray] = {}
    seconds: dict[str, float] = {}
    refused: dict[str, str] = {}
    for name in s.CRITERIA:
        needs = CRITERIA[name].needs
        sources = ["questions", "texts"] if needs.data and not needs.labels else ["questions"]
        for source in sources:
            label = name if source == "questions" else f"{name}, texts"
            layers = free if name.startswith("shapley") else None  # no mask is spent on what must stay
            given = {"texts": fit, "window": s.WINDOW, "limit": s.WINDOWS} if source == "texts" else {}
            began = time.monotonic()
            try:
                ranking = dp.rank(
                    model, search, by=name, layers=layers, seed=s.SEED, store=job.store, **given
                )
            except UntrustedError as error:
                refused[label] = str(error)
                continue
            seconds[label] = round(time.monotonic() - began, 1)
            found[label] = np.full(model.n_layers, np.nan)
            found[label][[unit.layer for unit in ranking.units]] = ranking.scores
            job.say(f"{label}: {seconds[label]} s")
    return found, seconds, refused


def measure(job: Job, evaluation: Any, held: dp.TextSet) -> Damage:
    """Remove every block by itself, on evaluation questions and on texts."""
    s, model = job.settings, job.model
    removals = [dp.Intervention(), *(dp.skip(layer) for layer in range(model.n_layers))]
    intact, *without = [
        run["final"] for run in dp.evaluate(model, evaluation, removals, [FinalObserver()], store=job.store)
    ]
    data = text_data(model, held, window=s.WINDOW, limit=s.WINDOWS, seed=s.SEED)
    runs = dp.evaluate(model, data.sequences, removals, [LossObserver()], store=job.store)
    tokens = data.by_group(data.tokens)
    whole, *rest = [data.by_group(run["loss"].nll) / tokens for run in runs]
    return Damage(
        np.stack([intact.margin - final.margin for final in without], axis=1),
        np.stack([intact.correct.astype(float) - final.correct for final in without], axis=1),
        np.stack([loss - whole for loss in rest], axis=1),
    )


def order_of(values: np.ndarray, free: list[int]) -> tuple[int, ...]:
    """Free layers by ascending score, ties from the deepest."""
    return tuple(sorted(free, key=lambda layer: (values[layer], -layer)))


def run_cuts(job: Job, evaluation: Any, cuts: list[tuple[int, ...]]) -> dict[tuple[int, ...], Any]:
    """Final decisions under every cut, whatever the order of its blocks, and of the intact model."""
    whole = dict.fromkeys([(), *(tuple(sorted(cut)) for cut in cuts)])
    variants = [dp.skip(*cut) if cut else dp.Intervention() for cut in whole]
    runs = dp.evaluate(job.model, evaluation, variants, [FinalObserver()], store=job.store)
    finals = {cut: run["final"] for cut, run in zip(whole, runs, strict=True)}
    return finals | {cut: finals[tuple(sorted(cut))] for cut in cuts}


def judge_random(
    scores: dict[str, np.ndarray],
    random: list[tuple[int, ...]],
    kept: dict[tuple[int, ...], tuple[float, float]],
    sizes: list[int],
    chance: float,
    s: Any,
) -> list[dict[str, Any]]:
    """How well the sum of a criterion's scores foretells what random cuts of one size cost, and when draws collapse."""
    margins = np.array([[kept[order[:k]][0] for k in sizes] for order in random])
    bar = collapse_bar(kept[()][1], chance)
    collapses = np.array(
        [collapse([kept[order[:k]][1] for k in sizes], sizes, bar) for order in random], dtype=float
    )
    rows = []
    for name, values in scores.items():
        predicted = np.array([[values[list(order[:k])].sum() for k in sizes] for order in random])
        if np.isfinite(predicted).all():
            rows.append({"criterion": name, **foretell(predicted, -margins, collapses, s)})
    return rows


def scores_table(scores: dict[str, np.ndarray], damage: Damage) -> pd.DataFrame:
    """One row a layer: every criterion's score, and the damage."""
    measured = {
        f"damage, {name}": getattr(damage, name).mean(axis=0) for name in ("margin", "accuracy", "loss")
    }
    table = pd.DataFrame({**scores, **measured})
    table.insert(0, "layer", np.arange(len(table)))
    return table


if __name__ == "__main__":
    main()
