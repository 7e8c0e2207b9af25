"""Maps are computed as their formulas say, and near the identity no worse in half precision than in single."""

import numpy as np
import pytest
import torch

from decision_phases.engine import capture
from decision_phases.engine.maps import mapped
from decision_phases.interventions import Affine, Array, Bottleneck, Edit, Intervention, skip
from decision_phases.tasks import TokenSequence


@pytest.fixture
def parts():
    generator = np.random.default_rng(0)
    return tuple(Array.of(generator.normal(size=shape), "part") for shape in ((32, 4), (4,), (4, 32), (32,)))


def test_an_affine_map_is_computed_in_float32_where_activations_are_halves():
    x = torch.randn(50, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    weight = np.eye(32) * (1 + 2.0**-10)  # bfloat16 has 8 bits: rounded, this is the identity
    out = mapped(Affine(Array.of(weight, "w"), Array.of(np.full(32, 0.25), "b")), x)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out, (x.float() * (1 + 2.0**-10) + 0.25).bfloat16(), rtol=0, atol=0)


def test_a_bottleneck_in_a_model_is_its_formula(tiny, parts):
    place = Intervention((Edit("map", "resid_pre", 3, value=Bottleneck(*parts)),))
    rows = [TokenSequence((5, 6, 7), (2,), (), 0), TokenSequence((8, 9), (1,), (), 1)]
    before, behind = (
        capture(tiny, rows, sites=["resid_pre"], layers=[layer], under=under, positions="all").at(
            "resid_pre", layer
        )
        for layer, under in ((3, None), (4, skip(3) + place))
    )
    down, hidden, up, bias = (torch.from_numpy(part.data.copy()) for part in parts)
    for x, y in zip(before, behind, strict=True):
        wide = torch.from_numpy(np.asarray(x, dtype=np.float64))
        normed = wide / (wide.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        expected = wide + torch.nn.functional.gelu(normed @ down + hidden) @ up + bias
        np.testing.assert_allclose(y, expected.numpy(), rtol=1e-4, atol=1e-4)
