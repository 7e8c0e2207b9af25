"""Families of tasks, from choosing among options to writing freely."""

from collections.abc import Mapping
from types import MappingProxyType

from decision_phases.errors import unknown_name
from decision_phases.hierarchy.families.answering import Arithmetic, OpenAnswers
from decision_phases.hierarchy.families.choosing import MultipleChoice
from decision_phases.hierarchy.families.continuing import Continuation
from decision_phases.hierarchy.families.contract import Measured, Task, TaskFamily
from decision_phases.hierarchy.families.retrieving import POOLING, Retrieval

#: All families by name; `dataclasses.replace` gives one with other settings.
TASK_FAMILIES: Mapping[str, TaskFamily] = MappingProxyType(
    {
        family.name: family
        for family in (MultipleChoice(), Retrieval(), OpenAnswers(), Arithmetic(), Continuation())
    }
)


def find_family(given: str | TaskFamily) -> TaskFamily:
    """Look a family up; one that is given as such is left alone.

    Args:
        given: Its name, or itself.

    Returns:
        The family.

    Raises:
        InputError: If there is none of that name; near ones are suggested.

    Example:
        >>> find_family("retrieval").what
        'mean reciprocal rank of the right passage'
    """
    if isinstance(given, TaskFamily):
        return given
    if given not in TASK_FAMILIES:
        raise unknown_name("task family", given, TASK_FAMILIES)
    return TASK_FAMILIES[given]


__all__ = [
    "POOLING",
    "TASK_FAMILIES",
    "Arithmetic",
    "Continuation",
    "Measured",
    "MultipleChoice",
    "OpenAnswers",
    "Retrieval",
    "Task",
    "TaskFamily",
    "find_family",
]
