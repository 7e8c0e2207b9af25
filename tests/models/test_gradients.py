"""Which parameters belong to which part, and gradients that leave no trace."""

import pytest
import torch

from decision_phases.errors import InputError
from decision_phases.models import load
from decision_phases.models.gradients import differentiable, final_residual, quantised
from decision_phases.models.parts import part_parameters


@pytest.mark.parametrize(
    ("family", "shared"),
    [("gemma2", 0), ("gpt2", 0), ("mixtral", 0), ("falcon", 2)],
)
def test_parts_divide_a_block_except_for_a_norm_that_both_use(family, shared, model_of):
    model = model_of(family)
    every = part_parameters(model, 1, "block")
    attention, mlp = (part_parameters(model, 1, part) for part in ("attention", "mlp"))
    assert not set(attention) & set(mlp)
    left = set(every) - set(attention) - set(mlp)
    assert len(left) == shared
    assert all("norm" in name or "ln" in name for name in left)
    assert all(every[name] is p for name, p in {**attention, **mlp}.items())
    # What belongs to the MLP changes only the MLP's output, what belongs to attention reaches it.
    tokens = torch.tensor([[5, 6, 7]])
    out = {}
    keep = [(1, site, lambda x, site=site: out.__setitem__(site, x)) for site in ("attn_out", "mlp_out")]
    with differentiable(every.values()), model.hooked(keep):
        final_residual(model, tokens)
        for part, own in (("attention", attention), ("mlp", mlp)):
            slopes = torch.autograd.grad(
                out["attn_out"].square().sum(), list(own.values()), allow_unused=True, retain_graph=True
            )
            assert all((slope is None) == (part == "mlp") for slope in slopes)


def test_unknown_parts_are_refused(tiny):
    with pytest.raises(InputError, match="did you mean 'mlp'"):
        part_parameters(tiny, 0, "mpl")
    with pytest.raises(InputError, match="does not say which parameters of a block are its attention's"):
        part_parameters(load("tiny-mamba", quiet=True), 0, "attention")


def test_flags_come_back_after_an_exception(tiny):
    own = list(tiny.parameters(2).values())
    own[0].requires_grad = True
    try:
        seen = []
        with pytest.raises(ZeroDivisionError), torch.no_grad(), differentiable(own):
            seen.append(all(p.requires_grad for p in own) and torch.is_grad_enabled() and 1 / 0)
        with torch.no_grad(), differentiable(own):
            seen.append(all(p.requires_grad for p in own) and torch.is_grad_enabled())
        assert seen == [True]
        assert [p.requires_grad for p in own] == [True] + [False] * (len(own) - 1)
    finally:
        own[0].requires_grad = False


def test_the_final_residual_is_what_the_model_reads_out(tiny):
    tokens = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        end = final_residual(tiny, tokens)
        torch.testing.assert_close(tiny.readout(end), tiny.logits(tokens), rtol=0, atol=1e-5)


def test_quantised_weights_are_recognised(tiny):
    assert quantised(tiny) == ""
    model = load("tiny-gpt2", quiet=True)
    model.root.quantization_method = "gptq"
    assert quantised(model) == "it was loaded quantised"
