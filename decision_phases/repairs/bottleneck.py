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
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm.auto import tqdm

from decision_phases.engine.maps import bottleneck
from decision_phases.errors import InputError
from decision_phases.interventions import Array, Bottleneck
from decision_phases.repairs.contract import Fitted, Fitter, Job, Missed, Repair
from decision_phases.store.files import replacing

_NAMES = ("down", "hidden", "up", "bias")
_MOMENTS = ("exp_avg", "exp_avg_sq")
_ROWS = 4096


@dataclass(frozen=True)
class TrainedBottleneck(Repair):
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

    def begin(self, job: Job) -> Fitter:
        """Begin with one place.

        Raises:
            InputError: If a setting is out of range, or the checkpoint belongs to another repair.
        """
        if min(self.hidden, self.steps, self.batch, self.every) < 1 or self.rate <= 0:
            msg = f"{self} has a setting that is not above 0; all of them must be"
            raise InputError(msg)
        if job.checkpoint is not None and job.checkpoint.exists():
            _read(job.checkpoint, self.key_of(job))
        return _Training(self, job)

    def key_of(self, job: Job) -> str:
        """Identify everything that decides the result.

        Args:
            job: What is asked.

        Returns:
            A text.
        """
        return f"{job.key} {self.hidden} {self.steps} {self.batch} {self.rate} {job.seed}"


class _Training(Fitter):
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
        repair, job = self.repair, self.job
        parameters = self._start()
        optimizer = torch.optim.Adam(parameters.values(), lr=repair.rate)
        first = self._resume(parameters, optimizer)
        bar = tqdm(total=repair.steps, initial=first, disable=not job.progress, unit="step", desc=repair.name)
        with bar, torch.enable_grad():
            for step in range(first, repair.steps):
                for group in optimizer.param_groups:
                    group["lr"] = repair.rate * 0.5 * (1 + np.cos(np.pi * step / repair.steps))
                drawn = np.random.default_rng([job.seed, step]).integers(0, self.taken, repair.batch)
                x, y = self._rows(np.sort(drawn))
                loss = self._misses(parameters, x, y).div(y.square().sum(-1)).mean()
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                bar.update()
                if job.checkpoint is not None and (
                    (step + 1) % repair.every == 0 or step + 1 == repair.steps
                ):
                    self._keep(parameters, optimizer, step + 1)
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

    def _keep(self, parameters: Mapping[str, Tensor], optimizer: torch.optim.Adam, step: int) -> None:
        assert self.job.checkpoint is not None
        tensors = {name: p.detach().cpu() for name, p in parameters.items()}
        for name, p in parameters.items():
            tensors |= {f"{name}.{moment}": optimizer.state[p][moment].cpu() for moment in _MOMENTS}
        with replacing(self.job.checkpoint) as work:
            save_file(tensors, work, metadata={"key": self.repair.key_of(self.job), "step": str(step)})

    def _resume(self, parameters: Mapping[str, Tensor], optimizer: torch.optim.Adam) -> int:
        """Put in what an earlier training left, and give the step to go on with."""
        if self.job.checkpoint is None or not self.job.checkpoint.exists():
            return 0
        tensors, step = _read(self.job.checkpoint, self.repair.key_of(self.job))
        for name, p in parameters.items():
            p.data.copy_(tensors[name])
            optimizer.state[p] = {"step": torch.tensor(float(step))} | {
                moment: tensors[f"{name}.{moment}"].to(p.device) for moment in _MOMENTS
            }
        return step


def _read(path: Path, key: str) -> tuple[dict[str, Tensor], int]:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    if metadata.get("key") != key:
        msg = (
            f"{path} is the checkpoint of another repair (another model, cut, text, seed or setting); give another "
            "folder, or none"
        )
        raise InputError(msg)
    return tensors, int(metadata["step"])


BOTTLENECK = TrainedBottleneck(
    "bottleneck",
    "adds what a small trained network guesses from the stream",
    "LLM-Streamline, arXiv 2403.19135, smaller",
)
