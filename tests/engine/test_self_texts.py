"""Texts that a model writes by itself: its own distribution, the same every time, and kept."""

from pathlib import Path

import numpy as np
import pytest
import torch

from decision_phases.engine import sample_texts, texts
from decision_phases.engine.generating import continued
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import load, tiny_hf, tiny_tokenizer


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DECISION_PHASES_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def model():
    return load("tiny-llama", quiet=True)


def test_every_token_is_drawn_from_what_the_whole_model_says_after_those_before(model):
    """With nearly no temperature the draw is the argmax, which one run over the whole text tells again."""
    rows = torch.from_numpy(continued(model, [(1,)] * 3, Intervention(), steps=12, temperature=1e-6, seed=0))
    tokens = torch.cat([torch.ones(3, 1, dtype=torch.long), rows], dim=1)
    with torch.no_grad():
        logits = model.logits(tokens)
    np.testing.assert_array_equal(rows, logits[:, :-1].argmax(-1))


def test_first_tokens_come_in_the_model_s_own_proportions(model):
    drawn = continued(model, [(1,)] * 20_000, Intervention(), steps=1, temperature=1.0, seed=0)[:, 0]
    with torch.no_grad():
        p = model.logits(torch.ones(1, 1, dtype=torch.long))[0, 0].double().softmax(-1).numpy()
    share = np.bincount(drawn, minlength=len(p)) / len(drawn)
    assert np.abs(share - p).max() < 5 * np.sqrt(p.max() / len(drawn))
    assert np.corrcoef(share, p)[0, 1] > 0.5 or p.std() < 1e-4


def test_the_same_texts_every_time_from_the_cache_and_without(model, cache):
    first = texts("self", model=model, count=6, length=10)
    kept = sorted(cache.rglob("*.json"))
    assert len(kept) == 1
    assert texts("self", model=model, count=6, length=10) == first
    kept[0].unlink()
    again = sample_texts(model, count=6, length=10)
    assert again.documents == first.documents
    assert len(set(first.documents)) == len(first.documents)
    assert sample_texts(model, count=6, length=10, seed=1).documents != first.documents
    assert not [path for path in Path(cache).rglob("*") if path.suffix == ".part"]


def test_a_damaged_cache_is_named(model, cache):
    sample_texts(model, count=4, length=8)
    (path,) = cache.rglob("*.json")
    path.write_text('["cut sho')
    with pytest.raises(InputError, match="is damaged"):
        sample_texts(model, count=4, length=8)


def test_what_cannot_write_is_refused(model):
    with pytest.raises(InputError, match=r'give it: texts."self", model=model'):
        texts("self")
    with pytest.raises(InputError, match=r"count=1, length=8, temperature=1\.0 given"):
        sample_texts(model, count=1, length=8)
    mute = load(tiny_hf("llama"), quiet=True)
    with pytest.raises(InputError, match="cannot write texts"):
        sample_texts(mute)
    nameless = tiny_tokenizer()
    nameless.bos_token = nameless.eos_token = None
    with pytest.raises(InputError, match="cannot write texts"):
        sample_texts(load(tiny_hf("llama"), tokenizer=nameless, quiet=True))


def test_token_zero_is_a_token_to_begin_with(model, monkeypatch, cache):
    begun = []

    def begin(of, prompts, under, **settings):
        begun.extend(prompts)
        return np.array([[3], [4]])

    monkeypatch.setattr("decision_phases.engine.self_texts.continued", begin)
    zero = tiny_tokenizer()
    zero.bos_token, zero.eos_token = zero.convert_ids_to_tokens([0, 5])
    sample_texts(load(tiny_hf("llama"), tokenizer=zero, quiet=True), count=2, length=2)
    assert begun == [(0,), (0,)]
