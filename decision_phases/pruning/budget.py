"""How many blocks may go, and which."""

from __future__ import annotations

from collections.abc import Collection

from decision_phases.errors import InputError
from decision_phases.models import ModelAccess


def check_budget(
    model: ModelAccess, *, up_to: int, protect: Collection[int] | None = None, draws: int = 1
) -> tuple[int, ...]:
    """Refuse what the model cannot give, before anything runs.

    Args:
        model: The model.
        up_to: Most blocks to remove.
        protect: Layers never removed; the first and the last by default.
        draws: Number of random orders.

    Returns:
        Layers that may be removed, ascending.

    Raises:
        InputError: If a protected layer does not exist, more is to be removed than can be, or nothing is drawn.

    Example:
        >>> from decision_phases.models import load
        >>> check_budget(load("tiny-gpt2", quiet=True), up_to=2)
        (1, 2, 3, 4)
    """
    kept = (0, model.n_layers - 1) if protect is None else tuple(protect)
    for layer in kept:
        model.check_layer(layer)
    candidates = tuple(layer for layer in range(model.n_layers) if layer not in kept)
    most = min(len(candidates), model.n_layers - 1)
    if not 1 <= up_to <= most:
        msg = (
            f"{up_to} blocks cannot be removed: {len(candidates)} of {model.n_layers} are not protected, and one must "
            f"be left; up_to can be 1..{most}"
        )
        raise InputError(msg)
    if draws < 1:
        msg = f"{draws} random draws given; at least 1 is needed, for no curve stands without its control"
        raise InputError(msg)
    return candidates
