"""Models that accelerate spreads give the numbers of the same models in one place; what cannot work is refused."""

from importlib.metadata import version
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.hooks import AlignDevicesHook

from decision_phases.engine import capture
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention, scale, skip, weights
from decision_phases.models import load, tiny_hf, tiny_tokenizer
from decision_phases.readout import ask, read
from decision_phases.tasks import questions

NEWEST = not version("transformer-lens").startswith("3.")
OUTSIDE = ("embed_tokens", "wte", "wpe", "norm", "ln_f", "lm_head")


def layout(hf: Any, disk: tuple[int, ...], outside: tuple[str, ...] = ()) -> dict[str, str]:
    """Every block by itself on the CPU or on disk, and so everything outside the blocks."""
    base = hf.base_model_prefix
    blocks = next(name for name, m in hf.named_modules() if isinstance(m, torch.nn.ModuleList))
    names = [f"{base}.{name}" for name, _ in getattr(hf, base).named_children()]
    names += [name for name, _ in hf.named_children() if name != base]
    placed = {n: "disk" if n.rpartition(".")[2] in outside else "cpu" for n in names if n != blocks}
    return placed | {f"{blocks}.{i}": "disk" if i in disk else "cpu" for i in range(6)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folder and plain model of a family."""

    def save(family: str) -> tuple[Any, Any]:
        hf: Any = tiny_hf(family, seed=2)
        folder = tmp_path_factory.mktemp(family) / "mine"
        hf.save_pretrained(folder)
        tiny_tokenizer().save_pretrained(folder)
        return folder, hf

    return save


@pytest.fixture(scope="module")
def few():
    return questions("facts").limit(8, 0)


@pytest.mark.parametrize(
    ("family", "disk", "outside"),
    [
        ("llama", (0, 5), OUTSIDE),
        pytest.param(
            "gpt2", (0, 1, 5), OUTSIDE, marks=pytest.mark.skipif(not NEWEST, reason="3.9 splits at boot")
        ),
        ("gemma3", tuple(range(6)), ()),
    ],
)
def test_blocks_left_on_disk_give_the_same_numbers(saved, tmp_path, few, family, disk, outside):
    folder, hf = saved(family)
    here = load(folder, quiet=True)
    spread = load(folder, device_map=layout(hf, disk, outside), offload_folder=tmp_path, quiet=True)
    assert spread.spread
    assert not here.spread
    for layer in range(6):  # what accelerate left elsewhere stays there
        block = spread.engine_blocks[layer]
        assert any(p.is_meta for p in block.parameters()) == (layer in disk)
        assert any(isinstance(getattr(m, "_hf_hook", None), AlignDevicesHook) for m in block.modules())
    assert (spread.device, spread.dtype) == (torch.device("cpu"), torch.float32)
    assert spread.fingerprint == here.fingerprint
    assert spread.n_params == here.n_params
    assert spread.parity.difference < 1e-4
    assert "spread by device_map" in repr(spread)
    encoded = ask(here, few, shots=2)
    for under in (Intervention(), skip(2) + scale("mlp_out", 3, 0.5)):
        expected, found = read(here, encoded, under=under), read(spread, encoded, under=under)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4, rtol=0)
    tokens = torch.tensor([[5, 60, 7, 200]])
    with torch.no_grad():
        expected = hf(tokens).logits
        torch.testing.assert_close(spread.logits(tokens), expected, atol=2e-5, rtol=0)
        assert torch.equal(spread.fresh_hf()(tokens).logits, expected)
    assert not any(p.is_meta for p in spread.fresh_hf().parameters())


def test_shared_text_sublayers_and_captures_run_where_the_blocks_are(saved, tmp_path, few):
    folder, hf = saved("llama")
    here = load(folder, quiet=True)
    spread = load(folder, device_map=layout(hf, (1, 4)), offload_folder=tmp_path, quiet=True)
    assert spread.shares_text
    encoded = ask(here, few)
    sites = ("attn_out", "mlp_out", "head_out")
    expected, found = (capture(m, encoded, sites=sites, under=skip(3, part="mlp")) for m in (here, spread))
    for site, layer in expected.values:
        a, b = found.mean(site, layer), expected.mean(site, layer)
        np.testing.assert_allclose(a, b, atol=1e-5, rtol=0)


def test_a_table_of_one_device_needs_no_hooks(saved, few):
    folder, hf = saved("llama")
    model = load(folder, device_map=layout(hf, ()), quiet=True)
    assert not model.spread
    assert model.capabilities.plain
    found, expected = read(model, few).scores, read(load(folder, quiet=True), few).scores
    assert np.array_equal(found, expected)


def test_auto_takes_the_format_of_the_checkpoint(saved, tmp_path):
    folder, _ = saved("llama")
    load(folder, dtype="bfloat16", quiet=True).fresh_hf().save_pretrained(tmp_path / "low")
    assert load(tmp_path / "low", device_map="auto", quiet=True).dtype == torch.bfloat16
    assert load(tmp_path / "low", device_map="auto", dtype="float32", quiet=True).dtype == torch.float32


def test_weights_that_are_fetched_each_time_cannot_be_replaced(saved, tmp_path, few):
    folder, hf = saved("llama")
    spread = load(folder, device_map=layout(hf, (2,)), offload_folder=tmp_path, quiet=True)
    name, parameter = next(iter(spread.parameters(2).items()))
    new = np.zeros(tuple(parameter.shape), dtype=np.float32)
    with pytest.raises(InputError, match=r"device_map leaves .* of block 2 elsewhere"):
        read(spread, few, under=weights(2, {name: new}))
    assert read(spread, few, under=weights(3, {name: new})).n_questions == 8


def _refused(message: str, source: Any, **given: Any) -> None:
    with pytest.raises(InputError, match=message):
        load(source, quiet=True, **given)


def test_what_cannot_be_spread_is_refused_before_anything_is_read(saved, tiny, tmp_path):
    folder, _ = saved("llama")
    _refused("LlamaForCausalLM is in memory already", tiny_hf("llama"), device_map="auto")
    _refused("BridgeAccess is in memory already", tiny, device_map="auto")
    _refused("tiny-llama is made in memory", "tiny-llama", device_map="auto")
    _refused("backend='hooked' copies all weights", folder, device_map="auto", backend="hooked")
    _refused("device='cpu' puts all of it in one place", folder, device_map="auto", device="cpu")
    _refused("device_map 'cpu' given; it can be auto, .*there is device=", folder, device_map="cpu")
    _refused("offload_folder is where device_map leaves blocks", folder, offload_folder=tmp_path)
    _refused("puts 'model' on 'gpu', which is not there", folder, device_map={"model": "gpu"})
    _refused("puts 'model' on 999, which is not there", folder, device_map={"model": 999})
    _refused(
        "transformers cannot place .* by this device_map",
        folder,
        device_map={"lm_head": "disk", "model.norm": "cpu"},
    )


def test_a_model_spread_by_its_owner_is_refused(saved, tmp_path):
    from transformers import AutoModelForCausalLM

    folder, hf = saved("llama")
    owned = AutoModelForCausalLM.from_pretrained(folder, device_map=layout(hf, (1,)), offload_folder=tmp_path)
    _refused("is spread over devices already", owned)


@pytest.mark.parametrize(
    ("family", "message"), [("rwkv", "changes its weights when it is first run"), ("mamba", "cannot be run")]
)
def test_families_that_offloading_would_break_are_refused(saved, tmp_path, family, message):
    folder, hf = saved(family)
    _refused(message, folder, device_map=layout(hf, (2,)), offload_folder=tmp_path)
