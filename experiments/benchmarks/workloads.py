"""What is measured, as a user of the package would write it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

import decision_phases as dp
from decision_phases.pruning.ground import Known
from decision_phases.pruning.search import greedy
from decision_phases.readout.observe import FinalObserver
from decision_phases.tasks import EncodedQuestions

Cut = tuple[int, ...]
#: Removed blocks → option scores, `[question, option]`, or `[question, layer, option]` where every layer is read.
Scores = dict[Cut, np.ndarray]


def run(name: str, model: dp.ModelAccess, encoded: EncodedQuestions, s: SimpleNamespace) -> Scores:
    """Run one workload.

    Args:
        name: One of `settings.WORKLOADS`.
        model: The model.
        encoded: The questions.
        s: The settings.

    Returns:
        What was read of every variant.
    """
    if name == "dense":
        return {(): dp.read(model, encoded).scores}
    if name == "greedy":
        known: Known = {}
        candidates = range(1, model.n_layers - 1)
        greedy(model, encoded, objective="margin", candidates=candidates, steps=s.STEPS, known=known)
        return {variant.removed_blocks: seen.scores for (*_, variant), seen in known.items()}
    cuts = cuts_of(name, model.n_layers, s)
    runs = dp.evaluate(model, encoded, [dp.skip(*cut) for cut in cuts], [FinalObserver()])
    return {cut: run["final"].scores for cut, run in zip(cuts, runs, strict=True)}


def cuts_of(name: str, n_layers: int, s: SimpleNamespace) -> list[Cut]:
    """The cuts of a workload that are known before it runs.

    Args:
        name: "leave_one_out" or "random_masks".
        n_layers: Blocks of the model.
        s: The settings.

    Returns:
        Removed blocks of every variant.
    """
    if name == "leave_one_out":
        return [(layer,) for layer in range(n_layers)]
    rng = np.random.default_rng(s.SEED)
    least, most = (round(share * n_layers) for share in s.KEPT)
    found: dict[Cut, None] = {}
    while len(found) < s.MASKS:
        kept = rng.choice(n_layers, size=rng.integers(least, most + 1), replace=False)
        found[tuple(sorted(set(range(n_layers)) - set(kept.tolist())))] = None
    return list(found)
