"""Where does the decision of open generation form, and does deviation compound while text is written?

    uv run python experiments/open_decisions/run.py             # under an hour on 2 cores; continues where it stopped
    uv run python experiments/open_decisions/run.py --quick     # a small random model, as a check, under a minute

The same questions are read with their options as rivals (multiple choice) and with the whole vocabulary as rival (open).
Then the model writes on after passages, intact and with parts removed.

Writes results.json, layers.csv, drift.csv, texts.csv, figure.png and README.md beside this file (or to --out).
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import decision_phases as dp
from decision_phases.hierarchy.drift_result import MODES
from decision_phases.readout.phases import locate
from decision_phases.stats import bootstrap_ci, holm, paired_difference
from decision_phases.store import read_json, versions, write_json
from decision_phases.tasks import TextSet, read_passages

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))
import settings
from common import Job, begin, clean
from figure import draw
from story import tell

FOLDER = Path(__file__).parent


def main(argv: list[str] | None = None) -> None:
    """Run what is not there yet, then write tables, figure and text."""
    job = begin(__doc__, settings, FOLDER, argv)
    s = job.settings
    cuts = variants(job)
    layers, decisions = where(job, cuts)
    layers.to_csv(job.out / "layers.csv", index=False)
    drift, texts, growth = compounding(job, cuts)
    drift.to_csv(job.out / "drift.csv", index=False)
    texts.to_csv(job.out / "texts.csv", index=False)
    result = job.write(
        {
            **decisions,
            "variants": {name: str(cut) for name, cut in cuts.items()},
            "growth": growth.to_dict("records"),
            "texts": texts.to_dict("records"),
            "last_step": drift[drift["step"] == s.STEPS - 1].to_dict("records"),
            "layers": layers.to_dict("records"),
        }
    )
    draw(layers, drift, result, job.out / "figure.png")
    (job.out / "README.md").write_text(tell(result), encoding="utf-8")
    job.say(f"written to {job.out}")


def variants(job: Job) -> dict[str, dp.Intervention]:
    """Parts removed in the order of a criterion."""
    s, texts = job.settings, dp.texts(job.settings.TEXTS).fit
    found = {}
    for part, criterion in s.CRITERIA.items():
        ranking = dp.rank(job.model, texts=texts, by=criterion, part=part, limit=s.WINDOWS, seed=s.SEED)
        found |= {f"{part} {size}": ranking.cut(size) for size in s.SIZES[part]}
    return found


def where(job: Job, cuts: dict[str, dp.Intervention]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Margins by layer and transitions: among the options, and in the whole vocabulary."""
    s, model = job.settings, job.model
    asked = dp.ask(model, dp.questions(s.QUESTIONS, limit=s.LIMIT, seed=s.SEED), shots=s.SHOTS, seed=s.SEED)
    decisions = dp.read(model, asked, store=job.store)
    intact = dp.generate(model, asked, steps=s.ANSWER_STEPS)
    opened = dp.read_open(model, asked, steps=s.ANSWER_STEPS, intact=intact, seed=s.SEED, store=job.store)
    chosen = decisions.final.choice
    phases = {
        "options, right answer": dp.find_phases(decisions, seed=s.SEED),
        "options, own choice": locate(decisions.scores, chosen, seed=s.SEED),
        **{f"open, step {step}": opened.phases(step) for step in range(s.ANSWER_STEPS)},
    }
    margins = {
        "options, right answer": decisions.margin,
        "options, own choice": decisions.self_margin,
        **{f"open, step {step}": opened.margin[:, step] for step in range(s.ANSWER_STEPS)},
    }
    tables = []
    for name, margin in margins.items():
        found = bootstrap_ci(margin, seed=s.SEED)
        columns = {"margin": found.estimate, "low": found.low, "high": found.high}
        tables.append(pd.DataFrame({"read": name, "layer": range(model.n_layers), **columns}))
    own = np.array([ids[c] for ids, c in zip(asked.option_ids, chosen.tolist(), strict=True)])
    gold = np.array([ids[g] for ids, g in zip(asked.option_ids, asked.gold.tolist(), strict=True)])
    # Where two tokens tie in the end, rounding decides; such a token is committed after the last layer.
    committed = np.nan_to_num(opened.commitment_layer, nan=model.n_layers)
    later = paired_difference(committed[:, 0], decisions.commitment_layer.astype(np.float64), seed=s.SEED)
    commitment = bootstrap_ci(committed, seed=s.SEED)
    under = {}
    for name, cut in cuts.items():
        job.say(f"open decisions under {name}")
        changed = dp.read_open(
            model, asked, steps=s.ANSWER_STEPS, under=cut, intact=intact, seed=s.SEED, store=job.store
        )
        found = changed.phases(0)
        under[name] = {"kept": changed.kept.mean(axis=0), "transition": found.transition, "ci": found.ci}
    result = {
        "questions": {"name": asked.questions.name, "n": len(asked), "hash": asked.questions.content_hash},
        "phases": {name: found.to_dict() for name, found in phases.items()},
        "accuracy": decisions.final.accuracy,
        "own_is_choice": float((intact.tokens[:, 0] == own).mean()),
        "own_is_gold": float((intact.tokens[:, 0] == gold).mean()),
        "commitment_difference": {
            "estimate": later.difference, "low": later.low, "high": later.high, "p_value": later.p_value,
            "detectable": later.minimum_detectable,
        },
        "commitment": [
            {"step": step, "estimate": commitment.estimate[step], "low": commitment.low[step], "high": commitment.high[step]}
            for step in range(s.ANSWER_STEPS)
        ],
        "under": under,
        "cached": intact.cached,
    }  # fmt: skip
    return pd.concat(tables, ignore_index=True), result


def compounding(
    job: Job, cuts: dict[str, dp.Intervention]
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Deviation over steps in every mode, the texts, and whether the deviation grows."""
    s, model = job.settings, job.model
    prompts = TextSet("passages", read_passages("passages").passages, source="bundled")
    drawing = {"steps": s.STEPS, "prompt_tokens": s.PROMPT_TOKENS, "limit": s.LIMIT, "seed": s.SEED}
    intact = None
    steps, texts, growth = [], [], []
    for name, cut in cuts.items():
        path = job.store / f"drift-{name.replace(' ', '-')}-{_key(job, cut)}.json"
        if not path.exists():
            job.say(f"drift under {name}")
            intact = intact or dp.generate(model, prompts, **drawing)
            found = dp.generation_drift(
                model, prompts, under=cut, mode=tuple(MODES), intact=intact, **drawing
            )
            if any("changes nothing" in note for note in found.notes):
                msg = f"{name} changes nothing: {found.notes}"
                raise RuntimeError(msg)
            write_json(path, clean(told(found, s.MEASURES)))
        kept = read_json(path)
        steps.append(pd.DataFrame(kept["steps"]).assign(variant=name))
        texts.append(pd.DataFrame(kept["texts"]).assign(variant=name))
        growth.append(pd.DataFrame([grows(row, s.SEED) for row in kept["growth"]]).assign(variant=name))
    grown = pd.concat(growth, ignore_index=True)
    grown["p_holm"] = holm(grown["p_value"].to_numpy(dtype=np.float64))
    return pd.concat(steps, ignore_index=True), pd.concat(texts, ignore_index=True), grown


def told(found: dp.GenerationDrift, measures: tuple[str, ...]) -> dict[str, Any]:
    """What is kept of one comparison, as JSON values."""
    growth = []
    for mode in found.modes:
        for measure in measures:
            first, last = found.quarters(mode, measure)
            growth.append({"mode": mode, "measure": measure, "first": first.tolist(), "last": last.tolist()})
    return {
        "steps": found.to_pandas().to_dict("records"),
        "texts": found.texts_to_pandas().to_dict("records"),
        "growth": growth,
    }


def grows(kept: dict[str, Any], seed: int) -> dict[str, Any]:
    """Whether the deviation grows, from what was kept of each prompt; as `GenerationDrift.growth`."""
    found = paired_difference(np.array(kept["last"]), np.array(kept["first"]), seed=seed)
    return {
        "mode": kept["mode"], "measure": kept["measure"], "difference": found.difference, "low": found.low,
        "high": found.high, "p_value": found.p_value, "detectable": found.minimum_detectable,
    }  # fmt: skip


def _key(job: Job, cut: dp.Intervention) -> str:
    s = job.settings
    parts = [
        job.model.fingerprint,
        cut.key,
        s.STEPS,
        s.PROMPT_TOKENS,
        s.LIMIT,
        s.SEED,
        list(s.MEASURES),
        versions(),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


if __name__ == "__main__":
    main()
