"""What only a `HookedTransformer` can do: come folded, come with a tokenizer that pads on the left, be unsupported."""

from importlib.metadata import version
from typing import Any

import pytest
import torch

from decision_phases.errors import InputError, ParityError
from decision_phases.models import load, tiny_hf, tiny_tokenizer
from decision_phases.models.hooked import HookedAccess, hooked_from_hf
from decision_phases.models.loading import reference_logits
from decision_phases.models.parity import check_model

pytestmark = [
    pytest.mark.tl,
    pytest.mark.skipif(
        not version("transformer-lens").startswith("3."), reason="gone from TransformerLens 4"
    ),
]
TOKENS = torch.tensor([[5, 60, 7, 200, 31, 8], [400, 3, 3, 90, 12, 700]])


def _folded(family: str) -> Any:
    """As `HookedTransformer.from_pretrained` makes them by default."""
    from transformer_lens import HookedTransformer

    plain = hooked_from_hf(tiny_hf(family))
    plain.cfg.normalization_type += "Pre"
    with pytest.warns(DeprecationWarning, match="HookedTransformer"):
        folded = HookedTransformer(plain.cfg, move_to_device=False)
    plain.cfg.normalization_type = plain.cfg.normalization_type.removesuffix("Pre")
    folded.load_and_process_state_dict(plain.state_dict(), fold_ln=True)
    return folded.eval()


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_folded_one_is_compared_by_log_probabilities(family):
    model = load(_folded(family), quiet=True)
    assert model.processed
    assert (model.kind, model.parity.reference) == ("HookedTransformer", "no reference")
    check_model(model, reference_logits(tiny_hf(family)), "plain transformers")
    assert model.parity.quantity == "log-probabilities"
    assert model.parity.difference < 1e-4
    with torch.no_grad():
        expected = tiny_hf(family)(TOKENS).logits
        logits = model.logits(TOKENS)
    assert float((logits - expected).abs().max()) > 1e-3
    torch.testing.assert_close(logits.log_softmax(-1), expected.log_softmax(-1), atol=1e-4, rtol=0)


def test_a_tokenizer_that_pads_on_the_left_masks_nothing():
    """Left to itself it would take ids that equal its padding for padding."""
    tl = hooked_from_hf(tiny_hf("gpt2"))
    tl.tokenizer = tiny_tokenizer()
    tokens = torch.tensor([[0, 0, 7, 9, 4]])
    side, tl.tokenizer.padding_side = tl.tokenizer.padding_side, "left"
    try:
        model = load(tl, tokenizer=tiny_tokenizer(), quiet=True)
        with torch.no_grad():
            torch.testing.assert_close(
                model.logits(tokens), tiny_hf("gpt2")(tokens).logits, atol=2e-5, rtol=0
            )
    finally:
        tl.tokenizer.padding_side = side


def test_a_silent_error_of_the_conversion_is_refused():
    """It ignores that some Qwen 3 layers see only a window."""
    import transformers

    plain: Any = tiny_hf("qwen3")
    config = plain.config.to_dict() | {
        "use_sliding_window": True,
        "sliding_window": 3,
        "max_window_layers": 0,
        "layer_types": ["sliding_attention"] * 6,
    }
    hf = transformers.Qwen3ForCausalLM._from_config(
        transformers.Qwen3Config(**config), attn_implementation="eager"
    )
    hf.load_state_dict(plain.state_dict())
    with pytest.raises(ParityError, match=r"HookedTransformer\): logits differ from plain transformers"):
        load(hf, backend="hooked", quiet=True)


def test_families_it_cannot_hold_are_named():
    with pytest.raises(InputError, match=r"cannot hold FalconForCausalLM .*; use backend=\"bridge\""):
        load("tiny-falcon", backend="hooked", quiet=True)


def test_one_without_a_final_norm_is_refused():
    tl = hooked_from_hf(tiny_hf("gpt2"))
    tl.cfg.normalization_type = None
    with pytest.raises(InputError, match="has no final norm"):
        HookedAccess(tl, name="toy", tokenizer=None, weights="as given")


@pytest.mark.model
def test_the_bundled_model(smollm2):
    model = load(backend="hooked", quiet=True)
    assert model.parity.difference < 1e-3
    tokens = torch.tensor([smollm2.tokenizer.encode("Question: What is the capital of France?\nAnswer:")])
    with torch.no_grad():
        torch.testing.assert_close(model.logits(tokens), smollm2.logits(tokens), atol=1e-3, rtol=0)
        torch.testing.assert_close(
            model.logits(tokens, last_only=True), smollm2.logits(tokens)[:, -1:], atol=1e-3, rtol=0
        )
