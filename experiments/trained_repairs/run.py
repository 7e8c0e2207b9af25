"""What does training the blocks around a cut give back, and does it matter what is distilled: the answer or the way to it?

    uv run python experiments/trained_repairs/run.py             # about 1 hour on 2 cores with bfloat16; continues where it stopped
    uv run python experiments/trained_repairs/run.py --quick     # a small random model, as a check, under a minute

Writes results.json, repairs.csv, pooled.csv, differences.csv, losses.csv, figure.png and README.md beside this file (or to
--out).
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

import decision_phases as dp
from decision_phases.repairs import PatchRepair, find_repair
from decision_phases.repairs.comparison import INTACT, NOTHING

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))
import settings
from analysis import compared, pooled, values_of
from common import Job, begin, divided, records
from figure import draw
from story import tell

FOLDER = Path(__file__).parent


def main(argv: list[str] | None = None) -> None:
    """Run what is not there yet, then write tables, figure and text."""
    job = begin(__doc__, settings, FOLDER, argv)
    s = job.settings
    search, evaluation = divided(job)
    cut, order = choose(job, search)
    job.say(f"{cut} by {s.BY}")
    linear = compare(job, cut, evaluation, s.LINEAR, s.LINEAR_WINDOWS)
    chosen = best_linear(job, linear, search)
    job.say(f"{chosen} is the best linear repair on the questions that chose")
    trained = compare(job, cut, evaluation, members(s), s.TRAINED_WINDOWS)
    rows = [*linear.rows, *trained.rows[2:]]
    table = replace(trained, rows=tuple(rows))
    groups = {
        INTACT: [INTACT], NOTHING: [NOTHING], chosen: [chosen],
        **{name: [f"{name} {seed}" for seed in s.SEEDS] for name in s.TRAINED},
    }  # fmt: skip
    paths = {
        row.method: dp.read(job.model, evaluation, under=row.under, store=job.store).margin for row in rows
    }
    values = values_of({row.method: row for row in rows}, paths, groups)
    repairs, together = table.to_pandas(), pooled(values, s.SEED)
    differences = compared(values, [chosen, *s.TRAINED], s.SEED)
    losses = pd.concat([row.fit.to_pandas() for row in trained.rows if row.fit is not None])
    for name, frame in (
        ("repairs", repairs), ("pooled", together), ("differences", differences), ("losses", losses),
    ):  # fmt: skip
        frame.to_csv(job.out / f"{name}.csv", index=False)
    result = job.write(
        {
            "questions": {"name": evaluation.questions.name, "n_search": len(search.questions),
                          "n_evaluation": len(evaluation.questions), "chance": evaluation.questions.chance},
            "texts": {"name": s.TEXTS, "tokens": table.rows[0].perplexity.n_tokens},
            "cut": str(cut),
            "order": order,
            "linear": chosen,
            "fits": {
                row.method: {"tokens": row.fit.trained or row.fit.tokens,
                             "parameters_trained": row.fit.parameters_trained,
                             "parameters_added": row.fit.parameters_added,
                             "seconds": row.fit.seconds, "adapted": sorted({edit.layer for edit in row.repair})}
                for row in rows if row.fit is not None
            },
            "repairs": records(repairs),
            "pooled": records(together),
            "differences": records(differences),
            "losses": records(losses),
            "margins": {name: of["path"].mean(axis=0) for name, of in values.items()},
        }
    )  # fmt: skip
    draw(result, job.out / "figure.png")
    (job.out / "README.md").write_text(tell(result), encoding="utf-8")
    job.say(f"written to {job.out}")


def choose(job: Job, search: Any) -> tuple[dp.Intervention, dict[str, Any]]:
    """Take the blocks of the greedy order until accuracy collapses; all if it does not.

    One half of the search questions chooses and the other says where that is: on those that chose it lasts too long.
    """
    s = job.settings
    curves = dp.prune(
        job.model, search.questions, by=[s.BY], up_to=s.UP_TO, split=0.5, controls=False, seed=s.SEED,
        screen=s.SCREEN, store=job.store, progress=not job.quick,
    )  # fmt: skip
    steps, collapse = {step.step: step for step in curves.of(s.BY)}, curves.collapse(s.BY)
    last = steps[max(steps) if collapse is None else collapse]
    told = {
        "blocks": [str(unit) for unit in last.units],
        "collapse": collapse,
        "accuracy": last.accuracy,
        "n_search": curves.n_search,
        "n_located": curves.n_evaluation,
    }
    return dp.skip(*last.cut), told


def members(s: Any) -> list[Any]:
    """What is trained: every kind with every seed."""
    return [
        replace(
            find_repair(name), name=f"{name} {seed}", seed=seed, **(s.PATCH if _is_patch(name) else s.LORA)
        )
        for name in s.TRAINED
        for seed in s.SEEDS
    ]


def _is_patch(name: str) -> bool:
    return isinstance(find_repair(name), PatchRepair)


def compare(
    job: Job, cut: dp.Intervention, evaluation: Any, methods: Any, windows: int
) -> dp.RepairComparison:
    """Fit or train repairs and measure them, on the same questions and texts whatever they are."""
    s = job.settings
    return dp.compare_repairs(
        job.model, cut, methods=methods, questions=evaluation, texts=s.TEXTS, window=s.WINDOW, limit=windows,
        held_out=s.HELD_OUT, seed=s.SEED, store=job.store, checkpoint=job.store / "training", progress=not job.quick,
    )  # fmt: skip


def best_linear(job: Job, linear: dp.RepairComparison, search: Any) -> str:
    """The linear repair with the largest mean margin on the questions that measure nothing."""
    margins = {
        name: dp.read(job.model, search, under=linear.of(name).under, store=job.store).final.margin.mean()
        for name in linear.methods
    }
    return max(margins, key=lambda name: margins[name])


if __name__ == "__main__":
    main()
