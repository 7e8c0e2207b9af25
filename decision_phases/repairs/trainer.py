"""Training a few named parameters by Adam: watched, kept as it goes, and continued bit for bit."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm.auto import tqdm

from decision_phases.errors import InputError
from decision_phases.store.files import replacing

_MOMENTS = ("exp_avg", "exp_avg_sq")
#: Under which a checkpoint has the loss of every step so far.
_LOSSES = "losses"


@dataclass(frozen=True)
class Course:
    """How something is trained.

    Attributes:
        name: What is trained, for the bar and for messages.
        steps: Steps of training.
        rate: Learning rate at the start; it falls to 0 along a cosine.
        every: Steps between checkpoints.
        clip: Largest length of the gradient; a longer one is shortened.
        key: Identifies everything that decides the result, for the checkpoint.
    """

    name: str
    steps: int
    rate: float
    every: int
    clip: float = math.inf
    key: str = ""

    def rate_at(self, step: int) -> float:
        """The learning rate of a step.

        Args:
            step: 0-based.

        Returns:
            The rate.

        Example:
            >>> Course("one", 10, 0.5, every=1).rate_at(5)
            0.25
        """
        return self.rate * 0.5 * (1 + math.cos(math.pi * step / self.steps))


@dataclass(frozen=True)
class Trained:
    """What came of a training.

    Attributes:
        losses: The loss of every step, those of earlier, interrupted trainings included.
        seconds: How long the steps took, likewise.
    """

    losses: tuple[float, ...]
    seconds: float


def train(
    course: Course,
    parameters: Mapping[str, Tensor],
    loss: Callable[[int], Tensor],
    *,
    checkpoint: Path | None = None,
    progress: bool = False,
) -> Trained:
    """Train parameters where they are.

    Args:
        course: How.
        parameters: Name → parameter.
        loss: From the 0-based step to its loss. It must follow from the step and the parameters alone.
        checkpoint: A file to continue from and to keep in; None to keep nothing.
        progress: Show a bar.

    Returns:
        The losses, and how long it took.

    Raises:
        InputError: If the checkpoint belongs to another training, or the loss or its gradient is not finite.
        KeyboardInterrupt: On Ctrl-C, saying what was kept and how to go on.

    Example:
        >>> weight = torch.zeros(1, requires_grad=True)
        >>> found = train(Course("one", 50, 0.5, every=10), {"weight": weight}, lambda _: (weight - 3).square().sum())
        >>> found.losses[0], found.losses[-1] < 0.1
        (9.0, True)
    """
    optimizer = torch.optim.Adam(parameters.values(), lr=course.rate)
    losses, before = _resume(course, parameters, optimizer, checkpoint)
    kept, began = len(losses), time.perf_counter()
    bar = tqdm(total=course.steps, initial=kept, disable=not progress, unit="step", desc=course.name)
    try:
        with bar, torch.enable_grad():
            for step in range(kept, course.steps):
                for group in optimizer.param_groups:
                    group["lr"] = course.rate_at(step)
                optimizer.zero_grad()
                value = loss(step)
                _check_finite(course, step, "loss", value)
                torch.autograd.backward(value)
                _check_finite(
                    course, step, "gradient", torch.nn.utils.clip_grad_norm_(parameters.values(), course.clip)
                )
                optimizer.step()
                losses.append(float(value.detach()))
                bar.update()
                bar.set_postfix(loss=f"{losses[-1]:.4g}", refresh=False)
                if checkpoint is not None and ((step + 1) % course.every == 0 or step + 1 == course.steps):
                    so_far = Trained(tuple(losses), before + time.perf_counter() - began)
                    _keep(course, parameters, optimizer, so_far, checkpoint)
                    kept = step + 1
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_left_behind(course, len(losses), kept, checkpoint)) from None
    return Trained(tuple(losses), before + time.perf_counter() - began)


def check_checkpoint(course: Course, path: Path | None) -> None:
    """Refuse the checkpoint of another training.

    Args:
        course: What is to be trained.
        path: The checkpoint, which need not be there.

    Raises:
        InputError: If it is damaged, or belongs to another training.
    """
    if path is not None and path.exists():
        _read(course, path)


def _check_finite(course: Course, step: int, what: str, value: Tensor) -> None:
    if not torch.isfinite(value).all():
        msg = (
            f"the {what} of step {step + 1} of {course.steps} of {course.name} is {float(value.detach())}; give a "
            f"smaller rate than {course.rate:g}, or load the model in a number format with a wider range (float32)"
        )
        raise InputError(msg)


def _keep(
    course: Course,
    parameters: Mapping[str, Tensor],
    optimizer: torch.optim.Adam,
    so_far: Trained,
    path: Path,
) -> None:
    tensors = {name: p.detach().cpu().contiguous() for name, p in parameters.items()}
    for name, p in parameters.items():
        tensors |= {f"{name}.{moment}": optimizer.state[p][moment].cpu() for moment in _MOMENTS}
    tensors[_LOSSES] = torch.tensor(so_far.losses, dtype=torch.float64)
    with replacing(path) as work:
        save_file(tensors, work, metadata={"key": course.key, "seconds": str(so_far.seconds)})


def _resume(
    course: Course, parameters: Mapping[str, Tensor], optimizer: torch.optim.Adam, path: Path | None
) -> tuple[list[float], float]:
    """Put in what an earlier training left, and give the losses of its steps and how long they took."""
    if path is None or not path.exists():
        return [], 0.0
    tensors, seconds = _read(course, path)
    losses: list[float] = tensors[_LOSSES].tolist()
    for name, p in parameters.items():
        p.data.copy_(tensors[name])
        optimizer.state[p] = {"step": torch.tensor(float(len(losses)))} | {
            moment: tensors[f"{name}.{moment}"].to(p.device) for moment in _MOMENTS
        }
    return losses, seconds


def _read(course: Course, path: Path) -> tuple[dict[str, Tensor], float]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        msg = f"{path} is damaged ({error}); remove it, and {course.name} is trained from the start"
        raise InputError(msg) from error
    if metadata.get("key") != course.key or _LOSSES not in tensors:
        msg = (
            f"{path} is the checkpoint of another repair (another model, cut, text, seed or setting); give another "
            "folder, or none"
        )
        raise InputError(msg)
    return tensors, float(metadata["seconds"])


def _left_behind(course: Course, done: int, kept: int, checkpoint: Path | None) -> str:
    said = f"{course.name} was stopped after {done} of {course.steps} steps"
    if checkpoint is None:
        return f"{said}; nothing is kept (checkpoint= names a folder to keep and continue in)"
    if not kept:
        return f"{said}; none is kept yet, the first would have been after {course.every}"
    return (
        f"{said}; {kept} of them are kept in {checkpoint}, and the same call with "
        f"checkpoint={json.dumps(str(checkpoint.parent))} goes on from there"
    )
