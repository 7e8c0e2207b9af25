"""Does the transition exist on SmolLM2, and is pruning after it cheaper than before it?

    uv run python experiments/transition/run.py             # about 40 minutes on 2 cores; continues where it stopped
    uv run python experiments/transition/run.py --quick     # a small random model, as a check, under a minute

Writes results.json, phases.csv, cuts.csv, comparisons.csv, figure.png and README.md beside this file (or to --out).
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

import decision_phases as dp
from decision_phases.readout import metrics
from decision_phases.readout.observe import FinalObserver
from decision_phases.readout.phases import locate
from decision_phases.stats import holm
from decision_phases.studies.targeted import plan_cells, run_targeted
from decision_phases.studies.trials import random_twin, shuffled_gold

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))
import settings
from common import begin
from figure import draw
from story import tell

FOLDER = Path(__file__).parent


def main(argv: list[str] | None = None) -> None:
    """Run what is not there yet, then write tables, figure and text."""
    job = begin(__doc__, settings, FOLDER, argv)
    s, model, out = job.settings, job.model, job.out
    every = dp.questions(s.QUESTIONS)

    decisions = dp.read(model, every, store=job.store)
    beside = dp.read(model, every, lens="last_blocks", last=s.LAST_BLOCKS, store=job.store)
    phases = dp.find_phases(decisions, beside=beside, seed=s.SEED)
    result: dict[str, Any] = {
        "questions": {"name": every.name, "hash": every.content_hash, "n": len(every)},
        "chance": decisions.chance,
        "overall": describe(decisions, phases),
        "last_blocks_lens": [float(v) for v in beside.margin.mean(axis=0)],
        "controls": controls(model, decisions, s),
        "letters": letters(model, every.limit(s.EXAMPLE_LETTERS, s.SEED)),
    }
    by_category = categories(decisions, s.SEED)
    by_category.to_csv(out / "phases.csv", index=False)
    result["categories"] = by_category.to_dict("records")

    search = dp.ask(model, every.limit(s.N_SEARCH, s.SEED))
    chosen = {item.id for item in search.questions}
    rest = dp.questions(
        [item for item in every if item.id not in chosen], name=every.name, scoring=every.scoring
    )
    evaluation = dp.ask(model, rest.limit(s.N_EVALUATION, s.SEED))
    result["equality"] = equality(model, evaluation, [i for i in s.EQUALITY_LAYERS if i < model.n_layers - 1])
    found = dp.read(model, search, store=job.store)
    tables, comparisons = [], []
    result["boundaries"], result["not_testable"] = {}, {}
    for method in s.BOUNDARIES:
        boundary = dp.find_phases(found, method=method, seed=s.SEED)
        result["boundaries"][method] = boundary.to_dict()
        if not boundary.found:
            result["not_testable"][method] = boundary.verdict
            continue
        first = [*s.FIRST_BLOCKS, boundary.transition]
        cells, reasons = plan_cells(
            boundary, exclusions={"none": (), "edges": first}, sizes=s.SIZES, draws=s.DRAWS, seed=s.SEED
        )
        targeted = run_targeted(
            model, evaluation, boundary, cells, not_testable=reasons, store=job.store, seed=s.SEED
        )
        tables.append(targeted.to_pandas().assign(boundary=method))
        comparisons.append(targeted.compare().assign(boundary=method))
        result["intact_accuracy"] = float(targeted.intact.mean())
        result["not_testable"] |= {f"{method}, {k}": why for k, why in targeted.not_testable.items()}
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    compared = pd.concat(comparisons, ignore_index=True) if comparisons else pd.DataFrame()
    if len(compared):
        compared["p_holm"] = holm(compared["p_value"].to_numpy(dtype=np.float64))
    table.to_csv(out / "cuts.csv", index=False)
    compared.to_csv(out / "comparisons.csv", index=False)
    result["cuts"], result["comparisons"] = table.to_dict("records"), compared.to_dict("records")
    result["n_search"], result["n_evaluation"] = len(search), len(evaluation)
    told = job.write(result)
    draw(decisions, beside, phases, table, told, out / "figure.png")
    (out / "README.md").write_text(tell(told), encoding="utf-8")
    job.say(f"written to {out}")


def describe(decisions: dp.Decisions, phases: dp.Phases) -> dict[str, Any]:
    """Margins by layer and phases, as JSON values."""
    return {
        **phases.to_dict(),
        "margin": [float(v) for v in decisions.margin.mean(axis=0)],
        "excess_margin": [float(v) for v in decisions.excess_margin.mean(axis=0)],
        "accuracy": [float(v) for v in decisions.accuracy],
        "final_accuracy": decisions.final.accuracy,
        "final_margin": float(decisions.final.margin.mean()),
    }


def categories(decisions: dp.Decisions, seed: int) -> pd.DataFrame:
    """The transition in every category by itself."""
    rows = []
    labels = np.array([item.category for item in decisions.encoded.questions])
    for category in decisions.encoded.questions.categories:
        mine = np.flatnonzero(labels == category)
        found = locate(decisions.scores[mine], decisions.gold[mine], seed=seed)
        final = decisions.final
        rows.append(
            {
                "category": category,
                "questions": len(mine),
                "accuracy": float(final.correct[mine].mean()),
                "margin": float(final.margin[mine].mean()),
                "outcome": found.outcome,
                "transition": found.transition,
                "ci_low": None if found.ci is None else found.ci[0],
                "ci_high": None if found.ci is None else found.ci[1],
                "p_value": found.p_value,
            }
        )
    return pd.DataFrame(rows)


def controls(model: dp.ModelAccess, decisions: dp.Decisions, s: SimpleNamespace) -> dict[str, Any]:
    """What the same method finds where there is nothing to find."""
    outcomes = [
        locate(decisions.scores, shuffled_gold(decisions, seed), seed=s.SEED).outcome
        for seed in range(s.LABEL_SHUFFLES)
    ]
    twins = [dp.read(random_twin(model, seed), decisions.encoded) for seed in range(s.RANDOM_MODELS)]
    return {
        "shuffled_labels": {"n": len(outcomes), "transitions": outcomes.count("transition")},
        "random_models": [
            {"seed": i, "outcome": dp.find_phases(twin, seed=s.SEED).outcome, "accuracy": twin.final.accuracy}
            for i, twin in enumerate(twins)
        ],
    }


def letters(model: dp.ModelAccess, questions: dp.QuestionSet) -> dict[str, Any]:
    """The same questions with the options shown and a letter asked for, in every cyclic order of the options."""
    finals, shares = [], []
    for steps in range(4):
        read = dp.read(model, questions.rotated(steps), scoring="letter")
        finals.append(read.final.accuracy)
        shares.append(read.option_frequency().iloc[model.n_layers - 1].to_numpy())
    share = np.mean(shares, axis=0)
    return {
        "n": len(questions),
        "accuracy_by_rotation": finals,
        "accuracy": float(np.mean(finals)),
        "letter_share": [float(v) for v in share],
    }


def equality(model: dp.ModelAccess, encoded: Any, layers: list[int]) -> dict[str, Any]:
    """Removing every block after layer l, against the logit lens at l."""
    lens = dp.read(model, encoded)
    cuts = [dp.skip(*range(layer + 1, model.n_layers)) for layer in layers]
    runs = dp.evaluate(model, encoded, cuts, [FinalObserver()])
    gaps = [
        float(np.nanmax(np.abs(run["final"].scores - lens.scores[:, layer])))
        for layer, run in zip(layers, runs, strict=True)
    ]
    same = metrics.choices(lens.scores)
    return {"layers": layers, "largest_difference": max(gaps), "n": len(same)}


if __name__ == "__main__":
    main()
