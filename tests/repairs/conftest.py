"""Random activations with a planted map, and a cut with everything in it."""

import pytest
import torch

from decision_phases.interventions import skip


@pytest.fixture(scope="session")
def planted():
    """x and y = x W, in float64."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 12, generator=generator, dtype=torch.float64)
    weight = torch.eye(12, dtype=torch.float64) + 0.3 * torch.randn(
        12, 12, generator=generator, dtype=torch.float64
    )
    return x, x @ weight, weight


@pytest.fixture(scope="session")
def scattered():
    """Two runs of blocks, one of them at the end, and a layer without its attention, another without its MLP."""
    return skip(1, 4, 5) + skip(2, part="attention") + skip(3, part="mlp")
