"""The parts of a margin: they add up to it in every family, and each is what it says."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

import decision_phases as dp
from decision_phases.engine import applied
from decision_phases.models import InDouble
from decision_phases.models.gradients import final_residual

QUESTIONS = dp.questions("facts").limit(4, seed=2)
# Norms of either sort, behind the attention too, blocks in parallel, experts, multiplied and capped logits.
ADDING = ("llama", "gpt2", "gemma2", "gpt_neox", "bloom", "falcon", "granite", "mixtral")
OUTPUT = ("o_proj.weight", "attn.o.weight")


def vector(seed, n=32):
    return np.random.default_rng(seed).normal(size=n)


def interventions(model):
    generator = np.random.default_rng(3)
    values = generator.normal(size=(len(QUESTIONS), model.n_heads, model.d_head))
    outputs = {k: 1.5 * v.detach().numpy() for k, v in model.parameters(3).items() if k.endswith(OUTPUT)}
    return {
        "intact": dp.Intervention(),
        "cut": dp.skip(2) + dp.skip(3, part="attention") + dp.skip(4, part="mlp"),
        "the end is gone": dp.skip(4, 5),
        "all is gone": dp.skip(*range(6)),
        "edits": dp.steer("resid_post", 1, vector(0))
        + dp.noise(2, 0.1, positions="answer")
        + dp.scale("attn_out", 3, 0.5)
        + dp.patch("head_out", 4, values[:, 1], head=1)
        + dp.steer("mlp_out", 4, vector(1), positions="answer"),
        "maps": dp.skip(2, 5)
        + dp.insert(2, np.eye(32) + 0.1 * vector(4, (32, 32)), vector(5))
        + dp.insert(5, np.eye(32) + 0.1 * vector(6, (32, 32))),
        "weights": dp.weights(3, outputs) if outputs else None,
    }


#: Every sort of family, and every kind of intervention; the most involved also where norms centre and stand behind.
CASES = [(family, "intact") for family in ADDING] + [
    *(("llama", kind) for kind in ("cut", "the end is gone", "all is gone", "edits", "maps", "weights")),
    ("gpt2", "edits"), ("gpt2", "maps"), ("gpt2", "weights"), ("gemma2", "edits"),
]  # fmt: skip


def margins(model, encoded, under, rival):
    """Before soft cap and scale, from the whole model run on each prompt by itself."""
    found = []
    for i, sequence in enumerate(encoded.sequences):
        with torch.no_grad(), applied(model, under, [sequence]):
            end = final_residual(model, torch.tensor([sequence.tokens]))[0, -1:]
        logits = (model.final_norm(end) @ model.tl.W_U + model.tl.b_U)[0]
        ids = encoded.option_ids[i]
        found.append(float(logits[ids[encoded.gold[i]]] - logits[ids[rival[i]]]))
    return np.array(found)


@pytest.mark.parametrize(("family", "kind"), CASES)
def test_parts_add_up_to_the_margin(double, family, kind):
    model = double(family)
    encoded = dp.ask(model, QUESTIONS)
    under = interventions(model)[kind]
    with InDouble() if model.dtype == torch.float64 else nullcontext():
        found = dp.attribute(model, encoded, under=under)
        expected = margins(model, encoded, under, found.rival)
    near = {"rtol": 0, "atol": 1e-9 if model.dtype == torch.float64 else 1e-4}
    np.testing.assert_allclose(found.margin, expected, **near)
    np.testing.assert_allclose(found.values.sum(axis=1), expected, **near)
    np.testing.assert_allclose(found.rounding, 0, **near)
    # Heads are what attention puts out before it is edited; nothing but them, for random models have no biases.
    np.testing.assert_allclose(found.heads.sum(axis=-1), found.attention, **near)
    np.testing.assert_allclose(found.attention_bias, 0, **near)
    edited = {layer for part, layer, _ in found.parts if part == "intervention"}
    assert edited == {"edits": {1, 2, 3}, "maps": {3, 5}}.get(kind, set())
    assert (found.heads[:, list(under.removed_blocks)] == 0).all()


@pytest.mark.parametrize("layer", [3])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_layer_is_attributed_as_the_lens_reads_it(double, family, layer):
    model = double(family)
    under = dp.skip(1) + dp.steer("resid_post", 2, vector(7))
    with InDouble():
        found = dp.attribute(model, QUESTIONS, layer=layer, under=under)
        kept = dp.capture(model, QUESTIONS, layers=[layer], under=under).at("resid_post", layer)
        normed = model.final_norm(torch.tensor(kept))
    logits = (normed @ model.tl.W_U + model.tl.b_U).numpy()
    ids = np.array(found.encoded.option_ids)
    rows = np.arange(len(ids))
    expected = logits[rows, ids[rows, found.encoded.gold]] - logits[rows, ids[rows, found.rival]]
    np.testing.assert_allclose(found.values.sum(axis=1), expected, rtol=0, atol=1e-9)
    assert (found.mlp[:, layer + 1 :] == 0).all()
    scores = dp.read(model, QUESTIONS).final.scores.copy()
    scores[rows, found.encoded.gold] = -np.inf
    np.testing.assert_array_equal(found.rival, scores.argmax(axis=1))  # of the intact model, in the end


def test_heads_and_mlps_are_those_of_the_weights(double):
    """Written out for Llama, from the matrices of the model as published."""
    model = double("llama")
    with InDouble():
        found = dp.attribute(model, QUESTIONS)
        end = torch.tensor(dp.capture(model, QUESTIONS, layers=[5]).at("resid_post", 5))
        kept = dp.capture(model, QUESTIONS, sites=["head_out", "mlp_out"], layers=[4])
    hf = model.fresh_hf().double()
    rms = (end.pow(2).mean(-1, keepdim=True) + hf.model.norm.variance_epsilon).sqrt()
    ids = torch.tensor(found.encoded.option_ids)
    rows = torch.arange(len(ids))
    unembedding = hf.lm_head.weight
    direction = unembedding[ids[rows, found.encoded.gold]] - unembedding[ids[rows, found.rival]]
    direction = (direction * hf.model.norm.weight / rms).detach()
    np.testing.assert_allclose(
        found.mlp[:, 4], (torch.tensor(kept.at("mlp_out", 4)) * direction).sum(-1), rtol=0, atol=1e-9
    )
    output = hf.model.layers[4].self_attn.o_proj.weight
    for head in range(4):
        added = torch.tensor(kept.at("head_out", 4)[:, head]) @ output[:, 8 * head : 8 * head + 8].T
        np.testing.assert_allclose(
            found.heads[:, 4, head], (added * direction).sum(-1).detach(), rtol=0, atol=1e-9
        )
    np.testing.assert_allclose(found.attention_bias, 0, atol=1e-9)
    assert abs(found.heads).max() > 1e-3


def test_heads_under_replaced_weights_go_through_these(double):
    """Half of the output matrix's columns of one head: half of what it adds, and the others as they were."""
    model = double("llama")
    name = next(k for k in model.parameters(5) if k.endswith(OUTPUT))
    matrix = model.parameters(5)[name].detach().numpy().copy()
    matrix[:, 8:16] *= 0.5
    with InDouble():
        intact, found = (
            dp.attribute(model, QUESTIONS, under=u) for u in (None, dp.weights(5, {name: matrix}))
        )
        # The final norm holds its scale in each run, so that what is compared is in front of it.
        scale = intact.mlp[:, 2] / found.mlp[:, 2]
    expected = intact.heads[:, 5] * np.array([1, 0.5, 1, 1])
    np.testing.assert_allclose(found.heads[:, 5] * scale[:, None], expected, rtol=0, atol=1e-9)


def test_biases_are_parts_of_their_own(double):
    """The bias of an output projection counts as the final norm, its scale held, and the unembedding read it."""
    model = double("gpt2")
    bias = model.root.transformer.h[2].attn.c_proj.bias
    before = bias.data
    np.testing.assert_allclose(dp.attribute(model, QUESTIONS).attention_bias, 0, atol=1e-9)
    try:
        bias.data = torch.tensor(vector(8))
        with InDouble():
            found = dp.attribute(model, QUESTIONS)
    finally:
        bias.data = before
    assert abs(found.attention_bias[:, 2]).min() > 1e-4
    np.testing.assert_allclose(found.attention - found.heads.sum(axis=-1), found.attention_bias, atol=1e-9)
    np.testing.assert_allclose(np.delete(found.attention_bias, 2, axis=1), 0, atol=1e-9)
    np.testing.assert_allclose(found.rounding, 0, atol=1e-9)


def test_without_heads_attention_is_one_part(double):
    model = double("llama")
    whole, taken = (dp.attribute(model, QUESTIONS, heads=heads) for heads in (False, True))
    assert not whole.by_head
    assert np.isnan(whole.attention_bias).all()
    assert {part for part, _, _ in whole.parts} == {
        "embedding", "attention", "mlp", "norm_bias", "unembedding_bias",
    }  # fmt: skip
    np.testing.assert_allclose(whole.attention, taken.attention, rtol=0, atol=1e-12)
    np.testing.assert_allclose(whole.values.sum(axis=1), whole.margin, rtol=0, atol=1e-6)


def test_the_planted_head_says_it_all(planted):
    found = dp.attribute(planted, QUESTIONS)
    others = np.delete(found.heads.reshape(len(QUESTIONS), -1), 2 * 4 + 1, axis=1)
    assert (others == 0).all()
    assert (found.mlp == 0).all()
    assert abs(found.heads[:, 2, 1]).min() > 1e-4
    np.testing.assert_allclose(found.heads[:, 2, 1] + found.embedding, found.margin, rtol=0, atol=1e-6)


def test_tables_and_intervals(double):
    many = dp.questions("facts").filter("animals", "colors").limit(12)
    found = dp.attribute(double("llama"), many)
    table = found.to_pandas()
    assert len(table) == len(found.parts)
    assert table["mean"].sum() == pytest.approx(found.margin.mean(), abs=1e-6)
    assert ((table["low"] <= table["mean"]) & (table["mean"] <= table["high"])).all()
    assert list(table["mean"]) == sorted(table["mean"], reverse=True)
    each = found.to_pandas(by_category=True)
    by_hand = found.mlp[[i for i, q in enumerate(many) if q.category == "colors"], 3].mean()
    row = each[(each["category"] == "colors") & (each["part"] == "mlp") & (each["layer"] == 3)]
    assert row["mean"].item() == pytest.approx(by_hand)
    assert row["questions"].item() == 6
    with pytest.raises(dp.InputError, match="colours"):
        found.interval("colours")
    figure = found.plot()
    assert [axes.get_ylabel() for axes in figure.axes[:2]] == ["adds to the logit margin", "head"]
    assert "logit margin" in str(found)


def test_questions_of_fewer_options_are_attributed_as_by_themselves(double):
    """The rival is never an option that is not there."""
    four, others = QUESTIONS[:2], QUESTIONS[2:]
    two = [replace(q, options=(q.options[q.answer], q.options[q.answer - 1]), answer=0) for q in others]
    settings = {"scoring": "first_token", "template": "question_answer"}
    with InDouble():
        both, *alone = (
            dp.attribute(double("llama"), some, **settings) for some in ([*four, *two], four, two)
        )
    np.testing.assert_allclose(both.values, np.concatenate([one.values for one in alone]), rtol=0, atol=1e-9)
    np.testing.assert_array_equal(both.rival, np.concatenate([one.rival for one in alone]))
    np.testing.assert_array_equal(both.rival[2:], [1, 1])


def test_a_store_gives_the_same_again(double, tmp_path, monkeypatch):
    model = double("llama")
    first = dp.attribute(model, QUESTIONS, under=dp.skip(2), store=tmp_path)
    monkeypatch.setattr("decision_phases.circuits.contributions._Adding.take", None)
    again = dp.attribute(model, QUESTIONS, under=dp.skip(2), store=tmp_path)
    np.testing.assert_array_equal(first.values, again.values)


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("tiny-mamba", {}, "has no site 'attn_out'"),
        ("tiny-rwkv", {}, "has no site 'attn_out'"),
        ("tiny-llama", {"layer": 6}, r"layer 6 is out of range: .* 0\.\.5"),
        ("tiny-llama", {"layer": 2, "under": dp.skip(2)}, "layer 2 is removed by"),
        ("tiny-llama", {"scoring": "cloze"}, "use letter or first_token scoring"),
        ("tiny-llama", {"under": dp.skip(7)}, r"out of range: the model has layers 0\.\.5"),
    ],
)
def test_what_cannot_be_attributed_is_refused_before_anything_runs(model, settings, message, nothing_runs):
    with pytest.raises(dp.InputError, match=message):
        dp.attribute(model, QUESTIONS, **settings)
