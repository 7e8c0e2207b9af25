"""How much may go, and from where."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from decision_phases.errors import InputError
from decision_phases.interventions.layer_sets import listed_layers
from decision_phases.models import ModelAccess
from decision_phases.models.parts import part_parameters
from decision_phases.pruning.criteria.units import PARTS, Unit, units_of

_SHARES = ("parameters", "latency", "memory")
_LIMIT = re.compile(rf"(?P<count>[+-]?\d+)|(?P<share>[+-]?\d+(\.\d*)?) ?%( +(?P<of>{'|'.join(_SHARES)}))?")


@dataclass(frozen=True)
class Budget:
    """The most that may be removed.

    Attributes:
        units: So many blocks, attentions or MLPs; None for no limit of this kind.
        parameters: This share of the model's parameters, embeddings included; None for no limit of this kind.
        latency: This share of the time of a forward pass, as measured on this machine; None for no limit of this kind.
        memory: This share of the peak memory of a forward pass, weights included; None for no limit of this kind.

    Raises:
        InputError: If there is no limit at all, or one that nothing or everything meets.

    Example:
        >>> str(Budget(6)), str(Budget(parameters=0.3)), str(Budget(latency=0.2, memory=0.1))
        ('6', '30%', '20% latency, 10% memory')
    """

    units: int | None = None
    parameters: float | None = None
    latency: float | None = None
    memory: float | None = None

    def __post_init__(self) -> None:
        if self.units is None and all(getattr(self, name) is None for name in _SHARES):
            msg = (
                "a budget without a limit; give units=6 for a number of units, parameters=0.3 for a share of the "
                "parameters, or latency=0.2 or memory=0.2 for a share of the time or memory of a forward pass"
            )
            raise InputError(msg)
        for name in _SHARES:
            share = getattr(self, name)
            if share is not None and not 0 < share < 1:
                msg = f"{name}={share}: a share lies above 0 and below 1, such as 0.3"
                raise InputError(msg)

    @property
    def measured(self) -> bool:
        """Whether it is one of time or memory, which this machine must measure."""
        return self.latency is not None or self.memory is not None

    def __str__(self) -> str:
        """As it is typed: "6", "30%", "20% latency", or several with commas."""
        shares = {name: getattr(self, name) for name in _SHARES if getattr(self, name) is not None}
        limits = [
            f"{100 * share:g}%{'' if name == 'parameters' else f' {name}'}" for name, share in shares.items()
        ]
        return ", ".join([*([] if self.units is None else [str(self.units)]), *limits])


def find_budget(given: int | str | Budget) -> Budget:
    """Return the budget that is meant.

    Args:
        given: A number of units; a share of the model's parameters as "30%", of the time of a forward pass as
            "20% latency" or of its peak memory as "20% memory"; several of these with commas; or a budget.

    Returns:
        The budget.

    Raises:
        InputError: If it is none of these.

    Example:
        >>> find_budget(6) == Budget(6), find_budget("30%") == Budget(parameters=0.3)
        (True, True)
        >>> find_budget("6, 20% latency") == Budget(6, latency=0.2)
        True
    """
    if isinstance(given, Budget):
        return given
    limits: dict[str, int | float] = {}
    for part in str(given).split(","):
        found = _LIMIT.fullmatch(part.strip())
        name = "units" if found is None or found["share"] is None else found["of"] or "parameters"
        if found is None or name in limits:
            msg = (
                f"up_to={given!r} is no budget; give a number of units such as 6, or a share of the parameters such as "
                "'30%', of the time of a forward pass such as '20% latency', or of its memory such as '20% memory'"
            )
            raise InputError(msg)
        limits[name] = int(found["count"]) if found["share"] is None else float(found["share"]) / 100
    return Budget(**limits)  # type: ignore[arg-type]


def n_parameters(model: ModelAccess, units: Collection[Unit]) -> int:
    """How many parameters go with units.

    A norm goes with the part that it belongs to; one that attention and MLP share goes only with the whole block.

    Args:
        model: The model.
        units: The units; they do not overlap.

    Returns:
        The number.

    Example:
        >>> from decision_phases.models import load
        >>> model = load("tiny-llama", quiet=True)
        >>> parts = [n_parameters(model, [Unit((2,), part)]) for part in ("attention", "mlp")]
        >>> sum(parts) == n_parameters(model, [Unit((2,))])
        True
    """
    return sum(
        parameter.numel()
        for unit in units
        for layer in unit.layers
        for parameter in part_parameters(model, layer, unit.part).values()
    )


def check_budget(
    model: ModelAccess,
    *,
    up_to: int | str | Budget,
    protect: Collection[int] | None = None,
    draws: int = 1,
    parts: Sequence[str] = ("block",),
) -> tuple[int, ...]:
    """Refuse what the model cannot give, before anything runs.

    Args:
        model: The model.
        up_to: Most units to remove, or a share of the parameters such as "30%".
        protect: Layers never touched; the first and the last by default.
        draws: Number of random orders.
        parts: What is removed, names in `PARTS`.

    Returns:
        Layers that may be touched, ascending.

    Raises:
        InputError: If a protected layer does not exist, the model has no such part, more is to be removed than can be,
            or nothing is drawn.

    Example:
        >>> from decision_phases.models import load
        >>> check_budget(load("tiny-gpt2", quiet=True), up_to=2)
        (1, 2, 3, 4)
    """
    kept = (0, model.n_layers - 1) if protect is None else listed_layers(protect, "protect")
    for layer in kept:
        model.check_layer(layer)
    candidates = tuple(layer for layer in range(model.n_layers) if layer not in kept)
    budget = find_budget(up_to)
    for part in parts:
        _check_part(model, budget, part, candidates)
    if draws < 1:
        msg = f"{draws} random draws given; at least 1 is needed, for no curve stands without its control"
        raise InputError(msg)
    return candidates


def _check_part(model: ModelAccess, budget: Budget, part: str, candidates: tuple[int, ...]) -> None:
    units = [unit for unit in units_of(model, part) if unit.layer in candidates]
    whole = part == "block"
    most = min(len(units), model.n_layers - 1) if whole else len(units)
    noun = {"attention": "attentions", "mlp": "MLPs", "joint": "attentions and MLPs"}.get(part, "blocks")
    if budget.units is None and most < 1:
        msg = (
            f"{budget} cannot be saved: none of the {noun} of {model.name} may be removed, as all are protected or the "
            "last one left; give protect= with fewer layers"
        )
        raise InputError(msg)
    if budget.units is not None and not 1 <= budget.units <= most:
        left = ", and one must be left" if whole else ""
        msg = (
            f"{budget.units} {noun} cannot be removed: {len(units)} of {model.n_layers * len(PARTS[part])} are not "
            f"protected{left}; up_to can be 1..{most}"
        )
        raise InputError(msg)
    sizes = sorted(n_parameters(model, [unit]) for unit in units)  # and refuses a family that does not say
    if budget.parameters is None:
        return
    total = model.n_params
    there = sum(sizes[:most])
    if not sizes[0] <= budget.parameters * total <= there:
        least = f"{100 * sizes[0] / total:.3g}% to {100 * there / total:.3g}%"
        msg = (
            f"{100 * budget.parameters:g}% of the parameters cannot be removed: the {noun} of {model.name} that are "
            f"not protected, from one to all, have {least} of its {total} parameters"
        )
        raise InputError(msg)
