"""Sums over tokens from which every linear repair follows, gathered batch by batch in float64."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from decision_phases.repairs.hadamard import hadamard


@dataclass(frozen=True, eq=False)
class Moments:
    """Second moments of what enters a cut, x, and of what the cut leaves out, δ = y − x; tokens may have weights w.

    Attributes:
        total: Σ w.
        x: Σ w x.
        delta: Σ w δ.
        xx: Σ w xᵀx.
        xd: Σ w xᵀδ.
        dd: Σ w δ², by channel.
        yy: Σ w ‖y‖², over all channels.
        rotated_x: Σ √w |xH|, by channel, H the matrix of `hadamard`.
        rotated_y: Σ √w |yH|, by channel.
    """

    total: float
    x: Float[np.ndarray, " d"] = field(repr=False)
    delta: Float[np.ndarray, " d"] = field(repr=False)
    xx: Float[np.ndarray, "d d"] = field(repr=False)
    xd: Float[np.ndarray, "d d"] = field(repr=False)
    dd: Float[np.ndarray, " d"] = field(repr=False)
    yy: float
    rotated_x: Float[np.ndarray, " d"] = field(repr=False)
    rotated_y: Float[np.ndarray, " d"] = field(repr=False)

    @property
    def width(self) -> int:
        """Number of channels."""
        return len(self.x)

    def error(
        self, change: Float[np.ndarray, "d d"] | None = None, bias: Float[np.ndarray, " d"] | None = None
    ) -> float:
        """What a map `x + x @ change + bias` misses: Σ w ‖y − map(x)‖² / Σ w ‖y‖².

        Args:
            change: The weight of the map without the identity; None for none.
            bias: Its bias; None for none.

        Returns:
            0 for a perfect map; without arguments, what the cut itself misses.
        """
        missed = float(self.dd.sum())
        if change is not None:
            missed += float(((self.xx @ change - 2 * self.xd) * change).sum())
        if bias is not None:
            missed += float(bias @ (self.total * bias - 2 * self.delta))
        if change is not None and bias is not None:
            missed += 2 * float(self.x @ change @ bias)
        return max(missed, 0.0) / self.yy if self.yy else 0.0


class Gathering:
    """Adds up moments, batch by batch.

    Args:
        width: Number of channels.
        relative: Weigh every token by w = 1/‖y‖² instead of equally.
    """

    def __init__(self, width: int, *, relative: bool = False) -> None:
        self.relative = relative
        self.rotation = torch.from_numpy(hadamard(width))
        self.sums: dict[str, Tensor] = {}

    def take(self, x: Float[Tensor, "token d"], y: Float[Tensor, "token d"]) -> None:
        """Take in one batch.

        Args:
            x: What enters the cut.
            y: What leaves it in the intact model.
        """
        x, y = x.double(), y.double()
        root = torch.ones_like(y[:, :1])
        if self.relative:  # a token without length has no error relative to it
            length = y.norm(dim=-1, keepdim=True)
            root = torch.where(length > 0, 1 / length, 0)
        x, y = root * x, root * y
        delta = y - x
        self.rotation = self.rotation.to(x.device)
        for name, value in {
            "total": root.square().sum(),
            "x": (root * x).sum(0),
            "delta": (root * delta).sum(0),
            "xx": x.T @ x,
            "xd": x.T @ delta,
            "dd": delta.square().sum(0),
            "yy": y.square().sum(),
            "rotated_x": (x @ self.rotation).abs().sum(0),
            "rotated_y": (y @ self.rotation).abs().sum(0),
        }.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def finish(self) -> Moments:
        """Give the sums.

        Returns:
            The moments.
        """
        sums = {name: value.cpu().numpy() for name, value in self.sums.items()}
        return Moments(float(sums.pop("total")), yy=float(sums.pop("yy")), **sums)
