"""All repairs by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from decision_phases.errors import InputError, unknown_name
from decision_phases.repairs.bottleneck import BOTTLENECK
from decision_phases.repairs.components import COMPENSATIONS, Compensation
from decision_phases.repairs.contract import MapRepair, Repair
from decision_phases.repairs.linear import LINEAR
from decision_phases.repairs.trained import LORA, LORA_DISTIL, LORA_LENS, LORA_TRAJECTORY, PATCH_DISTIL

#: What makes up for a cut, fitted or trained on texts without labels.
REPAIRS: Mapping[str, Repair] = MappingProxyType(
    {
        repair.name: repair
        for repair in (
            *LINEAR.values(),
            BOTTLENECK, PATCH_DISTIL, LORA, LORA_DISTIL, LORA_TRAJECTORY, LORA_LENS,
        )
    }
)  # fmt: skip
#: Those that put maps in the place of what is removed: they take seconds. The others train on text; LoRA needs peft.
MAPS: tuple[str, ...] = tuple(name for name, found in REPAIRS.items() if isinstance(found, MapRepair))


def find_repair(given: str | Repair | Compensation) -> Repair:
    """Look a repair up; one that is given as such is left alone.

    Args:
        given: Its name, or itself.

    Returns:
        The repair.

    Raises:
        InputError: If there is none of that name; near ones are suggested.

    Example:
        >>> find_repair("ghost").what
        'any linear map, by least squares'
    """
    if isinstance(given, Repair):
        return given
    name: object = given.name if isinstance(given, Compensation) else given
    if not isinstance(name, str):
        msg = f"a repair is given by its name or as a Repair, not as {given!r:.80}; names are {', '.join(REPAIRS)}"
        raise InputError(msg)
    if isinstance(given, Compensation) or name in COMPENSATIONS:
        msg = f"{name} makes up for changed weights, and a cut removes parts; use one of {', '.join(REPAIRS)}"
        raise InputError(msg)
    if name not in REPAIRS:
        raise unknown_name("repair", name, [*REPAIRS, *COMPENSATIONS])
    return REPAIRS[name]
