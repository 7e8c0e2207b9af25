"""`find_phases`: from decisions to the Silent and the Decisive Phase."""

from __future__ import annotations

from decision_phases.errors import InputError
from decision_phases.readout.decisions import Decisions
from decision_phases.readout.phases import Phases, locate


def find_phases(
    decisions: Decisions,
    *,
    beside: Decisions | None = None,
    method: str = "zero_crossing",
    seed: int = 0,
    n_boot: int = 2000,
    n_perm: int = 2000,
) -> Phases:
    """Find the layer where the decision forms, how sure that is, and whether there is one at all.

    Args:
        decisions: What `read` gave.
        beside: The same questions through another lens, whose transition is reported next to this one.
        method: The detector that decides, a name in `phases.DETECTORS`.
        seed: Of bootstrap and permutations.
        n_boot: Resamples of the questions.
        n_perm: Shuffles of the gold labels.

    Returns:
        The phases; `.found` is False where there is no transition.

    Raises:
        InputError: If no layer is left, or the two decisions do not belong together.

    Example:
        >>> from decision_phases.readout.read import read
        >>> find_phases(read("tiny-gpt2", "facts")).found
        False
    """
    if not decisions.survivors:
        msg = "every layer is removed; there is no depth in which a decision could form"
        raise InputError(msg)
    lens_name, lens_transition = "", None
    if beside is not None:
        if beside.encoded.key != decisions.encoded.key or beside.scoring != decisions.scoring:
            msg = "the two readouts are of different questions or scorings and cannot be compared"
            raise InputError(msg)
        lens_name = beside.lens
        other = find_phases(beside, method=method, seed=seed, n_boot=n_boot, n_perm=n_perm)
        lens_transition = other.transition
    return locate(
        decisions.scores,
        decisions.gold,
        log_normaliser=decisions.log_normaliser,
        method=method,
        lens_name=lens_name,
        lens_transition=lens_transition,
        seed=seed,
        n_boot=n_boot,
        n_perm=n_perm,
    )
