"""Repairs of every kind, each by its own way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.repairs.contract import MapRepair, Repair, Source, TrainedRepair
from decision_phases.repairs.fitting import fit_maps
from decision_phases.repairs.places import Place
from decision_phases.repairs.result import FittedRepair


def check_all(model: ModelAccess, cut: Intervention, repairs: Sequence[Repair], source: Source) -> None:
    """Refuse what one of the repairs cannot do, before anything runs.

    Args:
        model: The model.
        cut: The cut, which has passed `places_of`.
        repairs: The repairs.
        source: The texts.

    Raises:
        InputError: Naming what is missing.
        MissingPackageError: If a package is.
    """
    for repair in repairs:
        if not isinstance(repair, MapRepair | TrainedRepair):
            msg = f"{repair!r} is neither a MapRepair nor a TrainedRepair; make it one of them"
            raise InputError(msg)
        repair.check(model, cut, source)


def fit_all(
    model: ModelAccess,
    cut: Intervention,
    places: Sequence[Place],
    repairs: Sequence[Repair],
    source: Source,
    *,
    sequential: bool,
    seed: int,
    checkpoint: Path | None,
    progress: bool,
    base: Intervention | None = None,
) -> tuple[FittedRepair, ...]:
    """Fit repairs of one cut: all maps together, then what is trained, one after the other.

    Args:
        model: The model.
        cut: The cut.
        places: Where maps are put.
        repairs: The repairs.
        source: The texts.
        sequential: Whether every map is fitted on the model as repaired before it.
        seed: Of everything random.
        checkpoint: Folder that training can be continued from; None to keep nothing.
        progress: Show bars.
        base: What else is done to the model while maps are fitted.

    Returns:
        The fitted repairs, in the order given.

    Raises:
        InputError: If a repair cannot be fitted.
        MissingPackageError: If a package is missing.
    """
    check_all(model, cut, repairs, source)
    maps = [repair for repair in repairs if isinstance(repair, MapRepair)]
    fitted = iter(
        fit_maps(
            model,
            cut,
            places,
            maps,
            source,
            sequential=sequential,
            seed=seed,
            checkpoint=checkpoint,
            progress=progress,
            base=base,
        )
        if maps
        else ()
    )
    found = []
    for repair in repairs:
        if isinstance(repair, TrainedRepair):
            found.append(
                repair.train(model, cut, source, seed=seed, checkpoint=checkpoint, progress=progress)
            )
        else:
            found.append(next(fitted))
    return tuple(found)
