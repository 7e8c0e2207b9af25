"""A loaded model computes what the plain one computes, layer by layer, or is refused."""

import math
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from decision_phases.errors import ParityError
from decision_phases.models import SITES, ModelAccess, load, loading, tiny_hf
from decision_phases.models.bridge import BridgeAccess
from decision_phases.models.parity import check_model, probe_tokens

ATOL = 2e-5
PARALLEL = {"gpt_neox", "falcon"}  # attention and MLP read the same residual
RECURRENT = {"mamba", "rwkv"}


def test_logits_are_those_of_the_plain_model(case):
    with torch.no_grad():
        logits = case.model.logits(case.tokens)
        last = case.model.logits(case.tokens, last_only=True)
    torch.testing.assert_close(logits, case.logits, atol=ATOL, rtol=0)
    assert last.shape == (2, 1, case.model.d_vocab)
    torch.testing.assert_close(last[:, 0], case.logits[:, -1], atol=ATOL, rtol=0)


def test_every_layer_is_that_of_the_plain_model(case):
    """The plain model's hidden states: what enters block 0, what each block leaves, and at the end the normed last."""
    model, found = case.model, {}
    hooks = [
        (layer, site, lambda x, at=(layer, site): found.__setitem__(at, x))
        for layer in range(model.n_layers)
        for site in ("resid_pre", "resid_post")
    ]
    with torch.no_grad(), model.hooked(hooks):
        model.logits(case.tokens)
    *expected, normed = case.hidden
    # RWKV's own loop halves the stream after every second block, outside of the blocks.
    halved = [1 if case.family == "rwkv" and layer % 2 == 1 else 0 for layer in range(model.n_layers)]
    assert len(case.hidden) == model.n_layers + 1 + (case.family in RECURRENT)
    for layer in range(model.n_layers):
        torch.testing.assert_close(found[layer, "resid_pre"], expected[layer], atol=ATOL, rtol=1e-5)
        if layer + 1 < len(expected):
            left = found[layer, "resid_post"] * 0.5 ** halved[layer]
            torch.testing.assert_close(left, expected[layer + 1], atol=ATOL, rtol=1e-5)
    last = found[model.n_layers - 1, "resid_post"] * 0.5 ** halved[-1]
    with torch.no_grad():
        torch.testing.assert_close(model.final_norm(last), normed, atol=ATOL, rtol=0)


def test_the_readout_of_the_last_residual_is_the_answer(case):
    """Also for chosen columns, and the normaliser makes log-probabilities of them."""
    model, last = case.model, []
    with torch.no_grad(), model.watching_last([last.append]):
        model.logits(case.tokens)
    resid, ids = last[0][:, -1], torch.tensor([5, 300, 7])
    with torch.no_grad():
        torch.testing.assert_close(model.readout(resid), case.logits[:, -1], atol=ATOL, rtol=0)
        torch.testing.assert_close(model.readout(resid, ids), case.logits[:, -1, ids], atol=ATOL, rtol=0)
        logprobs = model.readout(resid, ids) - model.log_normaliser(resid, chunk=100)[:, None]
    torch.testing.assert_close(logprobs, case.logits[:, -1].log_softmax(-1)[:, ids], atol=ATOL, rtol=0)


def test_what_is_measured_at_load_is_true(case):
    model = case.model
    assert model.parity.reference == "plain transformers"
    assert model.parity.quantity == "logits"
    assert max(model.parity.difference, model.parity.readout, model.parity.override) < ATOL
    assert str(model.parity).startswith("parity: logits within ")
    assert not model.processed
    assert model.capabilities.direct == (case.family != "rwkv")
    assert model.capabilities.cached_generation == (case.family not in RECURRENT)
    assert model.capabilities.resid_mid == (case.family not in PARALLEL | RECURRENT)
    assert model.capabilities.fresh
    if case.family not in RECURRENT:
        assert model.sites >= set(SITES) - {"resid_mid"}


def test_sizes_are_those_of_the_plain_model(case):
    plain: Any = tiny_hf(case.family)
    model = case.model
    assert (model.n_layers, model.d_model, model.d_vocab) == (6, 32, plain.config.vocab_size)
    if case.family not in RECURRENT:
        assert (model.n_heads, model.d_head) == (4, 8)
    if case.backend == "bridge":
        # TransformerLens 3.9 gives some unembeddings a bias of zeros.
        expected = sum(p.numel() for p in plain.parameters())
        assert model.n_params - expected in (0, model.d_vocab)
        blocks = next(m for m in plain.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == 6)
        assert [sum(p.numel() for p in model.parameters(layer).values()) for layer in range(6)] == [
            sum(p.numel() for p in block.parameters()) for block in blocks
        ]


def test_parameters_are_the_ones_that_are_used(case):
    """Every parameter of a block receives a gradient: none is a copy that nothing reads."""
    model, parameters = case.model, case.model.parameters(3)
    for parameter in parameters.values():
        parameter.requires_grad_()
    try:
        model.logits(case.tokens).square().sum().backward()
        unused = [name for name, parameter in parameters.items() if parameter.grad is None]
    finally:
        for parameter in parameters.values():
            parameter.requires_grad_(requires_grad=False)
            parameter.grad = None
    assert unused == []


def test_a_wrong_readout_is_refused(monkeypatch):
    monkeypatch.setattr(BridgeAccess, "output_transform", lambda self, logits: logits / 2)
    with pytest.raises(ParityError, match=r"tiny-llama \(.*readout of the last residual differs"):
        load("tiny-llama", quiet=True)


def test_wrong_logits_are_refused(monkeypatch):
    right = loading.reference_logits
    monkeypatch.setattr(loading, "reference_logits", lambda hf: right(hf) + 0.01)
    with pytest.raises(ParityError, match=r"logits differ from plain transformers by 0\.01, more than 1e-03"):
        load("tiny-llama", quiet=True)


def test_overrides_that_do_nothing_are_refused(monkeypatch):
    monkeypatch.setattr(ModelAccess, "overridden", lambda self, table: nullcontext())
    with pytest.raises(ParityError, match="overriding a block differs from bypassing it with hooks"):
        load("tiny-llama", quiet=True)


def test_weights_that_are_not_numbers_are_refused():
    hf = tiny_hf("llama")
    next(hf.parameters()).data.fill_(math.nan)
    with pytest.raises(ParityError):
        load(hf, quiet=True)


def test_processed_weights_are_compared_by_log_probabilities():
    """Centring the unembedding shifts all logits of a position alike, which no probability can see."""
    reference = loading.reference_logits(tiny_hf("llama"))
    model = load(tiny_hf("llama"), quiet=True)
    model.processed = True
    check_model(model, reference + 3.0, "the plain one")
    assert model.parity.quantity == "log-probabilities"
    assert model.parity.difference < ATOL
    with pytest.raises(ParityError, match="log-probabilities differ from the plain one"):
        check_model(model, reference * 1.1, "the plain one")


def test_the_probe_is_the_same_everywhere_and_within_small_vocabularies():
    assert probe_tokens(50).shape == (2, 9)
    assert int(probe_tokens(50).max()) < 50
    assert torch.equal(probe_tokens(50_000), probe_tokens(50_000))
    assert len(probe_tokens(50_000).unique()) == 18
