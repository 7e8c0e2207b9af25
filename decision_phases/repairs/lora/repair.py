"""Low-rank adapters on what surrounds a cut, trained on text and merged into the weights."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from decision_phases.errors import InputError, check_numbers, unknown_name
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.models.gradients import quantised
from decision_phases.models.loading import cast
from decision_phases.repairs.contract import Task, TrainedRepair
from decision_phases.repairs.lora.adapters import Adapter, check_targets, merged, peft_package, put_in
from decision_phases.repairs.lora.batches import Rows, schedule
from decision_phases.repairs.lora.layers import around, surviving
from decision_phases.repairs.lora.losses import LOSSES, Seen
from decision_phases.repairs.lora.student import PARTS, Student, entered, intact_residuals
from decision_phases.repairs.result import FittedRepair
from decision_phases.training import Training

_NO_PART_OF_THE_RESULT = ("what", "source", "every", "seed")


@dataclass(frozen=True)
class LoraRepair(TrainedRepair):
    """W + (alpha / rank) · B A for the matrices of some blocks, with B = 0 at the start, trained with Adam.

    The cut model is trained in the number format of the loaded model and where that is; adapters of a model in half
    precision are kept in float32. All dropout is off. What comes back has the adapters merged: edits that add to
    weights, and nothing that would have to run beside them. The sum is rounded to the number format of the weights, so
    that in half precision it is a little less than what was trained. KL is taken at temperature 1.

    Attributes:
        loss: What training makes small, of `LOSSES`.
        trajectory: Weight of the part of that loss that is about the layers, where it has one.
        rank: Directions of each adapter.
        alpha: What an adapter adds is multiplied by alpha / rank.
        neighbours: How many surviving blocks on each side of every gap are adapted; None for all that survive.
        targets: Which matrices get an adapter, by the last part of their name in `ModelAccess.parameters` ("q_proj",
            "down_proj"); None for all that are plain linear layers. Where a family keeps queries, keys and values in
            one matrix, naming one of them adapts all three.
        steps: Steps of training. 0 adds nothing.
        batch: Tokens a step, at most. Windows are gone through in a random order, then in another one.
        rate: Learning rate at the start; it falls to 0 along a cosine.
        clip: Largest length of the gradient; a longer one is shortened.
        lens: Positions at which the loss "lens" looks at every layer, drawn anew at every step.
        every: Steps between checkpoints.
        seed: Of the adapters' start, the order of the windows and the positions; None for that of the comparison.
    """

    loss: str = "next_token"
    trajectory: float = 1.0
    rank: int = 8
    alpha: float = 16.0
    neighbours: int | None = 2
    targets: tuple[str, ...] | None = None
    steps: int = 200
    batch: int = 512
    rate: float = 1e-3
    clip: float = 1.0
    lens: int = 32
    every: int = 20
    seed: int | None = None

    def check(self, task: Task) -> None:
        """Refuse what cannot be trained, and the checkpoint of another training, before anything runs.

        Args:
            task: What is asked.

        Raises:
            InputError: Saying what is missing.
            MissingPackageError: If peft is not installed.
        """
        self._check_settings()
        peft_package()
        model, cut, source = task.model, task.cut, task.source
        _check_model(model, cut)
        check_targets(model, self.layers(model, cut), _parts_gone(cut), self.targets)
        if self.steps and source.tokens < self.batch:
            msg = (
                f"{self.name} trains on {self.batch} tokens a step; {source.name} gives {source.tokens} in "
                f"{len(source.data.sequences)} windows. Give more text, a larger limit=, or a smaller batch"
            )
            raise InputError(msg)
        self._training(self._own(task)).kept()

    def layers(self, model: ModelAccess, cut: Intervention) -> tuple[int, ...]:
        """The blocks that are adapted.

        Args:
            model: The model.
            cut: The cut.

        Returns:
            The layers, ascending.
        """
        return around(model.n_layers, cut, self.neighbours)

    def train(self, task: Task) -> FittedRepair:
        """Train; see `TrainedRepair.train`."""
        began, task = time.perf_counter(), self._own(task)
        windows = task.source.data.sequences
        order = schedule([len(w) for w in windows], steps=self.steps, batch=self.batch, seed=task.seed)
        student, adapters = self.student(task.model, task.cut, seed=task.seed)

        def rows(step: int) -> Rows:
            return Rows.of([windows[i] for i in order[step]], task.model.device)

        parameters = {name: p for adapter in adapters for name, p in adapter.parameters.items()}
        loss = self._loss(task.model, task.cut, student, rows, task.seed)
        prepared = time.perf_counter() - began
        trained = self._training(task).run(parameters, loss, progress=task.progress)
        fit = task.fit(
            self.name,
            self,
            parameters=sum(p.numel() for p in parameters.values()),
            seconds=prepared + trained.seconds,
            places=(),
            losses=trained.losses,
            trained=sum(len(windows[i]) for step in order for i in step),
        )
        return FittedRepair(merged(adapters, self.name).edits, fit)

    def _own(self, task: Task) -> Task:
        """The task with what does not concern training left out, and the seed that holds."""
        return replace(task, sequential=False, seed=task.seed if self.seed is None else self.seed)

    def _training(self, task: Task) -> Training:
        settings = [
            (f.name, getattr(self, f.name)) for f in fields(self) if f.name not in _NO_PART_OF_THE_RESULT
        ]
        return Training(
            self.name, self.steps, self.rate, self.clip, task.file(self.name), task.key(settings), self.every
        )

    def student(
        self, model: ModelAccess, cut: Intervention, *, seed: int = 0
    ) -> tuple[Student, list[Adapter]]:
        """Make the cut model with adapters that do nothing yet, on a fresh copy of the weights.

        Args:
            model: The model.
            cut: The cut.
            seed: Of the directions that the adapters begin with.

        Returns:
            The cut model and its adapters.
        """
        hf = model.fresh_hf()
        cast(hf, model.dtype)
        blocks, adapters = put_in(
            model, hf, self.layers(model, cut), without=_parts_gone(cut), targets=self.targets, rank=self.rank,
            alpha=self.alpha, seed=seed,
        )  # fmt: skip
        return Student(cut, blocks), adapters

    def _loss(
        self, model: ModelAccess, cut: Intervention, student: Student, rows: Callable[[int], Rows], seed: int
    ) -> Callable[[int], Tensor]:
        loss, last = LOSSES[self.loss], model.n_layers - 1
        first = min(cut.earliest_layer or 0, *self.layers(model, cut))
        layers = tuple(layer for layer in surviving(model.n_layers, cut) if layer >= first)

        def of(step: int) -> Tensor:
            batch = rows(step)
            entry = entered(model, batch.tokens)
            intact = intact_residuals(model, entry, last if loss.distils else first - 1)
            trained = student.residuals(entry, intact[first - 1] if first else entry.resid, first)
            places = len(batch.targets)
            drawn = np.random.default_rng([seed, step]).choice(places, min(self.lens, places), replace=False)
            seen = Seen(
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
            return loss.of(seen, self.trajectory)

        return of

    def _check_settings(self) -> None:
        if self.loss not in LOSSES:
            raise unknown_name("loss", self.loss, LOSSES)
        above_zero = {
            name: getattr(self, name) for name in ("rank", "alpha", "batch", "rate", "clip", "lens", "every")
        }
        if self.neighbours is not None:
            above_zero["neighbours"] = self.neighbours
        check_numbers(
            self.name,
            above_zero=above_zero,
            from_zero={"steps": self.steps, "trajectory": self.trajectory, "seed": self.seed or 0},
        )


def _parts_gone(cut: Intervention) -> dict[int, tuple[str, ...]]:
    """Layer → parts that are removed from it."""
    layers = {layer for part in PARTS for layer in cut.removed(part)}
    return {layer: tuple(part for part in PARTS if layer in cut.removed(part)) for layer in sorted(layers)}


def _check_model(model: ModelAccess, cut: Intervention) -> None:
    what = quantised(model)
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
            f"{model.name} cannot be trained: {what}; load it with dp.load(name or folder), on one device and not "
            "quantised, or use a repair that only adds maps"
        )
        raise InputError(msg)
    if not model.capabilities.fresh:
        model.fresh_hf()  # says why not, and what to do
    for part in ("attention", "mlp"):
        if cut.removed(part) and part not in model.skips:
            msg = (
                f"the {part} of a block of {model.name} ({model.architecture}) cannot be left out of a plain model, so "
                f"a cut with an {part} in it cannot be trained; remove whole blocks, or use a repair that only adds "
                "maps"
            )
            raise InputError(msg)


LORA = LoraRepair("lora", "trains the blocks around the cut on the text", "LoRA, arXiv 2106.09685")
LORA_DISTIL = LoraRepair(
    "lora_distil",
    "trains the blocks around the cut to predict what the intact model does",
    "LoRA, arXiv 2106.09685; distillation, arXiv 1503.02531",
    loss="logits",
)
LORA_TRAJECTORY = LoraRepair(
    "lora_trajectory",
    "the same, and to keep the stream at every layer",
    "this package",
    loss="residuals",
)
LORA_LENS = LoraRepair(
    "lora_lens",
    "the same, and to keep what the logit lens says at every layer",
    "this package",
    loss="lens",
)
