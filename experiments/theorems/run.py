"""How good are Theorems 1 to 3 of arXiv 2603.24652 as estimates, layer by layer and by severity; where do they fail?

    uv run python experiments/theorems/run.py             # under an hour on 2 cores; continues where it stopped
    uv run python experiments/theorems/run.py --quick     # a small random model, as a check, under a minute

Writes results.json, errors.csv, sizes.csv, figure.png and README.md beside this file (or to --out).
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
from decision_phases.stats import resample_weights

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))
import settings
from common import begin
from figure import draw
from story import tell

FOLDER = Path(__file__).parent

#: Estimate, what it estimates and the spaces it is taken in.
PAIRS = (
    ("theorem_1", "cosine", ("h", "h_normed", "z", "z_centred")),
    ("theorem_2", "cosine", ("p",)),
    ("theorem_3", "kl_dense_from_pruned", ("p",)),
    ("theorem_3", "kl_pruned_from_dense", ("p",)),
)


def main(argv: list[str] | None = None) -> None:
    """Run what is not there yet, then write tables, figure and text."""
    job = begin(__doc__, settings, FOLDER, argv)
    s, model = job.settings, job.model

    cells, provenance = [], {}
    for temperature in s.TEMPERATURES:
        found = dp.compare_spaces(
            model, texts=s.TEXTS, window=s.WINDOW, limit=s.LIMIT, positions=s.POSITIONS, seed=s.SEED,
            under=variants(model.n_layers, s), temperature=temperature, top=(), partners=1,
            store=job.store, progress=sys.stderr.isatty(),
        )  # fmt: skip
        for comparison in found.values():
            cells.append(pairs(comparison))
            provenance = dict(comparison.provenance)
    every = pd.concat(cells, ignore_index=True)
    errors, sizes = by_layer(every, s), by_size(every, s)
    errors.to_csv(job.out / "errors.csv", index=False)
    sizes.to_csv(job.out / "sizes.csv", index=False)
    result = job.write(
        {
            "texts": {"name": provenance["data"], "n": provenance["cells"], "tokens": s.WINDOW},
            "temperatures": list(s.TEMPERATURES),
            "variants": list(found),
            "close": s.CLOSE,
            "cells": len(every),
            "sizes": records(sizes),
            "severities": records(by_severity(every, s)),
            "deepest": records(at_the_end(every, model.n_layers, s)),
        }
    )
    draw(every, errors, result, job.out / "figure.png")
    (job.out / "README.md").write_text(tell(result), encoding="utf-8")
    job.say(f"written to {job.out}")


def variants(n_layers: int, s: SimpleNamespace) -> dict[str, dp.Intervention]:
    """A share of what every attention or MLP adds, taken away; and a few dropped for good."""
    sites = {"attention": "attn_out", "mlp": "mlp_out"}
    found = {}
    for part in s.PARTS:
        for share in s.SHARES:
            every = (dp.scale(sites[part], layer, 1 - share) for layer in range(n_layers))
            found[f"{part} less {share:g}"] = sum(every, dp.Intervention())
    for part in (*s.PARTS, "block"):
        for count in s.DROPPED:
            inside = np.linspace(s.EDGES, n_layers - 1 - s.EDGES, count + 2)[1:-1]
            layers = sorted({round(at) for at in inside.tolist()})
            found[f"{len(layers)} {part} dropped"] = dp.skip(layers, part=part)
    return found


def pairs(comparison: dp.SpaceComparison) -> pd.DataFrame:
    """Every estimate beside the exact value, one row a layer and text."""
    rows = []
    for kind in ("accumulated", "local"):
        for estimate, exact, spaces in PAIRS:
            for space in spaces:
                true = comparison.values(space, exact, kind=kind)
                guess = comparison.values(space, estimate, kind=kind)
                layers, texts = np.indices(true.shape)
                known = np.isfinite(true) & (true > 0)
                rows.append(
                    pd.DataFrame(
                        {
                            "variant": comparison.name,
                            "temperature": comparison.settings.temperature,
                            "kind": kind,
                            "layer": layers[known],
                            "text": texts[known],
                            "space": space,
                            "estimate": estimate,
                            "of": exact,
                            "exact": true[known],
                            "guess": guess[known],
                        }
                    )
                )
    return pd.concat(rows, ignore_index=True)


def scored(rows: pd.DataFrame, close: float) -> dict[str, float]:
    """How good the estimates of some rows are."""
    ratio = rows["guess"] / rows["exact"]
    return {
        "n": len(rows),
        "exact": float(rows["exact"].mean()),
        "guess": float(rows["guess"].mean()),
        "median_ratio": float(ratio.median()),
        "median_error": float((ratio - 1).abs().median()),
        "close": float(((ratio - 1).abs() <= close).mean()),
        "within_factor_2": float(ratio.between(0.5, 2.0).mean()),
    }


WHAT = ["temperature", "estimate", "of", "space"]


def by_layer(every: pd.DataFrame, s: SimpleNamespace) -> pd.DataFrame:
    """Per variant, kind and layer."""
    return grouped(every, ["variant", "kind", "layer", *WHAT], s)


def by_size(every: pd.DataFrame, s: SimpleNamespace) -> pd.DataFrame:
    """Per decade of the exact value, over all variants, layers and texts: where second order stops to do."""
    decade = pd.cut(every["exact"], list(s.BINS), right=False, labels=list(s.BINS[:-1]))
    return grouped(every.assign(size=decade.astype(float)).dropna(subset="size"), [*WHAT, "size"], s)


def by_severity(every: pd.DataFrame, s: SimpleNamespace) -> pd.DataFrame:
    """Per variant and kind, over all layers."""
    return grouped(every, ["variant", "kind", *WHAT], s)


def at_the_end(every: pd.DataFrame, n_layers: int, s: SimpleNamespace) -> pd.DataFrame:
    """What accumulates until the last layer: means, and their ratio with an interval over texts."""
    last = every[(every["kind"] == "accumulated") & (every["layer"] == n_layers - 1)]
    found = []
    for name, own in last.groupby(["variant", *WHAT], sort=False):
        exact, guess = own["exact"].to_numpy(), own["guess"].to_numpy()
        weights = resample_weights(len(own), s.N_BOOT, seed=s.SEED)
        low, high = np.quantile((weights @ guess) / (weights @ exact), [0.025, 0.975])
        means = {
            "n": len(own),
            "exact": exact.mean(),
            "guess": guess.mean(),
            "ratio": guess.mean() / exact.mean(),
        }
        found.append(dict(zip(["variant", *WHAT], name, strict=True)) | means | {"low": low, "high": high})
    return pd.DataFrame(found)


def grouped(rows: pd.DataFrame, keys: list[str], s: SimpleNamespace) -> pd.DataFrame:
    """One row a group, scored."""
    parts = rows.groupby(keys, sort=False)
    return pd.DataFrame([dict(zip(keys, name, strict=True)) | scored(part, s.CLOSE) for name, part in parts])


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """JSON values, NaN as null."""
    found: list[dict[str, Any]] = json.loads(table.to_json(orient="records", double_precision=10))
    return found


if __name__ == "__main__":
    main()
