"""What is exported says, when it is loaded again, what the model under the intervention said."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, DeepseekV2Config, Qwen3MoeConfig

from decision_phases.engine import applied
from decision_phases.engine.lower import replaced_weights
from decision_phases.errors import InputError, ParityError, StorageError
from decision_phases.exports import export, mergekit_recipe
from decision_phases.exports.check import check
from decision_phases.exports.shorten import shortened
from decision_phases.interventions import (
    Array,
    Intervention,
    LowRank,
    insert,
    noise,
    skip,
    steer,
    weights,
    zero,
)
from decision_phases.models import FAMILIES, load, tiny_hf
from decision_phases.quantisation import Scheme
from decision_phases.readout import read
from decision_phases.tasks import questions

TOKENS = torch.randint(
    3, 800, (2, 20), generator=torch.Generator().manual_seed(3)
)  # longer than windows of 8

#: Small models of which some layers have experts and others have none.
EXPERTS = {
    "vocab_size": 64, "hidden_size": 16, "intermediate_size": 16, "moe_intermediate_size": 8, "num_hidden_layers": 5,
    "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8, "num_experts_per_tok": 1,
}  # fmt: skip
LATENT = {
    "n_routed_experts": 2, "n_shared_experts": 1, "kv_lora_rank": 4, "q_lora_rank": 4, "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4, "v_head_dim": 4, "topk_method": "greedy", "n_group": 1, "topk_group": 1,
}  # fmt: skip
#: Families that keep queries, keys and values in one matrix.
JOINT = ["gpt2", "gpt_neox", "bloom", "falcon"]


def said(model, under):
    with torch.no_grad(), applied(model, under):
        return model.logits(TOKENS)


def left(folder):
    """Everything in a folder, hidden files too."""
    return sorted(path.name for path in Path(folder).iterdir())


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_reloads_shorter_with_equal_logits_and_cached_generation(
    family, tmp_path, quickly, model_of
):
    """The first block goes too: families ask the first slot of the cache how long it is."""
    model = model_of(family)
    under = skip(1, 2) if family == "rwkv" else skip(0, 2)
    saved = export(model, under, tmp_path / "short")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "short", attn_implementation="eager").eval()
    with torch.no_grad():
        logits = again(input_ids=TOKENS, use_cache=False).logits
    # RWKV halves its stream every other layer, which its norms see through only up to their epsilon.
    tolerance = 1e-3 if family == "rwkv" else 1e-5
    np.testing.assert_allclose(logits.numpy(), said(model, under).numpy(), atol=tolerance)
    assert saved.difference <= tolerance
    assert (saved.kind, saved.kept) == ("plain", tuple(k for k in range(6) if k not in under.removed_blocks))
    assert again.config.num_hidden_layers == 4
    assert len(AutoTokenizer.from_pretrained(tmp_path / "short")) == len(model.tokenizer)
    if family == "rwkv":  # whose cached generation differs from a whole run before anything is removed
        assert saved.cached is None
        return
    assert saved.cached <= 1e-5
    out = again.generate(TOKENS[:1, :12], attention_mask=torch.ones(1, 12), max_new_tokens=6, do_sample=False,
                         min_new_tokens=6, pad_token_id=0)  # fmt: skip
    with torch.no_grad():
        scores = again(input_ids=out, use_cache=False).logits[0, 11:-1]
    chosen = scores.gather(-1, out[0, 12:, None])[:, 0]
    assert (scores.max(-1).values - chosen).max() <= 1e-4


def test_windows_and_masks_go_with_their_layers(tmp_path, quickly, model_of):
    model = model_of("gemma3")
    types = model.fresh_hf().config.layer_types
    export(model, skip(0, 3), tmp_path / "short")
    config = AutoConfig.from_pretrained(tmp_path / "short")
    assert config.layer_types == [types[layer] for layer in (1, 2, 4, 5)]
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "short")
    assert [layer.self_attn.layer_idx for layer in again.model.layers] == [0, 1, 2, 3]


def test_an_exported_cut_is_read_as_the_cut_was(tiny, tmp_path, quickly):
    some = questions("facts").limit(20, 0)
    export(tiny, skip(1, 2), tmp_path / "short")
    again = load(tmp_path / "short", quiet=True)
    assert again.n_layers == 4
    assert not again.intervention
    np.testing.assert_allclose(
        read(again, some).final.margin, read(tiny, some, under=skip(1, 2)).final.margin, atol=1e-5
    )


@pytest.mark.parametrize(
    ("config", "removed", "named", "expected"),
    [
        (
            Qwen3MoeConfig(**EXPERTS, mlp_only_layers=[4, 0], decoder_sparse_step=1),
            [0, 1],
            "mlp_only_layers",
            [2],
        ),
        (DeepseekV2Config(**EXPERTS, **LATENT, first_k_dense_replace=2), [0, 3], "first_k_dense_replace", 1),
    ],
    ids=["qwen3_moe", "deepseek_v2"],
)
def test_layers_that_are_named_by_number_keep_their_kind(config, removed, named, expected):
    hf = AutoModelForCausalLM.from_config(config).eval()
    made = shortened(hf, removed, {})
    assert getattr(made.config, named) == expected
    kept = [block for layer, block in enumerate(hf.model.layers) if layer not in removed]
    assert [type(block.mlp) for block in made.model.layers] == [type(block.mlp) for block in kept]


@pytest.mark.parametrize(
    "under",
    [
        skip(2, 3) + insert(2, 0.5 * np.eye(32), np.arange(32.0)),
        skip(1, part="attention") + skip(2, part="mlp"),
        skip(4) + steer("resid_post", 2, np.ones(32)),
    ],
    ids=str,
)
def test_what_no_plain_model_can_hold_stands_beside_the_whole_one(under, tiny, tmp_path, quickly):
    saved = export(tiny, under, tmp_path / "kept")
    assert saved.kind == "sidecar"
    assert saved.parameters == tiny.n_params
    again = load(tmp_path / "kept", quiet=True)
    assert again.intervention == under
    np.testing.assert_allclose(said(again, again.intervention), said(tiny, under), atol=1e-6)
    np.testing.assert_allclose(said(again, Intervention()), said(tiny, Intervention()), atol=1e-6)
    card = (tmp_path / "kept" / "README.md").read_text()
    assert "The change is not in the weights of this folder" in card
    assert "removed attentions and MLPs are still here" in card
    assert "dequantised" not in card
    assert str(under) in card
    assert not (tmp_path / "kept" / "mergekit.yaml").exists()
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "kept")
    assert plain.config.num_hidden_layers == 6


def test_loading_a_folder_with_an_intervention_says_that_it_is_not_applied(tiny, tmp_path, quickly, capsys):
    export(tiny, skip(1, part="attention"), tmp_path / "kept")
    load(tmp_path / "kept")
    assert (
        "not applied by itself: skip attention {1}; give under=model.intervention" in capsys.readouterr().err
    )


def test_replaced_and_masked_parameters_are_put_into_a_plain_model(tiny, tmp_path, quickly):
    name = next(name for name in tiny.parameters(4) if "down_proj" in name)
    shape = tuple(tiny.parameters(4)[name].shape)
    generator = np.random.default_rng(0)
    mask = generator.random(shape) < 0.5
    under = skip(1) + weights(4, {name: mask}) + weights(2, {name: generator.normal(size=shape)})
    saved = export(tiny, under, tmp_path / "sparse")
    assert saved.kind == "plain"
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "sparse")
    kept = again.model.layers[3].mlp.down_proj.weight.detach().numpy()  # block 4 is now number 3
    np.testing.assert_array_equal(kept != 0, mask)
    assert "model.layers.4.mlp.down_proj.weight" in (tmp_path / "sparse" / "README.md").read_text()
    np.testing.assert_allclose(again(input_ids=TOKENS).logits.detach(), said(tiny, under), atol=1e-5)


def of_all_matrices(model, layer):
    """Every matrix of a block changed in its own way, and what biases it has."""
    generator = np.random.default_rng(layer)
    changes = {}
    for number, (name, parameter) in enumerate(model.parameters(layer).items()):
        shape = tuple(parameter.shape)
        if len(shape) == 1:
            changes[name] = generator.normal(size=shape)
        elif number % 2:
            changes[name] = generator.random(shape) < 0.5
        else:
            left, right = generator.normal(size=(shape[0], 2)), generator.normal(size=(2, shape[1]))
            changes[name] = LowRank(Array.of(left, "left"), Array.of(right, "right"))
    return weights(layer, changes)


@pytest.mark.parametrize("dtype", ["auto", "bfloat16"])
@pytest.mark.parametrize("family", JOINT)
def test_parts_of_a_joint_matrix_are_put_back_into_it(family, dtype, tmp_path, quickly, model_of):
    """Queries, keys and values that TransformerLens divides, and matrices that lie the other way round."""
    model = model_of(family, dtype)
    twice = weights(
        4, {name: 1.5 * np.ones(p.shape) for name, p in model.parameters(4).items() if "q." in name}
    )
    under = skip(1) + twice + of_all_matrices(model, 4) + of_all_matrices(model, 5)
    before = [p.detach().clone() for p in model.unique_parameters()]
    saved = export(model, under, tmp_path / "changed")
    assert (saved.kind, saved.kept) == ("plain", (0, 2, 3, 4, 5))
    assert all(torch.equal(a, b) for a, b in zip(before, model.unique_parameters(), strict=True))
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "changed", dtype="auto").eval()
    with torch.no_grad():
        logits = again(input_ids=TOKENS, use_cache=False).logits
    whole = said(model, skip(1)).float()
    missed = (logits.float() - said(model, under).float()).abs().max()
    assert missed < (1e-4 if dtype == "auto" else 0.1) * (whole - logits.float()).abs().max()
    reloaded = load(tmp_path / "changed", dtype=str(model.dtype).removeprefix("torch."), quiet=True)
    with replaced_weights(model, under.at(4)):
        for name, parameter in model.parameters(4).items():
            assert torch.equal(parameter, reloaded.parameters(3)[name]), name
    record = json.loads((tmp_path / "changed" / "decision_phases" / "export.json").read_text())
    assert any("query_key_value" in name or "c_attn" in name for name in record["replaced"])


def test_a_joint_matrix_with_rows_that_are_alike_stays_beside_the_model(tmp_path, quickly):
    """Which of them are queries is not known; what is saved is right all the same."""
    hf = tiny_hf("gpt2")
    with torch.no_grad():
        hf.transformer.h[4].attn.c_attn.weight[:, 40] = hf.transformer.h[4].attn.c_attn.weight[:, 3]
    model = load(hf, quiet=True)
    assert export(model, of_all_matrices(model, 3), tmp_path / "told").kind == "plain"
    assert export(model, of_all_matrices(model, 4), tmp_path / "alike").kind == "sidecar"


def test_the_number_format_stays(tmp_path, quickly, model_of):
    model = model_of("llama", "bfloat16")
    export(model, skip(2), tmp_path / "half")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "half", dtype="auto").dtype == torch.bfloat16


def test_the_folder_says_what_was_done(tiny, tmp_path, quickly):
    saved = export(tiny, skip(1, 2, 4), tmp_path / "short")
    assert "saved" in str(saved)
    card = (tmp_path / "short" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert "`skip {1, 2, 4}`" in card
    assert "0 ← 0, 1 ← 3, 2 ← 5" in card
    assert f"{saved.difference:.1e}" in card
    record = json.loads((tmp_path / "short" / "decision_phases" / "export.json").read_text())
    assert record["kept"] == [0, 3, 5]
    assert record["fingerprint"] == tiny.fingerprint
    assert record["checks"]["logits"] == saved.difference
    assert record["parameters"] == load(tmp_path / "short", quiet=True).n_params < tiny.n_params
    recipe = yaml.safe_load((tmp_path / "short" / "mergekit.yaml").read_text())
    slices = [source["layer_range"] for part in recipe["slices"] for source in part["sources"]]
    assert [layer for low, high in slices for layer in range(low, high)] == record["kept"]


def recipe_of(folder):
    """The model that a recipe names."""
    (named,) = {
        source["model"]
        for part in yaml.safe_load((folder / "mergekit.yaml").read_text())["slices"]
        for source in part["sources"]
    }
    return named


def test_a_recipe_names_the_model_where_it_was_loaded_from(tiny, tmp_path, quickly, monkeypatch):
    """The last part of a path is found by nobody else."""
    export(tiny, skip(1), tmp_path / "short")
    assert recipe_of(tmp_path / "short") == "tiny-llama"
    monkeypatch.chdir(tmp_path)
    again = load("./short", quiet=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    export(again, skip(1), "shorter")
    assert recipe_of(tmp_path / "elsewhere" / "shorter") == str((tmp_path / "short").resolve())
    again.origin = {"source": "some/model", "revision": "v2"}
    export(again, skip(1), "published")
    assert recipe_of(tmp_path / "elsewhere" / "published") == "some/model@v2"
    export(AutoModelForCausalLM.from_pretrained(tmp_path / "short"), skip(1), "object")
    assert recipe_of(tmp_path / "elsewhere" / "object") == str((tmp_path / "short").resolve())


def test_a_model_that_was_loaded_quantised_is_saved_dequantised_and_says_so(tmp_path, quickly):
    torchao = pytest.importorskip("torchao.quantization")
    hf = tiny_hf("llama")
    torchao.quantize_(hf.model.layers, Scheme.of("int8").torchao())
    model = load(hf, quiet=True)
    saved = export(model, skip(2), tmp_path / "short")
    assert saved.kind == "plain"
    card = (tmp_path / "short" / "README.md").read_text()
    assert "was loaded quantised (its weights are IntxUnpackedToInt8Tensor)" in card
    assert "Here its weights stand **dequantised**, with the same values as float32" in card
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "short")
    kept, own = (of.model.layers[2].mlp.up_proj.weight for of in (again, model.fresh_hf()))
    assert type(kept.data) is torch.Tensor
    assert not torch.equal(kept, own)  # which is block 2, that was removed
    assert torch.equal(kept, model.fresh_hf().model.layers[3].mlp.up_proj.weight)


def test_recipe_quotes_what_yaml_would_read_otherwise():
    recipe = yaml.safe_load(mergekit_recipe('C:\\a "b": #c', [0, 1, 3], "bfloat16"))
    assert recipe["merge_method"] == "passthrough"
    assert recipe["dtype"] == "bfloat16"
    assert [part["sources"][0]["model"] for part in recipe["slices"]] == ['C:\\a "b": #c'] * 2


def test_a_fresh_process_loads_what_was_saved(tiny, tmp_path):
    """The one test that starts it; with maps, so that both kinds of loading are seen together with the plain ones."""
    under = skip(2, 3) + insert(2, 0.5 * np.eye(32))
    saved = export(tiny, under, tmp_path / "kept")
    assert saved.difference < 1e-5
    assert saved.cached < 1e-5


# -- what cannot be saved ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["auto", "bfloat16", "float16"])
def test_another_block_than_was_asked_for_is_found_in_every_number_format(
    dtype, tmp_path, quickly, monkeypatch, model_of
):
    """Also where all logits are small, so that no difference is large."""

    def different(hf, removed, replaced):
        return shortened(hf, [3], replaced)

    monkeypatch.setattr("decision_phases.exports.folder.shortened", different)
    with pytest.raises(ParityError, match=r"its weights are not those .*: model.layers.2.*; nothing is left"):
        export(model_of("llama", dtype), skip(2), tmp_path / "short")
    quiet = tiny_hf()
    with torch.no_grad():
        quiet.lm_head.weight.mul_(1e-2)
    with pytest.raises(ParityError, match="its weights are not those of the changed model"):
        export(load(quiet, dtype=dtype, quiet=True), skip(2), tmp_path / "short")
    assert left(tmp_path) == []


@pytest.mark.parametrize("dtype", ["auto", "bfloat16"])
def test_weights_that_are_computed_with_otherwise_are_found(dtype, tmp_path, quickly, monkeypatch):
    """The right weights in a wrong configuration: logits differ as much as the change changes them."""

    def different(hf, removed, replaced):
        made = shortened(hf, removed, replaced)
        made.config.rms_norm_eps = 10.0
        return made

    quiet = tiny_hf()
    with torch.no_grad():
        quiet.lm_head.weight.mul_(1e-2)
    monkeypatch.setattr("decision_phases.exports.folder.shortened", different)
    with pytest.raises(ParityError, match="reloaded its logits differ"):
        export(load(quiet, dtype=dtype, quiet=True), skip(2), tmp_path / "short")
    assert left(tmp_path) == []


def test_a_change_that_is_hardly_more_than_rounding_is_saved(tmp_path, quickly, model_of):
    model = model_of("gpt_neox", "bfloat16")
    under = weights(3, {"mlp.dense_h_to_4h.bias": 1e-3 * np.ones(64)})
    saved = export(model, under, tmp_path / "changed")
    assert saved.kind == "plain"
    assert saved.difference < 0.1


def test_weights_that_a_family_rescales_when_it_runs_are_saved_as_they_were(tmp_path, quickly, model_of):
    """RWKV halves the output of every other layer once more, and would do so again with what was read off then."""
    model = model_of("rwkv")
    name = "attention.output.weight"
    under = weights(5, {name: np.arange(1024).reshape(32, 32) % 3 > 0})
    assert export(model, under, tmp_path / "sparse").kind == "plain"
    other = weights(
        5, {name: LowRank(Array.of(np.ones((32, 1)), "left"), Array.of(np.ones((1, 32)), "right"))}
    )
    assert export(model, other, tmp_path / "adapted").kind == "plain"


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            {"logits": 0.0, "cached": 0.5, "failure": None},
            "does not generate with its key-value cache: its logits differ by 0.5",
        ),
        (
            {"logits": 0.0, "cached": None, "failure": "IndexError: layer 5"},
            "key-value cache: IndexError: layer 5",
        ),
        ({"logits": float("nan"), "cached": 0.0, "failure": None}, "logits differ by nan"),
    ],
)
def test_every_difference_counts(found, message, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "decision_phases.exports.reload.in_fresh_process", lambda *given: check(*given) | found
    )
    with pytest.raises(ParityError, match=message):
        export(tiny, skip(2), tmp_path / "short")
    assert left(tmp_path) == []


def test_an_interrupted_export_leaves_nothing(tiny, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("decision_phases.exports.reload.in_fresh_process", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export(tiny, skip(2), tmp_path / "short")
    assert left(tmp_path) == []


def test_a_folder_that_cannot_be_loaded_is_an_error_of_the_process(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    save_file({"tokens": TOKENS, "logits": torch.zeros(2, 20, 5)}, tmp_path / "reference.safetensors")
    with pytest.raises(ValueError, match="model_type"):
        check(tmp_path, tmp_path / "reference.safetensors")


def test_a_process_that_fails_says_why(tiny, tmp_path, tmp_path_factory, monkeypatch):
    """A stand-in for Python, which takes seconds to start."""
    failing = tmp_path_factory.mktemp("bin") / "python"
    failing.write_text("#!/bin/sh\necho 'Traceback' >&2\necho \"ValueError: $3 is broken\" >&2\nexit 1\n")
    failing.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(failing))
    with pytest.raises(ParityError, match=r"cannot be loaded again: ValueError: .* is broken$"):
        export(tiny, skip(2), tmp_path / "short")
    assert left(tmp_path) == []


def test_existing_and_read_only_places_are_refused(tiny, tmp_path, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("full", "file"):
        with pytest.raises(InputError, match="exists already"):
            export(tiny, skip(2), tmp_path / name)
    with pytest.raises(InputError, match="cannot be written"):
        export(tiny, skip(2), tmp_path / "file" / "short")

    def read_only(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", read_only)  # tests may run as root, whom no mode stops
    with pytest.raises(StorageError, match="cannot be written: Permission denied"):
        export(tiny, skip(2), tmp_path / "short")
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["", ".", "..", "short/.."])
def test_a_folder_without_a_name_of_its_own_is_refused(name, tiny, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(InputError, match="has no name of its own; give the name of a folder"):
        export(tiny, skip(2), name)
    assert left(tmp_path) == ["empty"]
    assert left(tmp_path / "empty") == []


def test_links_are_followed_or_refused(tiny, tmp_path, quickly):
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    for target in (tmp_path / "nowhere", tmp_path / "nowhere" / "short"):
        with pytest.raises(InputError, match="nowhere is a link to what is not there"):
            export(tiny, skip(2), target)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert export(tiny, skip(2), tmp_path / "link").folder == tmp_path / "link"
    assert (tmp_path / "real" / "config.json").is_file()
    assert left(tmp_path) == ["link", "nowhere", "real"]


def test_folders_that_were_made_on_the_way_go_again(tiny, tmp_path, quickly, monkeypatch):
    (tmp_path / "mine").mkdir()

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("decision_phases.exports.reload.in_fresh_process", interrupt)
        with pytest.raises(KeyboardInterrupt):
            export(tiny, skip(2), tmp_path / "mine" / "a" / "b" / "short")
    assert left(tmp_path / "mine") == []
    export(tiny, skip(2), tmp_path / "mine" / "a" / "b" / "short")
    assert left(tmp_path / "mine" / "a" / "b") == ["short"]


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("transformers.PreTrainedModel.save_pretrained", OSError(28, "No space left on device")),
        (
            "transformers.PreTrainedModel.save_pretrained",
            SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        ),
        ("decision_phases.exports.folder.write_json", OSError(28, "No space left on device")),
        ("pathlib.Path.replace", OSError(28, "No space left on device")),
    ],
)
def test_a_full_disk_is_said_and_leaves_nothing(what, error, tiny, tmp_path, quickly, monkeypatch):
    def full(*_, **__):
        raise error

    monkeypatch.setattr(what, full)
    with pytest.raises(StorageError, match=r"short cannot be written: .*No space left on device"):
        export(tiny, skip(2), tmp_path / "a" / "short")
    assert left(tmp_path) == []


def test_the_folder_is_looked_at_before_the_model(tmp_path):
    with pytest.raises(InputError, match="has no name of its own"):
        export("no-such-model", skip(2), "")


def test_an_empty_folder_is_used(tiny, tmp_path, quickly):
    (tmp_path / "short").mkdir()
    assert export(tiny, skip(2), tmp_path / "short").folder.is_dir()
    assert left(tmp_path) == ["short"]


@pytest.mark.parametrize(
    ("under", "message"),
    [
        (Intervention(), "nothing to save"),
        (skip(range(6)), "leave at least one"),
        (skip(7), "out of range"),
        (skip(2) + noise(3, 0.1), "'noise resid_post of layer 3' depends on the question"),
        (zero("mlp_out", 3, positions="answer"), "positions in it"),
    ],
)
def test_interventions_that_no_folder_can_hold(under, message, tiny, tmp_path):
    with pytest.raises(InputError, match=message):
        export(tiny, under, tmp_path / "short")
    assert left(tmp_path) == []


def test_objects_and_processed_models_are_refused(tiny, tmp_path):
    with pytest.raises(InputError, match="no plain Hugging Face model can be rebuilt"):
        export(tiny.tl, skip(2), tmp_path / "short")
    folded = load("tiny-gpt2", quiet=True)
    folded.processed = True
    with pytest.raises(InputError, match=r"processed .* load it without processing"):
        export(folded, skip(2), tmp_path / "short")


def test_an_architecture_that_is_not_understood_is_refused(tmp_path):
    model = load("tiny-llama", quiet=True)
    hf = tiny_hf("llama")
    for name in ("first", "second"):
        hf.add_module(name, torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(6)))
    model._rebuild = lambda: hf
    model.capabilities = replace(model.capabilities, fresh=True)
    with pytest.raises(InputError, match="2 lists of 6 blocks"):
        export(model, skip(2), tmp_path / "short")
    assert left(tmp_path) == []


def test_a_first_block_that_no_other_can_replace_is_refused(tmp_path):
    """Block 0 of RWKV begins with a norm that no other block has."""
    with pytest.raises(InputError, match=r"not alike.* of \{0\}: rwkv.blocks.0.pre_ln.weight"):
        export("tiny-rwkv", skip(0), tmp_path / "short")
    assert left(tmp_path) == []
