"""Repairs of every kind, each by its own way."""

from __future__ import annotations

from collections.abc import Sequence

from decision_phases.errors import InputError
from decision_phases.repairs.contract import MapRepair, Repair, Task, TrainedRepair
from decision_phases.repairs.fitting import fit_maps
from decision_phases.repairs.places import Place
from decision_phases.repairs.result import FittedRepair


def check_all(task: Task, repairs: Sequence[Repair]) -> None:
    """Refuse what one of the repairs cannot do, before anything runs.

    Args:
        task: What is asked; its cut has passed `places_of`.
        repairs: The repairs.

    Raises:
        InputError: Naming what is missing.
        MissingPackageError: If a package is.
    """
    for repair in repairs:
        if not isinstance(repair, MapRepair | TrainedRepair):
            msg = f"{repair!r} is neither a MapRepair nor a TrainedRepair; make it one of them"
            raise InputError(msg)
        repair.check(task)


def fit_all(task: Task, places: Sequence[Place], repairs: Sequence[Repair]) -> tuple[FittedRepair, ...]:
    """Fit repairs of one cut: all maps together, then what is trained, one after the other.

    Args:
        task: What is asked.
        places: Where maps are put.
        repairs: The repairs. What one of them cannot do is refused before anything runs.

    Returns:
        The fitted repairs, in the order given.

    Raises:
        InputError: If a repair cannot be fitted.
        MissingPackageError: If a package is missing.
    """
    check_all(task, repairs)
    maps = [repair for repair in repairs if isinstance(repair, MapRepair)]
    fitted = iter(fit_maps(task, places, maps) if maps else ())
    return tuple(
        repair.train(task) if isinstance(repair, TrainedRepair) else next(fitted) for repair in repairs
    )
