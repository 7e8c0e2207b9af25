"""Do choosing and retrieving survive pruning that generation does not?

    uv run python experiments/contrast/run.py             # under an hour on 2 cores; continues where it stopped
    uv run python experiments/contrast/run.py --quick     # a small random model, as a check, under a minute

Writes results.json, scores.csv, details.csv, differences.csv, figure.png and README.md beside this file (or to --out).
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

import decision_phases as dp
from decision_phases.hierarchy.families import (
    Arithmetic,
    Continuation,
    MultipleChoice,
    OpenAnswers,
    Retrieval,
)
from decision_phases.stats import holm

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))
import settings
from common import begin
from figure import draw
from story import tell

FOLDER = Path(__file__).parent
CHOOSING = ("multiple_choice", "retrieval")
WRITING = ("open_answers", "arithmetic", "continuation")


def main(argv: list[str] | None = None) -> None:
    """Run what is not there yet, then write tables, figure and text."""
    job = begin(__doc__, settings, FOLDER, argv)
    s, model = job.settings, job.model
    texts = dp.texts(s.TEXTS).fit
    table = variants(model, texts, s)
    cuts = dict(zip(table["variant"], table.pop("cut"), strict=True))
    job.say(f"{len(cuts)} variants")
    families = [
        MultipleChoice(shots=s.SHOTS), Retrieval(), OpenAnswers(shots=s.SHOTS), Arithmetic(shots=s.SHOTS), Continuation(),
    ]  # fmt: skip
    scores = dp.task_families(
        model, under=cuts, families=families, limit=s.LIMIT, seed=s.SEED, store=job.store, progress=True
    )
    rows = scores.to_pandas().merge(table, on="variant", how="left")
    compared = differences(scores, table)
    rows.to_csv(job.out / "scores.csv", index=False)
    scores.details_to_pandas().to_csv(job.out / "details.csv", index=False)
    compared.to_csv(job.out / "differences.csv", index=False)
    result = job.write(
        {
            "texts": {"name": texts.name, "hash": texts.content_hash},
            "families": {name: {"what": f.what, "floor": f.floor} for name, f in scores.families.items()},
            "left_out": scores.left_out,
            "scores": rows.to_dict("records"),
            "details": scores.details_to_pandas().to_dict("records"),
            "differences": compared.to_dict("records"),
            "sparsity_available": "sparsify" in dp.__all__,
        }
    )
    draw(rows, scores.kept, job.out / "figure.png")
    (job.out / "README.md").write_text(tell(result), encoding="utf-8")
    job.say(f"written to {job.out}")


def variants(model: dp.ModelAccess, texts: dp.TextSet, s: SimpleNamespace) -> pd.DataFrame:
    """All interventions, with what they remove: by a criterion, at random, everything, and single weights."""
    rows: list[dict[str, Any]] = []
    generator = np.random.default_rng(s.SEED)
    for part, criterion in s.CRITERIA.items():
        ranking = dp.rank(model, texts=texts, by=criterion, part=part, limit=s.WINDOWS, seed=s.SEED)
        rows += [
            {"part": part, "size": size, "kind": criterion, "cut": ranking.cut(size)}
            for size in s.SIZES[part]
        ]
        for draw_number in range(s.RANDOM_DRAWS):
            layers = generator.choice(model.n_layers, size=s.RANDOM_SIZE, replace=False).tolist()
            cut = dp.skip(*layers, part=part)
            rows.append(
                {"part": part, "size": s.RANDOM_SIZE, "kind": "random", "draw": draw_number, "cut": cut}
            )
    everything = dp.skip(*range(model.n_layers))
    rows.append({"part": "block", "size": model.n_layers, "kind": "every block", "cut": everything})
    if "sparsify" in dp.__all__:
        for method in s.SPARSITY:
            made = dp.sparsify(model, method, texts=texts, limit=s.WINDOWS, seed=s.SEED)
            rows.append({"part": "weights", "size": method, "kind": method.split(":")[0], "cut": made})
    for row in rows:
        row["variant"] = "{part} {size} {kind}".format(**row) + (f" {row['draw']}" if "draw" in row else "")
    return pd.DataFrame(rows)


def differences(scores: dp.FamilyScores, table: pd.DataFrame) -> pd.DataFrame:
    """What is left of choosing and retrieving minus what is left of writing, under every cut by a criterion.

    The p-value takes the bootstrap distribution as normal, and is adjusted for the number of comparisons.
    """
    rows = []
    for variant in table.loc[~table["kind"].isin(["every block"]), "variant"]:
        for first in CHOOSING:
            for second in WRITING:
                if {first, second} <= set(scores.kept):
                    found = scores.difference(first, second, variant)
                    error = float(found.high - found.low) / (2 * stats.norm.ppf(0.975))
                    p = 2 * stats.norm.sf(abs(float(found.estimate)) / error) if error > 0 else np.nan
                    rows.append(
                        {"variant": variant, "first": first, "second": second, "difference": float(found.estimate),
                         "low": float(found.low), "high": float(found.high), "p_value": float(p)}
                    )  # fmt: skip
    columns = ["variant", "first", "second", "difference", "low", "high", "p_value", "p_holm"]
    compared = pd.DataFrame(rows, columns=columns)
    known = compared["p_value"].notna()
    compared.loc[known, "p_holm"] = holm(compared.loc[known, "p_value"].to_numpy(dtype=np.float64))
    return compared


if __name__ == "__main__":
    main()
