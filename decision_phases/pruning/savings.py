"""What each unit saves in time and memory, for budgets that are measured."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.models.parts import part_parameters
from decision_phases.pruning.budget import Budget
from decision_phases.pruning.criteria.units import Unit, removal
from decision_phases.pruning.timing import Cost, Timing, measure_costs


@dataclass(frozen=True)
class Savings:
    """What units save of a forward pass.

    Attributes:
        intact: What a pass of the intact model costs.
        units: Unit → what it saves of that; units of one kind and shape save alike.
        timing: How passes were timed.
    """

    intact: Cost
    units: Mapping[Unit, Cost]
    timing: Timing

    def shares(self, cut: Collection[Unit]) -> Cost:
        """The shares of the intact model's time and memory that a cut saves, as the sum over its units.

        Args:
            cut: What is removed, of units that were measured.

        Returns:
            Shares, not milliseconds and MiB.
        """
        known = [self.units[unit] for unit in cut]
        return Cost(
            sum(cost.latency_ms for cost in known) / self.intact.latency_ms,
            sum(cost.peak_mib for cost in known) / self.intact.peak_mib,
        )

    def within(self, cut: Collection[Unit], budget: Budget) -> bool:
        """Whether a cut saves no more time and memory than a budget allows.

        Args:
            cut: What is removed.
            budget: The budget.
        """
        saved = self.shares(cut)
        limits = ((budget.latency, saved.latency_ms), (budget.memory, saved.peak_mib))
        return all(limit is None or share <= limit for limit, share in limits)

    def check(self, budget: Budget, units: Sequence[Unit]) -> None:
        """Refuse a budget that nothing or everything meets.

        Args:
            budget: The budget.
            units: What may be removed.

        Raises:
            InputError: If a single unit saves more already, or all together less.
        """
        every = self.shares(units)
        least = [self.shares([unit]) for unit in units]
        for limit, what, all_of_them, smallest in (
            (budget.latency, "time", every.latency_ms, min(one.latency_ms for one in least)),
            (budget.memory, "memory", every.peak_mib, min(one.peak_mib for one in least)),
        ):
            if limit is not None and not smallest <= limit <= all_of_them:
                msg = (
                    f"{100 * limit:g}% of the {what} of a forward pass cannot be saved: what is not protected, from "
                    f"one unit to all, saves {100 * smallest:.3g}% to {100 * all_of_them:.3g}% of it ({self.timing})"
                )
                raise InputError(msg)

    def __str__(self) -> str:
        """What a pass of the intact model costs, in words."""
        return f"{self.intact.latency_ms:.1f} ms and {self.intact.peak_mib:.0f} MiB ({self.timing})"


def measure_savings(model: ModelAccess, units: Sequence[Unit], timing: Timing, *, seed: int = 0) -> Savings:
    """Measure what units save, each kind once.

    A single block is a small part of a pass, and its time drowns in noise. So every second unit of one kind and shape
    is left out at once, and each is taken to save an equal part of what that saves.

    Args:
        model: The model.
        units: The units.
        timing: How passes are timed.
        seed: Of the tokens.

    Returns:
        What each saves; nothing where the measured time is not below the intact model's.

    Raises:
        InputError: If the family cannot leave out an attention or an MLP without computing it, or the sequences are
            longer than the model's context.

    Example:
        >>> from decision_phases.models import load
        >>> from decision_phases.pruning.criteria import units_of
        >>> model = load("tiny-llama", quiet=True)
        >>> found = measure_savings(model, units_of(model), Timing(1, 8, repeats=1))
        >>> len({cost.peak_mib for cost in found.units.values()})
        1
    """
    kinds: dict[tuple[object, ...], list[Unit]] = {}
    for unit in units:
        kinds.setdefault(_kind(model, unit), []).append(unit)
    samples = [members[1::2] or members for members in kinds.values()]
    cuts = [Intervention(), *(removal(tuple(sample)) for sample in samples)]
    intact, *others = measure_costs(model, cuts, timing, seed=seed)
    found: dict[Unit, Cost] = {}
    for members, sample, cost in zip(kinds.values(), samples, others, strict=True):
        if intact is None or cost is None:
            msg = (
                f"{model.architecture} cannot leave out the {members[0].part} of a layer without computing it, so that "
                "no time or memory is saved; give a budget of units or parameters"
            )
            raise InputError(msg)
        each = Cost(
            max(0.0, intact.latency_ms - cost.latency_ms) / len(sample),
            max(0.0, intact.peak_mib - cost.peak_mib) / len(sample),
        )
        found.update(dict.fromkeys(members, each))
    assert intact is not None  # it leaves nothing out
    return Savings(intact, found, timing)


def _kind(model: ModelAccess, unit: Unit) -> tuple[object, ...]:
    shapes = [
        (name, tuple(parameter.shape))
        for layer in unit.layers
        for name, parameter in part_parameters(model, layer, unit.part).items()
    ]
    return unit.part, *sorted(shapes)
