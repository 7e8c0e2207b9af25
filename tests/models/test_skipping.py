"""Parts that are left out cost nothing and give what zeros at their hook point give."""

import numpy as np
import pytest
import torch

from decision_phases.engine import evaluate
from decision_phases.interventions import scale, skip
from decision_phases.models import FAMILIES, load
from decision_phases.models.skipping import skipping
from decision_phases.readout import DecisionObserver, ask, read
from decision_phases.tasks import questions

CUTS = [
    skip(2, part="mlp"),
    skip(0, part="attention"),
    skip(5, part="mlp"),
    skip(3, 5, part="attention") + skip(3, part="mlp"),
    skip(1) + skip(4, part="attention") + scale("resid_post", 2, 0.5),
]


SHARED = {"scoring": "cloze", "shots": 1}
CASES = [*((family, {}) for family in FAMILIES), ("llama", SHARED), ("gemma2", SHARED), ("gpt2", SHARED)]


@pytest.mark.parametrize(("family", "settings"), CASES, ids=str)
def test_leaving_out_is_zeroing_in_every_family(family, settings, model_of, monkeypatch):
    model = model_of(family)
    if "mlp_out" not in model.sites:
        pytest.skip("its blocks have no such parts")
    if family in ("llama", "qwen3"):
        assert model.skips == {"attention", "mlp"}
    inputs = ask(model, questions("facts", limit=4), **settings)
    quick = list(evaluate(model, inputs, CUTS, [DecisionObserver()]))
    monkeypatch.setitem(model.__dict__, "skips", frozenset())
    by_hooks = evaluate(model, inputs, CUTS, [DecisionObserver()])
    for one, other in zip(quick, by_hooks, strict=True):
        np.testing.assert_allclose(
            one["decisions"].scores, other["decisions"].scores, atol=2e-4, rtol=1e-4, equal_nan=True
        )


@pytest.mark.parametrize("part", ["attention", "mlp"])
def test_what_is_left_out_is_not_computed(part):
    model = load("tiny-llama", quiet=True)
    assert part in model.skips
    encoded = ask(model, questions("facts", limit=6))
    read(model, encoded)  # what a model can do is measured when first asked for
    blocks = [model.block(layer, plain=True) for layer in range(model.n_layers)]
    inner = [block.self_attn.q_proj if part == "attention" else block.mlp.up_proj for block in blocks]
    ran: list[int] = []
    handles = [m.register_forward_hook(lambda *_, i=i: ran.append(i)) for i, m in enumerate(inner)]
    read(model, encoded, under=skip(2, 4, part=part))
    for handle in handles:
        handle.remove()
    assert set(ran) == {0, 1, 3, 5}


def test_a_block_is_whole_again_after_an_exception():
    model = load("tiny-llama", quiet=True)
    block = model.block(1, plain=True)
    before = read(model, questions("facts", limit=4)).scores
    with pytest.raises(ZeroDivisionError), skipping(block, ["mlp", "attention"]):
        1 / block.mlp(torch.ones(1, 2, model.d_model)).abs().sum().item()
    assert "forward" not in block.mlp.__dict__
    np.testing.assert_array_equal(read(model, questions("facts", limit=4)).scores, before)
    with model.leaving_out(1, ()):
        assert "forward" not in block.mlp.__dict__
