"""The contracts of repairs: those of all, and those of maps, which are fed with what enters and leaves a cut."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from decision_phases.errors import InputError
from decision_phases.interventions import Affine, Bottleneck, Intervention
from decision_phases.models import ModelAccess
from decision_phases.pruning.criteria.data import Data
from decision_phases.repairs.result import Fit, FittedRepair


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

    @cached_property
    def key(self) -> str:
        """Identifies the windows by their tokens."""
        told = repr([(window.tokens, window.targets) for window in self.data.sequences])
        return hashlib.sha256(told.encode()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Task:
    """What is to be made up for, on which texts, and where work is kept.

    Attributes:
        model: The model.
        cut: The removals; for a compensation all that is done to the model.
        source: The texts.
        base: What else is done to the model while maps are fitted.
        sequential: Whether every map or layer is fitted on the model as repaired before it.
        seed: Of everything random.
        checkpoint: Folder that training can be continued from; None to keep nothing.
        progress: Show bars.
    """

    model: ModelAccess
    cut: Intervention
    source: Source
    base: Intervention = field(default_factory=Intervention)
    sequential: bool = True
    seed: int = 0
    checkpoint: Path | None = None
    progress: bool = False

    def key(self, *settings: object) -> str:
        """Identify everything that decides a result.

        Args:
            *settings: What is to be fitted and how, by values whose `repr` says all.

        Returns:
            A hash.
        """
        own = (self.cut.key, self.base.key, self.source.key, self.sequential, self.seed)
        return hashlib.sha256(repr((self.model.fingerprint, own, settings)).encode()).hexdigest()[:16]

    def file(self, name: str) -> Path | None:
        """Where a training of that name is kept.

        Args:
            name: Its name.

        Returns:
            The file; None if nothing is to be kept.

        Raises:
            InputError: If the name is none of a file.
        """
        if not name or Path(name).name != name or name.startswith("."):
            msg = (
                f"a repair is named {name!r}, after which no file can be called; give a name without slashes"
            )
            raise InputError(msg)
        return None if self.checkpoint is None else self.checkpoint / f"{name}.safetensors"

    def fit(self, method: str, settings: object, *, seconds: float, **more: Any) -> Fit:
        """Say how a repair came about.

        Args:
            method: Its name.
            settings: It itself.
            seconds: How long that took.
            **more: What else there is to say, as fields of `Fit`.

        Returns:
            The same with what the task says.
        """
        return Fit(
            method=method,
            settings=repr(settings),
            model=self.model.name,
            fingerprint=self.model.fingerprint,
            cut=self.cut,
            texts=self.source.name,
            texts_hash=self.source.content_hash,
            windows=len(self.source.data.sequences),
            tokens=self.source.tokens,
            window=self.source.window,
            sequential=self.sequential,
            seed=self.seed,
            seconds=seconds,
            under=self.base,
            **more,
        )


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
    def check(self, task: Task) -> None:
        """Refuse what this repair cannot do, and the checkpoint of another one, before anything runs.

        Args:
            task: What is asked; its cut has passed `places_of`.

        Raises:
            InputError: Saying what is missing.
            MissingPackageError: If a package is.
        """


@dataclass(frozen=True)
class TrainedRepair(Repair):
    """A kind of repair that trains weights of the cut model itself."""

    @abstractmethod
    def train(self, task: Task) -> FittedRepair:
        """Train.

        Args:
            task: What is asked, which has passed `check`. The model is left as it is.

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

    def check(self, task: Task) -> None:
        """Refuse texts that are too short to determine a map.

        Args:
            task: What is asked.

        Raises:
            InputError: Naming what is missing.
        """
        width, source = task.model.d_model, task.source
        needed = self.tokens_needed(width)
        if source.tokens < needed:
            msg = (
                f"{self.name} has {self.n_parameters(width)} parameters at the width {width} and "
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
