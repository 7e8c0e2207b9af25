"""Deviations from float64, against a Llama written out in numpy in double precision."""

import numpy as np
import pytest
import torch

from decision_phases.errors import InputError
from decision_phases.interventions import Intervention, skip
from decision_phases.models import InDouble, load, tiny_hf, tiny_tokenizer, twin
from decision_phases.models.loading import cast
from decision_phases.readout import ask, read
from decision_phases.readout.deviation import Deviation
from decision_phases.readout.precision import _alone, precision
from decision_phases.tasks import questions


@pytest.fixture(scope="module")
def few():
    return questions("facts").limit(6, 0)


def llama(hf, tokens):
    """The residual leaving every block at the last token, and the final norm with the unembedding."""
    w = {name: p.detach().double().numpy() for name, p in hf.named_parameters()}
    config, n = hf.config, len(tokens)
    size = config.hidden_size // config.num_attention_heads
    angles = np.arange(n)[:, None] * hf.model.rotary_emb.inv_freq.double().numpy()
    cos, sin = (np.concatenate([f(angles)] * 2, axis=-1)[:, None] for f in (np.cos, np.sin))

    def norm(x, name):
        return w[name] * x / np.sqrt((x**2).mean(-1, keepdims=True) + config.rms_norm_eps)

    def turned(x):
        half = size // 2
        return x * cos + np.concatenate([-x[..., half:], x[..., :half]], axis=-1) * sin

    x, left = w["model.embed_tokens.weight"][list(tokens)], []
    for i in range(config.num_hidden_layers):
        at = f"model.layers.{i}."
        h = norm(x, at + "input_layernorm.weight")
        q, k, v = ((h @ w[f"{at}self_attn.{c}_proj.weight"].T).reshape(n, -1, size) for c in ("q", "k", "v"))
        groups = config.num_attention_heads // config.num_key_value_heads
        k, v = np.repeat(turned(k), groups, axis=1), np.repeat(v, groups, axis=1)
        scores = np.einsum("qhd,khd->hqk", turned(q), k) / np.sqrt(size)
        scores = np.where(np.tril(np.ones((n, n), dtype=bool)), scores, -np.inf)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = np.einsum("hqk,khd->qhd", shares / shares.sum(-1, keepdims=True), v).reshape(n, -1)
        x = x + mixed @ w[at + "self_attn.o_proj.weight"].T
        h = norm(x, at + "post_attention_layernorm.weight")
        gate = h @ w[at + "mlp.gate_proj.weight"].T
        x = (
            x
            + (gate / (1 + np.exp(-gate)) * (h @ w[at + "mlp.up_proj.weight"].T))
            @ w[at + "mlp.down_proj.weight"].T
        )
        left.append(x[-1])
    return norm(np.array(left), "model.norm.weight") @ w["lm_head.weight"].T


def by_hand(hf, encoded):
    """Option logits `[question, layer, option]`."""
    pairs = zip(encoded.sequences, encoded.option_ids, strict=True)
    return np.stack([llama(hf, sequence.tokens)[:, list(ids)] for sequence, ids in pairs])


def test_the_reference_is_float64_throughout(tiny, few):
    encoded = ask(tiny, few)
    expected = by_hand(tiny_hf("llama"), encoded)
    found = _alone(twin(tiny, "float64"), encoded, Intervention(), progress=False)
    np.testing.assert_allclose(found.scores, expected, atol=1e-11, rtol=0)
    half = read(twin(tiny, "float64"), encoded)  # a model in float64 casts to float32 here and there
    assert np.abs(half.scores - expected).max() > 1e-8


def test_the_reference_runs_every_sequence_by_itself_through_the_whole_model(tiny, few, monkeypatch):
    encoded, wide, ran = ask(tiny, few, shots=1), twin(tiny, "float64"), []
    run = wide.logits

    def watched(tokens, **given):
        ran.append(tuple(tokens[0].tolist()))
        assert len(tokens) == 1
        return run(tokens, **given)

    monkeypatch.setattr(wide, "logits", watched)
    monkeypatch.setattr(wide, "run_block", None)
    _alone(wide, encoded, skip(2), progress=False)
    assert sorted(ran) == sorted(sequence.tokens for sequence in encoded.sequences)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_deviations_are_those_from_a_model_written_in_numpy(few, dtype):
    model = load("tiny-llama", dtype=dtype, quiet=True)
    encoded = ask(model, few, shots=1)
    rounded = tiny_hf("llama")
    cast(rounded, model.dtype)
    exact = by_hand(rounded, encoded)
    found = read(model, encoded)
    report = precision(model, encoded)
    assert (report.dtype, report.device, report.n_questions) == (dtype, "cpu", 6)
    odds = np.exp(exact - exact.max(-1, keepdims=True))
    shares, rows = odds / odds.sum(-1, keepdims=True), np.arange(6)
    right = shares[rows, :, encoded.gold].copy()
    shares[rows, :, encoded.gold] = -1
    margins = right - shares.max(-1)
    for layer, deviation in report.layers.items():
        gap = found.scores[:, layer] - exact[:, layer]
        off = found.margin[:, layer] - margins[:, layer]
        expected = Deviation(
            np.abs(gap).max(),
            np.sqrt((gap**2).mean()),
            np.abs(off).max(),
            np.sqrt((off**2).mean()),
            int((found.scores[:, layer].argmax(-1) != exact[:, layer].argmax(-1)).sum()),
        )
        for name in Deviation.__dataclass_fields__:
            assert getattr(deviation, name) == pytest.approx(getattr(expected, name), rel=1e-4, abs=1e-10), (
                name
            )
    assert report.final == report.layers[5]
    assert {"float32": 1e-6, "float16": 1e-3, "bfloat16": 1e-2}[dtype] / 20 < report.final.score_rms
    assert report.final.score_rms < {"float32": 1e-6, "float16": 1e-3, "bfloat16": 1e-2}[dtype] * 20


def test_a_known_shift_is_found(few, monkeypatch):
    model = load("tiny-gpt2", quiet=True)
    monkeypatch.setattr(model, "output_transform", lambda logits: logits + 0.25)
    report = precision(model, few)
    for deviation in (report.final, *report.layers.values()):
        assert deviation.score_max == pytest.approx(0.25, abs=1e-4)
        assert deviation.score_rms == pytest.approx(0.25, abs=1e-4)
        assert deviation.margin_max < 1e-5
        assert deviation.changed == 0


def test_removed_layers_are_left_out_and_cloze_scores_compared(tiny, few):
    report = precision(tiny, few, under=skip(1, 5), scoring="cloze_mean")
    assert tuple(report.layers) == (0, 2, 3, 4)
    assert report.final == report.layers[4]
    assert 0 < report.final.score_max < 1e-4
    table = report.to_pandas()
    assert list(table.columns) == ["layer", "score_max", "score_rms", "margin_max", "margin_rms", "changed"]
    assert table["layer"].tolist() == [0, 2, 3, 4]
    assert repr(report).startswith(
        "Precision of tiny-llama in float32 on cpu, 6 questions (facts, cloze_mean), under"
    )
    assert "0 choices changed" in repr(report)
    assert "most at layer" in repr(report)
    nothing = precision(tiny, few, under=skip(*range(6)))
    assert not nothing.layers
    assert "most at layer" not in repr(nothing)


def test_the_model_is_left_as_it_was(tiny, few):
    before = (tiny.capabilities, tiny.dtype, tiny.fingerprint, torch.tensor([1.0]).float().dtype)
    precision(tiny, few)
    assert before == (tiny.capabilities, tiny.dtype, tiny.fingerprint, torch.tensor([1.0]).float().dtype)


def test_models_that_have_no_twin_are_refused(few):
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    hf = tiny_hf("llama")
    bridge = build_bridge_from_module(hf, type(hf).__name__, hf_config=hf.config, tokenizer=None)
    with pytest.raises(InputError, match="no plain Hugging Face model can be rebuilt"):
        precision(load(bridge, tokenizer=tiny_tokenizer(), quiet=True), few)
    model = load("tiny-llama", quiet=True)
    model.hook_point(2, "resid_post").add_hook(lambda x, hook: x * 2)
    with pytest.raises(InputError, match="has hooks of your own"):
        precision(model, few)


def test_in_double_widens_what_asks_for_float32():
    x = torch.tensor([1.0, 3.0], dtype=torch.float64)
    with InDouble():
        kinds = [
            x.float().dtype,
            x.to(torch.float32).dtype,
            x.to(dtype=torch.float32).dtype,
            torch.nn.functional.softmax(x, dim=-1, dtype=torch.float32).dtype,
            torch.zeros(2, dtype=torch.float32).dtype,
        ]
        assert x.to(torch.int64).dtype == torch.int64
    assert set(kinds) == {torch.float64}
    assert x.float().dtype == torch.float32
