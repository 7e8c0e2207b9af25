"""Low-rank adapters on what surrounds a cut, trained on text and merged into the weights."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from decision_phases.errors import InputError, unknown_name
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.models.gradients import quantised
from decision_phases.models.loading import cast
from decision_phases.repairs.contract import Source, TrainedRepair
from decision_phases.repairs.lora.adapters import Adapter, check_targets, merged, peft_package, put_in
from decision_phases.repairs.lora.batches import Rows, schedule
from decision_phases.repairs.lora.layers import around, surviving
from decision_phases.repairs.lora.losses import LOSSES, Seen
from decision_phases.repairs.lora.student import Student, entered, intact_residuals
from decision_phases.repairs.result import Fit, FittedRepair
from decision_phases.repairs.trainer import Course, check_checkpoint, train

_NO_PART_OF_THE_RESULT = ("what", "source", "every", "seed")


@dataclass(frozen=True)
class LoraRepair(TrainedRepair):
    """W + (alpha / rank) · B A for the matrices of some blocks, with B = 0 at the start, trained with Adam.

    The cut model is trained in the number format of the loaded model and where that is; adapters of a model in half
    precision are kept in float32. All dropout is off. What comes back has the adapters merged: edits that add to
    weights, and nothing that would have to run beside them.

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

    def check(self, model: ModelAccess, cut: Intervention, source: Source) -> None:
        """Refuse what cannot be trained, before anything runs.

        Args:
            model: The model.
            cut: The cut.
            source: The texts.

        Raises:
            InputError: Saying what is missing.
            MissingPackageError: If peft is not installed.
        """
        self._check_settings()
        peft_package()
        _check_model(model, cut)
        check_targets(model, self.layers(model, cut), self.targets)
        if self.steps and source.tokens < self.batch:
            msg = (
                f"{self.name} trains on {self.batch} tokens a step; {source.name} gives {source.tokens} in "
                f"{len(source.data.sequences)} windows. Give more text, a larger limit=, or a smaller batch"
            )
            raise InputError(msg)

    def layers(self, model: ModelAccess, cut: Intervention) -> tuple[int, ...]:
        """The blocks that are adapted.

        Args:
            model: The model.
            cut: The cut.

        Returns:
            The layers, ascending.
        """
        return around(model.n_layers, cut, self.neighbours)

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
        """Train; see `TrainedRepair.train`."""
        began = time.perf_counter()
        drawn = seed if self.seed is None else self.seed
        windows = source.data.sequences
        order = schedule([len(w) for w in windows], steps=self.steps, batch=self.batch, seed=drawn)
        course = Course(
            self.name, self.steps, self.rate, self.every, self.clip, self._key(model, cut, source, drawn)
        )
        file = None if checkpoint is None else checkpoint / f"{self.name}.safetensors"
        check_checkpoint(course, file)
        student, adapters = self.student(model, cut, seed=drawn)

        def rows(step: int) -> Rows:
            return Rows.of([windows[i] for i in order[step]], model.device)

        prepared = time.perf_counter() - began
        trained = train(
            course,
            {name: p for adapter in adapters for name, p in adapter.parameters.items()},
            self._loss(model, cut, student, rows, drawn),
            checkpoint=file,
            progress=progress,
        )
        changes = merged(adapters, self.name)
        fit = Fit(
            method=self.name,
            settings=repr(self),
            model=model.name,
            fingerprint=model.fingerprint,
            cut=cut,
            places=(),
            texts=source.name,
            texts_hash=source.content_hash,
            windows=len(windows),
            tokens=source.tokens,
            window=source.window,
            sequential=False,
            seed=drawn,
            parameters=sum(p.numel() for adapter in adapters for p in adapter.parameters.values()),
            seconds=prepared + trained.seconds,
            losses=trained.losses,
            trained=sum(len(windows[i]) for step in order for i in step),
        )
        return FittedRepair(changes.edits, fit)

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
        without = {
            layer: [part for part in ("attention", "mlp") if layer in cut.removed(part)]
            for layer in range(model.n_layers)
        }
        blocks, adapters = put_in(
            model, hf, self.layers(model, cut), without=without, targets=self.targets, rank=self.rank,
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

    def _key(self, model: ModelAccess, cut: Intervention, source: Source, seed: int) -> str:
        settings = {
            f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NO_PART_OF_THE_RESULT
        }
        digest = hashlib.sha256(f"{model.fingerprint} {cut.key} {seed} {settings}".encode())
        for window in source.data.sequences:
            digest.update(np.array([len(window), *window.tokens]).tobytes())
        return digest.hexdigest()

    def _check_settings(self) -> None:
        if self.loss not in LOSSES:
            raise unknown_name("loss", self.loss, LOSSES)
        around_each = 1 if self.neighbours is None else self.neighbours
        counts = min(self.rank, self.batch, self.lens, self.every, around_each)
        sizes = min(self.alpha, self.rate, self.clip)
        if counts < 1 or not sizes > 0 or min(self.steps, self.trajectory) < 0:
            msg = (
                f"{self} has a setting out of range; steps and trajectory must not be below 0, and all other numbers "
                "must be above it"
            )
            raise InputError(msg)


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
