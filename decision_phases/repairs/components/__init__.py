"""Constants on the outputs of heads that make up for changed weights (RestoreLCC)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeGuard

from decision_phases.errors import unknown_name
from decision_phases.repairs.components.contract import Compensation
from decision_phases.repairs.components.fit import as_if_changed, check_compensable, compensate
from decision_phases.repairs.components.learned import LearnedCompensation

_SOURCE = "RestoreLCC, arXiv 2510.21834"

#: What makes up for changed weights, such as those of a sparse model.
COMPENSATIONS: Mapping[str, Compensation] = MappingProxyType(
    {
        one.name: one
        for one in (
            Compensation("lost_components", "adds to heads the constant that they lost", _SOURCE),
            LearnedCompensation("learned_components", "adds to heads a constant that is learned", _SOURCE),
        )
    }
)


def is_compensation(given: object) -> TypeGuard[str | Compensation]:
    """Whether something is a compensation, or names one.

    Args:
        given: What is asked for.

    Returns:
        Whether it is.

    Example:
        >>> is_compensation("lost_components"), is_compensation("ghost")
        (True, False)
    """
    return isinstance(given, Compensation) or (isinstance(given, str) and given in COMPENSATIONS)


def find_compensation(given: object) -> Compensation:
    """Look a compensation up; one that is given as such is left alone.

    Args:
        given: Its name, or itself.

    Returns:
        The compensation.

    Raises:
        InputError: If there is none of that name.

    Example:
        >>> find_compensation("lost_components").rank
        10
    """
    if isinstance(given, Compensation):
        return given
    name = str(given)
    if name not in COMPENSATIONS:
        raise unknown_name("compensation of changed weights", name, COMPENSATIONS)
    return COMPENSATIONS[name]


__all__ = [
    "COMPENSATIONS",
    "Compensation",
    "LearnedCompensation",
    "as_if_changed",
    "check_compensable",
    "compensate",
    "find_compensation",
    "is_compensation",
]
