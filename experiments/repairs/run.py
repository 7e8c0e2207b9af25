"""What do closed-form repairs give back of what a cut costs, and where?

    uv run python experiments/repairs/run.py             # hours on 2 cores; continues where it stopped
    uv run python experiments/repairs/run.py --quick     # a small random model, as a check, under two minutes

Writes results.json, repairs.csv, figure.png and README.md beside this file (or to --out).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

import decision_phases as dp
from decision_phases.interventions import layer_runs
from decision_phases.repairs.comparison import INTACT, NOTHING
from decision_phases.stats import recovered_shares, resample_weights, with_ends
from decision_phases.store import read_json, write_json
from decision_phases.studies.targeted import plan_cells

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))
import settings
from common import Job, begin, clean, records
from figure import draw
from story import tell

FOLDER = Path(__file__).parent

SIZES = ("mild", "collapse", "beyond")
NO_COLLAPSE = ("mild", "deep", "deepest")  # where a quarter of the accuracy above chance outlasts the search


@dataclass(frozen=True)
class Case:
    """One cut that is repaired.

    Attributes:
        group: "criterion" or "phase".
        chosen_by: The strategy, or the phase.
        size: In `SIZES` or `NO_COLLAPSE`; for phases the shape of the cut.
        layers: The blocks.
        methods: Repairs to compare.
        sequential: Whether maps are fitted from left to right.
    """

    group: str
    chosen_by: str
    size: str
    layers: tuple[int, ...]
    methods: tuple[str, ...]
    sequential: bool = True

    @property
    def name(self) -> str:
        """A name for files and tables."""
        fitted = "" if self.sequential else "-intact"
        return f"{self.chosen_by}-{self.size}-{'-'.join(map(str, self.layers))}{fitted}"


def main(argv: list[str] | None = None) -> None:
    """Run what is not there yet, then write table, figure and text."""
    job = begin(__doc__, settings, FOLDER, argv)
    s, model = job.settings, job.model
    every = dp.questions(s.QUESTIONS)
    search = every.limit(s.N_SEARCH, s.SEED)
    chosen = {item.id for item in search}
    rest = dp.questions([q for q in every if q.id not in chosen], name=every.name, scoring=every.scoring)
    evaluation = rest.limit(s.N_EVALUATION, s.SEED)
    phases = dp.find_phases(dp.read(model, search, store=job.store), seed=s.SEED)
    cases, cuts, reasons = plan(job, search, phases)
    found = [compare(job, case, evaluation) for case in cases]
    table = pd.DataFrame([row for rows in found for row in rows["rows"]])
    table.to_csv(job.out / "repairs.csv", index=False)
    result = job.write(
        {
            "questions": {"name": every.name, "hash": every.content_hash},
            "texts": s.TEXTS,
            "n_search": len(search),
            "n_evaluation": len(evaluation),
            "chance": evaluation.chance,
            "main": s.MAIN,
            "methods": list(s.METHODS),
            "boundary": phases.to_dict(),
            "cuts": cuts,
            "not_testable": reasons,
            "rows": table.to_dict("records"),
            "phases": between_phases(found, s),
        }
    )
    draw(table, result, job.out / "figure.png")
    (job.out / "README.md").write_text(tell(result), encoding="utf-8")
    job.say(f"written to {job.out}")


def plan(
    job: Job, search: dp.QuestionSet, phases: dp.Phases
) -> tuple[list[Case], list[dict[str, Any]], dict[str, str]]:
    """Choose the cuts on the search questions: by criterion around the collapse, and at random inside the phases."""
    s = job.settings
    curves = dp.prune(
        job.model,
        search,
        by=s.CRITERIA,
        up_to=s.UP_TO,
        split=None,
        controls=False,
        seed=s.SEED,
        store=job.store,
    )
    cases, cuts = [], []
    for criterion in s.CRITERIA:
        steps = {step.step: step.cut for step in curves.of(criterion)}
        collapse = curves.collapse(criterion)
        names, at = (NO_COLLAPSE, s.UP_TO - s.BEYOND) if collapse is None else (SIZES, collapse)
        there = (max(1, at // 2), at, min(at + s.BEYOND, max(steps)))
        sizes = {n: size for size, n in reversed(list(zip(names, there, strict=True)))}
        for n, size in sorted(sizes.items()):  # a search that ends at the collapse has no cut beyond it
            layers = tuple(sorted(steps[n]))
            cuts.append(
                {
                    "criterion": criterion,
                    "size": size,
                    "blocks": n,
                    "layers": list(layers),
                    "collapse": collapse,
                }
            )
            cases.append(Case("criterion", criterion, size, layers, s.METHODS))
            if len(layer_runs(layers)) > 1:
                cases.append(Case("criterion", criterion, size, layers, s.PUBLISHED, sequential=False))
    if not phases.found:
        return cases, cuts, {"phases": phases.verdict}
    first = [*s.FIRST_BLOCKS, phases.transition]
    cells, reasons = plan_cells(
        phases, exclusions={"edges": first}, sizes=s.PHASE_SIZES, draws=s.PHASE_DRAWS, seed=s.SEED
    )
    cases += [
        Case("phase", cell.region, f"{cell.shape}-{cell.size}", tuple(sorted(cut)), s.PHASE_METHODS)
        for cell in cells
        if cell.region != "anywhere"
        for cut in cell.cuts
    ]
    return cases, cuts, dict(reasons)


def compare(job: Job, case: Case, evaluation: dp.QuestionSet) -> dict[str, Any]:
    """Fit and measure the repairs of one cut, or read back what an earlier run found."""
    s = job.settings
    path = job.store / "cases" / f"{case.name}.json"
    if path.exists():
        return dict(read_json(path))
    job.say(case.name)
    table = dp.compare_repairs(
        job.model, dp.skip(*case.layers), methods=case.methods, questions=evaluation, texts=s.TEXTS, window=s.WINDOW,
        limit=s.WINDOWS, held_out=s.HELD_OUT, sequential=case.sequential, seed=s.SEED, store=job.store,
        checkpoint=job.store / "training" / case.name,
    )  # fmt: skip
    rows = []
    for record, row in zip(records(table.to_pandas()), table.rows, strict=True):
        errors = [] if row.fit is None else [(p.relative_before, p.relative_after) for p in row.fit.places]
        rows.append(
            {
                "group": case.group, "chosen_by": case.chosen_by, "size": case.size, "blocks": len(case.layers),
                "layers": " ".join(map(str, case.layers)), "gaps": len(table.rows[-1].repair or ()),
                "sequential": case.sequential, **record,
                "relative_error_before": float(np.mean([e[0] for e in errors])) if errors else None,
                "relative_error_after": float(np.mean([e[1] for e in errors])) if errors else None,
            }
        )  # fmt: skip
    per_question = {
        row.method: {
            "margin": row.margins.tolist(),
            "accuracy": row.correct.astype(float).tolist(),
            "log_perplexity": (-row.perplexity.nll / row.perplexity.tokens.mean()).tolist(),
        }
        for row in table.rows
    }
    done = clean({"case": vars(case), "rows": rows, "values": per_question})
    write_json(path, done)
    return dict(done)


def between_phases(found: list[dict[str, Any]], s: SimpleNamespace) -> list[dict[str, Any]]:
    """Share of the loss that a repair gives back, Silent minus Decisive, at equal numbers of blocks and shape."""
    cells: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in found:
        if one["case"]["group"] == "phase":
            cells.setdefault((one["case"]["size"], one["case"]["chosen_by"]), []).append(one["values"])
    rows = []
    for size in dict.fromkeys(size for size, _ in cells):
        both = {region: cells.get((size, region)) for region in ("silent", "decisive")}
        if not all(both.values()):
            continue
        for method in s.PHASE_METHODS:
            for measure in ("accuracy", "margin", "log_perplexity"):
                shares = {
                    region: share(values or [], method, measure, s.SEED) for region, values in both.items()
                }
                gap, low, high = with_ends(shares["silent"] - shares["decisive"])
                rows.append(
                    {
                        "size": size, "method": method, "measure": measure,
                        "silent": shares["silent"][0], "decisive": shares["decisive"][0],
                        "difference": gap, "low": low, "high": high,
                    }
                )  # fmt: skip
    return rows


def share(
    values: list[dict[str, Any]], method: str, measure: str, seed: int
) -> Float[np.ndarray, " whole_and_resamples"]:
    """(repaired − cut) / (intact − cut) of means over cuts: first over all questions or texts, then over resamples."""
    mean = {
        name: np.mean([one[name][measure] for one in values], axis=0) for name in (INTACT, NOTHING, method)
    }
    n = len(mean[NOTHING])
    weights = np.vstack([np.full(n, 1 / n), resample_weights(n, 2000, seed=seed)])
    return recovered_shares(
        weights @ (mean[method] - mean[NOTHING]), weights @ (mean[INTACT] - mean[NOTHING])
    )


if __name__ == "__main__":
    main()
