"""How far a change moves a vector, and how far a change of logits moves the distribution that they lead to.

Everything is exact up to rounding, also where the change is tiny: differences are formed once, before anything is
squared or exponentiated. Beside the exact values stand the second-order estimates of arXiv 2603.24652, Theorems 1 to 3.
The direction of a KL divergence is in its name: `kl_dense_from_pruned` is KL(dense ‖ pruned), an expectation under the
dense model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from decision_phases.errors import InputError
from decision_phases.pruning.criteria.change import Change


def parallel(change: Change) -> Float[np.ndarray, "*cells"]:
    """The part of a change that lengthens the vector, ⟨Δ, x⟩/‖x‖²; below zero where it shortens it.

    Args:
        change: The dense vector x and what is added to it, Δ.

    Returns:
        One number a vector; NaN where x is zero.

    Example:
        >>> parallel(Change.between(torch.tensor([2.0, 0.0]), torch.tensor([3.0, 1.0]))).item()
        0.5
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(change.across / change.before)


def orthogonal(change: Change) -> Float[np.ndarray, "*cells"]:
    """The length of the part of a change that turns the vector, ‖Δ⊥‖/‖x‖.

    Args:
        change: The dense vector x and what is added to it, Δ.

    Returns:
        One number a vector; NaN where x is zero.

    Example:
        >>> orthogonal(Change.between(torch.tensor([2.0, 0.0]), torch.tensor([3.0, 1.0]))).item()
        0.5
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        across = change.across**2 / change.before
        return np.asarray(np.sqrt(np.maximum(change.added - across, 0.0) / change.before))


def theorem_1(change: Change) -> Float[np.ndarray, "*cells"]:
    """Estimate 1 − cos(x, x + Δ) as ‖Δ⊥‖²/(2‖x‖²) (arXiv 2603.24652, Theorem 1).

    Args:
        change: The dense vector x and what is added to it, Δ.

    Returns:
        One number a vector; `Change.cosine_distance` is what it estimates.

    Example:
        >>> theorem_1(Change.between(torch.tensor([2.0, 0.0]), torch.tensor([2.0, 0.2]))).round(6).item()
        0.005
    """
    return np.asarray(orthogonal(change) ** 2 / 2)


_LARGEST = 700.0  # exp of more is more than a float can hold


@dataclass(frozen=True, eq=False)
class Shift:
    """What a change of logits does to softmax(logits / T), in float64, over the last axis.

    Attributes:
        dense: Probabilities p before the change.
        pruned: Probabilities q after it.
        gap: log q − log p.
        growth: q/p − 1, as far as a float can hold it.
        moved: q − p, without the cancellation where they are close.
    """

    dense: Float[Tensor, "*cells tokens"] = field(repr=False)
    pruned: Float[Tensor, "*cells tokens"] = field(repr=False)
    gap: Float[Tensor, "*cells tokens"] = field(repr=False)
    growth: Float[Tensor, "*cells tokens"] = field(repr=False)
    moved: Float[Tensor, "*cells tokens"] = field(repr=False)

    @classmethod
    def between(
        cls,
        dense: Float[Tensor, "*cells tokens"],
        pruned: Float[Tensor, "*cells tokens"],
        *,
        temperature: float = 1.0,
    ) -> Shift:
        """Compare the distributions that two sets of logits lead to.

        Args:
            dense: Logits of the dense model.
            pruned: Logits of the pruned model.
            temperature: T of the softmax.

        Returns:
            Both distributions and their difference.

        Raises:
            InputError: If the temperature is not above zero and finite.

        Example:
            >>> shift = Shift.between(torch.tensor([0.0, 0.0]), torch.tensor([0.0, 1.0]), temperature=0.5)
            >>> round(shift.total_variation().item(), 4)
            0.3808
        """
        check_temperature(temperature)
        p, first = _normalised(dense, temperature)
        q, second = _normalised(pruned, temperature)
        gap = second - first
        # p·(e^gap − 1) where that keeps digits, q − p where p can underflow.
        growth = gap.clamp_max(_LARGEST).expm1()
        moved = torch.where(gap.abs() < 1, p * growth, q - p)
        return cls(p, q, gap, growth, moved)

    def cosine_deviation(self) -> Float[Tensor, "*cells"]:
        """1 − cos(p, q)."""
        p2, across, added = ((x * y).sum(-1) for x, y in self._dots())
        change = Change(p2.cpu().numpy(), across.cpu().numpy(), added.cpu().numpy())
        return torch.from_numpy(change.cosine_distance())

    def _dots(self) -> tuple[tuple[Tensor, Tensor], ...]:
        return (self.dense, self.dense), (self.dense, self.moved), (self.moved, self.moved)

    def kl_dense_from_pruned(self) -> Float[Tensor, "*cells"]:
        """KL(dense ‖ pruned) = Σ p log(p/q), in nats; the direction that the paper states."""
        # Σ (q − p) is zero; with it every term is of second order, and none is below zero.
        return (self.moved - self.dense * self.gap).sum(-1).clamp_min(0.0)

    def kl_pruned_from_dense(self) -> Float[Tensor, "*cells"]:
        """KL(pruned ‖ dense) = Σ q log(q/p), in nats; the direction of the published code for pruned models."""
        return (self.pruned * self.gap - self.moved).sum(-1).clamp_min(0.0)

    def total_variation(self) -> Float[Tensor, "*cells"]:
        """½ Σ |q − p|, the largest difference in the probability of any set of tokens."""
        return self.moved.abs().sum(-1) / 2

    def jensen_shannon(self) -> Float[Tensor, "*cells"]:
        """Jensen–Shannon divergence, in nats: from 0 to log 2, the same in both directions."""
        # log m − log p, with m = (p + q)/2
        middle = (self.growth / 2).log1p() + (self.gap - _LARGEST).clamp_min(0.0)
        terms = self.pruned * (self.gap - middle) - self.dense * middle
        return terms.sum(-1).clamp_min(0.0) / 2

    def theorem_2(self) -> Float[Tensor, "*cells"]:
        """Estimate 1 − cos(p, q) as Var_r(Δz)/(2T²), r ∝ p² (arXiv 2603.24652, Theorem 2)."""
        weights = self.dense**2
        return _variance(self.gap, weights / weights.sum(-1, keepdim=True)) / 2

    def theorem_3(self) -> Float[Tensor, "*cells"]:
        """Estimate KL, in either direction, as Var_p(Δz)/(2T²) (arXiv 2603.24652, Theorem 3)."""
        return _variance(self.gap, self.dense) / 2


def _normalised(logits: Float[Tensor, "*cells tokens"], temperature: float) -> tuple[Tensor, Tensor]:
    """Softmax(logits / T) and its log, from one exponential."""
    scaled = logits.double() / temperature
    scaled = scaled - scaled.amax(-1, keepdim=True)
    weights = scaled.exp()
    total = weights.sum(-1, keepdim=True)
    return weights / total, scaled - total.log()


def _variance(
    values: Float[Tensor, "*cells tokens"], weights: Float[Tensor, "*cells tokens"]
) -> Float[Tensor, "*cells"]:
    """Weighted variance. The gap is Δz/T plus a constant, which changes no variance and keeps the mean near zero."""
    mean = (weights * values).sum(-1, keepdim=True)
    return (weights * (values - mean) ** 2).sum(-1)


#: What is measured of a vector and of a distribution, and what each estimate is an estimate of.
VECTOR_MEASURES: Mapping[str, Callable[[Change], Float[np.ndarray, "*cells"]]] = {
    "cosine": Change.cosine_distance,
    "parallel": parallel,
    "orthogonal": orthogonal,
    "theorem_1": theorem_1,
}
PROBABILITY_MEASURES: Mapping[str, Callable[[Shift], Float[Tensor, "*cells"]]] = {
    "cosine": Shift.cosine_deviation,
    "kl_dense_from_pruned": Shift.kl_dense_from_pruned,
    "kl_pruned_from_dense": Shift.kl_pruned_from_dense,
    "total_variation": Shift.total_variation,
    "jensen_shannon": Shift.jensen_shannon,
    "theorem_2": Shift.theorem_2,
    "theorem_3": Shift.theorem_3,
}
ESTIMATES: Mapping[str, str] = {
    "theorem_1": "cosine",
    "theorem_2": "cosine",
    "theorem_3": "kl_dense_from_pruned",
}


def vector_distances(
    dense: Float[Tensor, "*cells d"], pruned: Float[Tensor, "*cells d"]
) -> dict[str, Float[np.ndarray, "*cells"]]:
    """How far vectors move.

    Args:
        dense: Of the dense model.
        pruned: Of the pruned model.

    Returns:
        Every measure in `VECTOR_MEASURES`.

    Example:
        >>> found = vector_distances(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0]))
        >>> {name: round(value.item(), 3) for name, value in found.items()}
        {'cosine': 0.293, 'parallel': 0.0, 'orthogonal': 1.0, 'theorem_1': 0.5}
    """
    change = Change.between(dense, pruned)
    return {name: measure(change) for name, measure in VECTOR_MEASURES.items()}


def centred(x: Float[Tensor, "*cells d"]) -> Float[Tensor, "*cells d"]:
    """Take from each vector its mean: logits up to a common shift, which no softmax sees.

    Args:
        x: Vectors.

    Returns:
        The same, each with mean zero, in float64.

    Example:
        >>> centred(torch.tensor([1.0, 3.0])).tolist()
        [-1.0, 1.0]
    """
    wide = x.double()
    return wide - wide.mean(-1, keepdim=True)


def probability_distances(
    dense: Float[Tensor, "*cells tokens"],
    pruned: Float[Tensor, "*cells tokens"],
    *,
    temperature: float = 1.0,
) -> dict[str, Float[np.ndarray, "*cells"]]:
    """How far the distributions move that logits lead to.

    Args:
        dense: Logits of the dense model; those of a few tokens give the distribution among these.
        pruned: Logits of the pruned model.
        temperature: T of the softmax.

    Returns:
        Every measure in `PROBABILITY_MEASURES`.

    Raises:
        InputError: If the temperature is not above zero and finite.

    Example:
        >>> found = probability_distances(torch.tensor([0.0, 0.0]), torch.tensor([0.0, 0.1]))
        >>> round(found["kl_dense_from_pruned"].item(), 5), round(found["theorem_3"].item(), 5)
        (0.00125, 0.00125)
    """
    shift = Shift.between(dense, pruned, temperature=temperature)
    return {name: measure(shift).cpu().numpy() for name, measure in PROBABILITY_MEASURES.items()}


def check_temperature(temperature: float) -> None:
    """Refuse a temperature that no softmax can have.

    Args:
        temperature: T.

    Raises:
        InputError: If it is not above zero and finite.
    """
    if not (0 < temperature < math.inf):
        msg = f"temperature={temperature} was given; a softmax needs one above 0, such as 1.0"
        raise InputError(msg)
