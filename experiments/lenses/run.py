"""How much of the transition depends on the lens, the detector and the normalisation, and is the tuned lens closer?

    uv run python experiments/lenses/run.py             # about 30 minutes on 2 cores; continues where it stopped
    uv run python experiments/lenses/run.py --quick     # a small random model, as a check

Writes results.json, specifications.csv, divergence.csv, figure.png, curve.png and README.md beside this file (or to
--out).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import decision_phases as dp
from decision_phases.plots import save_figure

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))
import settings
from common import Job, begin, records
from figure import draw
from story import tell

FOLDER = Path(__file__).parent


def main(argv: list[str] | None = None) -> None:
    """Run what is not there yet, then write tables, figures and text."""
    job = begin(__doc__, settings, FOLDER, argv)
    s, model = job.settings, job.model
    lens = fitted(job)
    job.say(f"{lens}")
    divergence = lens.divergence(
        model, s.TEXTS, window=s.WINDOW, limit=s.N_MEASURE, seed=s.SEED, progress=not job.quick
    )
    job.say(str(divergence))
    asked = dp.ask(model, dp.questions(s.QUESTIONS).limit(s.N_QUESTIONS, s.SEED))
    curve = dp.specification_curve(
        model, asked, tuned=lens, last=s.LAST_BLOCKS, n_boot=s.N_BOOT, seed=s.SEED, store=job.store,
        progress=not job.quick,
    )  # fmt: skip
    job.say(str(curve))
    curve.to_pandas().to_csv(job.out / "specifications.csv", index=False)
    divergence.to_pandas().to_csv(job.out / "divergence.csv", index=False)
    by_choice = curve.by_choice()
    result = job.write(
        {
            "questions": {"name": s.QUESTIONS, "n": len(asked)},
            "lens": {"name": lens.name, "fit": vars(lens.fit)},
            "divergence": {
                "texts": divergence.texts,
                "windows": len(divergence.logit),
                "rows": divergence.to_pandas().to_dict("records"),
            },
            "phases": {
                name: phases_through(job, asked, lens, name) for name in ("logit", "last_blocks", "tuned")
            },
            "curve": {
                "n": len(curve),
                "share_found": curve.share_found,
                "range": curve.range,
                "median": curve.median,
                "middle_half": curve.middle_half,
                "by_choice": records(by_choice),
            },
        }
    )
    save_figure(curve.plot(), job.out / "curve.png")
    draw(result, job.out / "figure.png")
    (job.out / "README.md").write_text(tell(result), encoding="utf-8")
    job.say(f"written to {job.out}")


def fitted(job: Job) -> dp.TunedLens:
    """The lens, from its file if it is there, else from where its training stopped."""
    s = job.settings
    folder = job.store / "lens"
    file = folder / "fitted.safetensors"
    if file.exists():
        return dp.TunedLens.load(file)
    lens = dp.tuned_lens(
        job.model, texts=s.TEXTS, window=s.WINDOW, limit=s.N_FIT, steps=s.STEPS, batch=s.BATCH, sampled=s.SAMPLED,
        seed=s.SEED, checkpoint=folder, progress=not job.quick,
    )  # fmt: skip
    lens.save(file)
    return lens


def phases_through(job: Job, asked: Any, lens: dp.TunedLens, name: str) -> dict[str, Any]:
    """The transition through one lens, as `find_phases` has it."""
    s = job.settings
    through: Any = lens if name == "tuned" else name
    read = dp.read(job.model, asked, lens=through, last=s.LAST_BLOCKS, store=job.store)
    found = dp.find_phases(read, seed=s.SEED, n_boot=s.N_BOOT)
    return {
        "transition": found.transition,
        "interval": None if found.ci is None else list(found.ci),
        "verdict": found.verdict,
        "margin": [float(v) for v in read.margin.mean(axis=0)],
        "accuracy": [float(v) for v in read.accuracy],
    }


if __name__ == "__main__":
    main()
