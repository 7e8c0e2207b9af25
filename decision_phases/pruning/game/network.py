"""The small network of arXiv 2602.07804, trained on masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from decision_phases.pruning.game.of_function import ByAsking

_MOST_CELLS = 8_000_000
"""Hidden activations that are held at a time when predicting: 32 MB."""


@dataclass(frozen=True)
class Training:
    """How the network is trained.

    Attributes:
        sigmoid: Whether it ends in a sigmoid, so that it cannot say less than 0 or more than 1.
        optimiser: "adam", or "sgd" with momentum 0.9.
        rate: Learning rate at the start.
        batch: Most masks in a step.
        epochs: Least times through all masks.
        least_steps: Least number of steps, where few masks make few batches.
        decay_every: Epochs after which the rate is divided by 10; 0 for a rate that falls to 0 in a line.
        weight_decay: Decoupled, of Adam.
    """

    sigmoid: bool
    optimiser: str
    rate: float
    batch: int
    epochs: int
    least_steps: int = 0
    decay_every: int = 0
    weight_decay: float = 0.0


#: Learns from few masks, and can say any number.
OURS = Training(
    sigmoid=False,
    optimiser="adam",
    rate=0.02,
    batch=256,
    epochs=30,
    least_steps=300,
    weight_decay=0.3,
)
#: As released: sigmoid, SGD with momentum, 300 epochs of 300 masks, rate divided by 10 every 100.
PUBLISHED = Training(sigmoid=True, optimiser="sgd", rate=0.008, batch=300, epochs=300, decay_every=100)


@dataclass(frozen=True, eq=False)
class Network(ByAsking):
    """Linear(n, 2n) → CELU → Linear(2n, 1), several of them side by side.

    Attributes:
        parameters: Weights and biases of both layers; the second axis of the first, and the first of the others, are
            the games.
        centre: What 0 stands for in each game.
        scale: What 1 stands for in each game.
        sigmoid: Whether it ends in a sigmoid.
    """

    parameters: tuple[Tensor, Tensor, Tensor, Tensor]
    centre: Float[np.ndarray, " column"]
    scale: Float[np.ndarray, " column"]
    sigmoid: bool

    def __call__(self, masks: Bool[np.ndarray, "mask unit"]) -> Float[np.ndarray, "mask column"]:
        """The value of every mask."""
        step = max(1, _MOST_CELLS // self.parameters[1].numel())
        parts = [masks[start : start + step] for start in range(0, len(masks), step)]
        with torch.no_grad():
            found = [_forward(self.parameters, _inputs(part), sigmoid=self.sigmoid) for part in parts]
        return np.asarray(torch.cat(found).double().numpy() * self.scale + self.centre)

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.parameters[0])


def fit_network(
    masks: Bool[np.ndarray, "mask unit"],
    values: Float[np.ndarray, "mask column"],
    weights: Float[np.ndarray, "mask column"] | None = None,
    *,
    training: Training = OURS,
    seed: int = 0,
) -> Network:
    """Train one network a column, all at once, by mean squared error.

    Every column starts from other random weights, and sees the masks in the same order. The global random state is left
    alone, and the same seed gives the same networks.

    Args:
        masks: Masks.
        values: Their values; columns are games.
        weights: Weight of each mask in each game; equal by default.
        training: How to train.
        seed: Of the first weights and the batches.

    Returns:
        The networks.

    Source: arXiv 2602.07804 and its release: layers of n → 2n → 1 with CELU, 2177 parameters for 32 units.

    Example:
        >>> from decision_phases.pruning.game.masks import all_masks
        >>> from dataclasses import replace
        >>> masks = all_masks(4)
        >>> kept = masks.sum(axis=1, keepdims=True).astype(float)
        >>> fitted = fit_network(masks, kept, training=replace(OURS, least_steps=100))
        >>> bool(abs(fitted(masks) - kept).max() < 0.5)
        True
    """
    shares = np.ones_like(values) if weights is None else weights
    shares = shares / shares.sum(axis=0)
    centre, scale = np.zeros(values.shape[1]), np.ones(values.shape[1])
    if not training.sigmoid:
        centre = (shares * values).sum(axis=0)
        spread = np.sqrt((shares * (values - centre) ** 2).sum(axis=0))
        scale = np.where(spread > 0, spread, 1.0)
    parameters = _start(masks.shape[1], values.shape[1], seed)
    target = torch.from_numpy((values - centre) / scale).float()
    _train(parameters, _inputs(masks), target, torch.from_numpy(shares * len(masks)).float(), training, seed)
    w, b, u, c = (p.detach() for p in parameters)
    return Network((w, b, u, c), centre, scale, training.sigmoid)


def _inputs(masks: Bool[np.ndarray, "mask unit"]) -> Tensor:
    return torch.from_numpy(masks.astype(np.float32))


def _start(n: int, columns: int, seed: int) -> list[Tensor]:
    """Weights as PyTorch's linear layers begin: uniform within 1 / √(inputs); no column depends on the others."""
    drawn = []
    for column in range(columns):
        rng = np.random.default_rng([seed, column, 3])
        first = rng.uniform(-1, 1, (n + 1, 2 * n)) / np.sqrt(n)
        second = rng.uniform(-1, 1, 2 * n + 1) / np.sqrt(2 * n)
        drawn.append((first[:-1], first[-1], second[:-1], second[-1]))
    w, b, u, c = (np.stack(parts) for parts in zip(*drawn, strict=True))
    arrays = (np.moveaxis(w, 0, 1), b, u, c)  # [unit, column, hidden], [column, hidden] twice, [column]
    return [torch.tensor(array, dtype=torch.float32, requires_grad=True) for array in arrays]


def _forward(parameters: tuple[Tensor, ...] | list[Tensor], x: Tensor, *, sigmoid: bool) -> Tensor:
    w, b, u, c = parameters
    hidden = torch.nn.functional.celu((x @ w.flatten(1)).view(len(x), *b.shape) + b)
    out = (hidden * u).sum(-1) + c
    return torch.sigmoid(out) if sigmoid else out


def _train(
    parameters: list[Tensor], x: Tensor, y: Tensor, weights: Tensor, training: Training, seed: int
) -> None:
    size = min(training.batch, len(x))
    per_epoch = -(-len(x) // size)
    steps = max(training.epochs * per_epoch, training.least_steps)
    optimiser: torch.optim.Optimizer
    if training.optimiser == "sgd":
        optimiser = torch.optim.SGD(parameters, lr=training.rate, momentum=0.9)
    else:
        optimiser = torch.optim.AdamW(parameters, lr=training.rate, weight_decay=training.weight_decay)
    generator = torch.Generator().manual_seed(seed)
    order = torch.empty(0, dtype=torch.long)
    for step in range(steps):
        if training.decay_every:
            rate = training.rate * 0.1 ** (step // per_epoch // training.decay_every)
        else:
            rate = training.rate * (1 - step / steps)
        optimiser.param_groups[0]["lr"] = rate
        if not len(order):
            order = torch.randperm(len(x), generator=generator)
        batch, order = order[:size], order[size:]
        error = (_forward(parameters, x[batch], sigmoid=training.sigmoid) - y[batch]) ** 2
        loss = (weights[batch] * error).sum() / len(batch)  # columns share no parameter
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
