"""Lost components whose weights are learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy

from decision_phases.engine import Batch, applied
from decision_phases.errors import check_numbers, unknown_name
from decision_phases.models import ModelAccess
from decision_phases.models.gradients import differentiable, final_residual
from decision_phases.readout.loss import targets_of
from decision_phases.repairs.components.contract import NOT_TRAINED, Compensation, HeadComponents, dense_of
from decision_phases.repairs.contract import Task
from decision_phases.repairs.trained.losses import divergence
from decision_phases.training import Trained, Training

LOSSES = ("divergence", "cross_entropy")
#: layer → what is added to every head of it, `[head, d]`.
Added = Mapping[int, Float[Tensor, "head d"]]


@dataclass(frozen=True)
class LearnedCompensation(Compensation):
    """Adds Σ βᵢ vᵢ + b to the outputs of heads, β and b learned, the directions vᵢ of what each lost kept (RestoreLCC).

    From the paper are what is learned and what is not, the loss "cross_entropy" of the next token, and the range of
    rates. Of this package: learning begins with the training-free component instead of noise, so that no training is no
    change; the loss "divergence" (the default), the Kullback-Leibler divergence of the sparse model's next token from
    the dense one's, which gives back what was lost instead of fitting the texts, and is 0 where nothing was lost; Adam
    with a rate that falls along a cosine, for a number of steps. Heads are chosen as in `Compensation`.

    Attributes:
        loss: "divergence" or "cross_entropy".
        steps: Steps of training.
        batch: Windows of text a step.
        rate: Learning rate at the start.
        every: Steps between checkpoints.
    """

    loss: str = "divergence"
    steps: int = 100
    batch: int = 8
    rate: float = 1e-3
    every: int = 20

    def check(self) -> None:
        """Refuse settings that make no sense."""
        super().check()
        check_numbers(
            self.name, above_zero={"steps": self.steps, "batch": self.batch}, whole=("steps", "batch")
        )
        Training(self.name, self.steps, self.rate, every=self.every)
        if self.loss not in LOSSES:
            raise unknown_name("loss", self.loss, LOSSES)

    def check_checkpoint(self, task: Task) -> None:
        """Refuse the checkpoint of another training."""
        self._training(task).kept()

    def n_fitted(self, width: int) -> int:
        """β and b."""
        return 2 * width

    def improved(
        self, found: Sequence[HeadComponents], task: Task
    ) -> tuple[Sequence[HeadComponents], Trained]:
        """Learn β and b, all heads together."""
        if not found:
            return found, NOT_TRAINED
        training = self._training(task)
        kept = training.kept()
        learning = _Learning(self, found, task)
        if kept is not None:  # singular vectors may come with other signs, for which what was learned is void
            learning.directions.update(
                {name: kept.fixed[name].to(d) for name, d in learning.directions.items()}
            )
        trained = training.run(
            learning.parameters, learning.loss, fixed=learning.directions, progress=task.progress
        )
        with torch.no_grad():
            vectors = [learning.vectors(part).double().cpu().numpy() for part in found]
        parts = [replace(part, vectors=new) for part, new in zip(found, vectors, strict=True)]
        return parts, trained

    def _training(self, task: Task) -> Training:
        key = task.key(replace(self, every=1), "with its directions")
        return Training(
            self.name, self.steps, self.rate, checkpoint=task.file(self.name), key=key, every=self.every
        )


class _Learning:
    def __init__(self, how: LearnedCompensation, found: Sequence[HeadComponents], task: Task) -> None:
        self.how, self.found, self.task, self.model = how, found, task, task.model
        wide = torch.float64 if self.model.dtype == torch.float64 else torch.float32
        self.directions = {
            f"directions.{part.layer}": torch.from_numpy(part.directions.copy()).to(self.model.device, wide)
            for part in found
        }
        self.parameters: dict[str, Tensor] = {}
        for part in found:
            begun = np.einsum("hdk,hd->hk", part.directions, part.vectors)
            for name, values in (("beta", begun), ("bias", np.zeros_like(begun))):
                tensor = torch.from_numpy(values).to(self.model.device, wide)
                self.parameters[f"{name}.{part.layer}"] = tensor.requires_grad_()

    def vectors(self, part: HeadComponents) -> Float[Tensor, "head d"]:
        """What is added to the heads of one layer."""
        beta, bias = (self.parameters[f"{name}.{part.layer}"] for name in ("beta", "bias"))
        return torch.einsum("hdk,hk->hd", self.directions[f"directions.{part.layer}"], beta) + bias

    def loss(self, step: int) -> Tensor:
        """The loss of some windows of text."""
        every = self.task.source.data.sequences
        size = min(self.how.batch, len(every))
        drawn = np.random.default_rng([self.task.seed, step]).choice(len(every), size=size, replace=False)
        batch = Batch(tuple(every[i] for i in drawn), tuple(drawn.tolist()), self.model.device)
        with differentiable(), applied(self.model, self.task.cut), self._adding():
            logits = next_tokens(self.model, batch)
        if self.how.loss == "cross_entropy":
            return cross_entropy(logits, targets_of(batch).to(logits.device))
        with torch.no_grad(), applied(self.model, dense_of(self.task.cut)):
            wanted = next_tokens(self.model, batch)
        return divergence(wanted, logits)

    def _adding(self) -> AbstractContextManager[None]:
        hooks = []
        for part in self.found:
            where = torch.tensor(part.heads, device=self.model.device)
            vectors = self.vectors(part)

            def add(z: Tensor, where: Tensor = where, vectors: Tensor = vectors) -> Tensor:
                whole = torch.zeros(z.shape[2:], dtype=vectors.dtype, device=vectors.device)
                return z + whole.index_copy(0, where, vectors).to(z)

            hooks.append((part.layer, "head_out", add))
        return self.model.hooked(hooks)


def next_tokens(model: ModelAccess, batch: Batch) -> Float[Tensor, "cell vocab"]:
    """Logits of the whole vocabulary wherever a batch is read; gradients pass, where they are on.

    Args:
        model: The model.
        batch: What runs.

    Returns:
        One row a cell.
    """
    cells = batch.cells("read")
    resid = final_residual(model, batch.tokens)
    return model.readout(resid[cells.rows, cells.columns])
