"""Which parts carry the decision: by category of questions, and before and after pruning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from common import Job
from jaxtyping import Float
from scipy.stats import spearmanr

import decision_phases as dp
from decision_phases.errors import InputError

LEAST = 4  # questions of a category


def by_category(found: dp.Attribution) -> list[dict[str, Any]]:
    """The part that adds most in every category, and whether parts matter there as they do in all others.

    Args:
        found: Attribution of the margin.

    Returns:
        One row for each category with enough questions.
    """
    of = np.array([question.category for question in found.encoded.questions])
    rows = []
    for category in dict.fromkeys(of.tolist()):
        own = of == category
        if own.sum() < LEAST or own.all():
            continue
        mean, rest = found.values[own].mean(axis=0), found.values[~own].mean(axis=0)
        interval, top = found.interval(category), int(mean.argmax())
        part, layer, head = found.parts[top]
        rows.append(
            {"category": category, "n": int(own.sum()), "margin": float(found.margin[own].mean()), "part": part,
             "layer": layer, "head": head, "mean": float(mean[top]), "low": float(interval.low[top]),
             "high": float(interval.high[top]), "elsewhere": float(rest[top]),
             "correlation": float(spearmanr(mean, rest).statistic)}
        )  # fmt: skip
    return sorted(rows, key=lambda row: row["correlation"])


def circuits(
    job: Job, pairs: dp.Pairs, rest: dp.QuestionSet, cuts: Mapping[str, dp.Intervention]
) -> dict[str, Any]:
    """Circuits of the intact model and of every pruned one, and what they share.

    Parts are ordered by what attribution patching on the pairs foretells; questions that are in no pair find and report.

    Args:
        job: Model, settings and store.
        pairs: What scores are taken on.
        rest: Questions, those of the pairs included.
        cuts: What is removed.

    Returns:
        For every cut the circuits and their overlap, or why there are none.
    """
    s, model = job.settings, job.model
    paired = {question.id for side in pairs.sides for question in side.questions}
    fresh = dp.questions([q for q in rest if q.id not in paired], name=rest.name, scoring=rest.scoring)
    reads = {name: dp.read(model, fresh, under=cut, store=job.store) for name, cut in cuts.items()}
    whole = dp.read(model, fresh, store=job.store)
    lengths = np.array([len(sequence) for sequence in whole.encoded.sequences])
    found = {}
    for name, cut in cuts.items():
        both = whole.final.correct & reads[name].final.correct
        kept = both & (lengths == np.bincount(lengths[both]).argmax()) if both.any() else both
        if kept.sum() < s.LEAST_CIRCUIT:
            found[name] = {
                "why": f"{int(kept.sum())} questions of one length are answered right before and after"
            }
            continue
        known = dp.questions(
            [q for q, ok in zip(fresh, kept, strict=True) if ok], name=name, scoring=rest.scoring
        )
        under = {"intact": dp.Intervention(), "pruned": cut}
        try:
            one, other = (
                dp.find_circuit(
                    model, known, importance(model, pairs, variant, s.SEED), under=variant, selection="threshold",
                    target=s.TARGET, seed=s.SEED, store=job.store,
                )
                for variant in under.values()
            )  # fmt: skip
        except InputError as error:  # ablating everything costs the decision nothing
            found[name] = {"why": str(error)}
            continue
        overlap = dp.compare_circuits(
            one, other, model=model, names=("intact", "pruned"), seed=s.SEED, store=job.store
        )
        job.say(f"{name}: {overlap}")
        found[name] = {
            "cut": str(cut), "n": len(known), "shared": overlap.shared, "sizes": list(overlap.sizes),
            "components": overlap.components, "jaccard": overlap.jaccard, "expected": overlap.expected,
            "p_value": overlap.p_value, "correlation": overlap.correlation, "correlation_p": overlap.correlation_p,
            "kept": overlap.to_pandas()[["circuit", "on", "faithfulness", "faithfulness_low", "faithfulness_high"]]
            .to_dict("records"),
        }  # fmt: skip
    return found


def importance(
    model: dp.ModelAccess, pairs: dp.Pairs, under: dp.Intervention, seed: int
) -> Float[np.ndarray, "layer component"]:
    """What corrupting a head or an MLP everywhere would take of the margin, to first order; NaN where there is none."""
    found = dp.attribution_patching(
        model,
        pairs,
        sites=["head_out", "mlp_out"],
        positions=["all"],
        direction="noise",
        under=under,
        seed=seed,
    )
    scores = np.full((model.n_layers, model.n_heads + 1), np.nan)
    for cell, recovery in zip(found.cells, found.recovery, strict=True):
        scores[cell.layer, cell.head if cell.head >= 0 else model.n_heads] = 1 - recovery
    return scores
