"""`compress`: prune, repair and quantise a model, in the order that is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from decision_phases.engine import texts as read_texts
from decision_phases.errors import InputError, unknown_name
from decision_phases.interventions import Intervention, Mask, Weights, check_intervention
from decision_phases.models import as_model
from decision_phases.quantisation.quantise import added_bytes, quantisable, quantise
from decision_phases.quantisation.result import Quantised
from decision_phases.quantisation.scheme import Scheme
from decision_phases.repairs import (
    MAPS,
    Compensation,
    FittedRepair,
    MapRepair,
    Repair,
    find_repair,
    is_compensation,
    repair,
)
from decision_phases.repairs.components import as_if_changed
from decision_phases.repairs.repair import checked_repair

STEPS = ("prune", "repair", "quantise")
#: What `repair` takes besides what is decided here.
SETTINGS = ("texts", "window", "limit", "sequential", "seed", "checkpoint", "progress")


@dataclass(frozen=True, repr=False, eq=False)
class Compressed(Intervention):
    """A model that was pruned, repaired and quantised, as one intervention.

    Equal to another intervention if the edits are; the rest is lost in a sum.

    Attributes:
        edits: Everything that is done to the model.
        order: The steps, as they were taken.
        pruned: What was pruned.
        repair: What makes up for the pruning; empty if nothing does.
        quantised: The rounded weights.
        n_bytes: Bytes of the whole model, what the repair adds in the model's own number format included.
        intact: Bytes of the intact model.
    """

    order: tuple[str, ...] = field(default=(), compare=False)
    pruned: Intervention = field(default_factory=Intervention, compare=False)
    repair: FittedRepair = field(default_factory=FittedRepair, compare=False)
    quantised: Quantised = field(default_factory=Quantised, compare=False)
    n_bytes: int = field(default=0, compare=False)
    intact: int = field(default=0, compare=False)

    def __eq__(self, other: object) -> bool:
        return self.edits == other.edits if isinstance(other, Intervention) else NotImplemented

    __hash__ = Intervention.__hash__

    def to_pandas(self) -> pd.DataFrame:
        """One row a step.

        Returns:
            Columns step, what.
        """
        said = {
            "prune": self.pruned,
            "repair": self.repair.fit or "nothing",
            "quantise": self.quantised.report,
        }
        return pd.DataFrame([{"step": step, "what": str(said[step])} for step in self.order])

    def __repr__(self) -> str:
        report = self.quantised.report
        notes = "".join(f"\n{note}" for note in (report.notes if report else ()))
        share = f", {self.n_bytes / self.intact:.1%} of the intact model's bytes" if self.intact else ""
        return f"<Compressed ({', '.join(self.order)}): {self}{share}>{notes}"


def compress(
    model: object,
    prune: Intervention,
    *,
    repair_by: str | Repair | Compensation | None = "relative_ghost",
    quantise_to: str | Scheme = "int8",
    order: Sequence[str] = STEPS,
    **settings: Any,
) -> Compressed:
    """Prune, repair and quantise a model, in any order that makes sense.

    A repair that comes before quantisation is fitted to the pruned model in full precision; one that comes after sees
    the rounded weights and makes up for them too. Rounding needs no data, so whether blocks are removed before it or
    after makes no difference; setting weights to zero does, since the grid of a group depends on what is left in it.
    What a repair adds is not rounded; weights that it trains are.

    Args:
        model: What `load` gives or takes.
        prune: Removals, or the zeros of `sparsify`.
        repair_by: Names the repair, as in `repair`; for zeros that is "lost_components", say. None for none.
        quantise_to: The scheme, as in `quantise`.
        order: "prune", "repair" and "quantise", as they are to be taken; "repair" comes after "prune".
        **settings: Of `repair`: texts, window, limit, sequential, seed, checkpoint, progress.

    Returns:
        Everything as one intervention, with the bytes that the model would have.

    Raises:
        InputError: Before anything runs, if the order makes no sense, the repair does not fit it, or scheme, model,
            texts and cut do not fit each other; afterwards, if the texts do not determine the repair.

    Example:
        >>> from decision_phases.interventions import skip
        >>> found = compress("tiny-llama", skip(2), quantise_to="int4:16", repair_by="ghost", limit=8)
        >>> found.order, found.n_bytes < found.intact, found.removed_blocks
        (('prune', 'repair', 'quantise'), True, (2,))
    """
    check_intervention("prune", prune)
    steps, how = _checked(order, prune), Scheme.of(quantise_to)
    _check_repair(steps, prune, repair_by, settings)
    access = as_model(model)
    zeros, cut = _parted(prune)
    targets = quantisable(access, how, cut + zeros)
    if repair_by is not None:
        settings["texts"] = read_texts(settings.get("texts", "pydoc"), model=access)
        before = zeros or (as_if_changed(targets) if is_compensation(repair_by) else zeros)
        checked_repair(access, **_asked(cut, before, repair_by), **settings)
    fitted, rounded, changed = FittedRepair(), Quantised(), Intervention()
    maps = Intervention()
    for step in steps:
        if step == "prune":
            changed += zeros
        elif step == "quantise":
            rounded = quantise(access, how, under=cut + changed)
            changed += rounded
        elif repair_by is not None:
            fitted = repair(access, **_asked(cut, changed, repair_by), **settings)
            trained, maps = _parted(fitted)
            changed += trained
    report = rounded.report
    assert report is not None
    return Compressed(
        (cut + changed + maps).edits,
        steps,
        prune,
        fitted,
        rounded,
        report.whole + added_bytes(access, fitted),
        report.intact,
    )


def _asked(
    cut: Intervention, changed: Intervention, repair_by: str | Repair | Compensation
) -> dict[str, Any]:
    """What `repair` is asked: compensations make up for changed weights, maps for removals under them."""
    if is_compensation(repair_by):
        return {"cut": cut + changed, "method": repair_by}
    return {"cut": cut, "under": changed, "method": repair_by}


def _parted(given: Intervention) -> tuple[Intervention, Intervention]:
    """The changes of weights, and all else."""
    weights, rest = (
        Intervention(tuple(edit for edit in given if (edit.op == "weights") == wanted))
        for wanted in (True, False)
    )
    return weights, rest


def _check_repair(
    steps: Sequence[str],
    prune: Intervention,
    repair_by: str | Repair | Compensation | None,
    settings: Mapping[str, object],
) -> None:
    for name in settings:
        if name not in SETTINGS:
            raise unknown_name("setting of the repair", name, SETTINGS)
    if repair_by is None and settings:
        msg = (
            f"repair_by=None repairs nothing, so that {', '.join(settings)} would be ignored; leave that out"
        )
        raise InputError(msg)
    if repair_by is None or isinstance(repair_by, Compensation) or is_compensation(repair_by):
        return
    how = find_repair(repair_by)
    if all(edit.op == "weights" for edit in prune):
        msg = (
            f"{how.name} puts maps where parts are removed, and '{prune}' removes none; give "
            "repair_by='lost_components', or None"
        )
        raise InputError(msg)
    changed = steps.index("quantise") < steps.index("repair") or any(edit.op == "weights" for edit in prune)
    if changed and not isinstance(how, MapRepair):
        msg = (
            f"{how.name} is trained through the model as it was loaded, whose weights are changed before it (order="
            f"{list(steps)}, '{prune}'); prune by removals alone and repair before quantise, or use one of "
            f"{', '.join(MAPS)}"
        )
        raise InputError(msg)


def _checked(order: Sequence[str], prune: Intervention) -> tuple[str, ...]:
    steps = () if isinstance(order, str) else tuple(order)
    if sorted(steps) != sorted(STEPS) or steps.index("repair") < steps.index("prune"):
        msg = f"order={order!r}: give {', '.join(STEPS)}, each once, with repair somewhere after prune"
        raise InputError(msg)
    if not prune:
        msg = "nothing is pruned; give removals such as dp.skip(5, 6), or what dp.sparsify gives"
        raise InputError(msg)
    if steps.index("quantise") < steps.index("prune"):
        for edit in prune:
            held = edit.value.parameters if isinstance(edit.value, Weights) else ()
            if any(not isinstance(array, Mask) for _, array in held):
                msg = (
                    f"'{edit}' replaces weights, so that they would not be quantised any more if it came after; "
                    "quantise after it, or prune by a mask (magnitude, wanda)"
                )
                raise InputError(msg)
    return steps
