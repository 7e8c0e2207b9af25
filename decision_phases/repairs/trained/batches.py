"""Which windows of text each step of a training sees, and how they lie side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from decision_phases.tasks import TokenSequence


def schedule(lengths: Sequence[int], *, steps: int, batch: int, seed: int) -> list[tuple[int, ...]]:
    """Say which windows each step sees: all of them in a random order, then all in another one, and so on.

    Args:
        lengths: Tokens of each window.
        steps: Number of steps.
        batch: Most tokens a step, but for a single window that is longer.
        seed: Of the orders.

    Returns:
        Indices of windows, step by step.

    Example:
        >>> [sorted(step) for step in schedule([4, 4, 4, 4], steps=2, batch=16, seed=0)]
        [[0, 1, 2, 3], [0, 1, 2, 3]]
    """
    found: list[tuple[int, ...]] = []
    windows = _endless(len(lengths), seed)
    following = next(windows)
    for _ in range(steps):
        chosen, tokens = [following], lengths[following]
        following = next(windows)
        while tokens + lengths[following] <= batch:
            chosen.append(following)
            tokens += lengths[following]
            following = next(windows)
        found.append(tuple(chosen))
    return found


def _endless(n: int, seed: int) -> Iterator[int]:
    generator = np.random.default_rng(seed)
    while True:
        yield from generator.permutation(n).tolist()


@dataclass(frozen=True, eq=False)
class Rows:
    """Windows of text side by side.

    Attributes:
        tokens: Token ids, right-padded.
        real: Which positions hold text.
        places: Row and column of every position that predicts a token.
        targets: That token.
    """

    tokens: Int[Tensor, "row pos"]
    real: Bool[Tensor, "row pos"]
    places: tuple[Int[Tensor, " place"], Int[Tensor, " place"]]
    targets: Int[Tensor, " place"]

    @classmethod
    def of(cls, windows: Sequence[TokenSequence], device: torch.device) -> Rows:
        """Put windows side by side.

        Args:
            windows: The windows.
            device: Where to.

        Returns:
            The rows.
        """
        width = max(map(len, windows))
        tokens = torch.tensor([w.tokens + (0,) * (width - len(w)) for w in windows], device=device)
        real = torch.tensor([[i < len(w) for i in range(width)] for w in windows], device=device)
        rows = torch.tensor([row for row, w in enumerate(windows) for _ in w.read], device=device)
        columns = torch.tensor([column for w in windows for column in w.read], device=device)
        targets = torch.tensor([target for w in windows for target in w.targets], device=device)
        return cls(tokens, real, (rows, columns), targets)
