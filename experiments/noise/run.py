"""At which layers does noise in the residual stream cost the decision most?

    uv run python experiments/noise/run.py             # about 20 minutes on 2 cores; continues where it stopped
    uv run python experiments/noise/run.py --quick     # a small random model, as a check

Writes results.json, noise.csv, figure.png and README.md beside this file (or to --out).
"""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

import decision_phases as dp
from decision_phases.readout.observe import FinalObserver
from decision_phases.stats import bootstrap_ci, paired_difference

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))
import settings
from common import Job, begin, divided
from figure import draw
from story import tell

FOLDER = Path(__file__).parent


def main(argv: list[str] | None = None) -> None:
    """Run what is not there yet, then write tables, figure and text."""
    job = begin(__doc__, settings, FOLDER, argv)
    s, model = job.settings, job.model
    search, evaluation = divided(job)
    phases = dp.find_phases(dp.read(model, search, store=job.store), seed=s.SEED)
    intact, drops, right = disturb(job, evaluation)
    rows = [
        {"positions": positions, "variance": variance, "layer": layer, **told(drops[positions, variance][:, layer], s),
         "accuracy": float(right[positions, variance][:, layer].mean())}
        for positions, variance in drops
        for layer in range(model.n_layers)
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(job.out / "noise.csv", index=False)
    near = {*s.FIRST_BLOCKS, model.n_layers - 1, phases.transition}
    comparisons = [
        {"excluded": name, **row}
        for name, gone in (("none", set()), ("edges", near))
        for row in compare(drops, phases, gone, s)
    ]
    result = job.write(
        {
            "questions": {"name": s.QUESTIONS, "n_search": len(search), "n_evaluation": len(evaluation)},
            "intact": {"margin": float(intact.margin.mean()), "accuracy": intact.accuracy},
            "chance": evaluation.questions.chance,
            "transition": phases.transition,
            "interval": None if phases.ci is None else list(phases.ci),
            "verdict": phases.verdict,
            "excluded_at_edges": sorted(layer for layer in near if layer is not None),
            "rows": rows,
            "comparisons": comparisons,
        }
    )
    draw(result, job.out / "figure.png")
    (job.out / "README.md").write_text(tell(result), encoding="utf-8")
    job.say(f"written to {job.out}")


def disturb(job: Job, evaluation: Any) -> tuple[Any, dict[Any, np.ndarray], dict[Any, np.ndarray]]:
    """Loss of margin of every question under noise behind every layer, and whether it is still right."""
    s, model = job.settings, job.model
    grid = list(product(s.POSITIONS, s.VARIANCES))
    layers = range(model.n_layers)
    noises = [
        dp.noise(layer, variance, positions=positions, seed=s.SEED)
        for positions, variance in grid
        for layer in layers
    ]
    runs = dp.evaluate(
        model, evaluation, [dp.Intervention(), *noises], [FinalObserver()], store=job.store, progress=not job.quick
    )  # fmt: skip
    intact, *noisy = [run["final"] for run in runs]
    drops: dict[Any, np.ndarray] = {}
    right: dict[Any, np.ndarray] = {}
    for place, cell in enumerate(grid):
        own = noisy[place * len(layers) : (place + 1) * len(layers)]
        drops[cell] = np.stack([intact.margin - final.margin for final in own], axis=1)
        right[cell] = np.stack([final.correct for final in own], axis=1)
    return intact, drops, right


def told(drop: Float[np.ndarray, " question"], s: Any) -> dict[str, float]:
    """Mean loss of margin with its bootstrap interval over questions."""
    found = bootstrap_ci(drop, seed=s.SEED)
    return {"estimate": float(found.estimate), "low": float(found.low), "high": float(found.high)}


def compare(drops: dict[Any, np.ndarray], phases: dp.Phases, gone: set[Any], s: Any) -> list[dict[str, Any]]:
    """Loss under noise in the Silent Phase minus that in the Decisive Phase, at equal variance and as published."""
    if not phases.found:
        return []
    silent, decisive = (
        [layer for layer in phase if layer not in gone] for phase in (phases.silent, phases.decisive)
    )
    if not silent or not decisive:
        return []
    first, second = s.PUBLISHED
    pairs = [(variance, variance) for variance in s.VARIANCES]
    pairs += [(first, second)] if {first, second} <= set(s.VARIANCES) else []
    rows = []
    for positions, (one, other) in product(s.POSITIONS, pairs):
        a = drops[positions, one][:, silent].mean(axis=1)
        b = drops[positions, other][:, decisive].mean(axis=1)
        found = paired_difference(a, b, seed=s.SEED)
        rows.append(
            {"positions": positions, "silent_variance": one, "decisive_variance": other, "silent": float(a.mean()),
             "decisive": float(b.mean()), "estimate": found.difference, "low": found.low, "high": found.high,
             "p": found.p_value, "detectable": found.minimum_detectable,
             "layers": {"silent": silent, "decisive": decisive}}
        )  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
