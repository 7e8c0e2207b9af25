"""Every way in: names, folders, Hugging Face models, TransformerLens objects."""

import copy
import gc
import weakref
from typing import Any

import pytest
import torch
from transformer_lens.model_bridge.sources import build_bridge_from_module

from decision_phases.errors import InputError, MissingPackageError
from decision_phases.models import FAMILIES, as_model, known_models, load, tiny_hf, tiny_tokenizer
from decision_phases.models.tiny import tiny_vocabulary
from decision_phases.tasks import questions

TOKENS = torch.tensor([[5, 60, 7, 200, 31, 8], [400, 3, 3, 90, 12, 700]])


def _bridge(family: str = "llama", **kwargs: Any) -> Any:
    hf: Any = tiny_hf(family, **kwargs)
    return build_bridge_from_module(hf, type(hf).__name__, hf_config=hf.config, tokenizer=None)


@pytest.fixture
def folder(tmp_path):
    """A tiny model and its tokenizer, saved the Hugging Face way."""
    hf: Any = tiny_hf("llama", seed=3)
    hf.save_pretrained(tmp_path / "mine")
    tiny_tokenizer().save_pretrained(tmp_path / "mine")
    return tmp_path / "mine"


def test_one_line_says_how_close_it_is(capsys):
    model = load("tiny-gpt2")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"{model!r}\n{model.parity}\n"
    assert "tiny-gpt2: GPT2LMHeadModel, 6 layers" in captured.err
    assert "plain transformers; readout within" in captured.err


def test_what_was_loaded_is_given_back(tiny):
    assert load(tiny) is tiny
    assert as_model(tiny) is tiny


@pytest.mark.parametrize("as_text", [True, False])
def test_a_folder(folder, backend, as_text):
    model = load(str(folder) if as_text else folder, backend=backend, quiet=True)
    assert (model.name, model.weights) == ("mine", "as saved")
    with torch.no_grad():
        expected = tiny_hf("llama", seed=3)(TOKENS).logits
        torch.testing.assert_close(model.logits(TOKENS), expected, atol=2e-5, rtol=0)
        assert torch.equal(model.fresh_hf()(TOKENS).logits, expected)


def test_a_folder_without_a_tokenizer(tmp_path):
    tiny_hf("llama").save_pretrained(tmp_path)
    assert load(tmp_path, quiet=True).tokenizer is None


# With tied weights, with buffers of their own, with stacked experts, and with weights that are divided when first run.
COPIED = ("llama", "gpt2", "gemma3", "mixtral", "bloom", "rwkv")


@pytest.mark.parametrize(
    ("family", "consume"), [*((family, False) for family in COPIED), ("llama", True), ("rwkv", True)]
)
def test_a_hugging_face_model_is_copied_or_taken_over(family, consume):
    """Copied, the given one still works and is not shared; either way an untouched one can be made again."""
    hf = tiny_hf(family, seed=4)
    with torch.no_grad():
        expected = hf(TOKENS).logits
        names = list(hf.state_dict())
        state = torch.random.get_rng_state()
        model = load(hf, consume=consume, quiet=True)
        if not consume:
            assert list(hf.state_dict()) == names
            assert torch.equal(hf(TOKENS).logits, expected)
            for parameter in hf.parameters():
                parameter.zero_()
        fresh = model.fresh_hf()
        assert torch.equal(torch.random.get_rng_state(), state)
        torch.testing.assert_close(model.logits(TOKENS), expected, atol=2e-5, rtol=0)
        assert list(fresh.state_dict()) == names
        torch.testing.assert_close(fresh(TOKENS).logits, expected, atol=1e-6, rtol=0)
        for parameter in fresh.parameters():
            parameter.zero_()
        torch.testing.assert_close(model.logits(TOKENS), expected, atol=2e-5, rtol=0)


def test_fresh_models_from_names(backend):
    model = load("tiny-gpt2", backend=backend, quiet=True)
    with torch.no_grad():
        expected = tiny_hf("gpt2")(TOKENS).logits
        assert torch.equal(model.fresh_hf()(TOKENS).logits, expected)
    assert model.fresh_hf() is not model.fresh_hf()


def test_a_bridge_is_taken_as_it_is():
    bridge = _bridge()
    model = load(bridge, quiet=True)
    assert model.tl is bridge
    assert (model.kind, model.parity.reference, model.tokenizer) == (
        "TransformerBridge",
        "no reference",
        None,
    )
    assert str(model.parity).startswith("parity: no reference to compare with; readout within ")
    assert not model.capabilities.fresh
    with pytest.raises(
        InputError, match="given as a TransformerBridge, from which no plain Hugging Face model"
    ):
        model.fresh_hf()
    with torch.no_grad():
        torch.testing.assert_close(model.logits(TOKENS), tiny_hf("llama")(TOKENS).logits, atol=2e-5, rtol=0)


def test_a_bridge_with_folded_norms_says_so():
    bridge = _bridge()
    with torch.no_grad():
        expected = bridge(TOKENS).log_softmax(-1)
    bridge.enable_compatibility_mode(disable_warnings=True)
    model = load(bridge, quiet=True)
    assert model.processed
    with torch.no_grad():
        logits = model.logits(TOKENS)
    torch.testing.assert_close(logits.log_softmax(-1), expected, atol=1e-4, rtol=0)


def test_a_transformerlens_object_is_checked_once_and_not_kept_alive(monkeypatch):
    bridge = _bridge()
    model = as_model(bridge)
    assert as_model(bridge) is model
    assert as_model(_bridge()) is not model
    alive = weakref.ref(bridge)
    del bridge, model
    gc.collect()
    assert alive() is None


def test_a_changed_hugging_face_model_is_not_mistaken_for_what_it_was():
    hf = tiny_hf("llama")
    before = as_model(hf)
    with torch.no_grad():
        next(hf.parameters()).data.mul_(2)
    after = as_model(hf)
    assert before.fingerprint != after.fingerprint


def test_fingerprints_follow_the_weights(backend):
    print_ = load("tiny-llama", backend=backend, quiet=True).fingerprint
    assert len(print_) == 16
    assert load("tiny-llama", backend=backend, quiet=True).fingerprint == print_
    assert load("tiny-llama", backend=backend, dtype="float64", quiet=True).fingerprint != print_
    assert load(tiny_hf("llama", seed=1), backend=backend, quiet=True).fingerprint != print_


def test_a_fingerprint_changes_with_one_weight_and_back():
    bridge = _bridge()
    before = as_model(bridge).fingerprint
    weight = next(iter(as_model(bridge).parameters(5).values()))
    value = weight.view(-1)[-1].item()
    with torch.no_grad():
        weight.view(-1)[-1] = value + 1e-6
        assert as_model(bridge).fingerprint != before
        weight.view(-1)[-1] = value
    assert as_model(bridge).fingerprint == before


@pytest.mark.parametrize("dtype", ["bfloat16", torch.bfloat16, "float64"], ids=str)
def test_number_formats(backend, dtype):
    model = load("tiny-llama", backend=backend, dtype=dtype, quiet=True)
    assert str(model.dtype).endswith(str(dtype).removeprefix("torch."))
    with torch.no_grad():
        expected = tiny_hf("llama").to(model.dtype)(TOKENS).logits
        torch.testing.assert_close(model.logits(TOKENS), expected, atol=0.1, rtol=0.1)
        assert model.readout(torch.ones(3, 32, dtype=model.dtype)).dtype == torch.promote_types(
            model.dtype, torch.float32
        )


@pytest.mark.parametrize("given", ["folder", "object", "rebuilt"])
def test_low_precision_is_that_of_transformers(folder, given):
    """Weights are rounded; rotary frequencies, which are computed, are not: far positions would be elsewhere."""
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="eager")
    model = load(folder if given == "folder" else tiny_hf("llama", seed=3), dtype="bfloat16", quiet=True)
    tokens = torch.randint(3, 800, (1, 300), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = model.fresh_hf()(tokens).logits if given == "rebuilt" else model.logits(tokens)
        assert torch.equal(found, plain(tokens).logits)


def test_the_given_model_keeps_its_number_format():
    hf = tiny_hf("llama").to(torch.bfloat16)
    assert load(hf, dtype="float32", quiet=True).dtype == torch.float32
    assert next(hf.parameters()).dtype == torch.bfloat16
    assert load(hf, quiet=True).dtype == torch.bfloat16


def test_tokenizers_are_left_as_published(folder):
    """TransformerLens makes tokenizers of its own, which always prepend BOS."""
    own, text = tiny_tokenizer(), "Question: What is the capital of France?\nAnswer:"
    before = own.encode(text)
    assert load(tiny_hf("llama"), tokenizer=own, quiet=True).tokenizer is own
    assert load(folder, quiet=True).tokenizer.encode(text) == before
    assert own.encode(text) == before
    bridge = _bridge()
    bridge.tokenizer = copy.deepcopy(own)
    bridge.tokenizer.name_or_path = str(folder)
    bridge.tokenizer.add_special_tokens({"additional_special_tokens": ["Question"]})
    assert load(bridge, quiet=True).tokenizer.encode(text) == before
    assert load(bridge, tokenizer=own, quiet=True).tokenizer is own
    bridge.tokenizer.name_or_path = "nobody/nothing"
    assert load(bridge, quiet=True).tokenizer is None


def test_known_names_are_those_that_need_no_network():
    assert set(known_models()) == {"SmolLM2-135M-Instruct", *(f"tiny-{family}" for family in FAMILIES)}


def test_tiny_models_are_seeded_and_leave_the_random_state_alone():
    state = torch.random.get_rng_state()
    first, again, other = tiny_hf("qwen2"), tiny_hf("qwen2"), tiny_hf("qwen2", seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    pairs = list(zip(first.parameters(), again.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_the_tiny_tokenizer_knows_every_option_of_the_bundled_questions():
    tokenizer = tiny_tokenizer()
    assert len(tokenizer) == len(tiny_vocabulary())
    for question in questions("facts"):
        prompt = f"Question: {question.question}\nAnswer:"
        ids = tokenizer.encode(prompt)
        assert tokenizer.decode(ids) == prompt
        assert tokenizer.unk_token_id not in ids
        assert all(len(tokenizer.encode(f" {option}")) == 1 for option in question.options)


# -- what cannot be loaded -------------------------------------------------------------------------------------


def _refused(message: str, *args: Any, **kwargs: Any) -> None:
    with pytest.raises(InputError, match=message):
        load(*args, quiet=True, **kwargs)


def test_unknown_names_come_with_the_near_ones():
    _refused("unknown tiny family 'lama'; did you mean 'llama'", "tiny-lama")
    _refused("unknown model 'SmolLM2-135M'; did you mean 'SmolLM2-135M-Instruct'", "SmolLM2-135M")
    _refused("unknown backend 'hook'; did you mean 'hooked'", "tiny-llama", backend="hook")
    _refused("unknown dtype 'float23'; did you mean 'float32'", "tiny-llama", dtype="float23")
    with pytest.raises(InputError, match="unknown tiny family 'gtp2'; did you mean 'gpt2'"):
        tiny_hf("gtp2")


def test_folders_that_hold_no_model(tmp_path):
    _refused("is no model folder: it has no config.json", tmp_path)
    _refused("is no model folder: it has no config.json", str(tmp_path))
    _refused("there is no folder .*missing", tmp_path / "missing")
    _refused("there is no folder .*missing", str(tmp_path / "missing"))


def test_a_name_that_is_not_cached_without_a_network(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    _refused(
        "'nobody/nothing-at-all' is not in the local cache and could not be fetched .*dp.load.. gives the bundled",
        "nobody/nothing-at-all",
    )


def test_devices_that_are_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    _refused(
        "device 'cuda' was asked for, but this machine has no usable CUDA device", "tiny-llama", device="cuda"
    )
    _refused("unknown device 'gpu'; use auto, cpu, cuda", "tiny-llama", device="gpu")


@pytest.mark.parametrize("wrong", [{"dtype": "bfloat16"}, {"device": "meta"}])
def test_what_its_owner_has_placed_is_not_moved_in_silence(wrong):
    bridge = _bridge()
    assert load(bridge, device="cpu", dtype="float32", quiet=True).dtype == torch.float32
    for given in (bridge, load(bridge, quiet=True)):
        with pytest.raises(InputError, match=r"on cpu in torch\.float32 already"):
            load(given, quiet=True, **wrong)


def test_objects_that_are_no_model():
    _refused("a model can be a name, a folder, .*, not 3", 3)
    _refused(
        "Linear is no Hugging Face model .it has no config. and no TransformerLens object",
        torch.nn.Linear(2, 2),
    )


def test_no_hooked_transformer_in_this_version(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformer_lens.loading_from_pretrained", None)
    with pytest.raises(
        MissingPackageError, match=r'install "transformer-lens==3\.9\.0" or use backend="bridge"'
    ):
        load("tiny-llama", backend="hooked", quiet=True)
