"""Losses, divergences and perplexity against plain transformers."""

import math

import numpy as np
import pytest
import torch

from decision_phases.engine import evaluate
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention, scale, skip
from decision_phases.models import load
from decision_phases.models.tiny import tiny_hf, tiny_tokenizer
from decision_phases.readout import DivergenceObserver, EndingObserver, LossObserver, perplexity
from decision_phases.readout.divergence import divergences
from decision_phases.tasks import TextSet, TokenSequence, encode_texts

TEXTS = (
    "Is water wet? Yes, it is. Is fire cold? No, it is not. What is hot? Fire is hot, and ice is not.",
    "What is the capital of France? It is Paris.",
)


def recipe(hf, ids, max_length, stride):
    """The loop of "Perplexity of fixed-length models" in the transformers documentation, for one text.

    Its bookkeeping takes one token off every window for the shift of labels, although where windows overlap the label
    that is lost was not to be predicted; here what the model's loss averages over is counted.
    """
    seq_len, prev_end_loc, nll_sum, n_tokens = ids.size(1), 0, 0.0, 0
    for begin_loc in range(0, seq_len, stride):
        end_loc = min(begin_loc + max_length, seq_len)
        trg_len = end_loc - prev_end_loc
        input_ids = ids[:, begin_loc:end_loc]
        target_ids = input_ids.clone()
        target_ids[:, :-trg_len] = -100
        with torch.no_grad():
            neg_log_likelihood = hf(input_ids, labels=target_ids).loss
        num_loss_tokens = int((target_ids[:, 1:] != -100).sum())
        if num_loss_tokens:
            nll_sum += float(neg_log_likelihood) * num_loss_tokens
            n_tokens += num_loss_tokens
        prev_end_loc = end_loc
        if end_loc == seq_len:
            break
    return nll_sum, n_tokens


@pytest.mark.parametrize(("window", "stride"), [(8, 3), (8, 8), (64, 5)])
@pytest.mark.parametrize("cut", [None, 2])
def test_perplexity_is_that_of_the_usual_recipe(tiny, window, stride, cut):
    hf = tiny_hf("llama")
    if cut is not None:
        del hf.model.layers[cut]
    found = perplexity(tiny, TEXTS, window=window, stride=stride, under=None if cut is None else skip(cut))
    nll, n_tokens = 0.0, 0
    for i, text in enumerate(TEXTS):
        ids = torch.tensor([tiny.tokenizer(text, add_special_tokens=False)["input_ids"]])
        one, count = recipe(hf, ids, window, stride)
        assert found.nll[i] == pytest.approx(one, rel=1e-5)
        assert found.tokens[i] == count
        nll, n_tokens = nll + one, n_tokens + count
    assert found.value == pytest.approx(math.exp(nll / n_tokens), rel=1e-5)
    assert float(found) == found.value
    assert found.n_tokens == n_tokens
    assert (found.window, found.stride, found.bos) == (window, stride, False)


def test_bos_begins_every_window_and_is_no_target(tiny):
    found = perplexity(tiny, TEXTS[1:], window=5, bos=True)
    hf = tiny_hf("llama")
    ids = tiny.tokenizer(TEXTS[1], add_special_tokens=False)["input_ids"]
    nll = 0.0
    for begin in range(0, len(ids), 4):
        row = torch.tensor([[0, *ids[begin : begin + 4]]])
        with torch.no_grad():
            nll += float(hf(row, labels=row).loss) * (row.shape[1] - 1)
    assert (found.stride, found.bos, found.n_tokens) == (4, True, len(ids))
    assert found.log_value == pytest.approx(nll / len(ids), rel=1e-5)


def test_a_running_text_is_one_document(tiny):
    running = perplexity(tiny, TextSet("book", TEXTS, running=True), window=16)
    assert len(running.nll) == 1
    with pytest.raises(InputError, match="one text only"):
        running.interval()
    both = perplexity(tiny, TEXTS, window=16)
    low, high = both.interval(seed=1)
    ends = np.exp(both.nll / both.tokens)
    assert low == pytest.approx(ends.min())
    assert high == pytest.approx(ends.max())


def test_what_it_prints_says_what_it_depends_on(tiny):
    text = str(perplexity(tiny, TEXTS, window=16, stride=4, under=skip(1)))
    assert "under skip {1}" in text
    assert "window 16, stride 4, without BOS" in text


def test_an_infinite_loss_is_named_and_not_averaged_away(tiny):
    broken = scale("resid_post", 1, 1e30) + scale("resid_post", 2, 1e30)
    with pytest.raises(InputError, match=r"the loss of text 0 is not finite \(scale resid_post of l"):
        perplexity(tiny, TEXTS, under=broken)
    with pytest.raises(InputError, match="no tokenizer"):
        perplexity(load(tiny_hf("llama"), quiet=True), TEXTS)


def test_a_perplexity_beyond_floats_is_infinite_and_its_log_is_not(tiny):
    from dataclasses import replace

    found = replace(perplexity(tiny, TEXTS), nll=np.array([1e5, 1e5]), tokens=np.array([10, 10]))
    assert found.log_value == 1e4
    assert found.value == math.inf


@pytest.mark.parametrize("family", ["gemma2", "granite"])
def test_losses_by_sequence_are_plain_cross_entropies(family, model_of):
    """Output transforms (soft cap, scale) count, and so do several targets in one sequence."""
    model = model_of(family)
    rows = [
        TokenSequence((5, 6, 7, 8), (1, 3), (9, 10), 0),
        TokenSequence((50, 60), (1,), (70,), 1),
        TokenSequence((4, 3, 2, 1, 9, 8), (5,), (0,), 2),
    ]
    (run,) = evaluate(model, rows, [Intervention()], [LossObserver()])
    hf = tiny_hf(family)
    for i, row in enumerate(rows):
        with torch.no_grad():
            logits = hf(torch.tensor([row.tokens])).logits[0].double()
        nll = torch.nn.functional.cross_entropy(
            logits[list(row.read)], torch.tensor(row.targets), reduction="sum"
        )
        assert run["loss"].nll[i] == pytest.approx(float(nll), rel=1e-5)
    assert run["loss"].tokens.tolist() == [2, 1, 1]


def test_a_loss_needs_targets(tiny):
    with pytest.raises(InputError, match="a loss needs the tokens that follow"):
        list(evaluate(tiny, [TokenSequence((5, 6), (1,), (), 0)], [Intervention()], [LossObserver()]))


def test_divergence_is_accumulated_exactly_over_parts_of_the_vocabulary(tiny, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    p, q = 3 * torch.randn(2, 7, tiny.d_model, generator=generator)
    logs = [tiny.readout(x).double().log_softmax(-1) for x in (p, q)]
    expected = (logs[0].exp() * (logs[0] - logs[1])).sum(-1)
    for chunk in (8192, 97):
        monkeypatch.setattr("decision_phases.readout.divergence._CHUNK", chunk)
        torch.testing.assert_close(divergences(tiny, p, q), expected, rtol=1e-5, atol=1e-8)
        assert divergences(tiny, p, p).tolist() == [0.0] * 7


def test_a_reference_on_other_sequences_is_refused(tiny):
    rows = encode_texts(TextSet("t", TEXTS), tiny_tokenizer(), window=8)
    (intact,) = evaluate(tiny, rows, [Intervention()], [EndingObserver()])
    with pytest.raises(InputError, match="the reference run was on other sequences"):
        list(evaluate(tiny, rows[1:], [Intervention()], [DivergenceObserver(intact["endings"])]))
