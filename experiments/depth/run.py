"""Is a model that decides late less prunable? Adds a model to the pairs of (model, task) that are there, and tells.

    uv run python experiments/depth/run.py                    # the bundled model; about 10 minutes on 2 cores
    uv run python experiments/depth/run.py --model NAME       # adds another model
    uv run python experiments/depth/run.py --quick            # a small random model, as a check

Writes pairs/MODEL-TASK.json, and from all of these results.json, pairs.csv, figure.png and README.md beside this file
(or to --out).
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import decision_phases as dp
from decision_phases.pruning.setting import divide
from decision_phases.store import write_json

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))
import settings
from common import Job, begin, clean
from figure import draw
from pairs import relate
from story import tell

FOLDER = Path(__file__).parent


def main(argv: list[str] | None = None) -> None:
    """Measure the model on every task, then write what all pairs together say."""
    job = begin(__doc__, settings, FOLDER, argv)
    (job.out / "pairs").mkdir(exist_ok=True)
    for task in job.settings.TASKS:
        pair = clean({**job.provenance(), **measured(job, task)})
        name = re.sub(r"[^\w.]+", "_", f"{pair['model']}-{task}")
        write_json(job.out / "pairs" / f"{name}.json", pair)
        job.say(f"{pair['model']} on {task}: {pair['verdict']}")
    files = sorted((job.out / "pairs").glob("*.json"))
    pairs = [json.loads(path.read_text("utf-8")) for path in files]
    told = clean({"pairs": pairs, **relate(pairs, job.settings)})
    write_json(job.out / "results.json", told)
    columns = ["model", "task", "n_layers", "transition", "relative_transition"]
    rows = [
        {**{c: pair[c] for c in columns}, **{f"{what}, {name}": row[what] for name, row in pair["pruned"].items()
                                             for what in ("collapse_ratio", "kept")}}
        for pair in pairs
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(job.out / "pairs.csv", index=False)
    draw(told, job.out / "figure.png")
    (job.out / "README.md").write_text(tell(told), encoding="utf-8")
    job.say(f"written to {job.out}")


def measured(job: Job, task: str) -> dict[str, Any]:
    """Where a model decides, and how much of its accuracy is left as blocks go."""
    s, model = job.settings, job.model
    chosen = dp.questions(task)
    chosen = chosen if len(chosen) <= s.N_QUESTIONS else chosen.limit(s.N_QUESTIONS, s.SEED)
    search, evaluation = divide(model, chosen, s.SPLIT, seed=s.SEED)
    phases = dp.find_phases(dp.read(model, search, store=job.store), seed=s.SEED)
    up_to = min(max(1, round(s.UP_TO * model.n_layers)), model.n_layers - 2)
    curves = dp.prune(
        model, chosen, by=s.STRATEGIES, up_to=up_to, split=s.SPLIT, draws=s.DRAWS, seed=s.SEED, store=job.store,
        progress=not job.quick,
    )  # fmt: skip
    intact = curves.of("deepest")[0].accuracy
    pruned = {}
    for name in curves.strategies:
        accuracy = [
            float(np.mean([row.accuracy for row in curves.of(name) if row.step == k]))
            for k in range(1, up_to + 1)
        ]
        at = curves.collapse(name)
        above = intact - curves.chance
        pruned[name] = {
            "accuracy": accuracy,
            "collapse": at,
            "collapse_ratio": None if at is None else at / model.n_layers,
            "kept": float(np.mean([(a - curves.chance) / above for a in accuracy])) if above > 0 else None,
        }
    return {
        "task": task,
        "n_search": len(search),
        "n_evaluation": len(evaluation),
        "transition": phases.transition,
        "interval": None if phases.ci is None else list(phases.ci),
        "relative_transition": None if phases.transition is None else phases.transition / model.n_layers,
        "verdict": phases.verdict,
        "accuracy": intact,
        "chance": curves.chance,
        "up_to": up_to,
        "pruned": pruned,
    }


if __name__ == "__main__":
    main()
