"""Weights are rounded to the nearest point of a grid that holds them, and nothing but the weights of blocks."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from decision_phases.engine import applied
from decision_phases.errors import InputError, MissingPackageError
from decision_phases.interventions import Array, Intervention, LowRank, insert, noise, skip, steer, weights
from decision_phases.models import FAMILIES, bundled_folder, load, tiny_hf
from decision_phases.models.matrices import weight_matrices
from decision_phases.pruning.sparsity import sparsify
from decision_phases.quantisation import Quantised, Scheme, compress, quantise, rounded
from decision_phases.quantisation.result import ARTEFACT
from decision_phases.repairs import COMPENSATIONS, FittedRepair, repair
from decision_phases.tasks import TextSet
from decision_phases.tasks import texts as read_texts

TEXTS = TextSet("some", tuple(text for text in read_texts("pydoc").documents if len(text) < 1500)[:24])
FEW = {"texts": TEXTS, "limit": 5, "window": 24}
SCHEMES = ["int8", "int8:16", "int4:16", "int3:8", "int2", "int4:16:asymmetric", "int8:asymmetric"]
TOKENS = torch.randint(3, 800, (2, 20), generator=torch.Generator().manual_seed(3))


def said(model, under):
    with torch.no_grad(), applied(model, under):
        return model.logits(TOKENS)


def drawn(seed=0, rows=5, width=48, scale=0.05):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, width, generator=generator) * torch.logspace(-1, 1, rows)[:, None]


def held(quantised_):
    return {(edit.layer, name): array.data for edit in quantised_ for name, array in edit.value.parameters}


# -- rounding ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelled", SCHEMES)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([0.003, 0.05, 2.0, 100.0]))
def test_no_weight_moves_by_more_than_half_a_step_and_none_could_be_nearer(spelled, seed, scale):
    scheme, weight = Scheme.of(spelled), drawn(seed, scale=scale)
    found = rounded(weight, scheme)
    groups = weight.double().reshape(5, -1, scheme.group or 48)
    step = found.steps[..., None]
    start = 0.0 if found.starts is None else found.starts[..., None]
    error = (groups - found.values.reshape(groups.shape)).abs()
    assert (error <= step / 2 * (1 + 1e-9)).all()
    levels = 2**scheme.bits
    low = -levels // 2 if scheme.symmetric else 0
    grid = start + step * torch.arange(low, low + levels)
    nearest = (groups[..., None] - grid[:, :, None]).abs().amin(-1)
    np.testing.assert_allclose(error, nearest, atol=1e-12)
    assert found.integers.min() >= low
    assert found.integers.max() < low + levels


@pytest.mark.parametrize("spelled", SCHEMES)
def test_the_grid_is_as_fine_as_its_group_allows(spelled):
    """One end of every group is at the end of its grid: a finer one would not hold it."""
    scheme, weight = Scheme.of(spelled), drawn()
    found = rounded(weight, scheme)
    integers = found.integers.reshape(5, -1, scheme.group or 48)
    levels = 2**scheme.bits
    if scheme.symmetric:
        ends = (integers.amin(-1) == -levels // 2) | (integers.amax(-1) == levels // 2 - 1)
    else:
        ends = (integers.amin(-1) == 0) & (integers.amax(-1) == levels - 1)
    assert ends.all()
    half = found.steps.half().double()
    assert torch.equal(half, found.steps)


@pytest.mark.parametrize("spelled", SCHEMES)
def test_what_is_rounded_stays_where_it_is(spelled):
    scheme = Scheme.of(spelled)
    once = rounded(drawn(), scheme).values.float()
    twice = rounded(once, scheme)
    assert torch.equal(twice.values.float(), once)
    assert twice.on_grid == int((once != 0).sum())
    assert rounded(drawn(), scheme).on_grid < 0.05 * drawn().numel()


def test_zeros_stay_zeros_on_grids_that_pass_through_them():
    weight = drawn() * (torch.arange(48) % 2)
    weight[2] = 0.0
    for spelled in ("int8", "int4:16", "int2"):
        found = rounded(weight, Scheme.of(spelled))
        assert (found.values[weight == 0] == 0).all()
    assert (rounded(weight, Scheme.of("int4:16:asymmetric")).values[weight == 0] != 0).any()
    assert not rounded(torch.zeros(2, 8), Scheme(4, 8)).values.any()


def test_tiny_groups_and_groups_far_from_0_keep_the_bound():
    """Where float16 is coarse, scales are rounded up and beginnings down."""
    tiny_ = torch.tensor([[1e-9, -2e-9, 5e-10], [3e-6, -7e-6, 5.5e-6]])
    far = torch.tensor([[1000.3, 1000.301, 1000.302], [-77.77, -77.76, -77.5]])
    for weight, scheme in ((tiny_, Scheme(8)), (far, Scheme(8, symmetric=False))):
        found = rounded(weight, scheme)
        assert ((weight - found.values).abs() <= found.steps / 2).all()
        assert (found.steps > 0).all()
    exact = rounded(tiny_, Scheme(8, scales="float32"))
    assert ((tiny_ - exact.values).abs() <= 0.01 * tiny_.abs().amax(1, keepdim=True)).all()


@pytest.mark.parametrize(
    ("spelled", "weights_", "width", "expected"),
    [("int8", 100, 50, 100 + 2 * 2), ("int4:32", 64, 64, 32 + 2 * 2), ("int4:32:asymmetric", 64, 64, 32 + 4 * 2),
     ("int3", 10, 10, 4 + 2), ("int2:2", 4, 4, 1 + 4)],
)  # fmt: skip
def test_bytes_are_those_of_integers_and_scales(spelled, weights_, width, expected):
    assert Scheme.of(spelled).n_bytes(weights_, width) == expected


# -- the library -------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("spelled", ["int8", "int8:16", "int4:16", "int2:8"])
def test_torchao_makes_the_same_layer(spelled):
    """With scales in float32 its weights are ours, so that outputs agree up to the rounding of the product."""
    pytest.importorskip("torchao", reason="torchao is not installed (the extra quantise)")
    from torchao.quantization import quantize_

    scheme = replace(Scheme.of(spelled), scales="float32")
    layer = torch.nn.Linear(48, 40, bias=True)
    with torch.no_grad():
        layer.weight.copy_(drawn(rows=40))
    ours = rounded(layer.weight.detach(), scheme)
    x = torch.randn(7, 48, generator=torch.Generator().manual_seed(1))
    expected = torch.nn.functional.linear(x, ours.values.float(), layer.bias)
    quantize_(layer, scheme.torchao())
    np.testing.assert_allclose(layer.weight.dequantize().float().detach(), ours.values.float(), rtol=1e-6)
    np.testing.assert_allclose(layer(x).detach(), expected.detach(), atol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("spelled", ["int8", "int4:16"])
def test_torchao_rounds_scales_of_half_precision_another_way(spelled):
    pytest.importorskip("torchao", reason="torchao is not installed (the extra quantise)")
    from torchao.quantization import quantize_

    scheme, weight = Scheme.of(spelled), drawn(rows=64, width=256)
    layer = torch.nn.Linear(256, 64, bias=False)
    with torch.no_grad():
        layer.weight.copy_(weight)
    ours = rounded(weight, scheme)
    quantize_(layer, scheme.torchao())
    steps = (layer.weight.dequantize().double() - ours.values).reshape(64, -1, scheme.group or 256)
    steps = steps.abs() / ours.steps[..., None]
    assert steps.max() < 1.2
    assert (steps > 0.5).double().mean() < 0.1
    assert steps.median() < 0.1


def test_what_torchao_lacks_is_said(monkeypatch):
    with pytest.raises(InputError, match="torchao has nothing like int4:32:asymmetric"):
        Scheme.of("int4:32:asymmetric").torchao()
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'decision-phases\[quantise\]'"):
        Scheme.of("int8").torchao()


# -- in a model --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_every_matrix_of_the_blocks_is_rounded_and_nothing_else(family, model_of):
    model = model_of(family)
    said(model, Intervention())  # RWKV divides its weights when it is first run
    before = {name: p.detach().clone() for name, p in model.root.named_parameters()}
    intact = said(model, Intervention())
    found = quantise(model, "int4:8")
    assert isinstance(found, Quantised)
    names = {(layer, m.name): m for layer in range(6) for m in weight_matrices(model, layer)}
    assert held(found).keys() == names.keys()
    for place, values in held(found).items():
        matrix = names[place]
        for mine, own in zip(matrix.stacked(values), matrix.stacked(matrix.parameter.detach()), strict=True):
            np.testing.assert_array_equal(mine, rounded(own, Scheme(4, 8)).values.float())
    with applied(model, found):
        changed = {name for name, p in model.root.named_parameters() if not torch.equal(p, before[name])}
        assert len({before[name].data_ptr() for name in changed}) >= len(names)
        assert not any("embed" in name or "lm_head" in name or "norm" in name for name in changed)
    assert all(torch.equal(p, before[name]) for name, p in model.root.named_parameters())
    assert torch.equal(said(model, Intervention()), intact)
    assert not torch.allclose(said(model, found), intact, atol=1e-2)
    assert found.report.scheme == Scheme(4, 8)


def test_a_quantised_model_is_the_plain_one_with_these_weights(tiny):
    found, plain = quantise(tiny, "int8"), tiny_hf("llama")
    for (layer, name), values in held(found).items():
        own = dict(plain.model.layers[layer].named_parameters())
        own[name].data.copy_(torch.from_numpy(values.copy()))
    with torch.no_grad():
        expected = plain(input_ids=TOKENS, use_cache=False).logits
    np.testing.assert_allclose(said(tiny, found), expected, atol=1e-5)


def test_quantising_again_changes_nothing_and_is_called_an_artefact(tiny):
    first = quantise(tiny, "int4:16")
    assert not first.report.is_artefact
    assert first.report.notes == ()
    again = quantise(tiny, "int4:16", under=first)
    assert again == first
    assert again.report.share_on_grid == 1.0
    assert again.report.relative_error == 0.0
    assert again.report.is_artefact
    assert "100.0% of the" in str(again.report)
    assert "is an artefact, and says nothing about weights of full precision" in repr(again)
    other = quantise(tiny, "int8", under=first).report
    assert not other.is_artefact


def test_weights_that_say_they_were_quantised_are_named_whatever_the_grid(tiny, monkeypatch):
    monkeypatch.setattr(tiny, "weights", "Q4_1, dequantised")
    report = quantise(tiny, "int4:16").report
    assert not report.is_artefact
    assert "The weights were quantised before (Q4_1, dequantised)" in str(report)
    assert "of the 46080 weights other than 0 lay on the grid of int4:16" in str(report)
    assert "need not hold for weights of full precision" in str(report)
    again = quantise(tiny, "int4:16", under=quantise(tiny, "int4:16")).report
    assert again.is_artefact
    assert "Q4_1, dequantised" in str(again)


def test_counts_bytes_and_errors_are_those_of_the_weights(tiny):
    cut = skip(1) + skip(2, part="mlp") + insert(4, np.eye(32)) + steer("resid_post", 3, np.ones(32))
    report = quantise(tiny, "int4:16", under=cut).report
    table = report.to_pandas()
    kept = [(layer, m) for layer in (0, 2, 3, 4, 5) for m in weight_matrices(tiny, layer)
            if (layer, m.part) != (2, "mlp")]  # fmt: skip
    assert list(zip(table.layer, table.matrix, strict=True)) == [(layer, m.name) for layer, m in kept]
    assert table.bytes.tolist() == [m.parameter.numel() // 2 + m.parameter.numel() // 16 * 2 for _, m in kept]
    for row, (_, m) in zip(table.itertuples(), kept, strict=True):
        own = m.parameter.detach().double()
        error = (own - rounded(own.float(), Scheme(4, 16)).values).norm() / own.norm()
        np.testing.assert_allclose(row.relative_error, float(error), rtol=1e-5)
    intact = sum(p.numel() for p in tiny_hf("llama").parameters()) * 4
    one = sum(p.numel() for p in tiny.parameters(1).values()) * 4
    mlp = sum(m.parameter.numel() for m in weight_matrices(tiny, 2, ["mlp"])) * 4 + 32 * 4  # and its norm
    assert report.intact == intact
    assert report.before == intact - one - mlp + 4 * (32 * 32 + 32)
    matrices = sum(m.parameter.numel() for _, m in kept)
    assert report.whole == report.before - 4 * matrices + matrices // 2 + matrices // 8
    assert report.bits == 5.0
    assert "relative error" in str(report)
    assert len(report.plot().axes) == 1


def test_finer_grids_cost_less(tiny):
    errors = [
        quantise(tiny, spelled).report.relative_error
        for spelled in ("int8:16", "int8", "int4:8", "int4", "int2")
    ]
    assert errors == sorted(errors)
    intact = said(tiny, Intervention())
    away = [
        float((said(tiny, quantise(tiny, spelled)) - intact).norm())
        for spelled in ("int8:16", "int4:8", "int2")
    ]
    assert away == sorted(away)


def test_zeros_of_a_sparse_model_are_kept_or_counted(tiny):
    sparse = sparsify(tiny, "magnitude:0.5")
    kept = quantise(tiny, "int4:16", under=sparse)
    assert kept.report.lost_zeros.sum() == 0
    for values, mask in zip(held(kept).values(), held(sparse).values(), strict=True):
        assert not values[~mask].any()
    lost = quantise(tiny, "int4:16:asymmetric", under=sparse).report
    assert lost.lost_zeros.sum() > 1000
    assert "weights that were 0 are no longer" in str(lost)
    assert set(quantise(tiny, layers=[1, 3], parts="mlp").report.layers) == {1, 3}
    assert str(quantise(tiny, layers=[1, 3], parts="mlp")) == "int8 mlp {1, 3}"


def test_what_comes_back_is_a_value(tiny, tmp_path):
    found = quantise(tiny, "int4:16", layers=[2])
    found.save(tmp_path / "kept")
    again = Intervention.load(tmp_path / "kept")
    assert again == found
    assert hash(again) == hash(found)
    assert type(skip(1) + found) is Intervention


def test_half_precision_stays_half(tiny, model_of):
    model = model_of("llama", "bfloat16")
    found = quantise(model, "int4:16")
    with applied(model, found):
        assert model.dtype == torch.bfloat16
    assert found.report.intact == 2 * model.n_params


# -- with pruning and repair -------------------------------------------------------------------------------------


ORDERS = [("prune", "repair", "quantise"), ("prune", "quantise", "repair"), ("quantise", "prune", "repair")]


def test_the_order_of_repair_and_quantisation_matters(tiny):
    cut = skip(2, 3)
    first, second, third = (
        compress(tiny, cut, quantise_to="int4:16", repair_by="ghost", order=order, **FEW) for order in ORDERS
    )
    assert first != second
    assert second == third  # removing blocks and rounding the others do not know of each other
    assert first.quantised == second.quantised == quantise(tiny, "int4:16", under=cut)
    assert first.repair == repair(tiny, cut, method="ghost", **FEW)
    assert second.repair == repair(tiny, cut, method="ghost", under=first.quantised, **FEW)
    for found in (first, second):
        assert found == cut + found.quantised + found.repair
        assert found.n_bytes == found.quantised.report.whole + 4 * 32 * 32
        assert torch.isfinite(said(tiny, found)).all()
    # What sees the rounded weights comes closer to what left the cut in the intact model.
    assert second.repair.fit.places[0].error_after < first.repair.fit.places[0].error_before
    assert list(second.to_pandas().step) == ["prune", "quantise", "repair"]
    assert "of the intact model's bytes" in repr(first)


@pytest.mark.parametrize("order", ORDERS, ids=",".join)
def test_zeros_are_compensated_in_every_order(order, tiny):
    sparse = sparsify(tiny, "magnitude:0.5")
    how = replace(COMPENSATIONS["lost_components"], share=1.0)
    found = compress(tiny, sparse, quantise_to="int4:16", repair_by=how, order=order, **FEW)
    with applied(tiny, found):
        for (layer, name), mask in held(sparse).items():
            assert not tiny.parameters(layer)[name][torch.from_numpy(~mask)].any()
    under = {"prune": sparse, "quantise": found.quantised}
    before = sum((under[step] for step in order[: order.index("repair")]), start=Intervention())
    assert found.repair == repair(tiny, before, method=how, **FEW)
    if order[0] == "quantise":
        assert found.quantised == quantise(tiny, "int4:16")
    else:
        assert found.quantised == quantise(tiny, "int4:16", under=sparse)


def test_zeros_and_removals_together(tiny):
    cut = skip(2)
    prune = cut + sparsify(tiny, "magnitude:0.5", under=cut)
    found = compress(tiny, prune, quantise_to="int8", repair_by="ghost", order=ORDERS[1], **FEW)
    assert found.removed_blocks == (2,)
    assert [edit.op for edit in found.repair] == ["map"]
    none = compress(tiny, prune, quantise_to="int8", repair_by=None)
    assert none == prune + none.quantised
    assert not none.repair


def test_half_precision_hides_grids_and_says_so():
    report = quantise(load("tiny-llama", dtype="bfloat16", quiet=True), "int4:16").report
    assert np.isnan(report.share_on_grid)
    assert not report.is_artefact
    assert report.to_pandas()["on_grid"].isna().all()
    assert "cannot be told in bfloat16" in str(report)


def test_weights_that_a_repair_trains_are_rounded_too(tiny, monkeypatch):
    generator = np.random.default_rng(0)
    low_rank = LowRank(*(Array.of(generator.normal(size=size), "part") for size in ((48, 2), (2, 32))))
    trained = FittedRepair(weights(1, {"mlp.up_proj.weight": low_rank}).edits)
    monkeypatch.setattr(sys.modules[compress.__module__], "repair", lambda *_, **__: trained)
    found = compress(tiny, skip(2), quantise_to="int4:16", repair_by="lora")
    assert quantise(tiny, "int4:16", under=found).report.share_on_grid == 1.0
    assert found.quantised == quantise(tiny, "int4:16", under=skip(2) + trained)
    assert found.n_bytes == found.quantised.report.whole


# -- the bundled model -------------------------------------------------------------------------------------------


@pytest.mark.model
def test_the_bundled_model_was_quantised_on_the_grid_of_its_format():
    """Its weights as they lie in its folder."""
    with safe_open(bundled_folder() / "model.safetensors", "pt") as file:
        names = [name for name in file.keys() if ".7." in name and "norm" not in name]  # noqa: SIM118
        own = [file.get_tensor(name).float() for name in names]
    assert len(own) == 7
    nonzero = sum(int((weight != 0).sum()) for weight in own)
    share = {
        spelled: sum(rounded(weight, Scheme.of(spelled)).on_grid for weight in own) / nonzero
        for spelled in ("int4:32:asymmetric", "int8")
    }
    assert share["int4:32:asymmetric"] > ARTEFACT
    assert share["int8"] < 0.05


# -- what cannot be done -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spelled", "message"),
    [
        ("int9", "weights of 9 bits are not known"),
        ("int1:8", "weights of 1 bits are not known"),
        ("fp4", r"'fp4' is no scheme of quantisation; give int8 .*int4:64"),
        ("int4:0", "groups of 0 weights"),
        ("int4:1", "groups of 1 weights make no sense"),
        ("int4:32:symmetric", "is no scheme"),
        (
            "int4:7",
            r"self_attn.q_proj.weight have 32, which 7 does not divide; give groups of 32 or 16 or 8, whole",
        ),
        (
            "int4:32",
            r"mlp.down_proj.weight have 48, which 32 does not divide; give groups of 16 or 8, whole rows",
        ),
    ],
)
def test_schemes_that_there_are_not(spelled, message, tiny, monkeypatch):
    monkeypatch.setattr(sys.modules[quantise.__module__], "rounded", None)
    with pytest.raises(InputError, match=message):
        quantise(tiny, spelled)


def test_models_and_interventions_that_cannot_be_quantised(tiny, monkeypatch):
    with pytest.raises(InputError, match="unknown format of scales 'half'"):
        Scheme(8, scales="half")
    with pytest.raises(InputError, match=r"layer 2 is to be quantised, but skip \{2\} removes it"):
        quantise(tiny, under=skip(2), layers=[1, 2])
    with pytest.raises(InputError, match="unknown part 'head'"):
        quantise(tiny, parts="head")
    with pytest.raises(InputError, match="depends on questions"):
        quantise(tiny, under=noise(2, 0.1))
    with monkeypatch.context() as patch:
        patch.setattr(tiny, "processed", True)
        with pytest.raises(InputError, match="norms were folded into them"):
            quantise(tiny)
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules[quantise.__module__], "quantised", lambda _: "it has int8 weights")
        with pytest.raises(InputError, match="is quantised already"):
            quantise(tiny)
    name = "mlp.up_proj.weight"
    with pytest.raises(
        InputError, match=r"mlp\.up_proj\.weight of layer 2 has .* which float16 holds no scale"
    ):
        quantise(tiny, under=weights(2, {name: tiny.parameters(2)[name] * 1e9}))


def test_orders_that_make_no_sense(tiny):
    for order in (("repair", "prune", "quantise"), ("prune", "quantise"), ("prune", "prune", "repair")):
        with pytest.raises(
            InputError, match="give prune, repair, quantise, each once, with repair somewhere after"
        ):
            compress(tiny, skip(2), order=order)
    with pytest.raises(InputError, match="nothing is pruned"):
        compress(tiny, Intervention())
    replaced = weights(2, {"mlp.up_proj.weight": tiny.parameters(2)["mlp.up_proj.weight"] * 0.5})
    with pytest.raises(InputError, match="replaces weights, so that they would not be quantised any more"):
        compress(tiny, replaced, repair_by=None, order=ORDERS[2])
    with pytest.raises(InputError, match=r"ghost puts maps where parts are removed, and .* removes none"):
        compress(tiny, sparsify(tiny, "magnitude:0.5"), repair_by="ghost")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"repair_by": "gost"}, "did you mean 'ghost'"),
        (
            {"repair_by": "lora"},
            "lora is trained through the model as it was loaded, whose weights are changed before it",
        ),
        ({"limits": 8}, "unknown setting of the repair 'limits'; did you mean 'limit'"),
        ({"repair_by": None, "limit": 8}, "repair_by=None repairs nothing, so that limit would be ignored"),
    ],
)
def test_repairs_that_do_not_fit_are_refused_before_weights_are_rounded(how, message, tiny, monkeypatch):
    monkeypatch.setattr(sys.modules[compress.__module__], "quantise", lambda *_, **__: pytest.fail("rounded"))
    with pytest.raises(InputError, match=message):
        compress(tiny, skip(2), order=ORDERS[2], **how)
