"""Does the softmax amplify once spaces have a common unit, and are the options more stable than random tokens of equal rank?

    uv run python experiments/amplification/run.py             # under an hour on 2 cores; continues where it stopped
    uv run python experiments/amplification/run.py --quick     # a small random model, as a check, under a minute

Writes results.json, amplification.csv, options.csv, figure.png and README.md beside this file (or to --out).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

import decision_phases as dp
from decision_phases.stats import holm, paired_difference

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))
import settings
from common import begin
from figure import draw
from story import tell

FOLDER = Path(__file__).parent

STEPS = (("h_normed", "z_centred"), ("z_centred", "p"))


def main(argv: list[str] | None = None) -> None:
    """Run what is not there yet, then write tables, figure and text."""
    job = begin(__doc__, settings, FOLDER, argv)
    s, model = job.settings, job.model

    texts = dp.texts(s.TEXTS)
    under = {**ranked(model, texts.fit, s), **drawn(model.n_layers, s), **each_by_itself(model.n_layers)}
    questions = dp.questions(s.QUESTIONS).limit(s.N_QUESTIONS, s.SEED)
    common = {
        "under": under, "temperature": s.TEMPERATURE, "random_sets": s.RANDOM_SETS, "partners": s.PARTNERS,
        "seed": s.SEED, "store": job.store, "progress": sys.stderr.isatty(),
    }  # fmt: skip
    on = {
        "questions": dp.compare_spaces(model, questions, **common),
        "texts": dp.compare_spaces(model, texts=texts.evaluation, window=s.WINDOW, limit=s.N_TEXTS, **common),
    }
    grown = pd.concat([amplification(found, name) for name, found in on.items()], ignore_index=True)
    options = against_random(on["questions"])
    grown.to_csv(job.out / "amplification.csv", index=False)
    options.to_csv(job.out / "options.csv", index=False)
    result = job.write(
        {
            "questions": {"name": questions.name, "hash": questions.content_hash, "n": len(questions)},
            "texts": {
                "name": texts.evaluation.name,
                "hash": texts.evaluation.content_hash,
                "n": s.N_TEXTS,
                "tokens": s.WINDOW,
            },
            "temperature": s.TEMPERATURE,
            "random_sets": s.RANDOM_SETS,
            "partners": s.PARTNERS,
            "variants": {name: str(variant) for name, variant in under.items()},
            "amplification": records(grown),
            "options": records(options),
        }
    )
    draw(on, grown, options, job.out / "figure.png")
    (job.out / "README.md").write_text(tell(result), encoding="utf-8")
    job.say(f"written to {job.out}")


def ranked(model: dp.ModelAccess, texts: dp.TextSet, s: SimpleNamespace) -> dict[str, dp.Intervention]:
    """The least important first, by the criterion that the paper's prunings go by, on other texts."""
    found = {}
    for part, criterion in s.CRITERIA.items():
        order = dp.rank(
            model, texts=texts, by=criterion, part=part, window=s.WINDOW, limit=s.N_RANKING, seed=s.SEED
        )
        found |= {f"{count} {part}": order.cut(count) for count in s.COUNTS}
    return found


def drawn(n_layers: int, s: SimpleNamespace) -> dict[str, dp.Intervention]:
    """As many at random, never the first or the last layer."""
    found = {}
    for part in s.CRITERIA:
        order = 1 + np.random.default_rng([s.SEED, list(s.CRITERIA).index(part)]).permutation(n_layers - 2)
        found |= {f"{count} {part}, random": dp.skip(order[:count].tolist(), part=part) for count in s.COUNTS}
    return found


def each_by_itself(n_layers: int) -> dict[str, dp.Intervention]:
    """Every attention and every MLP removed: only what each does by itself, on the dense context, is looked at."""
    return {f"every {part}": dp.skip(range(n_layers), part=part) for part in ("attention", "mlp")}


def amplification(found: dp.SpaceComparisons, on: str) -> pd.DataFrame:
    """The ratio of deviations from space to space, of what each model ends with: raw, and in units of each space."""
    rows = []
    for comparison in found.values():
        if comparison.name.startswith("every"):
            continue
        for start, end in STEPS:
            raw, scaled = (
                comparison.amplification(start, end, kind="final", relative=relative)
                for relative in (False, True)
            )
            last = comparison.n_layers - 1
            shares = [
                comparison.values(space, kind="final")[0]
                / comparison.between[last, :, comparison.column(space)].mean()
                for space in (end, start)
            ]
            rows.append(
                {
                    "on": on,
                    "variant": comparison.name,
                    "start": start,
                    "end": end,
                    "raw": float(raw.estimate[0]),
                    "relative": float(scaled.estimate[0]),
                    "low": float(scaled.low[0]),
                    "high": float(scaled.high[0]),
                    "p_value": paired_difference(*by_group(comparison, shares)).p_value,
                }
            )
    table = pd.DataFrame(rows)
    return table.assign(p_holm=holm(table["p_value"].to_numpy(dtype=np.float64)))


def against_random(found: dp.SpaceComparisons) -> pd.DataFrame:
    """Deviation among the options over that among random tokens of like rank, of what each model ends with."""
    rows = []
    for comparison in found.values():
        if comparison.name.startswith("every"):
            continue
        for measure in ("cosine", "kl_dense_from_pruned"):
            sets = [("p", measure, tokens) for tokens in ("options", "random")]
            raw, scaled = (
                comparison.ratio(*sets, kind="final", relative=relative) for relative in (False, True)
            )
            values = [comparison.values(*column, kind="final")[0] for column in sets]
            between = [comparison.between[-1, :, comparison.column(*column)].mean() for column in sets]
            shares = [value / unit for value, unit in zip(values, between, strict=True)]
            rows.append(
                {
                    "variant": comparison.name,
                    "measure": measure,
                    "options": float(values[0].mean()),
                    "random": float(values[1].mean()),
                    "raw": float(raw.estimate[0]),
                    "raw_low": float(raw.low[0]),
                    "raw_high": float(raw.high[0]),
                    "raw_p_value": paired_difference(*by_group(comparison, values)).p_value,
                    "relative": float(scaled.estimate[0]),
                    "low": float(scaled.low[0]),
                    "high": float(scaled.high[0]),
                    "p_value": paired_difference(*by_group(comparison, shares)).p_value,
                    "mass_options": mass(comparison, "options"),
                    "mass_random": mass(comparison, "random"),
                }
            )
    table = pd.DataFrame(rows)
    for name in ("p_value", "raw_p_value"):
        table[name.replace("p_value", "p_holm")] = holm(table[name].to_numpy(dtype=np.float64))
    return table


def by_group(comparison: dp.SpaceComparison, values: list[np.ndarray]) -> list[np.ndarray]:
    """Means over the cells of each question or text."""
    counts = np.bincount(comparison.groups)
    return [np.bincount(comparison.groups, value) / counts for value in values]


def mass(comparison: dp.SpaceComparison, tokens: str) -> float:
    """Probability that the dense model gives to a set in the end."""
    return float(comparison.values("p", "dense_mass", tokens, kind="final").mean())


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """JSON values, NaN as null."""
    found: list[dict[str, Any]] = json.loads(table.to_json(orient="records", double_precision=10))
    return found


if __name__ == "__main__":
    main()
