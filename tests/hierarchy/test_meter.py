"""Streaming changes nothing, and a subspace is what one computes by hand."""

import numpy as np
import pytest
import torch

from decision_phases.hierarchy import measures
from decision_phases.hierarchy.measures import Meter
from decision_phases.hierarchy.settings import SpaceSettings, find_column
from decision_phases.hierarchy.token_sets import padded, rank_matched
from decision_phases.models import load
from decision_phases.models.tiny import tiny_hf, tiny_tokenizer


def residuals(model, cells=7, seed=0):
    rng = np.random.default_rng(seed)
    dense = torch.from_numpy(rng.normal(size=(cells, model.d_model)))
    return dense, dense + torch.from_numpy(0.3 * rng.normal(size=dense.shape))


def test_streamed_equals_unstreamed(wide, monkeypatch):
    options = padded([(5, 6, 7), (8, 9), (10, 11, 12), (5, 9), (20, 21), (1, 2, 3), (30, 31)])
    random = np.where(options[:, None] < 0, -1, options[:, None] + np.array([40, 80])[None, :, None])
    settings = SpaceSettings(tuple(range(7)), tuple(tuple(r[r >= 0].tolist()) for r in options), top=(3, 50))
    dense, pruned = residuals(wide)
    whole = Meter(wide, settings).measure(dense, pruned, options, random)
    assert np.isfinite(whole).all()
    monkeypatch.setattr(measures, "WORKING_LOGITS", 1)
    monkeypatch.setattr(measures, "_SLICE", 7)
    for held in (1, 3 * wide.d_vocab):
        meter = Meter(wide, settings, held=held)
        assert next(part.stop - part.start for part in meter.blocks(7)) == max(1, held // wide.d_vocab)
        np.testing.assert_allclose(
            meter.measure(dense, pruned, options, random), whole, rtol=1e-9, atol=1e-7
        )  # roots of rounding


def test_options_by_hand():
    """Logits log 1, log 3 among the options against log 2, log 2: p = (¼, ¾) against (½, ½)."""
    hf = tiny_hf("llama").to(torch.float64)
    with torch.no_grad():
        hf.lm_head.weight.zero_()
        for axis, token in enumerate((70, 80, 90)):
            hf.lm_head.weight[token, axis] = 1.0
    model = load(hf, tokenizer=tiny_tokenizer(), dtype="float64", consume=True, quiet=True)
    settings = SpaceSettings((0,), ((70, 80),), norm="none", top=(2,), random_sets=1)
    dense, pruned = torch.zeros(2, 1, model.d_model, dtype=torch.float64)
    dense[0, 1], dense[0, 2] = np.log(3), 2.0
    pruned[0, 0] = pruned[0, 1] = np.log(2)
    found = Meter(model, settings).measure(dense, pruned, np.array([[70, 80]]), np.array([[[90, 3]]]))[0]

    def value(*names):
        return found[settings.columns.index(find_column(settings.columns, *names))]

    cosine = (0.125 + 0.375) / (np.hypot(0.25, 0.75) * np.sqrt(0.5))
    assert value("p", "cosine", "options") == pytest.approx(1 - cosine)
    assert value("p", "total_variation", "options") == pytest.approx(0.25)
    kl = 0.25 * np.log(0.5) + 0.75 * np.log(1.5)
    assert value("p", "kl_dense_from_pruned", "options") == pytest.approx(kl)
    rest = model.d_vocab - 2
    assert value("p", "dense_mass", "options") == pytest.approx(4 / (rest + 3 + np.exp(2)))
    assert value("p", "dense_mass", "random") == pytest.approx((1 + np.exp(2)) / (rest + 3 + np.exp(2)))
    # Token 90 falls from e² to 1, token 3 stays at 1.
    before = np.exp(2) / (np.exp(2) + 1)
    assert value("p", "total_variation", "random") == pytest.approx(before - 0.5)
    # The two most probable tokens of the dense model are 90 and 80.
    assert value("z", "cosine", "top_2") == pytest.approx(1 - np.log(3) / np.hypot(2, np.log(3)))


def test_random_sets_are_of_like_rank_and_hold_no_option():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=500)
    order = np.argsort(-logits)
    rank = np.argsort(order)
    options = order[[0, 3, 40, 300]]
    drawn = rank_matched(logits, np.array([*options, -1]), n_sets=200, rng=np.random.default_rng(1))
    assert (drawn[:, -1] == -1).all()
    for row in drawn[:, :-1]:
        assert len(set(row)) == 4
        assert not set(row) & set(options)
    ranks = rank[drawn[:, :-1]]
    for place, own in enumerate((0, 3, 40, 300)):
        reach = max(16, own // 2)
        assert np.abs(ranks[:, place] - own).max() <= reach
        assert len(set(ranks[:, place])) > 10
    again = rank_matched(logits, np.array([*options, -1]), n_sets=200, rng=np.random.default_rng(1))
    np.testing.assert_array_equal(drawn, again)
