"""A small trained repair: what the cut leaves out, guessed through a narrow hidden layer."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from decision_phases.engine.maps import bottleneck
from decision_phases.errors import check_numbers
from decision_phases.interventions import Array, Bottleneck
from decision_phases.repairs.contract import Fitted, Fitter, Job, MapRepair, Missed, Task
from decision_phases.training import Training

_NAMES = ("down", "hidden", "up", "bias")
_ROWS = 4096


@dataclass(frozen=True)
class TrainedBottleneck(MapRepair):
    """x + gelu(x̂ @ down + hidden) @ up + bias, with x̂ = x / rms(x), trained with Adam from "no change".

    The loss is ‖y − map(x)‖² / ‖y‖² of each token, averaged: a few tokens of huge norm, which every trained model has,
    would otherwise drown the others. What enters and leaves the cut is kept in a temporary file meanwhile.

    Attributes:
        hidden: Width of the bottleneck.
        steps: Steps of training.
        batch: Tokens a step.
        rate: Learning rate at the start; it falls to 0 along a cosine.
        every: Steps between checkpoints.
    """

    hidden: int = 64
    steps: int = 1000
    batch: int = 512
    rate: float = 1e-3
    every: int = 100

    def n_parameters(self, width: int) -> int:
        """Two matrices and two vectors."""
        return 2 * width * self.hidden + self.hidden + width

    def check(self, task: Task) -> None:
        """Refuse settings that are out of range, and texts that are too short.

        Raises:
            InputError: Naming them.
        """
        own = {"hidden": self.hidden, "steps": self.steps, "batch": self.batch}
        check_numbers(self.name, above_zero=own, whole=own)
        Training(self.name, self.steps, self.rate, every=self.every)
        super().check(task)

    def begin(self, job: Job) -> Fitter:
        """Begin with one place.

        Raises:
            InputError: If the checkpoint belongs to another repair.
        """
        self.training(job).kept()
        return _Fitting(self, job)

    def training(self, job: Job) -> Training:
        """How it is trained.

        Args:
            job: What is asked.

        Returns:
            The steps, with a key that identifies everything that decides the result.
        """
        key = f"{job.key} {self.hidden} {self.steps} {self.batch} {self.rate} {job.seed}"
        return Training(
            self.name, self.steps, self.rate, checkpoint=job.checkpoint, key=key, every=self.every
        )


class _Fitting(Fitter):
    def __init__(self, repair: TrainedBottleneck, job: Job) -> None:
        self.repair, self.job = repair, job
        folder = Path(tempfile.mkdtemp(prefix="decision-phases-"))
        self.clear = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        kind = np.float64 if job.double else np.float32
        self.x, self.y = (
            np.memmap(folder / name, dtype=kind, mode="w+", shape=(job.tokens, job.width))
            for name in ("x", "y")
        )
        self.taken = 0
        self.device = torch.device("cpu")

    def take(self, x: Float[Tensor, "token d"], y: Float[Tensor, "token d"]) -> None:
        self.device = x.device
        rows = slice(self.taken, self.taken + len(x))
        for kept, values in ((self.x, x), (self.y, y)):
            kept[rows] = values.to(torch.promote_types(values.dtype, torch.float32)).cpu().numpy()
        self.taken += len(x)

    def finish(self) -> Fitted:
        try:
            parameters = self._train()
            arrays = (Array.of(p.detach(), f"{name} of the bottleneck") for name, p in parameters.items())
            return Fitted(Bottleneck(*arrays), self._error(None), self._error(parameters))
        finally:
            self.clear()

    def _train(self) -> dict[str, Tensor]:
        parameters = self._start()

        def loss(step: int) -> Tensor:
            drawn = np.random.default_rng([self.job.seed, step]).integers(0, self.taken, self.repair.batch)
            x, y = self._rows(np.sort(drawn))
            return self._misses(parameters, x, y).div(y.square().sum(-1)).mean()

        self.repair.training(self.job).run(parameters, loss, progress=self.job.progress)
        return parameters

    def _start(self) -> dict[str, Tensor]:
        """Random directions in, nothing out: the map begins as the identity."""
        d, r = self.job.width, self.repair.hidden
        down = np.random.default_rng([self.job.seed, 0, 0]).normal(size=(d, r)) / np.sqrt(d)
        values = (down, np.zeros(r), np.zeros((r, d)), np.zeros(d))
        return {
            name: torch.tensor(value, dtype=torch.float64 if self.job.double else torch.float32)
            .to(self.device)
            .requires_grad_()
            for name, value in zip(_NAMES, values, strict=True)
        }

    def _rows(self, rows: np.ndarray | slice) -> tuple[Tensor, Tensor]:
        x, y = (torch.from_numpy(np.array(kept[rows])).to(self.device) for kept in (self.x, self.y))
        return x, y

    def _misses(self, parameters: Mapping[str, Tensor] | None, x: Tensor, y: Tensor) -> Tensor:
        out = x if parameters is None else bottleneck(x, *parameters.values())
        return (y - out).square().sum(-1)

    def _error(self, parameters: Mapping[str, Tensor] | None) -> Missed:
        missed = total = relative = 0.0
        with torch.no_grad():
            for x, y in self._parts():
                lengths, misses = y.double().square().sum(-1), self._misses(parameters, x, y).double()
                missed += float(misses.sum())
                total += float(lengths.sum())
                relative += float((misses / lengths).sum())
        return Missed(missed / total, relative / self.taken)

    def _parts(self) -> Iterator[tuple[Tensor, Tensor]]:
        for begin in range(0, self.taken, _ROWS):
            yield self._rows(slice(begin, min(begin + _ROWS, self.taken)))


BOTTLENECK = TrainedBottleneck(
    "bottleneck",
    "adds what a small trained network guesses from the stream",
    "LLM-Streamline, arXiv 2403.19135, smaller",
)
