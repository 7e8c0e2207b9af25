"""Running the model once without each unit, and comparing with the model that has them all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from decision_phases.engine import Inputs, Observer, evaluate
from decision_phases.pruning.criteria.contract import Request
from decision_phases.tasks import TokenSequence

_Seen = TypeVar("_Seen")


def with_and_without(
    request: Request, inputs: Inputs | Sequence[TokenSequence], look: Observer[_Seen]
) -> tuple[_Seen, list[_Seen]]:
    """Run the model as it is, and once without each unit.

    Args:
        request: What is asked.
        inputs: What is put to the model.
        look: What to look at.

    Returns:
        What was seen with all units, and without each.
    """
    variants = [request.under, *map(request.without, request.units)]
    runs = evaluate(request.model, inputs, variants, [look], store=request.store, progress=request.progress)
    whole, *without = runs
    return whole[look.name], [run[look.name] for run in without]
