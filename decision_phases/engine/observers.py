"""What is looked at while a model runs, and what is kept of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from jaxtyping import Float
from torch import Tensor

from decision_phases.engine.batches import Batch
from decision_phases.engine.inputs import Inputs
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.store import Packed

Result = TypeVar("Result")

#: (site, layer) → activations at the cells that were asked for, `[cell, d]`. Removed layers are missing. The residual
#: entering block 0 is ("resid_post", -1).
ReadRows = Mapping[tuple[str, int], Float[Tensor, "cell ..."]]


@dataclass(frozen=True)
class Reads:
    """The places that an observer looks at.

    Attributes:
        sites: Sites, of `models.SITES`.
        layers: "all" (with the embedding, as layer −1), "final" (the last layer, removed or not) or layer numbers.
        positions: "read", or a symbolic position.
    """

    sites: tuple[str, ...] = ("resid_post",)
    layers: Literal["all", "final"] | tuple[int, ...] = "all"
    positions: str = "read"


class Collector(ABC, Generic[Result]):
    """Gathers what is read of one variant, batch by batch."""

    @abstractmethod
    def take(self, batch: Batch, rows: ReadRows) -> None:
        """Take in one batch.

        Args:
            batch: What ran.
            rows: What was read.
        """

    @abstractmethod
    def finish(self) -> Result:
        """Give the result, after the last batch."""


class Observer(ABC, Generic[Result]):
    """Says what it wants to read, and reduces it.

    Attributes:
        name: Under which its result is found.
    """

    name: str

    @property
    @abstractmethod
    def reads(self) -> Reads:
        """The places to read."""

    @property
    @abstractmethod
    def key(self) -> str:
        """Identifies the observer and all its settings."""

    @abstractmethod
    def start(self, model: ModelAccess, inputs: Inputs, variant: Intervention) -> Collector[Result]:
        """Begin with one variant.

        Args:
            model: The model that runs.
            inputs: What is put to it.
            variant: The intervention it runs under.

        Returns:
            A fresh collector.

        Raises:
            InputError: If it cannot look at such inputs, or under such an intervention.
        """

    def pack(self, result: Result) -> Packed:
        """Take a result apart, so that a store can keep it.

        Args:
            result: What a collector of this observer gave.

        Returns:
            Its numbers and arrays.

        Raises:
            InputError: If results of this observer cannot be kept.
        """
        del result
        msg = f"results of the observer {self.name!r} cannot be kept in a store; evaluate without store="
        raise InputError(msg)

    def unpack(self, packed: Packed, model: ModelAccess, inputs: Inputs, variant: Intervention) -> Result:
        """Put a result together again.

        Args:
            packed: What `pack` gave.
            model: The model that ran.
            inputs: What was put to it.
            variant: The intervention it ran under.

        Returns:
            The result, bit by bit what it was.

        Raises:
            InputError: If results of this observer cannot be kept.
        """
        del packed, model, inputs, variant
        msg = f"results of the observer {self.name!r} cannot be kept in a store; evaluate without store="
        raise InputError(msg)


AnyObserver = Observer[Any]
