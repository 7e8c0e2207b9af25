"""What all repairs that train the cut model on text have in common: the steps, the losses and the checkpoint."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from decision_phases.errors import InputError, check_numbers, unknown_name
from decision_phases.interventions import Edit, Intervention
from decision_phases.models import ModelAccess
from decision_phases.models.gradients import quantised
from decision_phases.repairs.contract import Task, TrainedRepair
from decision_phases.repairs.result import FittedRepair
from decision_phases.repairs.trained.batches import Rows, schedule
from decision_phases.repairs.trained.layers import surviving
from decision_phases.repairs.trained.losses import LOSSES, Seen
from decision_phases.repairs.trained.student import Student, entered, intact_residuals
from decision_phases.training import Training

#: Number formats to multiply in. None of float16, whose gradients vanish unless the loss is scaled.
AUTOCAST: Mapping[str, torch.dtype] = MappingProxyType({"bfloat16": torch.bfloat16})

_WHOLE = ("batch", "lens", "every", "steps", "seed", "rank", "neighbours", "start_windows")
_NO_PART_OF_THE_RESULT = ("what", "source", "every", "seed")


@dataclass(frozen=True, eq=False)
class Prepared:
    """A training that can begin.

    Attributes:
        student: The cut model.
        first: The first block that differs from the intact model, or that something trained reaches.
        parameters: What is trained, by name.
        edits: Makes the repair of it, once it is trained.
    """

    student: Student
    first: int
    parameters: Mapping[str, Tensor]
    edits: Callable[[], tuple[Edit, ...]]


@dataclass(frozen=True)
class TextTrained(TrainedRepair):
    """Something of the cut model is trained on text, with Adam; all dropout is off, and KL is taken at temperature 1.

    Attributes:
        loss: What training makes small, of `LOSSES`.
        trajectory: Weight of the part of that loss that is about the layers, where it has one.
        steps: Steps of training. 0 trains nothing.
        batch: Tokens a step, at most. Windows are gone through in a random order, then in another one.
        rate: Learning rate at the start; it falls to 0 along a cosine.
        clip: Largest length of the gradient; a longer one is shortened.
        lens: Positions at which the loss "lens" looks at every layer, drawn anew at every step.
        every: Steps between checkpoints.
        autocast: "bfloat16" multiplies matrices in it, of both models and of the readout, which hardware made for it
            does in less time. What is trained, its moments and the losses stay in float32. None multiplies in the
            model's own format; no other than float32 can be narrowed.
        seed: Of the start, the order of the windows and the positions; None for that of the comparison.
    """

    loss: str = "logits"
    trajectory: float = 1.0
    steps: int = 200
    batch: int = 512
    rate: float = 1e-3
    clip: float = 1.0
    lens: int = 32
    every: int = 20
    autocast: str | None = None
    seed: int | None = None

    @abstractmethod
    def prepare(self, task: Task) -> Prepared:
        """Make what is trained, on a fresh copy of the weights.

        Args:
            task: What is asked, with the seed that holds.

        Returns:
            The cut model with what is trained in it.
        """

    def check(self, task: Task) -> None:
        """Refuse what cannot be trained, and the checkpoint of another training, before anything runs.

        Args:
            task: What is asked.

        Raises:
            InputError: Saying what is missing.
        """
        self._check_settings()
        model, source = task.model, task.source
        _check_model(self.name, model, task.cut)
        if self.autocast is not None and model.dtype != torch.float32:
            msg = (
                f"{self.name} would multiply in {self.autocast} what is in float32; {model.name} is in "
                f"{str(model.dtype).removeprefix('torch.')}. Leave autocast= out, or load the model in float32"
            )
            raise InputError(msg)
        if self.steps and source.tokens < self.batch:
            msg = (
                f"{self.name} trains on {self.batch} tokens a step; {source.name} gives {source.tokens} in "
                f"{len(source.data.sequences)} windows. Give more text, a larger limit=, or a smaller batch"
            )
            raise InputError(msg)
        self._training(self._own(task)).kept()

    def train(self, task: Task) -> FittedRepair:
        """Train; see `TrainedRepair.train`."""
        began, task = time.perf_counter(), self._own(task)
        windows = task.source.data.sequences
        order = schedule([len(w) for w in windows], steps=self.steps, batch=self.batch, seed=task.seed)
        prepared = self.prepare(task)

        def rows(step: int) -> Rows:
            return Rows.of([windows[i] for i in order[step]], task.model.device)

        loss = self.objective(task, prepared, rows)
        seconds = time.perf_counter() - began
        trained = self._training(task).run(prepared.parameters, loss, progress=task.progress)
        edits = prepared.edits()
        fit = task.fit(
            self.name,
            self,
            parameters_trained=sum(p.numel() for p in prepared.parameters.values()),
            parameters_added=sum(
                array.size
                for edit in edits
                if edit.op != "weights"
                for array in Intervention((edit,)).arrays().values()
            ),
            seconds=seconds + trained.seconds,
            places=(),
            losses=trained.losses,
            trained=sum(len(windows[i]) for step in order for i in step),
        )
        return FittedRepair(edits, fit)

    def objective(
        self, task: Task, prepared: Prepared, rows: Callable[[int], Rows]
    ) -> Callable[[int], Tensor]:
        """What a step makes small.

        Args:
            task: What is asked.
            prepared: What is trained.
            rows: Gives the text of a step.

        Returns:
            Takes a step; gives its loss, through which gradients pass.
        """
        model, student, first = task.model, prepared.student, prepared.first
        loss, last = LOSSES[self.loss], model.n_layers - 1
        layers = compared(model, task.cut, first)

        def of(step: int) -> Tensor:
            with self._multiplying(model.device):
                return loss.of(seen(step), self.trajectory)

        def seen(step: int) -> Seen:
            batch = rows(step)
            entry = entered(model, batch.tokens)
            intact = intact_residuals(model, entry, last if loss.distils else first - 1)
            trained = student.residuals(entry, intact[first - 1] if first else entry.resid, first)
            places = len(batch.targets)
            drawn = np.random.default_rng([task.seed, step]).choice(
                places, min(self.lens, places), replace=False
            )
            return Seen(
                readout=model.readout,
                real=batch.real,
                places=batch.places,
                targets=batch.targets,
                drawn=torch.from_numpy(drawn).to(model.device),
                layers=layers,
                intact=dict(enumerate(intact)),
                trained=trained,
                ends=(intact[-1] if loss.distils else None, trained[max(trained)]),
            )

        return of

    def _multiplying(self, device: torch.device) -> AbstractContextManager[object]:
        """Where matrices are multiplied in the format that is asked for."""
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(device.type, AUTOCAST[self.autocast])

    def _own(self, task: Task) -> Task:
        """The task with the seed that holds."""
        return replace(task, seed=task.seed if self.seed is None else self.seed)

    def _training(self, task: Task) -> Training:
        settings = [
            (f.name, getattr(self, f.name)) for f in fields(self) if f.name not in _NO_PART_OF_THE_RESULT
        ]
        return Training(
            self.name, self.steps, self.rate, self.clip, task.file(self.name), task.key(settings), self.every
        )

    def _above_zero(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in ("batch", "rate", "clip", "lens", "every")}

    def _check_settings(self) -> None:
        if self.loss not in LOSSES:
            raise unknown_name("loss", self.loss, LOSSES)
        if self.autocast is not None and self.autocast not in AUTOCAST:
            raise unknown_name("autocast", self.autocast, AUTOCAST)
        check_numbers(
            self.name,
            above_zero=self._above_zero(),
            from_zero={"steps": self.steps, "trajectory": self.trajectory, "seed": self.seed or 0},
            whole=_WHOLE,
        )


def compared(model: ModelAccess, cut: Intervention, first: int) -> tuple[int, ...]:
    """The layers whose streams a loss about layers compares.

    Args:
        model: The model.
        cut: The cut.
        first: The first layer that may differ.

    Returns:
        Those from there on of which something is left.
    """
    return tuple(layer for layer in surviving(model.n_layers, cut) if layer >= first)


def _check_model(name: str, model: ModelAccess, cut: Intervention) -> None:
    what = quantised(model)
    without = "use a repair that needs no training on text, such as method='relative_ghost'"
    if model.kind != "TransformerBridge":
        what = f"it is a {model.kind}, whose weights lie otherwise"
    elif model.processed:
        what = "its weights are processed (norms folded, weights centred)"
    elif model.spread:
        what = "device_map spreads it"
    elif not model.capabilities.direct:
        what = f"its own loop ({model.architecture}) changes the stream between blocks"
    if what:
        msg = (
            f"{name} is trained through the model, and cannot be through {model.name}: {what}; load it with "
            f"dp.load(name or folder), on one device and not quantised, or {without}"
        )
        raise InputError(msg)
    if not model.capabilities.fresh:
        model.fresh_hf()  # says why not, and what to do
    for part in ("attention", "mlp"):
        if cut.removed(part) and part not in model.skips:
            msg = (
                f"the {part} of a block of {model.name} ({model.architecture}) cannot be left out of a plain model, so "
                f"{name} cannot be trained with an {part} removed; remove whole blocks, or {without}"
            )
            raise InputError(msg)
