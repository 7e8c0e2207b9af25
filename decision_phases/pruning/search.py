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
from decision_phases.pruning.screener import ScreenedSearch, Screener
from decision_phases.pruning.screening import Screening
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
        candidates: Layer → objective, for every candidate of the step; of those that screening did not confirm, the
            low-precision one less its bias.
        screening: How candidates were screened, if they were.
    """

    removed: int
    value: float
    candidates: Mapping[int, float]
    screening: Screening | None = None


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
    screen: str | Screener | None = None,
    progress: bool = False,
) -> list[Found]:
    """Remove one block after the other, each time the one whose removal leaves the objective highest.

    Every remaining candidate is measured again after every step; ties go to the deepest. Costs
    `Σ_{k<steps} (candidates − k)` evaluations of the model, of which the engine shares the unchanged beginnings.
    With `screen` all candidates are measured by a twin of the model in low precision, and in the model's own precision
    only the best of them, some at random, and those within the error band of the best that these show.

    Args:
        model: The model.
        encoded: The search questions.
        objective: A name in `OBJECTIVES`.
        candidates: Layers that may be removed.
        steps: How many to remove.
        under: What else is done to the model, before and while it is searched.
        known: Final decisions that are known already, added to; searches on the same questions share one.
        store: Where the engine keeps and finds results.
        screen: "bfloat16" or "float16", or a `Screener` that several searches share; None measures all candidates in
            the model's own precision.
        progress: Show a bar.

    Returns:
        One entry a step.

    Raises:
        InputError: If there are fewer candidates than steps, or the model has no twin to screen with.

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
    screener = Screener(model, screen) if isinstance(screen, str) else screen
    screened = screener and ScreenedSearch(screener, encoded, objective, measure, store)

    def confirm(variants: Sequence[Intervention]) -> None:
        todo = [variant for variant in variants if variant not in seen]
        if todo:
            runs = evaluate(model, encoded, todo, [FinalObserver()], store=store)
            seen.update((run.variant, run["final"]) for run in runs)

    for _ in bar:
        gone = [step.removed for step in found]
        variants = [base + skip(*gone, layer) for layer in left]
        if screened:
            best, values, screening = screened.step(left, variants, seen.get, confirm)
        else:
            confirm(variants)
            values = {layer: measure(seen[variant]) for layer, variant in zip(left, variants, strict=True)}
            best, screening = max(left, key=lambda layer: (values[layer], layer)), None
        found.append(Found(best, values[best], values, screening))
        left.remove(best)
        bar.set_postfix_str(f"removed {best}, {objective} {values[best]:+.3f}")
    return found
