"""One pool of random cuts, which every comparison uses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RandomPool:
    """Random orders of removal, determined by the seed: draw *i* is the same whatever else is asked for.

    Attributes:
        layers: Layers that may be removed.
        seed: Of all draws.

    Example:
        >>> pool = RandomPool(tuple(range(1, 29)), seed=0)
        >>> pool.order(3) == pool.order(3), sorted(pool.order(3)) == list(range(1, 29))
        (True, True)
    """

    layers: tuple[int, ...]
    seed: int = 0

    def order(self, draw: int) -> tuple[int, ...]:
        """One random order of all layers; its first *k* are a uniformly random scattered cut of *k* blocks.

        Args:
            draw: Number of the draw.

        Returns:
            The layers in the order of removal.
        """
        rng = np.random.default_rng([self.seed, draw, 0])
        return tuple(int(layer) for layer in rng.permutation(self.layers))
