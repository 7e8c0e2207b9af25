"""Training a tuned lens: KL divergence of every layer's guess of the next token from the model's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from decision_phases.engine import evaluate
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.repairs.stream import RowsObserver
from decision_phases.tasks import TokenSequence
from decision_phases.training import Training

_ROUND = 8  # steps that draw their tokens from one run of the model


@dataclass(frozen=True)
class Settings:
    """What a step of the training sees; see `tuned_lens`."""

    batch: int
    top: int
    sampled: int
    seed: int


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

    @classmethod
    def of_sizes(cls, sizes: Float[Tensor, "row d"], end: Float[Tensor, ""]) -> Start:
        """A start that only has its units, for maps that come out of a checkpoint.

        Args:
            sizes: As in the attributes.
            end: Likewise.

        Returns:
            The start, its maps all identities.
        """
        rows, d = sizes.shape
        return cls(np.zeros((rows, d, d)), np.zeros((rows, d)), sizes.double().numpy(), float(end))

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
    training: Training,
    *,
    progress: bool,
) -> Start:
    """Train maps from where they start, or from a checkpoint.

    Args:
        model: The model.
        sequences: Windows of text.
        settings: What a step sees.
        start: Gives the start, if there is no checkpoint.
        training: How they are trained, and where that is kept.
        progress: Show a bar.

    Returns:
        The maps.

    Raises:
        InputError: If the checkpoint is of another training.
        KeyboardInterrupt: On Ctrl-C, saying what was kept and how to go on.
    """
    kept = training.kept()
    begun = start() if kept is None else Start.of_sizes(**kept.fixed)
    if not training.steps:
        return begun
    maps = Maps(model, sequences, settings, begun)
    training.run(maps.parameters, maps.loss_of, fixed=maps.fixed, progress=progress)
    return maps.finish()


class Maps:
    """Maps on their way, in units in which every channel has size 1: what enters is divided by its size.

    Args:
        model: The model.
        sequences: Windows of text.
        settings: What a step sees.
        start: Where the maps start.
    """

    def __init__(
        self, model: ModelAccess, sequences: Sequence[TokenSequence], settings: Settings, start: Start
    ) -> None:
        self.model, self.sequences, self.settings = model, sequences, settings
        self.kind = torch.float64 if model.dtype == torch.float64 else torch.float32
        self.sizes = self._tensor(start.sizes)
        self.end = start.end
        self.parameters = {
            "change": self._tensor(start.change * start.sizes[:, :, None] / start.end).requires_grad_(),
            "bias": self._tensor(start.bias / start.end).requires_grad_(),
        }
        self.round = -1
        self.rows: Float[Tensor, "row token d"] | None = None

    @property
    def fixed(self) -> dict[str, Tensor]:
        """The units, which a continued training needs."""
        return {"sizes": self.sizes, "end": torch.tensor(self.end, dtype=torch.float64)}

    def loss_of(self, step: int) -> Float[Tensor, ""]:
        """The loss of a step: on tokens drawn from those of its round.

        Args:
            step: Its number.

        Returns:
            The loss, in nats.
        """
        self._run(step // _ROUND)
        assert self.rows is not None
        rng = np.random.default_rng([self.settings.seed, 2, step])
        count = self.rows.shape[1]
        cells = np.sort(rng.choice(count, min(self.settings.batch, count), replace=False))
        rows = self.rows[:, torch.from_numpy(cells).to(self.rows.device)]
        return self.loss(rows[:-1], rows[-1], rng)

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
            self.parameters["bias"][:, None], rows / self.sizes[:, None], self.parameters["change"]
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

    def finish(self) -> Start:
        """The maps in the units of the stream.

        Returns:
            The maps.
        """
        change, bias = (self.parameters[name].detach().double().cpu().numpy() for name in ("change", "bias"))
        sizes = self.sizes.double().cpu().numpy()
        return Start(change / sizes[:, :, None] * self.end, bias * self.end, sizes, self.end)

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.model.device, self.kind)
