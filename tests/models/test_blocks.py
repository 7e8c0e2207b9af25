"""Blocks called one by one, replaced, hooked: the same numbers, and nothing left behind."""

import copy
from typing import Any

import pytest
import torch

from decision_phases.errors import InputError
from decision_phases.models import load, tiny_hf

ATOL = 2e-5
LAYERS = ("model.layers.", "transformer.h.", "gpt_neox.layers.", "backbone.layers.")


def _built_without(family: str, removed: set[int]) -> Any:
    """A plain model with fewer layers in its configuration, and the weights of those that stay."""
    whole: Any = tiny_hf(family)
    kept = [layer for layer in range(6) if layer not in removed]
    config = copy.deepcopy(whole.config)
    if "layer_types" in vars(config):
        config.layer_types = [config.layer_types[layer] for layer in kept]
    config.num_hidden_layers = len(kept)
    weights = {}
    for name, tensor in whole.state_dict().items():
        prefix = next((p for p in LAYERS if name.startswith(p)), None)
        if prefix is None:
            weights[name] = tensor
            continue
        layer, rest = name.removeprefix(prefix).split(".", 1)
        if int(layer) in kept:
            weights[f"{prefix}{kept.index(int(layer))}.{rest}"] = tensor
    with torch.random.fork_rng(devices=[]):
        short = type(whole)._from_config(config, attn_implementation="eager")
    short.load_state_dict(weights)
    return short.eval()


@pytest.mark.parametrize("removed", [{0}, {1, 2, 5}], ids=str)
def test_identity_equals_a_model_built_without_the_blocks(case, removed):
    if case.family == "rwkv":
        pytest.skip("RWKV divides by powers of two that depend on the place; a hook bypass is its reference")
    short = _built_without(case.family, removed)
    with torch.no_grad():
        expected = short(input_ids=case.tokens, use_cache=False).logits
        with case.model.overridden(dict.fromkeys(removed)):
            logits = case.model.logits(case.tokens)
    torch.testing.assert_close(logits, expected, atol=ATOL, rtol=0)


@pytest.mark.parametrize("layer", [0, 3, 5])
def test_identity_equals_a_bypass_with_hooks(case, layer):
    model, entering = case.model, []
    bypass = [
        (layer, "resid_pre", lambda x: entering.append(x)),
        (layer, "resid_post", lambda _: entering[-1]),
    ]
    with torch.no_grad():
        with model.hooked(bypass):
            expected = model.logits(case.tokens)
        with model.overridden({layer: None}):
            logits = model.logits(case.tokens)
    torch.testing.assert_close(logits, expected, atol=1e-6, rtol=0)
    assert not torch.allclose(expected, case.logits, atol=1e-3), "the block did nothing to begin with"


def test_a_replaced_block_is_not_computed(case):
    """The attention or mixer inside it never runs, while the hooks around the block still fire."""
    model, inside, around = case.model, [], []
    part = next(m for m in model.engine_blocks[2].children() if any(True for _ in m.parameters()))
    handle = part.register_forward_hook(lambda *_: inside.append(1))
    hooks = [(2, site, lambda _x: around.append(1)) for site in ("resid_pre", "resid_post")]
    try:
        with torch.no_grad(), model.hooked(hooks), model.overridden({2: None}):
            model.logits(case.tokens)
    finally:
        handle.remove()
    assert (len(inside), len(around)) == (0, 2)


def test_a_constant_resumes_and_a_function_inserts(case):
    """Giving block 2's output back, whatever enters, reproduces the run; so does a function that ignores its input."""
    model, kept = case.model, []
    with torch.no_grad():
        with model.hooked([(2, "resid_post", lambda x: kept.append(x))]):
            expected = model.logits(case.tokens)
        for stand_in in (kept[0], lambda _x: kept[0]):
            with model.overridden({0: None, 1: None, 2: stand_in}):
                logits = model.logits(case.tokens)
            if case.family == "rwkv":  # its loop halves after block 1, before the constant
                torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
            else:
                assert torch.equal(logits, expected)


def test_blocks_called_one_by_one_are_the_whole_model(case):
    model = case.model
    with torch.no_grad():
        entry = model.enter(case.tokens)
        resid = entry.resid
        for layer in range(model.n_layers):
            resid = model.run_block(layer, resid, entry)
            if case.family == "rwkv" and layer % 2 == 1:
                resid = resid / 2
        logits = model.readout(resid)
    torch.testing.assert_close(logits, case.logits, atol=ATOL, rtol=0)


def test_entering_computes_no_block_and_leaves_nothing(case, traces):
    model, ran = case.model, []
    before = traces(model)
    parts = [next(m for m in b.children() if any(True for _ in m.parameters())) for b in model.engine_blocks]
    handles = [p.register_forward_hook(lambda *_: ran.append(1)) for p in parts]
    with torch.no_grad():
        entry = model.enter(case.tokens)
    for handle in handles:
        handle.remove()
    assert ran == []
    assert len(entry.calls) == model.n_layers
    torch.testing.assert_close(entry.resid, case.hidden[0], atol=ATOL, rtol=0)
    assert traces(model) == before


@pytest.mark.parametrize("table", [{}, {0: None, 1: None, 4: None}], ids=str)
def test_cached_steps_equal_the_whole_run(case, table):
    """Several tokens, one token, several tokens again; block 0 is the one whose cache tells the length."""
    model, tokens = case.model, case.tokens
    if not model.capabilities.cached_generation:
        pytest.skip(f"{case.family} is generated from without a cache")
    with torch.no_grad(), model.overridden(table):
        expected = model.logits(tokens)
        cache = None
        for start, stop in ((0, 6), (6, 7), (7, 10), (10, 11), (11, 12)):
            last, cache = model.step(tokens[:, start:stop], cache)
            torch.testing.assert_close(last, expected[:, stop - 1], atol=ATOL, rtol=0)


def test_padding_on_the_right_changes_nothing(case):
    model = case.model
    short = case.tokens[1:, :5]
    padded = case.tokens.clone()
    padded[1, 5:] = 0
    with torch.no_grad():
        together = model.logits(padded)
        torch.testing.assert_close(together[:1], case.logits[:1], atol=ATOL, rtol=0)
        torch.testing.assert_close(together[1:, :5], model.logits(short), atol=ATOL, rtol=0)


def test_everything_is_gone_after_an_exception(case, traces):
    model, before = case.model, traces(case.model)

    def explode(_x: torch.Tensor) -> torch.Tensor:
        raise ArithmeticError

    for hooks, table in (
        ([(1, "resid_post", explode)], {0: None}),
        ([(1, "resid_pre", lambda _x: None)], {0: None, 3: explode}),
    ):
        with (  # noqa: PT012 - what is inside while it lasts is part of the question
            pytest.raises(ArithmeticError),
            torch.no_grad(),
            model.overridden(table),
            model.watching_last([explode]),
            model.hooked(hooks),
        ):
            assert traces(model) != before
            model.logits(case.tokens)
        assert traces(model) == before
    with pytest.raises(ArithmeticError), torch.no_grad(), model.overridden({2: explode}):
        model.logits(case.tokens)
    assert traces(model) == before
    with torch.no_grad():
        torch.testing.assert_close(model.logits(case.tokens), case.logits, atol=ATOL, rtol=0)


def test_half_placed_hooks_are_taken_back(tiny, traces):
    before = traces(tiny)
    with pytest.raises(InputError, match=r"layer 6 is out of range: tiny-llama has layers 0\.\.5"):
        tiny.hooked([(0, "resid_pre", lambda x: x), (6, "resid_pre", lambda x: x)]).__enter__()
    assert traces(tiny) == before


def test_overrides_nest_and_put_an_older_forward_back(case):
    """Wrappers that offload weights install a forward of their own on the instance."""
    block = case.model.engine_blocks[1]
    own = block.forward
    had = "forward" in block.__dict__
    block.forward = wrapped = lambda *args, **kwargs: own(*args, **kwargs)
    try:
        with torch.no_grad(), case.model.overridden({1: None}):
            with case.model.overridden({1: None, 2: None}):
                assert block.forward is not wrapped
            once = case.model.logits(case.tokens)
        assert block.forward is wrapped
    finally:
        del block.forward
        if had:
            block.forward = own
    with torch.no_grad(), case.model.overridden({1: None}):
        assert torch.equal(case.model.logits(case.tokens), once)


def test_gradients_flow_past_a_replaced_block(tiny):
    tokens = torch.tensor([[5, 6, 7]])
    start = []
    with (
        tiny.overridden({0: None}),
        tiny.hooked([(0, "resid_pre", lambda x: start.append(x.requires_grad_()))]),
    ):
        tiny.logits(tokens)[0, -1, 9].backward()
    assert float(start[0].grad.abs().sum()) > 0


@pytest.mark.parametrize("layer", [-1, 6, 99])
def test_layers_out_of_range_are_named(tiny, layer):
    expected = rf"layer {layer} is out of range: tiny-llama has layers 0\.\.5"
    for ask in (
        lambda: tiny.overridden({layer: None}).__enter__(),
        lambda: tiny.hook_point(layer, "resid_post"),
        lambda: tiny.parameters(layer),
    ):
        with pytest.raises(InputError, match=expected):
            ask()


def test_sites_that_a_model_lacks_are_named(tiny):
    with pytest.raises(InputError, match="unknown site 'resid_psot'; did you mean 'resid_post'"):
        tiny.hook_point(0, "resid_psot")
    with pytest.raises(
        InputError, match=r"MambaForCausalLM\) has no site 'attn_out'; it has resid_post, resid_pre"
    ):
        load("tiny-mamba", quiet=True).hook_point(0, "attn_out")
