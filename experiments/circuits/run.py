"""Where in the model is the decision made, and which of its activations bring it back after pruning?

    uv run python experiments/circuits/run.py             # under an hour on 2 cores; continues where it stopped
    uv run python experiments/circuits/run.py --quick     # a small random model, as a check

Writes results.json, attribution.csv, sweep.csv, transition.csv, restoration.csv, figure.png and README.md beside this
file (or to --out).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import decision_phases as dp

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))
import settings
from common import Job, begin
from figure import draw
from parts import by_category, circuits
from story import tell

FOLDER = Path(__file__).parent


def main(argv: list[str] | None = None) -> None:
    """Run what is not there yet, then write tables, figure and text."""
    job = begin(__doc__, settings, FOLDER, argv)
    s, model = job.settings, job.model
    search, rest = apart(job)
    phases = dp.find_phases(dp.read(model, search, store=job.store), seed=s.SEED)
    cuts = middles(phases, model.n_layers, s.CUT_SIZES)
    pairs = dp.pairs(model, rest, limit=s.N_PAIRS, least=s.LEAST_PAIRS, seed=s.SEED)
    job.say(str(pairs))
    attribution = dp.attribute(model, rest.limit(s.N_ATTRIBUTED, s.SEED), seed=s.SEED, store=job.store)
    attribution.to_pandas().to_csv(job.out / "attribution.csv", index=False)
    swept = sweeps(job, pairs)
    transitions = {
        name: dp.causal_transition(model, pairs, under=cut, seed=s.SEED, store=job.store)
        for name, cut in {"intact": dp.Intervention(), **cuts}.items()
    }
    tables = [t.to_pandas().assign(under=name) for name, t in transitions.items()]
    pd.concat(tables).to_csv(job.out / "transition.csv", index=False)
    job.say("interchange is through")
    restorations = {
        name: dp.restore(
            model, pairs, cut, sites=s.RESTORED, draws=s.DRAWS, seed=s.SEED, store=job.store, progress=not job.quick
        )
        for name, cut in cuts.items()
    }  # fmt: skip
    rows = pd.concat([found.to_pandas().assign(asked=name) for name, found in restorations.items()])
    rows.to_csv(job.out / "restoration.csv", index=False)
    result = job.write(
        {
            "n_search": len(search),
            "phases": {"transition": phases.transition, "verdict": phases.verdict},
            "pairs": {"n": len(pairs), "n_questions": pairs.n_questions, "dropped": dict(pairs.dropped),
                      "categories": len({q.category for q in pairs.sides[0].questions})},
            "attribution": attributed(attribution),
            "categories_apart": by_category(attribution),
            "circuits": circuits(job, pairs, rest, cuts),
            **swept,
            "transitions": {name: told(found) for name, found in transitions.items()},
            "restorations": {name: restored(found) for name, found in restorations.items()},
        }
    )  # fmt: skip
    draw(result, job.out / "figure.png")
    (job.out / "README.md").write_text(tell(result), encoding="utf-8")
    job.say(f"written to {job.out}")


def apart(job: Job) -> tuple[dp.QuestionSet, dp.QuestionSet]:
    """Questions that locate the transition, and all others."""
    every = dp.questions(job.settings.QUESTIONS)
    search = every.limit(job.settings.N_SEARCH, job.settings.SEED)
    chosen = {item.id for item in search}
    rest = dp.questions(
        [item for item in every if item.id not in chosen], name=every.name, scoring=every.scoring
    )
    return search, rest


def middles(phases: dp.Phases, n_layers: int, sizes: tuple[int, ...]) -> dict[str, dp.Intervention]:
    """Cuts of neighbouring blocks in the middle of each phase; without phases, of each half of the model.

    A block behind the cut must be left in the phase, for activations to be put in.
    """
    named = {"Silent Phase": phases.silent, "Decisive Phase": phases.decisive}
    if min(map(len, named.values())) <= min(sizes):
        half = n_layers // 2
        named = {"first half": tuple(range(half)), "second half": tuple(range(half, n_layers))}
    found = {}
    for name, layers in named.items():
        for size in sizes:
            if size < len(layers):
                start = (len(layers) - size) // 2
                found[f"{size} of the {name}"] = dp.skip(layers[start : start + size])
    return found


def sweeps(job: Job, pairs: dp.Pairs) -> dict[str, Any]:
    """Recovery at every place in both directions, run and foretold."""
    s, model = job.settings, job.model
    given = {"sites": s.SITES, "positions": s.POSITIONS, "seed": s.SEED}
    curves: dict[str, Any] = {}
    best, agreement, tables = [], [], []
    heads: Any = None
    for direction in s.DIRECTIONS:
        exact = dp.patch_sweep(
            model, pairs, direction=direction, store=job.store, progress=not job.quick, **given
        )
        foretold = dp.attribution_patching(model, pairs, direction=direction, **given)
        job.say(str(exact))
        agreement += exact.agreement(foretold).assign(direction=direction).to_dict("records")
        table = exact.to_pandas().assign(direction=direction, foretold=foretold.recovery)
        tables.append(table)
        # The corrupted run has recovery 0 and the clean one 1: what a place carries is its distance from where it began.
        carried = table["recovery"] if direction == "denoise" else 1 - table["recovery"]
        table["carried"] = carried
        for (site, position), own in table.groupby(["site", "position"], sort=False):
            row = own.loc[own["carried"].idxmax()]
            keys = ["layer", "head", "recovery", "low", "high", "foretold"]
            best.append({"direction": direction, "site": site, "position": position, **row[keys].to_dict()})
        if direction == "denoise":
            places = [(site, position) for site in s.SITES if site != "head_out" for position in s.POSITIONS]
            for site, position in places:
                found = exact.of(site, position)
                ends = {"estimate": found.estimate, "low": found.low, "high": found.high}
                curves.setdefault(site, {})[position] = ends
            if "head_out" in s.SITES:
                heads = exact.of("head_out").estimate
    pd.concat(tables).to_csv(job.out / "sweep.csv", index=False)
    return {"best": best, "agreement": agreement, "curves": curves, "heads": heads}


def attributed(found: dp.Attribution) -> dict[str, Any]:
    """The largest parts of the margin, and what attention and MLPs come to."""
    table = found.to_pandas()
    largest = table.reindex(table["mean"].abs().sort_values(ascending=False).index).head(8)
    sums = {name: float(getattr(found, name).sum(axis=1).mean()) for name in ("attention", "mlp")}
    return {
        "n": len(found.rival),
        "margin": float(found.margin.mean()),
        "embedding": float(found.embedding.mean()),
        **sums,
        "largest": largest.to_dict("records"),
        "rounding": float(np.abs(found.rounding).max()),
    }


def told(found: dp.CausalTransition) -> dict[str, Any]:
    """Both transitions, and the curves that they are read off."""
    table = found.to_pandas()
    return {
        "cut": str(found.under),
        "transition": found.transition,
        "interval": None if found.ci is None else list(found.ci),
        "share": found.share,
        "lens": found.lens.transition,
        "lens_interval": None if found.lens.ci is None else list(found.lens.ci),
        "lens_outcome": found.lens.outcome,
        "curves": {name: table[name].to_numpy() for name in table.columns},
    }


def restored(found: dp.Restoration) -> dict[str, Any]:
    """What each cut loses, and at every site the place that brings most back beyond a wrong prompt."""
    rows = found.to_pandas()
    rows = rows[~rows["by_construction"]]
    best = []
    for (cut, site), own in rows.groupby(["cut", "site"], sort=False):
        if own["specific"].notna().any():
            row = own.loc[own["specific"].idxmax()]
            keys = [
                "layer",
                "gain",
                "wrong_gain",
                "recovered",
                "specific",
                "specific_low",
                "specific_high",
                "accuracy",
            ]
            best.append({"cut": cut, "site": site, **row[keys].to_dict()})
    lost = {name: found.lost(name) for name in found.cuts}
    return {
        "cuts": {
            name: {"removed": str(one.cut), "check": one.check, "estimate": float(lost[name].estimate),
                   "low": float(lost[name].low), "high": float(lost[name].high),
                   "accuracy": float(one.correct[:, 0].mean())}
            for name, one in found.cuts.items()
        },
        "dense": float(found.dense.mean()),
        "best": best,
    }  # fmt: skip


if __name__ == "__main__":
    main()
