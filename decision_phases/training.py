"""The one training loop: a few named parameters, by Adam, watched, kept as it goes and continued bit for bit."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm.auto import tqdm

from decision_phases.errors import InputError, check_numbers
from decision_phases.writing import replacing

FORMAT = "decision_phases.training.1"
_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Trained:
    """What came of a training.

    Attributes:
        losses: The loss of every step, those of earlier, interrupted trainings included.
        seconds: How long the steps took, likewise.
    """

    losses: tuple[float, ...]
    seconds: float


@dataclass(frozen=True, eq=False)
class Kept:
    """What a checkpoint holds.

    Attributes:
        parameters: Name → what was trained so far.
        moments: Name → the two running means of Adam.
        fixed: Name → what the training started from and does not change.
        so_far: Losses and seconds.
    """

    parameters: Mapping[str, Tensor] = field(repr=False)
    moments: Mapping[str, Mapping[str, Tensor]] = field(repr=False)
    fixed: Mapping[str, Tensor] = field(repr=False)
    so_far: Trained


@dataclass(frozen=True)
class Training:
    """How something is trained, and where that is kept.

    Attributes:
        name: What is trained, for the bar and for messages.
        steps: Steps of training.
        rate: Learning rate of Adam at the start; it falls to 0 along a cosine.
        clip: Largest length of the gradient; a longer one is shortened.
        checkpoint: A file to continue from and to keep in; None to keep nothing.
        key: Identifies everything that decides the result; the checkpoint of another key is refused.
        every: Steps between checkpoints.

    Raises:
        InputError: If a number is out of range.
    """

    name: str
    steps: int
    rate: float
    clip: float = math.inf
    checkpoint: Path | None = None
    key: str = ""
    every: int = 20

    def __post_init__(self) -> None:
        check_numbers(
            self.name,
            above_zero={"rate": self.rate, "clip": self.clip, "every": self.every},
            from_zero={"steps": self.steps},
            whole=("every", "steps"),
        )

    def rate_at(self, step: int) -> float:
        """The learning rate of a step.

        Args:
            step: 0-based.

        Returns:
            The rate.

        Example:
            >>> Training("one", 10, 0.5).rate_at(5)
            0.25
        """
        return self.rate * 0.5 * (1 + math.cos(math.pi * step / self.steps))

    def kept(self) -> Kept | None:
        """Read the checkpoint. Called before anything else runs, it refuses what belongs to another training.

        Returns:
            What it holds; None if there is none yet.

        Raises:
            InputError: If it is damaged, or belongs to another training.
        """
        path = self.checkpoint
        if path is None or not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                told = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except (SafetensorError, OSError) as error:
            msg = f"{path} is damaged ({error}); remove it, and {self.name} is trained from the start"
            raise InputError(msg) from error
        if (told.get("format"), told.get("key")) != (FORMAT, self.key):
            msg = (
                f"{path} is the checkpoint of another training than {self.name} as it is asked for (another model, "
                "intervention, text, seed or setting); give another folder, or none"
            )
            raise InputError(msg)
        return _unpacked(tensors, float(told["seconds"]))

    def run(
        self,
        parameters: Mapping[str, Tensor],
        loss: Callable[[int], Tensor],
        *,
        fixed: Mapping[str, Tensor] | None = None,
        progress: bool = False,
    ) -> Trained:
        """Train parameters where they are. Nothing else gets a gradient, whatever the loss goes through.

        Args:
            parameters: Name → parameter.
            loss: From the 0-based step to its loss. It must follow from the step and the parameters alone.
            fixed: What is to be kept beside the parameters, because they mean nothing without it.
            progress: Show a bar.

        Returns:
            The losses, and how long it took.

        Raises:
            InputError: If the checkpoint belongs to another training, or something is not finite.
            KeyboardInterrupt: On Ctrl-C, which leaves a checkpoint, saying how to go on.

        Example:
            >>> weight = torch.zeros(1, requires_grad=True)
            >>> found = Training("one", 50, 0.5).run({"weight": weight}, lambda _: (weight - 3).square().sum())
            >>> found.losses[0], found.losses[-1] < 0.1
            (9.0, True)
        """
        return _Run(self, parameters, fixed or {}).finish(loss, progress=progress)


class _Run:
    """A training under way: between steps, everything in it belongs to the same step."""

    def __init__(
        self, training: Training, parameters: Mapping[str, Tensor], fixed: Mapping[str, Tensor]
    ) -> None:
        self.training, self.parameters, self.fixed = training, parameters, fixed
        self.optimizer = torch.optim.Adam(parameters.values(), lr=training.rate)
        self.losses: list[float] = []
        self.before, self.began = 0.0, time.perf_counter()
        kept = training.kept()
        if kept is not None:
            self._go_on_from(kept)
        self.safe = len(self.losses)
        self.between = True

    def finish(self, loss: Callable[[int], Tensor], *, progress: bool) -> Trained:
        """Make the steps that are left."""
        asked = self.training
        bar = tqdm(total=asked.steps, initial=self.safe, disable=not progress, unit="step", desc=asked.name)
        try:
            with bar, torch.enable_grad():
                for step in range(self.safe, asked.steps):
                    self._step(step, loss)
                    bar.update()
                    bar.set_postfix(loss=f"{self.losses[-1]:.4g}", refresh=False)
                    if (step + 1) % asked.every == 0 or step + 1 == asked.steps:
                        self._keep()
        except KeyboardInterrupt:
            if self.between:
                self._keep()
            raise KeyboardInterrupt(self._left_behind()) from None
        return self._so_far()

    def _step(self, step: int, loss: Callable[[int], Tensor]) -> None:
        own = list(self.parameters.values())
        for group in self.optimizer.param_groups:
            group["lr"] = self.training.rate_at(step)
        self.optimizer.zero_grad()
        value = loss(step)
        self._check_finite(step, "loss", value)
        torch.autograd.backward(value, inputs=own)
        for p in own:  # what this step did not reach is known to Adam all the same
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        self._check_finite(step, "gradient", torch.nn.utils.clip_grad_norm_(own, self.training.clip))
        number = float(value.detach())
        self.between = False
        self.optimizer.step()
        self.losses.append(number)
        self.between = True

    def _so_far(self) -> Trained:
        return Trained(tuple(self.losses), self.before + time.perf_counter() - self.began)

    def _keep(self) -> None:
        path, done = self.training.checkpoint, len(self.losses)
        if path is None or done == self.safe:
            return
        tensors = {"losses": torch.tensor(self.losses, dtype=torch.float64)}
        for name, p in self.parameters.items():
            tensors[f"parameters {name}"] = p.detach().cpu().contiguous()
            tensors |= {f"{moment} {name}": self.optimizer.state[p][moment].cpu() for moment in _MOMENTS}
        tensors |= {f"fixed {name}": value.cpu().contiguous() for name, value in self.fixed.items()}
        told = {"format": FORMAT, "key": self.training.key, "seconds": str(self._so_far().seconds)}
        with replacing(path) as work:
            save_file(tensors, work, metadata=told)
        self.safe = done

    def _go_on_from(self, kept: Kept) -> None:
        self.losses, self.before = list(kept.so_far.losses), kept.so_far.seconds
        for name, p in self.parameters.items():
            p.data.copy_(kept.parameters[name])
            self.optimizer.state[p] = {"step": torch.tensor(float(len(self.losses)))} | {
                moment: kept.moments[moment][name].to(p.device) for moment in _MOMENTS
            }

    def _check_finite(self, step: int, what: str, value: Tensor) -> None:
        if not torch.isfinite(value).all():
            asked = self.training
            msg = (
                f"the {what} of step {step + 1} of {asked.steps} of {asked.name} is {float(value.detach())}; give a "
                f"smaller rate than {asked.rate:g}, or load the model in a number format with a wider range (float32)"
            )
            raise InputError(msg)

    def _left_behind(self) -> str:
        asked, done = self.training, len(self.losses)
        said = f"{asked.name} was stopped after {done} of {asked.steps} steps"
        if asked.checkpoint is None:
            return f"{said}; nothing is kept (checkpoint= names a folder to keep and continue in)"
        if not self.safe:
            return f"{said}, so there was nothing to keep"
        which = "which are" if self.safe == done else f"{self.safe} of which are"
        return (
            f"{said}, {which} kept in {asked.checkpoint}; the same call with "
            f"checkpoint={json.dumps(str(asked.checkpoint.parent))} goes on from there"
        )


def _unpacked(tensors: Mapping[str, Tensor], seconds: float) -> Kept:
    kinds: dict[str, dict[str, Tensor]] = {kind: {} for kind in ("parameters", "fixed", *_MOMENTS)}
    for full_name, tensor in tensors.items():
        kind, _, name = full_name.partition(" ")
        if name:
            kinds[kind][name] = tensor
    moments = {moment: kinds[moment] for moment in _MOMENTS}
    so_far = Trained(tuple(tensors["losses"].tolist()), seconds)
    return Kept(kinds["parameters"], moments, kinds["fixed"], so_far)
