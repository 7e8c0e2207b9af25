"""Shapley values as a criterion and a strategy: from the one pool of cuts, refused where they should be."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import decision_phases as dp
from decision_phases.errors import InputError, UntrustedError
from decision_phases.models import load
from decision_phases.models.tiny import tiny_tokenizer
from decision_phases.pruning import CRITERIA, RandomPool, prune, rank, safe_cut
from decision_phases.pruning.game import SAMPLERS, ModelGame, draw_masks
from decision_phases.readout import ask
from decision_phases.stats import permutation_p
from decision_phases.tasks import questions as read_questions

TEXTS = (
    "Is water wet? Yes, it is. Is fire cold? No, it is not.",
    "What is hot? Fire is hot, and ice is not.",
)


@pytest.fixture(scope="module")
def some():
    return read_questions("facts", limit=12)


@pytest.fixture(scope="module")
def chaotic():
    """Nine random blocks that each turn the stream round: no line knows what a mask is worth."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(tiny_tokenizer()), hidden_size=16, intermediate_size=24, num_hidden_layers=9,
            num_attention_heads=2, num_key_value_heads=1, bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
        config._attn_implementation = "eager"
        hf = LlamaForCausalLM(config).eval()
        with torch.no_grad():
            for parameter in hf.parameters():
                if parameter.ndim == 2:
                    parameter.mul_(8)
    return load(hf, tokenizer=tiny_tokenizer(), consume=True, quiet=True)


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_every_mask_is_a_cut_of_the_pool(name):
    layers = (1, 2, 4, 5, 7, 8, 10, 11)
    pool = RandomPool(layers, seed=3)
    draws = draw_masks(8, 28, sampler=name, antithetic=False, seed=3)
    for mask, draw in zip(draws.masks, draws.group.tolist(), strict=True):
        gone = {layer for layer, kept in zip(layers, mask, strict=True) if not kept}
        assert gone == set(pool.order(draw)[: len(gone)])


def test_pairs_are_an_order_and_its_reverse():
    draws = draw_masks(6, 20, sampler="stratified", antithetic=True, seed=1)
    pool = RandomPool(tuple(range(6)), seed=1)
    for mask, draw in zip(draws.masks[10:], draws.group[10:].tolist(), strict=True):
        gone = set(np.flatnonzero(~mask).tolist())
        assert gone == set(pool.order(draw)[::-1][: len(gone)])


def test_the_masks_that_are_run_are_the_random_cuts_of_the_comparison(chaotic, some, monkeypatch):
    """What the surrogate learns from are the first blocks of the orders that the baseline removes."""
    asked = []
    real = ModelGame.per_question, ModelGame.__call__

    def spy(self, masks):
        asked.append(masks)
        return real[1](self, masks)

    monkeypatch.setattr(ModelGame, "__call__", spy)
    scope = tuple(range(1, 8))
    rank(chaotic, some, by=replace(CRITERIA["shapley"], least_r2=-np.inf), layers=scope, seed=5)
    (masks,) = asked
    pool = RandomPool(scope, seed=5)
    for draw, mask in enumerate(masks[:-2]):  # the last two keep all and none
        gone = {layer for layer, kept in zip(scope, mask, strict=True) if not kept}
        assert gone == set(pool.order(draw)[: len(gone)])
    assert len(masks) == 12 * 7 + 2


def test_scores_are_those_of_the_game(tiny, chaotic, some):
    few = rank(tiny, some, by="shapley", layers=range(1, 5))
    exact = dp.shapley(tiny, some, units=range(1, 5), method="exact", index="published")
    np.testing.assert_allclose(few.scores, exact.values, atol=1e-12)
    assert few.notes[0].startswith("exact method on 16 masks, 192 forward passes")
    many = rank(chaotic, some, by=replace(CRITERIA["shapley"], least_r2=-np.inf), seed=2)
    fitted = dp.shapley(
        chaotic, some, method="surrogate", sampler="published", index="published", n_masks=108, seed=2
    )
    np.testing.assert_allclose(many.scores, fitted.values, atol=1e-12)
    np.testing.assert_allclose([many.low, many.high], [fitted.low, fitted.high])
    assert str(fitted.surrogate) in many.notes
    assert str(fitted.surrogate) in str(many)


def test_the_planted_block_is_worth_everything(planted, planted_setting):
    for name in ("shapley", "shapley_perplexity"):
        ranking = rank(planted, planted_setting.search, by=name)
        others = np.delete(ranking.scores, 3)
        assert abs(others).max() < 1e-6
        assert ranking.scores[3] > 0.1
        assert ranking.layers[-1] == 3


def test_on_texts_the_utility_is_the_ratio_of_perplexities(tiny):
    given = {"window": 8, "limit": None}
    ranking = rank(tiny, texts=TEXTS, by="shapley_perplexity", layers=[1, 2], **given)
    ppl = {
        gone: dp.perplexity(tiny, TEXTS, window=8, under=dp.skip(*gone) if gone else None).value
        for gone in ((), (1,), (2,), (1, 2))
    }
    ratio = {gone: ppl[()] / value for gone, value in ppl.items()}
    # With two units the published average has k = 1: half over both, half over none beside the unit.
    first = (ratio[()] - ratio[(1,)] + ratio[(2,)] - ratio[(1, 2)]) / 2
    second = (ratio[()] - ratio[(2,)] + ratio[(1,)] - ratio[(1, 2)]) / 2
    np.testing.assert_allclose(ranking.scores, [first, second], atol=1e-6)
    with pytest.raises(InputError, match="shapley compares with right answers"):
        rank(tiny, texts=TEXTS, by="shapley")


@pytest.fixture
def strict(monkeypatch):
    """No surrogate of a random model is as good as this."""
    asked = dict(CRITERIA) | {"shapley": replace(CRITERIA["shapley"], least_r2=0.999)}
    monkeypatch.setattr("decision_phases.pruning.criteria.registry.CRITERIA", asked)


def test_a_surrogate_that_knows_too_little_is_refused(chaotic, some, strict):
    with pytest.raises(UntrustedError, match=r"linear surrogate has a held-out R² of .* not 0\.999 or more"):
        rank(chaotic, some, by="shapley")


def test_a_refusal_stands_where_its_curve_would_be(chaotic, strict):
    questions = read_questions("facts", limit=24)
    curves = prune(chaotic, questions, by=["shapley", "deepest"], up_to=1, draws=1)
    assert curves.strategies == ("deepest", "random")
    assert "held-out R²" in curves.not_applicable["shapley"]
    with pytest.raises(
        InputError, match=r"'shapley' is not applicable: the linear surrogate has a held-out R²"
    ):
        safe_cut(chaotic, questions, by="shapley", up_to=1, max_drop=0.9, split=0.2)


def test_masks_are_kept_in_a_store_and_found_again(tiny, some, tmp_path):
    first = rank(tiny, some, by="shapley", layers=range(1, 5), store=tmp_path)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    assert len(written) == 16
    again = rank(tiny, some, by="shapley", layers=range(1, 5), store=tmp_path)
    np.testing.assert_array_equal(first.scores, again.scores)
    assert written == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}


def test_windows_that_overlap_are_no_players(tiny, some):
    with pytest.raises(InputError, match=r"removed (already|twice)|already removed"):
        rank(tiny, ask(tiny, some), by="shapley", size=2)


def test_better_than_luck_among_the_draws_that_were_measured(planted, planted_setting):
    questions = planted_setting.search.questions + planted_setting.evaluation.questions
    curves = prune(planted, questions, by=["trajectory"], up_to=3, draws=19)
    luck = curves.better_than_luck("trajectory", 3)
    null = [row.margin for row in curves.of("random") if row.step == 3]
    assert luck.null.tolist() == null
    assert luck.value == curves.of("trajectory")[3].margin
    assert luck.p_value == permutation_p(luck.value, np.array(null))
    # Of four blocks three go; the one that knows stays in a quarter of random cuts.
    assert 0.05 <= luck.p_value < 0.6
    with pytest.raises(InputError, match="random with 1 removed has 19 cut"):
        curves.better_than_luck("random", 1)
    with pytest.raises(InputError, match=r"trajectory with 9 removed has 0 cut"):
        curves.better_than_luck("trajectory", 9)
