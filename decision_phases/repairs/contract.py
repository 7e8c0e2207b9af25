"""The contracts of repairs: those of all, and those of maps, which are fed with what enters and leaves a cut."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from decision_phases.errors import InputError
from decision_phases.interventions import Affine, Bottleneck, Intervention
from decision_phases.models import ModelAccess
from decision_phases.pruning.criteria.data import Data
from decision_phases.repairs.result import FittedRepair


@dataclass(frozen=True)
class Source:
    """The texts that repairs are fitted to, and how they were cut.

    Attributes:
        data: The windows.
        name: Name of the texts.
        content_hash: Hash of the texts.
        window: Most tokens in a window.
    """

    data: Data = field(repr=False)
    name: str
    content_hash: str
    window: int

    @property
    def tokens(self) -> int:
        """Number of tokens."""
        return sum(map(len, self.data.sequences))


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
    """A way to make up for a cut.

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
    def check(self, model: ModelAccess, cut: Intervention, source: Source) -> None:
        """Refuse what this repair cannot do, before anything runs.

        Args:
            model: The model.
            cut: The cut, which has passed `places_of`.
            source: The texts.

        Raises:
            InputError: Saying what is missing.
            MissingPackageError: If a package is.
        """


@dataclass(frozen=True)
class TrainedRepair(Repair):
    """A kind of repair that trains weights of the cut model itself."""

    @abstractmethod
    def train(
        self,
        model: ModelAccess,
        cut: Intervention,
        source: Source,
        *,
        seed: int,
        checkpoint: Path | None,
        progress: bool,
    ) -> FittedRepair:
        """Train.

        Args:
            model: The model; it is left as it is.
            cut: The cut.
            source: The texts, which have passed `check`.
            seed: Of everything random.
            checkpoint: Folder that training can be continued from; None to keep nothing.
            progress: Show a bar.

        Returns:
            What is to be added to the cut.

        Raises:
            InputError: If training fails, or the checkpoint belongs to another one.
            KeyboardInterrupt: On Ctrl-C, saying what was kept and how to go on.
        """


@dataclass(frozen=True)
class MapRepair(Repair):
    """A kind of map that is put in place of what is removed; nothing else of the model changes."""

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

    def check(self, model: ModelAccess, cut: Intervention, source: Source) -> None:
        """Refuse texts that are too short to determine a map.

        Args:
            model: The model.
            cut: The cut.
            source: The texts.

        Raises:
            InputError: Naming what is missing.
        """
        needed = self.tokens_needed(model.d_model)
        if source.tokens < needed:
            msg = (
                f"{self.name} has {self.n_parameters(model.d_model)} parameters at the width {model.d_model} and "
                f"needs at least {needed} tokens, better ten times as many; {source.name} gives {source.tokens} in "
                f"{len(source.data.sequences)} windows. Give more text, or a larger limit="
            )
            raise InputError(msg)

    @abstractmethod
    def begin(self, job: Job) -> Fitter:
        """Begin with one place.

        Args:
            job: What is asked.

        Returns:
            A fresh fitter.
        """
