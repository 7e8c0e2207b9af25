"""How far does each way of choosing blocks get under one budget, and is that more than luck?

    uv run python experiments/strategies/run.py             # under an hour on 2 cores; continues where it stopped
    uv run python experiments/strategies/run.py --questions arc_easy.jsonl --scoring cloze_char    # on a file
    uv run python experiments/strategies/run.py --quick     # a small random model, as a check

Writes results.json, strategies.csv, steps.csv, figure.png and README.md beside this file, for a file of questions in a
folder of its name (or to --out).
"""

from __future__ import annotations

import sys
from pathlib import Path

import decision_phases as dp

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))
import settings
from common import Job, begin, records
from figure import draw
from story import tell

FOLDER = Path(__file__).parent


def main(argv: list[str] | None = None) -> None:
    """Run what is not there yet, then write tables, figure and text."""
    job = begin(__doc__, settings, FOLDER, argv, asks=True)
    s = job.settings
    curves = prune(job)
    summary = curves.summary(seed=s.SEED)
    steps = curves.to_pandas().drop(columns=["margin_by_layer", "accuracy_by_layer"])
    summary.to_csv(job.out / "strategies.csv", index=False)
    steps.to_csv(job.out / "steps.csv", index=False)
    intact = curves.of("deepest")[0]
    told = job.write(
        {
            "questions": {
                "name": Path(s.QUESTIONS).name,
                "n_search": curves.n_search,
                "n_evaluation": curves.n_evaluation,
            },
            "chance": curves.chance,
            "intact": {"accuracy": intact.accuracy, "margin": intact.margin},
            "not_applicable": dict(curves.not_applicable),
            "notes": list(curves.notes),
            "strategies": records(summary),
            "against_reference": records(curves.against(s.REFERENCE, seed=s.SEED)),
            "by_step": {
                name: records(rows)
                for name, rows in curves.by_step(seed=s.SEED).groupby("strategy", sort=False)
            },
            "cuts": {
                name: [list(row.cut) for row in curves.of(name, curves.of(name)[0].seed)]
                for name in curves.strategies
            },
        }
    )
    draw(told, job.out / "figure.png")
    (job.out / "README.md").write_text(tell(told), encoding="utf-8")
    job.say(f"written to {job.out}")


def prune(job: Job) -> dp.Curves:
    """All strategies on the same questions, under the same budget."""
    s, model = job.settings, job.model
    every = dp.questions(s.QUESTIONS, **({} if s.SCORING is None else {"scoring": s.SCORING}))
    chosen = every.limit(min(s.N_SEARCH + s.N_EVALUATION, len(every)), s.SEED)
    up_to = min(max(1, round(s.UP_TO * model.n_layers)), model.n_layers - 2)
    return dp.prune(
        model, chosen, by=(*s.BLOCKS, *s.SUBLAYERS), up_to=up_to, split=s.N_SEARCH / (s.N_SEARCH + s.N_EVALUATION),
        draws=s.DRAWS, texts=s.TEXTS, window=s.WINDOW, limit=s.WINDOWS, seed=s.SEED, store=job.store,
        every_layer=s.EVERY_LAYER, progress=not job.quick,
    )  # fmt: skip


if __name__ == "__main__":
    main()
