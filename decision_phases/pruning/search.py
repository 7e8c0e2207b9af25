"""Greedy removal, re-measured after every step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from tqdm.auto import tqdm

from decision_phases.engine import Store, evaluate
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention, skip
from decision_phases.models import ModelAccess
from decision_phases.readout.decisions import Final
from decision_phases.readout.observe import FinalObserver
from decision_phases.tasks import EncodedQuestions

#: What a search keeps as high as it can, as a function of the final decisions on the search questions.
OBJECTIVES: Mapping[str, Callable[[Final], float]] = MappingProxyType(
    {
        "margin": lambda final: float(final.margin.mean()),
        "accuracy": lambda final: final.accuracy,
    }
)


@dataclass(frozen=True)
class Found:
    """One step of a search.

    Attributes:
        removed: The layer that was chosen.
        value: The objective on the search questions without it.
        candidates: Layer → objective, for every candidate of the step.
    """

    removed: int
    value: float
    candidates: Mapping[int, float]


def greedy(
    model: ModelAccess,
    encoded: EncodedQuestions,
    *,
    objective: str,
    candidates: Sequence[int],
    steps: int,
    under: Intervention | None = None,
    known: dict[Intervention, Final] | None = None,
    store: Store = None,
    progress: bool = False,
) -> list[Found]:
    """Remove one block after the other, each time the one whose removal leaves the objective highest.

    Every remaining candidate is measured again after every step; ties go to the deepest. Costs
    `Σ_{k<steps} (candidates − k)` evaluations of the model, of which the engine shares the unchanged beginnings.

    Args:
        model: The model.
        encoded: The search questions.
        objective: A name in `OBJECTIVES`.
        candidates: Layers that may be removed.
        steps: How many to remove.
        under: What else is done to the model, before and while it is searched.
        known: Final decisions that are known already, added to; searches on the same questions share one.
        store: Where the engine keeps and finds results.
        progress: Show a bar.

    Returns:
        One entry a step.

    Raises:
        InputError: If there are fewer candidates than steps.

    Source: Iterative Pruning, arXiv 2605.07271; the objective and the order are ours, as its text leaves them open.
    """
    if not 0 <= steps <= len(candidates):
        msg = f"{steps} blocks cannot be removed from {len(candidates)} candidates ({sorted(candidates)})"
        raise InputError(msg)
    measure = OBJECTIVES[objective]
    base = under or Intervention()
    seen = {} if known is None else known
    left, found = sorted(candidates), list[Found]()
    bar = tqdm(range(steps), disable=not progress, desc=f"search by {objective}")
    for _ in bar:
        gone = [step.removed for step in found]
        variants = [base + skip(*gone, layer) for layer in left]
        todo = [variant for variant in variants if variant not in seen]
        if todo:
            seen.update(
                (run.variant, run["final"])
                for run in evaluate(model, encoded, todo, [FinalObserver()], store=store)
            )
        values = {layer: measure(seen[variant]) for layer, variant in zip(left, variants, strict=True)}
        best = max(left, key=lambda layer: (values[layer], layer))
        found.append(Found(best, values[best], values))
        left.remove(best)
        bar.set_postfix_str(f"removed {best}, {objective} {values[best]:+.3f}")
    return found
