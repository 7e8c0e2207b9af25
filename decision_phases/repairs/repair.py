"""`repair`: fit or train what makes up for a cut or for changed weights, on texts and without labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from decision_phases.engine import texts as read_texts
from decision_phases.engine.lower import check_variant
from decision_phases.errors import InputError, check_numbers
from decision_phases.interventions import Intervention, check_intervention
from decision_phases.models import ModelAccess, as_model
from decision_phases.pruning.criteria.data import text_data
from decision_phases.repairs.components import (
    Compensation,
    check_compensable,
    compensate,
    find_compensation,
    is_compensation,
)
from decision_phases.repairs.contract import MapRepair, Repair, Source, Task
from decision_phases.repairs.dispatch import check_all, fit_all
from decision_phases.repairs.places import Place, places_of
from decision_phases.repairs.registry import MAPS, find_repair
from decision_phases.repairs.result import FittedRepair
from decision_phases.store import why_unwritable
from decision_phases.tasks import TextSet

Texts = str | Path | TextSet | Iterable[str]


def repair(
    model: object,
    cut: Intervention,
    *,
    method: str | Repair | Compensation = "relative_ghost",
    texts: Texts = "pydoc",
    window: int = 128,
    limit: int | None = 128,
    sequential: bool = True,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    under: Intervention | None = None,
    progress: bool = False,
) -> FittedRepair:
    """Make up for a cut: by maps, at every gap from what enters it to what left it in the intact model, or by training.

    A run of removed blocks gets one map in its place; so does every layer that lost its attention or its MLP. Sums over
    tokens are gathered in float64 a few windows at a time, so that no text is too long. The methods that begin with
    "lora" put no map in; they train the blocks around the cut by low-rank adapters (`LoraRepair` has their settings)
    and give what these add to the weights.

    For weights that were set to zero (`sparsify`), rounded or replaced there are the methods in `COMPENSATIONS`, which
    add a constant to the outputs of the heads that lost most; see `Compensation`.

    Args:
        model: What `load` gives or takes.
        cut: The removals, such as `skip(5, 6, 9)`; or an intervention that changes weights.
        method: A name in `REPAIRS`, or a repair (`dataclasses.replace` gives one with other settings). "ghost" is as
            published; the default weighs tokens by their length, which matters where the cut holds the block that gives
            the first token of a text its huge norm. For changed weights a name in `COMPENSATIONS`, or one of them.
        texts: What `dp.texts` takes; of a whole set the fit half is used, so that the other half can measure.
        window: Tokens in a window, BOS included.
        limit: Use at most this many windows, drawn without replacement; None for all.
        sequential: Fit maps of several gaps from left to right, each on the model as it is repaired so far.
            Otherwise each is fitted on the intact model, as published.
        seed: Of everything random.
        checkpoint: A folder from which an interrupted call is continued: every map is kept there as soon as it is
            fitted, and what is trained is continued bit for bit at an equal number of threads.
        under: What else is done to the model while maps or compensations are fitted, such as rounding weights; what is
            to be reached is the intact model all the same.
        progress: Show bars.

    Returns:
        What makes up for the cut as an intervention, without the cut: `cut + repair` is the repaired model. `.fit` says
        how it came about: errors or losses, tokens, seconds, parameters.

    Raises:
        InputError: Before anything runs, if the cut leaves nothing or is none, or there are fewer tokens than the width
            needs, or the model cannot be trained; afterwards, if the tokens do not determine the map.
        MissingPackageError: If a method needs a package that is not installed.

    Example:
        >>> from decision_phases.interventions import skip
        >>> cut = skip(2, 3)
        >>> found = repair("tiny-llama", cut, method="ghost", limit=8)
        >>> cut + found
        <Intervention: skip {2, 3} + map resid_pre of layer 2>
        >>> found.fit.places[0].error_after < found.fit.places[0].error_before, found.fit.parameters_added
        (True, 1024)
    """
    return checked_repair(
        model, cut, method=method, texts=texts, window=window, limit=limit, sequential=sequential, seed=seed,
        checkpoint=checkpoint, under=under, progress=progress,
    ).fit()  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """A repair that has passed all checks.

    Attributes:
        task: What is asked.
        how: The repair.
        places: Where maps are put; none for compensations.
    """

    task: Task
    how: Repair | Compensation
    places: tuple[Place, ...]

    def fit(self) -> FittedRepair:
        """Fit or train it.

        Returns:
            What makes up for the cut.

        Raises:
            InputError: If the tokens do not determine a map, or training fails.
        """
        if isinstance(self.how, Compensation):
            return compensate(self.task, self.how)
        (found,) = fit_all(self.task, self.places, [self.how])
        return found


def checked_repair(
    model: object,
    cut: Intervention,
    *,
    method: str | Repair | Compensation = "relative_ghost",
    texts: Texts = "pydoc",
    window: int = 128,
    limit: int | None = 128,
    sequential: bool = True,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    under: Intervention | None = None,
    progress: bool = False,
) -> Asked:
    """Check everything that `repair` is asked, and fit nothing yet.

    Args:
        model: As in `repair`.
        cut: As in `repair`.
        method: As in `repair`.
        texts: As in `repair`.
        window: As in `repair`.
        limit: As in `repair`.
        sequential: As in `repair`.
        seed: As in `repair`.
        checkpoint: As in `repair`.
        under: As in `repair`.
        progress: As in `repair`.

    Returns:
        What can be fitted.

    Raises:
        InputError: Saying what does not fit.
        MissingPackageError: If a package is missing.

    Example:
        >>> from decision_phases.interventions import skip
        >>> checked_repair("tiny-llama", skip(2), method="ghost", limit=8).how.name
        'ghost'
    """
    check_intervention("cut", cut)
    check_intervention("under", under or Intervention())
    folder = folder_of(checkpoint)
    access, base = as_model(model), under or Intervention()
    how = find_compensation(method) if is_compensation(method) else find_repair(method)
    places: tuple[Place, ...] = ()
    if isinstance(how, Compensation):
        cut, base = base + cut, Intervention()
        check_compensable(access, cut, how)
    else:
        places = places_of(access, cut)
        _check_base(access, base, cut, how)
    source = source_of(access, texts, window=window, limit=limit, seed=seed)
    task = Task(access, cut, source, base, sequential, seed, folder, progress)
    if not isinstance(how, Compensation):
        check_all(task, [how])
    return Asked(task, how, places)


def _check_base(model: ModelAccess, base: Intervention, cut: Intervention, asked: Repair) -> None:
    if base and not isinstance(asked, MapRepair):
        msg = (
            f"{asked.name} is trained through the model as it was loaded, not through one under '{base}'; leave under= "
            f"out and add '{base}' to what comes back, or use one of {', '.join(MAPS)}, which are fitted under it"
        )
        raise InputError(msg)
    check_variant(model, base + cut)
    if base.needs_positions or base.per_question:
        msg = (
            f"{base} depends on questions or on positions in them, which texts do not have; repair under what is the "
            "same everywhere"
        )
        raise InputError(msg)


def check_draw(**numbers: int | None) -> None:
    """Refuse what is no number of windows or tokens, or no seed.

    Args:
        **numbers: What was given; None is all.

    Raises:
        InputError: Naming those that are no whole numbers, or below 0.
    """
    given = {name: number for name, number in numbers.items() if number is not None}
    check_numbers("the draw of windows", from_zero=given, whole=given)


def source_of(model: ModelAccess, texts: Texts, *, window: int, limit: int | None, seed: int) -> Source:
    """Cut texts to fit to into windows.

    Args:
        model: The model.
        texts: What `dp.texts` takes.
        window: Tokens in a window.
        limit: Use at most this many windows.
        seed: Of that draw.

    Returns:
        The windows: of the fit half, if the set is a whole one.

    Raises:
        InputError: If these are the texts that measure, or texts, window and model do not fit.
    """
    check_draw(window=window, limit=limit, seed=seed)
    given = read_texts(texts, model=model)
    if given.half == "evaluation":
        msg = f"{given.name} is the half that measures; repairs are fitted to the other one, .fit, or to other texts"
        raise InputError(msg)
    chosen = given if given.half else given.fit
    data = text_data(model, chosen, window=window, limit=limit, seed=seed)
    return Source(data, chosen.name, chosen.content_hash, window)


def folder_of(given: str | Path | None) -> Path | None:
    """Refuse a folder that cannot hold checkpoints; it is made with the first of them, and not before.

    Args:
        given: Where; None for none.

    Returns:
        The folder, or None.

    Raises:
        InputError: If it cannot be made, or not be written to.

    Example:
        >>> str(folder_of("mine")), folder_of(None)
        ('mine', None)
    """
    if given is None:
        return None
    folder = Path(given).expanduser()
    why = why_unwritable(folder)
    if why:
        msg = f"{folder} cannot be made or written to: {why}; give another folder for checkpoints"
        raise InputError(msg)
    return folder
