"""The contract of all repairs: fed with what enters and leaves a cut, they give a map."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from decision_phases.interventions import Affine, Bottleneck


@dataclass(frozen=True)
class Missed:
    """What is missed of the stream behind a cut, over the tokens of a fit.

    Attributes:
        total: Σ ‖y − map(x)‖² / Σ ‖y‖². Trained models have a few tokens of huge norm (the first of a text), which may
            be most of it.
        relative: The mean of ‖y − map(x)‖² / ‖y‖², in which all tokens count alike.
    """

    total: float
    relative: float


@dataclass(frozen=True)
class Fitted:
    """A map, and what it is worth on the tokens that it was fitted to.

    Attributes:
        value: The map.
        before: What the cut misses.
        after: What is still missed behind the map.
    """

    value: Affine | Bottleneck
    before: Missed
    after: Missed


@dataclass(frozen=True)
class Job:
    """What a fit is asked.

    Attributes:
        width: Number of channels.
        tokens: Number of tokens that will come.
        double: Whether the model computes in float64, so that the map is kept so.
        seed: Of everything random.
        progress: Show bars.
        checkpoint: A file that training can be continued from; None to keep nothing.
        key: Identifies everything that decides the result, for the checkpoint.
    """

    width: int
    tokens: int
    double: bool = False
    seed: int = 0
    progress: bool = False
    checkpoint: Path | None = None
    key: str = ""


class Fitter(ABC):
    """Takes in what enters and leaves a cut, batch by batch, and then gives a map."""

    @abstractmethod
    def take(self, x: Float[Tensor, "token d"], y: Float[Tensor, "token d"]) -> None:
        """Take in one batch.

        Args:
            x: What enters the cut.
            y: What leaves it in the intact model.
        """

    @abstractmethod
    def finish(self) -> Fitted:
        """Give the map, after the last batch.

        Raises:
            InputError: If what came in does not determine it.
        """


@dataclass(frozen=True)
class Repair(ABC):
    """A kind of map that makes up for a cut.

    A member of `REPAIRS` is an instance; `dataclasses.replace` gives one with other settings.

    Attributes:
        name: Its name.
        what: What it does, in a few words.
        source: Where it comes from.
    """

    name: str
    what: str
    source: str

    @abstractmethod
    def n_parameters(self, width: int) -> int:
        """How many numbers one map adds to the model.

        Args:
            width: Number of channels.

        Returns:
            The number.
        """

    def tokens_needed(self, width: int) -> int:
        """How many tokens it takes at least to determine one map: each gives one equation a channel.

        Args:
            width: Number of channels.

        Returns:
            The number.
        """
        return -(-self.n_parameters(width) // width)

    @abstractmethod
    def begin(self, job: Job) -> Fitter:
        """Begin with one place.

        Args:
            job: What is asked.

        Returns:
            A fresh fitter.
        """
