"""Sparse models: calibrated from left to right, applied for a while, composed and kept like any intervention."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from decision_phases.engine import applied
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention, noise, scale, skip, weights, zero
from decision_phases.models import FAMILIES, load, tiny_hf
from decision_phases.models.matrices import watching, weight_matrices
from decision_phases.pruning.sparsity import SPARSITY_METHODS, Amount, find_sparsity, sparsify, sparsity_of
from decision_phases.readout import perplexity, read
from decision_phases.tasks import encode_texts, questions
from decision_phases.tasks import texts as read_texts

WINDOW = 24


def written(count):
    """Texts of tokens that the tiny tokenizer knows; windows of their fit half are not all of one length."""
    lines = [
        f"Question: {item.question} Answer: {item.options[0]}" for item in questions("facts", limit=count)
    ]
    return read_texts([" ".join(lines[i : i + 3]) for i in range(0, count, 3)], name="facts")


@pytest.fixture(scope="module")
def texts():
    return written(30)


@pytest.fixture(scope="module")
def many():
    """Enough to reach every expert of the tiny mixture."""
    return written(90)


@pytest.fixture(scope="module")
def double(model_of):
    """The tiny Llama in float64, where references can be exact."""
    return model_of("llama", "float64")


def windows(model, texts):
    return encode_texts(texts.fit, model.tokenizer, window=WINDOW)


def logits(model, under=None):
    tokens = torch.randint(3, 800, (2, 9), generator=torch.Generator().manual_seed(3))
    with torch.no_grad(), applied(model, under or Intervention()):
        return model.logits(tokens)


def bits(model):
    return [p.detach().clone() for p in model.unique_parameters()]


def unchanged(before, model):
    return all(torch.equal(old, new) for old, new in zip(before, bits(model), strict=True))


def keep(found):
    """What puts away what enters each matrix of a stack."""
    return lambda index, x: found.setdefault(index, []).append(x.double())


def reference(model, spelled, texts, under=None):
    """One text at a time through the whole model, again for every block, under all that was made sparse before."""
    method, amount = find_sparsity(spelled)
    base, made = under or Intervention(), Intervention()
    for layer in range(model.n_layers):
        if layer in base.removed_blocks:
            continue
        matrices = weight_matrices(model, layer)
        kept = {matrix.name: {} for matrix in matrices}
        seers = {matrix: keep(kept[matrix.name]) for matrix in matrices}
        with torch.no_grad(), applied(model, base + made), watching(seers):
            for sequence in windows(model, texts):
                model.logits(torch.tensor([sequence.tokens]))
        new = {}
        with applied(model, base):
            weight_of = {
                matrix.name: matrix.stacked(matrix.parameter.detach().clone()) for matrix in matrices
            }
        for matrix in matrices:
            stack = weight_of[matrix.name]
            found = []
            for index, weight in enumerate(stack):
                x = torch.cat(kept[matrix.name][index])
                sums = {"": None, "squares": x.square().sum(0), "products": x.T @ x}[method.needs]
                found.append(method.prune(weight, sums, amount))
            new[matrix.name] = matrix.unstacked(torch.stack(found))
        made += weights(layer, new)
    return made


def arrays(intervention):
    return {
        (edit.layer, name): array.data for edit in intervention.edits for name, array in edit.value.parameters
    }


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for place, values in expected.items():
        assert found[place].dtype == values.dtype, place
        np.testing.assert_array_equal(found[place] == 0, values == 0, err_msg=str(place))
        np.testing.assert_allclose(found[place], values, rtol=1e-6, atol=1e-9, err_msg=str(place))


@pytest.mark.parametrize(
    "spelled", ["magnitude:0.5", "wanda:0.5", "sparsegpt:0.5", "wanda:2:4", "sparsegpt:4:8"]
)
def test_blocks_are_calibrated_on_what_the_sparse_ones_before_them_leave(spelled, double, texts):
    given = {} if spelled.startswith("magnitude") else {"texts": texts, "window": WINDOW, "limit": None}
    assert_same(arrays(sparsify(double, spelled, **given)), arrays(reference(double, spelled, texts)))


def test_what_is_done_besides_is_there_when_it_is_calibrated(double, texts):
    under = skip(1) + skip(2, part="attention") + scale("mlp_out", 3, 0.5)
    name = "mlp.up_proj.weight"
    under += weights(4, {name: double.parameters(4)[name].flip(0) + 1})
    found = sparsify(double, "wanda:0.5", texts=texts, window=WINDOW, limit=None, under=under)
    expected = arrays(reference_without_attention(double, texts, under))
    assert_same(arrays(found), expected)
    assert (under + found).removed_blocks == (1,)
    assert {edit.layer for edit in found} == {0, 2, 3, 4, 5}


def reference_without_attention(model, texts, under):
    """The reference sees no input of an attention that is multiplied by zero as removed; its matrices are left out."""
    made = reference(model, "wanda:0.5", texts, under)
    attention = {matrix.name for matrix in weight_matrices(model, 2, ["attention"])}
    kept = []
    for edit in made.edits:
        held = {n: a.data for n, a in edit.value.parameters if not (edit.layer == 2 and n in attention)}
        kept.append(weights(edit.layer, held))
    return sum(kept, Intervention())


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_can_be_made_sparse_and_is_itself_again_afterwards(family, texts, many, model_of):
    model = model_of(family)
    logits(model)  # RWKV divides its weights when it is first run
    before, intact = bits(model), logits(model)
    for spelled in ("wanda:2:4", "sparsegpt:0.5"):
        made = sparsify(
            model, spelled, texts=many if family == "mixtral" else texts, window=WINDOW, limit=None
        )
        assert unchanged(before, model)
        table = sparsity_of(model, made).to_pandas()
        assert {edit.layer for edit in made} == set(range(6))
        assert set(table.matrix) == {m.name for m in weight_matrices(model, 0)}
        np.testing.assert_allclose(table.sparsity, 0.5, atol=0.01 if spelled == "sparsegpt:0.5" else 0)
        assert not torch.allclose(logits(model, made), intact, atol=1e-2)
        assert unchanged(before, model)
        assert torch.equal(logits(model), intact)
        for edit in made.edits if spelled == "wanda:2:4" else ():
            of_name = {matrix.name: matrix for matrix in weight_matrices(model, edit.layer)}
            for name, mask in edit.value.parameters:
                rows = of_name[name].stacked(mask.data)
                assert (rows.reshape(-1, 4).sum(-1) == 2).all(), name


@pytest.mark.parametrize("spelled", ["wanda:0.5", "sparsegpt:0.5"])
def test_weights_are_restored_after_an_exception(spelled, tiny, texts, monkeypatch):
    made = sparsify(tiny, spelled, texts=texts, window=WINDOW, limit=None)
    before, intact = bits(tiny), logits(tiny)

    def fail():
        assert not unchanged(before, tiny)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), applied(tiny, made):
        fail()
    assert unchanged(before, tiny)
    # Also if it is the calibration that fails, half way.
    calls = []

    def failing(self, weight, sums, amount):
        calls.append(1)
        if len(calls) == 20:
            raise ZeroDivisionError
        return torch.ones_like(weight, dtype=torch.bool)

    monkeypatch.setattr(type(SPARSITY_METHODS[spelled.split(":")[0]]), "prune", failing)
    with pytest.raises(ZeroDivisionError):
        sparsify(tiny, spelled, texts=texts, window=WINDOW, limit=None)
    assert unchanged(before, tiny)
    assert torch.equal(logits(tiny), intact)
    assert not any(m._forward_pre_hooks for m in tiny.root.modules() if isinstance(m, torch.nn.Linear))


def test_a_sparse_model_is_the_plain_one_with_these_zeros(tiny, texts):
    made = sparsify(tiny, "sparsegpt:0.5", texts=texts, window=WINDOW, limit=None)
    plain = tiny_hf("llama")
    for edit in made.edits:
        own = dict(plain.model.layers[edit.layer].named_parameters())
        for name, array in edit.value.parameters:
            own[name].data = torch.from_numpy(array.data.copy())
    sequences = questions("facts", limit=6)
    tokens = torch.randint(3, 800, (2, 9), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        torch.testing.assert_close(logits(tiny, made), plain(tokens).logits, rtol=0, atol=1e-4)
    np.testing.assert_allclose(
        read(tiny, sequences, under=made).final.margin,
        read(load(plain, tokenizer=tiny.tokenizer, quiet=True), sequences).final.margin,
        atol=1e-4,
    )


def test_what_knows_more_of_the_inputs_changes_the_model_less(texts, model_of):
    """Outputs of the first MLP's matrices, whose inputs are equal under all methods."""
    model = model_of("llama", "float64")
    (down,) = (m for m in weight_matrices(model, 0) if "down_proj" in m.name)
    kept = []
    with torch.no_grad(), watching({down: lambda _, x: kept.append(x)}):
        for sequence in windows(model, texts):
            model.logits(torch.tensor([sequence.tokens]))
    x, error = torch.cat(kept), {}
    for name in SPARSITY_METHODS:
        made = sparsify(model, name, 0.5, texts=texts, window=WINDOW, limit=None, layers=[0])
        with applied(model, made):
            new = down.parameter.detach().clone()
        error[name] = float((x @ (new - down.parameter).T).square().sum())
    assert error["sparsegpt"] < error["wanda"] < error["magnitude"]


def test_layers_and_parts_are_those_that_were_named(tiny, texts):
    made = sparsify(tiny, "wanda", 0.5, texts=texts, window=WINDOW, layers=[np.int64(4), 1], parts=["mlp"])
    assert str(made) == "wanda:0.5 mlp {1, 4}"
    assert made.earliest_layer == 1
    assert all(name.startswith("mlp.") for edit in made for name in edit.value.names)
    counted = sparsity_of(tiny, made)
    np.testing.assert_allclose(counted.by_layer > 0.1, [False, True, False, False, True, False])
    # Whatever is left out between, what comes later was calibrated under it.
    alone = sparsify(tiny, "wanda", 0.5, texts=texts, window=WINDOW, layers=[1], parts="mlp")
    assert alone.edits[0] == made.edits[0]


def test_it_composes_compares_and_is_kept_as_a_file(tiny, texts, tmp_path):
    made = sparsify(tiny, "wanda:2:4", texts=texts, window=WINDOW)
    again = sparsify(tiny, "wanda", "2:4", texts=texts, window=WINDOW)
    assert (made, made.key, hash(made)) == (again, again.key, hash(again))
    both = skip(2, part="mlp") + made
    assert str(both) == "skip mlp {2} + wanda:2:4 {0..5}"
    both.save(tmp_path / "kept")
    loaded = Intervention.load(tmp_path / "kept")
    assert (loaded, str(loaded)) == (both, str(both))
    matrices = 6 * sum(m.parameter.numel() for m in weight_matrices(tiny, 0))
    size = (tmp_path / "kept" / "arrays.safetensors").stat().st_size
    assert size < matrices / 8 + 10_000  # a bit a weight
    assert torch.equal(logits(tiny, loaded), logits(tiny, both))
    with pytest.raises(InputError, match="has nothing to act on, because 'skip block of layer 2' removes it"):
        skip(2) + made
    loss = [perplexity(tiny, texts.evaluation, under=u, window=WINDOW) for u in (Intervention(), made)]
    assert loss[0].value != loss[1].value


def test_zeros_are_counted_matrix_by_matrix(tiny):
    name, parameter = next(iter(tiny.parameters(3).items()))
    mask = np.ones(tuple(parameter.shape), dtype=bool)
    mask[:, :8] = False
    counted = sparsity_of(tiny, weights(3, {name: mask}) + skip(1) + skip(2, part="attention"))
    table = counted.to_pandas().set_index(["layer", "matrix"])
    assert table.zeros.sum() == table.zeros[3, name] == 8 * 32
    assert len(table) == 5 * 7 - 4
    assert counted.overall == 8 * 32 / table.weights.sum()
    assert np.isnan(counted.by_layer[1])
    assert counted.by_layer[3] == 8 * 32 / table.weights[3].sum()
    assert float(counted) == counted.overall
    assert "42 matrices" in str(sparsity_of(tiny))
    bars = counted.plot().axes[0].patches
    np.testing.assert_allclose([bar.get_height() for bar in bars], np.delete(counted.by_layer, 1))


@pytest.mark.parametrize("family", ["mixtral", "rwkv"])
def test_experts_by_the_tokens_routed_to_them_and_whole_models_again_for_every_block(
    family, texts, many, model_of
):
    """Neither can be computed in float64, so that equality is up to near ties."""
    model = model_of(family)
    read = many if family == "mixtral" else texts
    found = sparsify(model, "wanda:0.5", texts=read, window=WINDOW, limit=None)
    expected = arrays(reference(model, "wanda:0.5", read))
    for place, mask in arrays(found).items():
        assert (mask == (expected[place] != 0)).mean() > 0.999, place
    assert not any("gate.weight" in name for edit in found for name in edit.value.names)


def test_an_expert_that_no_token_reaches_goes_by_its_weights(model_of):
    model = model_of("mixtral")
    some = ["Is water wet?", "Is fire cold?"]
    with pytest.warns(
        UserWarning, match="none of the texts' tokens enters expert .*; wanda then goes by"
    ) as caught:
        found = sparsify(model, "wanda:0.5", texts=some, window=3, limit=1, layers=[0], parts="mlp")
    assert [str(w.message).split(" in layer")[0].split(" of ")[-1] for w in caught] == [
        "mlp.experts.gate_up_proj",
        "mlp.experts.down_proj",
    ]
    masks = {name: mask.data for name, mask in found.edits[0].value.parameters}["mlp.experts.down_proj"]
    (down,) = (m for m in weight_matrices(model, 0, ["mlp"]) if "down" in m.name)
    by_weight = [
        SPARSITY_METHODS["wanda"].prune(w, None, Amount(0.5)).numpy() for w in down.parameter.detach()
    ]
    same = [np.array_equal(a, b) for a, b in zip(masks, by_weight, strict=True)]
    assert any(same)
    assert not all(same)


# -- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"method": "wanda:0.5"},
            "wanda weighs weights by what enters them and needs texts to see that; give texts='pydoc'",
        ),
        (
            {"method": "magnitude:3:5"},
            "takes 5 neighbouring weights at a time, but the rows of self_attn.q_proj.weight",
        ),
        (
            {"method": "sparsegpt:0.5", "texts": ["One.", "Two."]},
            "products of up to 48 inputs, which 2 tokens do not",
        ),
        ({"method": "sparsegpt:0.5", "texts": "all", "limit": 1}, "give at least 48 tokens"),
        ({"method": "wanda:0.5", "texts": ["One."]}, "cannot be divided into a fit and an evaluation half"),
        ({"layers": [6]}, "layer 6 is out of range"),
        ({"layers": [2], "under": skip(2)}, r"layer 2 is to be made sparse, but skip \{2\} removes it"),
        ({"layers": []}, r"has no weight matrices in the layers \[\], so nothing can be made sparse"),
        ({"parts": "block"}, "unknown part 'block'"),
        ({"parts": []}, r"parts=\[\] names no part"),
        ({"under": noise(2, 0.1)}, "depends on questions or on positions in them, which texts do not have"),
        ({"under": scale("mlp_out", 2, 2.0, positions="answer")}, "depends on questions or on positions"),
        ({"under": skip(9)}, "is out of range"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_runs(given, message, tiny, texts, monkeypatch):
    monkeypatch.setattr(type(tiny), "logits", None)
    if given.get("texts") == "all":
        given = {**given, "texts": texts, "window": WINDOW}
    with pytest.raises(InputError, match=message):
        sparsify(tiny, **{"method": "magnitude:0.5", **given})


def test_a_family_without_parts_is_refused_by_name():
    with pytest.raises(
        InputError, match=r"tiny-mamba \(MambaForCausalLM\) has no weight matrices of its mlp"
    ):
        sparsify("tiny-mamba", "magnitude:0.5", parts="mlp")
    with pytest.raises(InputError, match="has no weight matrix left"):
        sparsity_of("tiny-llama", skip(*range(6)))


@pytest.mark.parametrize("name", SPARSITY_METHODS)
def test_processed_and_quantised_weights_are_refused(name, texts, monkeypatch):
    model = load("tiny-llama", quiet=True)
    model.processed = True
    with pytest.raises(
        InputError, match=f"{name} compares weights as published, .* norms were folded into them"
    ):
        sparsify(model, name, 0.5, texts=texts)
    model.processed = False
    down = model.root.model.layers[2].mlp._original_component.down_proj._original_component
    down.weight = torch.nn.Parameter(down.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(InputError, match=f"{name} takes the values of weights, but tiny-llama is quantised"):
        sparsify(model, name, 0.5, texts=texts)


def test_inputs_that_are_not_finite_are_refused(texts):
    model = load("tiny-llama", quiet=True)
    up = dict(model.parameters(3))["mlp.up_proj.weight"]
    broken = torch.full_like(up, 3e38)
    with pytest.raises(InputError, match=r"what enters mlp\.down_proj\.weight of layer 3 is not finite"):
        sparsify(
            model, "wanda:0.5", texts=texts, window=WINDOW, under=weights(3, {"mlp.up_proj.weight": broken})
        )


@pytest.mark.parametrize("name", ["wanda", "sparsegpt"])
def test_inputs_that_are_all_zero_are_refused(name, tiny, texts):
    with pytest.raises(
        InputError,
        match=rf"what enters \S+ of layer 2 is zero for every token, so {name} has nothing to weigh",
    ):
        sparsify(tiny, name, 0.5, texts=texts, window=WINDOW, under=zero("resid_pre", 2))
    made = sparsify(
        tiny, name, 0.5, texts=texts, window=WINDOW, under=zero("resid_pre", 2), layers=[0, 1], parts="mlp"
    )
    assert {edit.layer for edit in made} == {0, 1}


def test_inputs_that_determine_nothing_are_refused_by_sparsegpt():
    undamped = replace(SPARSITY_METHODS["sparsegpt"], damping=0.0)
    with pytest.raises(InputError, match=r"the inputs of a matrix \(1, 2\) do not determine .* damping=0\.0"):
        undamped.prune(torch.ones(1, 2), torch.ones(2, 2), Amount(0.5))
