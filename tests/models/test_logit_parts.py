"""Norms held at a scale, and heads: against formulas written out, and against what every family does."""

import pytest
import torch
from torch import nn

from decision_phases.errors import InputError
from decision_phases.models.logit_parts import ADDED, head_factors, head_outputs, held_norm

GENERATOR = torch.Generator().manual_seed(5)


class Rms(nn.Module):
    """RMSNorm as Gemma writes it, with the weight as an offset from 1."""

    def __init__(self, d):
        super().__init__()
        self.weight = torch.randn(d, generator=GENERATOR, dtype=torch.float64)

    def forward(self, x):
        return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * (1 + self.weight)


def layer_norm(d):
    norm = nn.LayerNorm(d, dtype=torch.float64)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(d, generator=GENERATOR))
        norm.bias.copy_(torch.randn(d, generator=GENERATOR))
    return norm


@pytest.mark.parametrize("d", [8, 9])  # of odd width the probe has a mean
@pytest.mark.parametrize("make", [Rms, layer_norm])
def test_a_held_norm_is_that_norm_taken_apart(make, d):
    norm, x = make(d), torch.randn(5, d, generator=GENERATOR, dtype=torch.float64)
    held = held_norm(norm, x)
    assert held.centred == isinstance(norm, nn.LayerNorm)
    parts = torch.randn(5, 4, d, generator=GENERATOR, dtype=torch.float64)
    parts[:, 3] = x - parts[:, :3].sum(1)
    torch.testing.assert_close(held.of(parts).sum(1) + held.bias, norm(x), rtol=0, atol=1e-10)
    torch.testing.assert_close(held.normed, norm(x), rtol=0, atol=0)
    columns = torch.randn(5, d, 3, generator=GENERATOR, dtype=torch.float64)
    torch.testing.assert_close(parts @ held.read_by(columns), held.of(parts) @ columns, rtol=0, atol=1e-10)


def test_the_scale_is_held(tiny):
    """A part twice as long counts twice, which it would not if the norm were run on it."""
    x = torch.randn(2, 32, generator=GENERATOR)
    held = held_norm(tiny.final_norm, x)
    torch.testing.assert_close(held.of(2 * x[:, None]), 2 * held.of(x[:, None]))
    rms = x.double().pow(2).mean(-1).sqrt()
    torch.testing.assert_close(held.scale * held.weight[0] * rms, held.weight[0].expand(2), rtol=1e-4, atol=0)


def test_what_is_no_norm_is_refused():
    with pytest.raises(InputError, match="neither a LayerNorm nor an RMSNorm"):
        held_norm(torch.tanh, torch.randn(3, 8, generator=GENERATOR))


def test_heads_of_every_family_add_up_to_what_its_attention_adds(case):
    model, missing = case.model, [site for site in (*ADDED, "head_out") if site not in case.model.sites]
    if missing:
        with pytest.raises(InputError, match=missing[0]):
            head_factors(model)
        return
    factors = head_factors(model)
    assert len(factors) == model.n_layers
    assert head_factors(model, heads=False) == ()
    seen = {}
    layers = (0, 3)
    looks = [
        (layer, site, lambda x, at=(layer, site): seen.update({at: x[1].clone()}))
        for layer in layers
        for site in ("head_out", "attn_out")
    ]
    with torch.no_grad(), model.hooked(looks):
        model.logits(case.tokens)
    for layer in layers:
        each, rest = head_outputs(model, layer, seen[layer, "head_out"], factors[layer])
        assert each.shape == (12, model.n_heads, model.d_model)
        expected = seen[layer, "attn_out"].double()
        torch.testing.assert_close(
            each.sum(1) + rest, expected, rtol=0, atol=1e-5 * float(expected.abs().max())
        )


def test_a_head_that_is_no_head_is_refused_by_name(tiny, monkeypatch):
    monkeypatch.setattr(tiny, "n_heads", 2)
    with pytest.raises(InputError, match=r"head_out of layer 0 is not what heads add .*heads=False"):
        head_factors(tiny)


def test_a_stream_with_more_in_it_is_refused(tiny):
    with (
        tiny.hooked([(4, "resid_post", lambda x: x + 1)]),
        pytest.raises(InputError, match="attn_out and mlp_out of layer 4"),
    ):
        head_factors(tiny)
