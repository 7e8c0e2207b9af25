"""What training makes small: of the text itself, of the intact model's answer, or of its way there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

#: From residual vectors to logits: the final norm and the unembedding.
Readout = Callable[[Float[Tensor, "*rows d"]], Float[Tensor, "*rows vocab"]]
Residual = Float[Tensor, "row pos d"]


@dataclass(frozen=True, eq=False)
class Seen:
    """What a loss sees of one batch of text.

    Attributes:
        readout: The final norm and the unembedding, which nothing trains.
        real: Which positions hold text, not padding.
        places: Row and column of every position that predicts a token.
        targets: That token.
        drawn: Some of the places, by their number: where a lens is read.
        layers: The surviving layers whose residuals are compared.
        intact: Layer → what leaves it in the intact model; empty if the loss does not need it.
        trained: Layer → what leaves it in the cut model with its adapters.
        ends: What enters the final norm, in the intact model (None if not needed) and in the trained one.
    """

    readout: Readout
    real: Bool[Tensor, "row pos"]
    places: tuple[Int[Tensor, " place"], Int[Tensor, " place"]]
    targets: Int[Tensor, " place"]
    drawn: Int[Tensor, " drawn"]
    layers: tuple[int, ...]
    intact: Mapping[int, Residual]
    trained: Mapping[int, Residual]
    ends: tuple[Residual | None, Residual]


Term = Callable[[Seen], Float[Tensor, ""]]


@dataclass(frozen=True)
class Loss:
    """One loss: `answer + weight · trajectory`.

    Attributes:
        name: Its name.
        what: What it makes small, in a few words.
        answer: The part of what is said at the end.
        trajectory: The part of how that comes about, layer by layer; None for none.
        distils: Whether it needs the intact model.
    """

    name: str
    what: str
    answer: Term
    trajectory: Term | None = None
    distils: bool = True

    def of(self, seen: Seen, weight: float) -> Float[Tensor, ""]:
        """The loss of a batch.

        Args:
            seen: The batch.
            weight: Of the trajectory.

        Returns:
            The loss.
        """
        answer = self.answer(seen)
        return answer if self.trajectory is None else answer + weight * self.trajectory(seen)


def next_token(seen: Seen) -> Float[Tensor, ""]:
    """The mean of −log p(next token): cross-entropy on text.

    Args:
        seen: The batch.

    Returns:
        The mean, in nats.
    """
    return cross_entropy(_wide(seen.readout(seen.ends[1][seen.places])), seen.targets)


def final_logits(seen: Seen) -> Float[Tensor, ""]:
    """The mean of KL(intact ‖ trained) between what the two predict: distillation of the logits.

    Args:
        seen: The batch.

    Returns:
        The mean, in nats.
    """
    intact, trained = seen.ends
    assert intact is not None
    with torch.no_grad():
        wanted = seen.readout(intact[seen.places])
    return divergence(wanted, seen.readout(trained[seen.places]))


def residual_trajectory(seen: Seen) -> Float[Tensor, ""]:
    """The deviation of the stream, `mean over layers of mean over tokens of ‖h − h′‖² / ‖h‖²`.

    h is what leaves a surviving layer in the intact model, h′ what leaves the same layer in the trained one. Layers
    that neither the cut nor an adapter can reach are left out.

    Args:
        seen: The batch.

    Returns:
        The mean: 0 where the trained model goes the intact one's way, 1 where it might as well have no stream.
    """
    terms = [
        deviation(seen.intact[layer][seen.real], seen.trained[layer][seen.real]) for layer in seen.layers
    ]
    return torch.stack(terms).mean()


def lens_trajectory(seen: Seen) -> Float[Tensor, ""]:
    """The deviation of the logit lens, `mean over layers of mean over drawn positions of KL(lens of h ‖ lens of h′)`.

    h and h′ are as in `residual_trajectory`; the lens is the model's own final norm and unembedding. A lens of every
    position would cost many times what the model does, so that a few are drawn, others at every step.

    Args:
        seen: The batch.

    Returns:
        The mean, in nats.
    """
    rows, columns = (index[seen.drawn] for index in seen.places)
    intact, trained = (
        torch.stack([states[layer][rows, columns] for layer in seen.layers])
        for states in (seen.intact, seen.trained)
    )
    with torch.no_grad():
        wanted = seen.readout(intact)
    return divergence(wanted, seen.readout(trained))


def divergence(
    wanted: Float[Tensor, "*rows vocab"], logits: Float[Tensor, "*rows vocab"]
) -> Float[Tensor, ""]:
    """The mean over rows of KL(softmax(wanted) ‖ softmax(logits)); exactly 0 where both are the same numbers.

    Args:
        wanted: Logits.
        logits: Logits.

    Returns:
        The mean, in nats, in at least float32.

    Example:
        >>> divergence(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 2.0]])).item()
        0.0
    """
    wide = _wide(wanted)
    p, difference = wide.softmax(-1), wide.log_softmax(-1) - _wide(logits).log_softmax(-1)
    return (p * difference).sum(-1).mean()


def deviation(wanted: Float[Tensor, "token d"], found: Float[Tensor, "token d"]) -> Float[Tensor, ""]:
    """The mean over tokens of ‖h − h′‖² / ‖h‖²: all tokens count alike, however long their vectors are.

    Args:
        wanted: h.
        found: h′.

    Returns:
        The mean, in at least float32.

    Example:
        >>> round(deviation(torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 3.0]])).item(), 6)
        0.04
    """
    h, other = _wide(wanted), _wide(found)
    return ((h - other).square().sum(-1) / h.square().sum(-1)).mean()


def _wide(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """In at least float32: sums over a vocabulary or a stream lose too much in half precision."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


#: Losses by name.
LOSSES: Mapping[str, Loss] = MappingProxyType(
    {
        loss.name: loss
        for loss in (
            Loss("next_token", "cross-entropy of the text", next_token, distils=False),
            Loss("logits", "KL from what the intact model predicts", final_logits),
            Loss("residuals", "that, and the deviation of the stream", final_logits, residual_trajectory),
            Loss("lens", "that, and the KL of the logit lens", final_logits, lens_trajectory),
        )
    }
)
