"""Training a tuned lens: KL divergence of every layer's guess of the next token from the model's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm.auto import tqdm

from decision_phases.engine import evaluate
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.repairs.stream import RowsObserver
from decision_phases.store.files import replacing
from decision_phases.tasks import TokenSequence

_NAMES = ("change", "bias")
_MOMENTS = ("exp_avg", "exp_avg_sq")
_ROUND = 8  # steps that draw their tokens from one run of the model
_EVERY = 20  # steps between checkpoints


@dataclass(frozen=True)
class Settings:
    """Settings of the training; see `tuned_lens`."""

    steps: int
    batch: int
    top: int
    sampled: int
    rate: float
    seed: int

    def check(self) -> None:
        """Refuse settings that are out of range.

        Raises:
            InputError: Naming them.
        """
        if self.steps < 0 or min(self.batch, self.top) < 1 or self.sampled < 1 or not self.rate > 0:
            msg = (
                f"steps={self.steps}, batch={self.batch}, top={self.top}, sampled={self.sampled}, rate={self.rate} "
                "given; steps must be 0 or more, the others above 0"
            )
            raise InputError(msg)


@dataclass(frozen=True, eq=False)
class Start:
    """Maps `x + x @ change + bias` of the embedding and every layer but the last, and the sizes of channels.

    Attributes:
        change: The weights without the identity.
        bias: The biases.
        sizes: Root mean square of each channel that a map reads.
        end: Root mean square of what the last layer leaves.
    """

    change: Float[np.ndarray, "row d d"]
    bias: Float[np.ndarray, "row d"]
    sizes: Float[np.ndarray, "row d"]
    end: float

    def maps(self) -> tuple[Float[np.ndarray, "row d d"], Float[np.ndarray, "row d"]]:
        """The maps as they are applied.

        Returns:
            Weights with the identity, and biases.
        """
        return np.eye(self.bias.shape[1]) + self.change, self.bias


def train(
    model: ModelAccess,
    sequences: Sequence[TokenSequence],
    settings: Settings,
    start: Callable[[], Start],
    *,
    checkpoint: Path | None,
    key: str,
    progress: bool,
) -> Start:
    """Train maps from where they start, or from a checkpoint.

    Args:
        model: The model.
        sequences: Windows of text.
        settings: How.
        start: Gives the start, if there is no checkpoint.
        checkpoint: A file; None to keep nothing.
        key: Identifies everything that decides the result.
        progress: Show a bar.

    Returns:
        The maps.

    Raises:
        InputError: If the checkpoint is of another lens.
    """
    known = None if checkpoint is None or not checkpoint.exists() else _read(checkpoint, key)
    if known is None:
        begun = start()
        if not settings.steps:
            return begun
        training = Training(model, sequences, settings, begun)
        first = 0
    else:
        tensors, first = known
        training = Training.continued(model, sequences, settings, tensors, first)
    bar = tqdm(
        total=settings.steps, initial=first, disable=not progress, unit="step", desc="training the lens"
    )
    with bar:
        for step in range(first, settings.steps):
            training.step(step)
            bar.update()
            if checkpoint is not None and ((step + 1) % _EVERY == 0 or step + 1 == settings.steps):
                with replacing(checkpoint) as work:
                    save_file(training.tensors(), work, metadata={"key": key, "step": str(step + 1)})
    return training.finish()


class Training:
    """Maps on their way, in units in which every channel has size 1: what enters is divided by its size.

    Args:
        model: The model.
        sequences: Windows of text.
        settings: How.
        start: Where the maps start.
    """

    def __init__(
        self, model: ModelAccess, sequences: Sequence[TokenSequence], settings: Settings, start: Start
    ) -> None:
        self.model, self.sequences, self.settings = model, sequences, settings
        self.kind = torch.float64 if model.dtype == torch.float64 else torch.float32
        self.sizes = self._tensor(start.sizes)
        self.end = start.end
        self.own = {
            "change": self._tensor(start.change * start.sizes[:, :, None] / start.end).requires_grad_(),
            "bias": self._tensor(start.bias / start.end).requires_grad_(),
        }
        self.optimizer = torch.optim.Adam(self.own.values(), lr=settings.rate)
        self.round = -1
        self.rows: Float[Tensor, "row token d"] | None = None

    @classmethod
    def continued(
        cls,
        model: ModelAccess,
        sequences: Sequence[TokenSequence],
        settings: Settings,
        tensors: dict[str, Tensor],
        step: int,
    ) -> Training:
        """Go on from a checkpoint.

        Args:
            model: The model.
            sequences: Windows of text.
            settings: How.
            tensors: What `tensors` gave.
            step: Steps made.

        Returns:
            The training as it was.
        """
        shape = tuple(tensors["change"].shape)
        sizes, end = tensors["sizes"].double().numpy(), float(tensors["end"])
        self = cls(model, sequences, settings, Start(np.zeros(shape), np.zeros(shape[:2]), sizes, end))
        self.sizes = tensors["sizes"].to(self.sizes)
        for name, parameter in self.own.items():
            parameter.data.copy_(tensors[name])
            self.optimizer.state[parameter] = {"step": torch.tensor(float(step))} | {
                moment: tensors[f"{name}.{moment}"].to(parameter) for moment in _MOMENTS
            }
        return self

    def step(self, step: int) -> None:
        """Make one step.

        Args:
            step: Its number.
        """
        s = self.settings
        self._run(step // _ROUND)
        assert self.rows is not None
        rng = np.random.default_rng([s.seed, 2, step])
        count = self.rows.shape[1]
        cells = np.sort(rng.choice(count, min(s.batch, count), replace=False))
        rows = self.rows[:, torch.from_numpy(cells).to(self.rows.device)]
        with torch.enable_grad():
            loss = self.loss(rows[:-1], rows[-1], rng)
            slopes = torch.autograd.grad(loss, list(self.own.values()))
        for parameter, slope in zip(self.own.values(), slopes, strict=True):
            parameter.grad = slope
        for group in self.optimizer.param_groups:
            group["lr"] = s.rate * 0.5 * (1 + math.cos(math.pi * step / s.steps))
        self.optimizer.step()

    def loss(
        self,
        rows: Float[Tensor, "row token d"],
        end: Float[Tensor, "token d"],
        rng: np.random.Generator,
    ) -> Float[Tensor, ""]:
        """Mean over maps and tokens of the estimated divergence.

        Args:
            rows: What enters the maps.
            end: What the last layer leaves.
            rng: For the tokens that are drawn.

        Returns:
            The loss, in nats.
        """
        with torch.no_grad():
            logp = self.model.readout(end).log_softmax(-1)
            ids, weights = self._tokens(logp, rng)
            logp = logp[:, ids]
        out = rows + self.end * torch.baddbmm(
            self.own["bias"][:, None], rows / self.sizes[:, None], self.own["change"]
        )
        z = self.model.readout(out, ids)
        logq = z - (z + weights).logsumexp(-1, keepdim=True)
        return ((logp + weights).exp() * (logp - logq)).sum(-1).mean()

    def _tokens(
        self, logp: Float[Tensor, "token vocabulary"], rng: np.random.Generator
    ) -> tuple[Int[Tensor, " id"], Float[Tensor, " id"]]:
        """The tokens that the sums go over, and the logarithms of their weights."""
        s, size = self.settings, logp.shape[-1]
        likely = torch.unique(logp.topk(min(s.top, size)).indices).cpu().numpy()
        rest = np.setdiff1d(np.arange(size), likely)
        drawn = rest if len(rest) <= s.sampled else rng.choice(rest, s.sampled, replace=False)
        ids = np.concatenate([likely, np.sort(drawn)])
        weights = np.zeros(len(ids))
        if len(drawn):
            weights[len(likely) :] = math.log(len(rest) / len(drawn))
        return torch.from_numpy(ids).to(logp.device), torch.from_numpy(weights).to(logp)

    def _run(self, number: int) -> None:
        """Run the model on the windows of a round, and keep what every layer leaves."""
        if number == self.round:
            return
        order = np.random.default_rng([self.settings.seed, 1, number]).permutation(len(self.sequences))
        chosen: list[TokenSequence] = []
        for index in order:
            if sum(map(len, chosen)) >= _ROUND * self.settings.batch:
                break
            chosen.append(self.sequences[index])
        places = tuple(("resid_post", layer) for layer in range(-1, self.model.n_layers))
        (run,) = evaluate(self.model, chosen, [Intervention()], [RowsObserver(places)])
        self.rows = torch.stack([run["rows"][place].to(self.kind) for place in places])
        self.round = number

    def tensors(self) -> dict[str, Tensor]:
        """Everything that is needed to go on.

        Returns:
            Tensors for a file.
        """
        kept = {name: parameter.detach().cpu().clone() for name, parameter in self.own.items()}
        for name, parameter in self.own.items():
            kept |= {f"{name}.{moment}": self.optimizer.state[parameter][moment].cpu() for moment in _MOMENTS}
        return kept | {
            "sizes": self.sizes.cpu(),
            "end": torch.tensor(self.end, dtype=torch.float64),
        }

    def finish(self) -> Start:
        """The maps in the units of the stream.

        Returns:
            The maps.
        """
        change, bias = (self.own[name].detach().double().cpu().numpy() for name in _NAMES)
        sizes = self.sizes.double().cpu().numpy()
        return Start(change / sizes[:, :, None] * self.end, bias * self.end, sizes, self.end)

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.model.device, self.kind)


def _read(path: Path, key: str) -> tuple[dict[str, Tensor], int]:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    if metadata.get("key") != key:
        msg = (
            f"{path} is the checkpoint of another lens (another model, text, seed or setting); give another folder, or "
            "none"
        )
        raise InputError(msg)
    return tensors, int(metadata["step"])
