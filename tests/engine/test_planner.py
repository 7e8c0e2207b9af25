"""The planner gives what plain runs give, and computes no more than it says."""

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from decision_phases.engine import capture, evaluate, make_batches
from decision_phases.engine.capture import CaptureObserver
from decision_phases.engine.inputs import as_inputs
from decision_phases.engine.local import plan_for
from decision_phases.interventions import (
    Intervention,
    insert,
    mean,
    noise,
    patch,
    resample,
    scale,
    skip,
    steer,
    weights,
    zero,
)
from decision_phases.models import FAMILIES, ModelAccess, tiny_hf
from decision_phases.readout import StateObserver
from decision_phases.tasks import TokenSequence

Rows = Sequence[TokenSequence]
LOOK = [CaptureObserver(("resid_post",), (5,), "read")]


def of_width(d: int, seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(*shape, d)).astype(np.float32)


def sites_of(model: ModelAccess) -> list[str]:
    usable = model.sites if model.capabilities.resid_mid else model.sites - {"resid_mid"}
    return sorted(usable)


def edits_at(model: ModelAccess, site: str, layer: int, rows: Rows) -> list[Intervention]:
    """One of every kind that can be made at a site."""
    head = 1 if site == "head_out" else None
    d = model.d_head if head is not None else model.d_model
    ragged = [of_width(d, i, len(s)) for i, s in enumerate(rows)]
    found = [
        zero(site, layer, head=head, positions="answer"),
        scale(site, layer, 0.5, head=head),
        steer(site, layer, of_width(d, 0), 2.0, head=head, positions="question"),
        mean(site, layer, of_width(d, 1), head=head),
        noise(layer, 0.3, site=site, head=head, positions="answer"),
        noise(layer, 0.1, relative_to="absolute", site=site, head=head, seed=1),
        patch(site, layer, of_width(d, 2, len(rows)), head=head),
        patch(site, layer, ragged, head=head, positions="all"),
        resample(site, layer, of_width(d, 3, len(rows)), head=head),
    ]
    if head is None:
        found.append(insert(layer, np.eye(d, dtype=np.float32) * 0.5, of_width(d, 4)))
    return found


def masked(model: ModelAccess, layer: int) -> Intervention:
    name, parameter = max(model.parameters(layer).items(), key=lambda item: item[1].numel())
    mask = np.random.default_rng(0).random(tuple(parameter.shape)) < 0.5
    return weights(layer, {name: mask})


def every_kind(model: ModelAccess, rows: Rows, *, crossed: bool) -> list[Intervention]:
    """Every kind of edit and every site of the model; `crossed`, every kind at every site."""
    d = model.d_model
    found = [
        Intervention(),
        skip(0),
        skip(5),
        skip(2, 3),
        skip(*range(6)),
        skip(3) + insert(3, np.eye(d, dtype=np.float32) * 0.5, of_width(d, 5)),
        masked(model, 2),
        masked(model, 2) + skip(4) + noise(1, 0.1),
    ]
    if "attn_out" in model.sites:
        found += [skip(1, part="attention"), skip(0, 4, part="mlp") + skip(5, part="attention")]
    for i, site in enumerate(sites := sites_of(model)):
        edits = edits_at(model, site, i % model.n_layers, rows)
        found += edits if crossed else edits[i :: len(sites)]
    return found


# How a kind of edit is made does not depend on the family, where a site is does. Kinds and sites are crossed in one
# with all sites, one of parallel blocks, one with windows, and one with blocks of another kind.
CROSSED = {"llama", "gpt_neox", "gemma3", "mamba"}


@pytest.mark.parametrize("family", FAMILIES)
def test_planner_equals_one_run_after_the_other(
    family: str, model_of: Callable[..., ModelAccess], rows: Rows, planned: Any, alone: Any, close: Any
) -> None:
    model, rows = model_of(family), rows[:2]
    variants = every_kind(model, rows, crossed=family in CROSSED)
    intact = alone(model, rows, Intervention())
    for variant, found in zip(variants, planned(model, rows, variants), strict=True):
        expected = alone(model, rows, variant)
        close(found, expected)
        assert not variant or not torch.allclose(expected, intact), f"{variant} does nothing"


KINDS: dict[str, Callable[[int], Intervention]] = {
    "block": skip,
    "attention": lambda layer: skip(layer, part="attention"),
    "mlp": lambda layer: skip(layer, part="mlp"),
    "scaled": lambda layer: scale("resid_pre", layer, -1.0),
    "silent": lambda layer: scale("attn_out", layer, 0.0) + scale("mlp_out", layer, 2.0),
    "head": lambda layer: steer("head_out", layer, of_width(8, layer), head=layer % 4),
    "noise": lambda layer: noise(layer, 0.2),
    "noise at the answer": lambda layer: noise(layer, 0.2, positions="answer"),
    "between": lambda layer: steer("resid_mid", layer, of_width(32, layer), positions="question"),
    "map": lambda layer: insert(layer, np.eye(32) * 0.5),
    "map for block": lambda layer: skip(layer) + insert(layer, np.eye(32) * 0.5),
}
# Built from names inside the test: checks of types draw at random, which a strategy must not.
NAMED = st.lists(
    st.dictionaries(st.integers(0, 5), st.sampled_from(list(KINDS)), max_size=3), min_size=1, max_size=5
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(named=NAMED)
def test_any_set_of_variants_equals_them_one_by_one(
    named: list[dict[int, str]], model_of: Any, rows: Rows, planned: Any, alone: Any, close: Any
) -> None:
    model = model_of("llama", "float64")
    variants = [sum((KINDS[kind](k) for k, kind in one.items()), Intervention()) for one in named]
    for variant, found in zip(variants, planned(model, rows[:2], variants), strict=True):
        close(found, alone(model, rows[:2], variant), tolerance=1e-6)


# -- against models that know nothing of this package ---------------------------------------------------------------


@pytest.mark.parametrize(("family", "path"), [("llama", "model.layers"), ("gpt2", "transformer.h")])
@pytest.mark.parametrize("removed", [(0,), (5,), (1, 2, 4)])
def test_cut_equals_a_model_built_without_the_blocks(
    family: str, path: str, removed: tuple[int, ...], model_of: Any, rows: Rows, planned: Any, close: Any
) -> None:
    plain: Any = tiny_hf(family)
    layers = plain.get_submodule(path)
    for layer in reversed(removed):
        del layers[layer]
    assert len(layers) == 6 - len(removed)
    (found,) = planned(model_of(family), rows, [skip(*removed)])
    with torch.no_grad():
        expected = [plain(torch.tensor([s.tokens]), use_cache=False).logits[0, -1] for s in rows]
    close(found, torch.stack(expected))


def changed_in_hf(site: str, change: Callable[[Tensor], Tensor]) -> Any:
    """A plain Llama whose layer 2 is changed at a site by torch hooks of the reader's own making."""
    plain: Any = tiny_hf("llama")
    block = plain.model.layers[2]

    def first(_module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (change(args[0]), *args[1:])

    def after(_module: Any, _args: Any, out: Any) -> Any:
        return (change(out[0]), *out[1:]) if isinstance(out, tuple) else change(out)

    if site == "resid_pre":
        block.register_forward_pre_hook(first)
    elif site == "resid_post":
        block.register_forward_hook(after)
    elif site == "attn_out":
        block.self_attn.register_forward_hook(after)
    elif site == "mlp_out":
        block.mlp.register_forward_hook(after)
    else:
        block.self_attn.o_proj.register_forward_pre_hook(first)
    return plain


@pytest.mark.parametrize("site", ["resid_pre", "attn_out", "mlp_out", "resid_post", "head_out"])
def test_an_edit_is_what_a_plain_torch_hook_would_do(
    site: str, model_of: Any, rows: Rows, planned: Any, close: Any
) -> None:
    head = 1 if site == "head_out" else None
    vector = torch.from_numpy(of_width(8 if head else 32, 0))

    def change(x: Tensor) -> Tensor:
        x = x.clone()
        if head:
            x[:, -1, 8:16] = x[:, -1, 8:16] + vector
        else:
            x[:, -1] = x[:, -1] + vector
        return x

    plain = changed_in_hf(site, change)
    (found,) = planned(
        model_of("llama"), rows, [steer(site, 2, vector.numpy(), head=head, positions="answer")]
    )
    with torch.no_grad():
        expected = [plain(torch.tensor([s.tokens]), use_cache=False).logits[0, -1] for s in rows]
    close(found, torch.stack(expected))


def test_an_edit_between_attention_and_mlp_reaches_both_the_mlp_and_the_stream(
    model_of: Any, rows: Rows, planned: Any, close: Any
) -> None:
    """Adding v at resid_mid is adding v to what attention adds, and nothing else sees it."""
    model, v = model_of("llama"), of_width(32, 0)
    mid, attention = planned(model, rows, [steer("resid_mid", 2, v), steer("attn_out", 2, v)])
    close(mid, attention)
    kept = capture(model, rows, sites=("attn_out", "resid_mid"), layers=[2], under=steer("resid_mid", 2, v))
    intact = capture(model, rows, sites=("attn_out", "resid_mid"), layers=[2])
    np.testing.assert_allclose(kept.at("attn_out", 2), intact.at("attn_out", 2), atol=1e-6)
    np.testing.assert_allclose(kept.at("resid_mid", 2), intact.at("resid_mid", 2) + v, atol=1e-5)


def test_replaced_parameters_are_those_of_the_model(
    model_of: Any, rows: Rows, planned: Any, close: Any
) -> None:
    plain: Any = tiny_hf("llama")
    name = "mlp.down_proj.weight"
    new = of_width(48, 0, 32)
    inside = next(n for n in model_of("llama").parameters(3) if n.replace("._original_component", "") == name)
    plain.model.layers[3].mlp.down_proj.weight.data = torch.from_numpy(new)
    (found,) = planned(model_of("llama"), rows, [weights(3, {inside: new})])
    with torch.no_grad():
        expected = [plain(torch.tensor([s.tokens]), use_cache=False).logits[0, -1] for s in rows]
    close(found, torch.stack(expected))


def found_in_batches(model: ModelAccess, rows: Rows) -> dict[tuple[int, int], np.ndarray]:
    """Residuals of the plain model, by layer and question, read by hooks in the batches that the engine makes."""
    found = {}
    for batch in make_batches(rows):
        kept: dict[int, Tensor] = {}
        hooks = [
            (layer, "resid_post", lambda x, layer=layer, kept=kept: kept.update({layer: x.clone()}))
            for layer in range(6)
        ]
        with torch.no_grad(), model.hooked(hooks):
            model.logits(batch.tokens)
        for layer, (row, sequence) in ((a, b) for a in range(6) for b in enumerate(batch.sequences)):
            found[layer, sequence.owner] = kept[layer][row, : len(sequence)].numpy()
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_no_intervention_is_bit_identical_to_the_plain_model(
    family: str, model_of: Any, rows: Rows, monkeypatch: Any
) -> None:
    """In the same batches; side by side, sums are rounded in another order, and otherwise on every processor."""
    model = model_of(family)
    expected = found_in_batches(model, rows)
    packed = capture(model, rows, positions="all")
    monkeypatch.setitem(model.__dict__, "packs", False)
    found = capture(model, rows, positions="all")
    for (layer, owner), values in expected.items():
        assert np.array_equal(found.at("resid_post", layer)[owner], values)
        np.testing.assert_allclose(
            packed.at("resid_post", layer)[owner], values, rtol=0, atol=4e-6 * np.abs(values).max()
        )


def test_a_batch_equals_its_rows(model_of: Any, rows: Rows, planned: Any, close: Any) -> None:
    variants = [Intervention(), skip(2), noise(1, 0.2)]
    together = planned(model_of("gemma2"), rows, variants)
    for a, b in zip(together, planned(model_of("gemma2"), rows, variants, max_tokens=1), strict=True):
        close(a, b)


# -- no more is computed than planned -------------------------------------------------------------------------------


@contextmanager
def counted(model: ModelAccess) -> Iterator[list[int]]:
    """The layers whose MLP really ran, in order: overridden blocks are called as well, but do not get there."""
    ran: list[int] = []
    handles = [
        block.get_submodule("mlp").register_forward_hook(lambda *_, layer=layer: ran.append(layer))
        for layer, hooked in enumerate(model.engine_blocks)
        for block in {hooked, model.block(layer, plain=True)}
    ]
    try:
        yield ran
    finally:
        for handle in handles:
            handle.remove()


def count(model: ModelAccess, rows: Rows, variants: list[Intervention]) -> tuple[int, int, int]:
    """Blocks computed a batch, blocks planned, blocks without any plan."""
    plan = plan_for(model, as_inputs(rows), variants, LOOK, max_tokens=22)
    n_batches = sum(len(group) for group in plan.groups)
    assert n_batches > 1
    with counted(model) as ran:
        list(evaluate(model, rows, variants, [StateObserver()], max_tokens=22))
    assert len(ran) % n_batches == 0
    return len(ran) // n_batches, plan.planned_blocks, plan.naive_blocks


def test_leaving_one_out_shares_what_comes_before(model_of: Any, rows: Rows) -> None:
    variants = [Intervention(), *(skip(layer) for layer in range(6))]
    # The intact model runs 6 blocks; without block l, the 5 − l behind it run once more.
    assert count(model_of("llama"), rows, variants) == (21, 21, 36)


def test_every_step_of_a_greedy_search_shares_what_comes_before(model_of: Any, rows: Rows) -> None:
    cut, computed, naive = Intervention(), [], []
    for gone in (3, 1, 4):
        candidates = [cut + skip(k) for k in range(6) if k not in cut.removed_blocks]
        ran, said, alone = count(model_of("llama"), rows, candidates)
        assert ran == said
        computed.append(ran)
        naive.append(alone)
        cut += skip(gone)
    # Of n blocks, n − 1 are run once for all candidates, and behind the i-th removed one n − 1 − i run once more.
    assert computed == [5 + 5 + 4 + 3 + 2 + 1, 4 + 4 + 3 + 2 + 1, 3 + 3 + 2 + 1]
    assert naive == [6 * 5, 5 * 4, 4 * 3]


def test_only_removed_blocks_is_no_work(model_of: Any, rows: Rows) -> None:
    assert count(model_of("llama"), rows, [skip(*range(6))]) == (0, 0, 0)


def test_nothing_behind_the_deepest_layer_read_is_computed(model_of: Any, rows: Rows) -> None:
    with counted(model_of("llama")) as ran:
        capture(model_of("llama"), rows, layers=[1])
    assert set(ran) == {0, 1}


def test_no_more_residuals_are_kept_than_the_plan_says(model_of: Any, rows: Rows, monkeypatch: Any) -> None:
    model = model_of("llama")
    rng = np.random.default_rng(0)
    masks = [skip(0, *np.flatnonzero(rng.random(5) < 0.4) + 1) for _ in range(20)]
    masks += [skip(5, *np.flatnonzero(rng.random(5) < 0.4)) for _ in range(20)]
    plan = plan_for(model, as_inputs(rows[:1]), masks, LOOK)
    made: list[weakref.ref[Tensor]] = []
    alive: list[int] = []
    run_block = type(model).run_block

    def watched(self: ModelAccess, layer: int, resid: Tensor, entry: Any, **how: Any) -> Tensor:
        alive.append(len({id(t) for ref in made if (t := ref()) is not None}))
        out: Tensor = run_block(self, layer, resid, entry, **how)
        made.append(weakref.ref(out))
        return out

    monkeypatch.setattr(type(model), "run_block", watched)
    list(evaluate(model, rows[:1], masks, [StateObserver()]))
    assert len(made) == plan.planned_blocks
    assert 2 <= max(alive) <= plan.root.depth <= 1 + np.log2(len(masks))


def test_little_memory_means_more_passes_and_the_same_numbers(
    model_of: Any, rows: Rows, planned: Any
) -> None:
    model, variants = model_of("llama"), [Intervention(), skip(1), skip(1, 3), noise(2, 0.1)]
    plan = plan_for(model, as_inputs(rows), variants, LOOK, memory_budget=1, max_tokens=22)
    assert [len(group) for group in plan.groups] == [1, 1]
    assert "in 2 passes" in plan.explain()
    wide = planned(model, rows, variants, max_tokens=22)
    for a, b in zip(wide, planned(model, rows, variants, max_tokens=22, memory_budget=1), strict=True):
        assert torch.equal(a, b)


def test_the_plan_says_what_it_saves(model_of: Any, rows: Rows) -> None:
    variants = [Intervention(), *(skip(layer) for layer in range(6))]
    plan = plan_for(model_of("llama"), as_inputs(rows), variants, LOOK)
    assert plan.saved == pytest.approx(1 - 21 / 36)
    said = plan.explain()
    assert "7 variants × 4 sequences (33 tokens in " in said
    assert "21 blocks instead of 36, 42% saved" in said
    alone = [plan_for(model_of("llama"), as_inputs(rows), [v], LOOK).planned_blocks for v in variants]
    assert [plan.share_alone(variant) for variant in variants] == [blocks / 21 for blocks in alone]


def test_a_family_that_works_between_its_blocks_runs_as_a_whole_and_says_why(
    model_of: Any, rows: Rows
) -> None:
    variants = [Intervention(), skip(1)]
    plan = plan_for(model_of("rwkv"), as_inputs(rows), variants, LOOK)
    assert (plan.mode, plan.planned_blocks, plan.saved) == ("whole model", 11, 0.0)
    assert (
        "nothing is reused: RwkvForCausalLM changes the residual stream between its blocks" in plan.explain()
    )


def test_removed_layers_are_not_read_and_the_end_always_is(model_of: Any, rows: Rows) -> None:
    with pytest.raises(Exception, match=r"layer 5 is removed by skip \{5\}"):
        evaluate(model_of("llama"), rows, [skip(5)], LOOK)


def test_no_variant_is_no_result(model_of: Any, rows: Rows, planned: Any) -> None:
    assert planned(model_of("llama"), rows, []) == []
    plan = plan_for(model_of("llama"), as_inputs(rows), [], LOOK)
    assert (plan.planned_blocks, plan.naive_blocks, plan.saved) == (0, 0, 0.0)


def test_results_come_in_the_order_given(model_of: Any, rows: Rows) -> None:
    variants = [skip(4), Intervention(), skip(1), skip(1, 4)]
    found = [run.variant for run in evaluate(model_of("llama"), rows, variants, [StateObserver()])]
    assert found == variants
    assert all(a != b for a, b in pairwise(found))
