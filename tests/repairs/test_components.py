"""What heads lost when weights were changed is found, and given back."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from decision_phases.engine import applied, capture
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention, noise, skip, weights
from decision_phases.models import load
from decision_phases.models.tiny import tiny_hf, tiny_tokenizer
from decision_phases.pruning.sparsity import sparsify
from decision_phases.readout import perplexity
from decision_phases.repairs import COMPENSATIONS, FittedRepair, compare_repairs, find_repair, repair
from decision_phases.repairs.components.fit import most_lost
from decision_phases.repairs.components.learned import next_tokens
from decision_phases.repairs.components.sums import Losing, Lost
from decision_phases.repairs.repair import source_of
from decision_phases.tasks import TextSet, questions
from decision_phases.tasks import texts as read_texts

TEXTS = TextSet("some", tuple(text for text in read_texts("pydoc").documents if len(text) < 1500)[:24])
FEW = {"texts": TEXTS, "limit": 4, "window": 20}
LOST, LEARNED = COMPENSATIONS["lost_components"], COMPENSATIONS["learned_components"]
ALL = replace(LOST, share=1.0)
SHORT = replace(LEARNED, share=1.0, steps=6, batch=2, every=2, rate=1e-2)
TOKENS = torch.randint(3, 800, (2, 20), generator=torch.Generator().manual_seed(3))


def said(model, under):
    with torch.no_grad(), applied(model, under):
        return model.logits(TOKENS)


@pytest.fixture(scope="module")
def biased():
    """A model whose values have biases: without one, each head lacks the same vector at every token."""
    hf = tiny_hf("qwen2")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for block in hf.model.layers:
            block.self_attn.v_proj.bias.copy_(torch.randn(16, generator=generator))
    return load(hf, tokenizer=tiny_tokenizer(), quiet=True)


def without_bias(model, *layers):
    name = next(name for name in model.parameters(0) if "v" in name.split(".")[-2] and name.endswith("bias"))
    found = {layer: model.parameters(layer)[name].detach().clone() for layer in layers}
    return found, sum((weights(layer, {name: torch.zeros(16)}) for layer in layers), Intervention())


@pytest.fixture(scope="module")
def sparse(tiny):
    return sparsify(tiny, "magnitude:0.5")


def vectors(found):
    return {(edit.layer, edit.head): edit.value.data for edit in found}


# -- what is lost ------------------------------------------------------------------------------------------------


def planted(rank, tokens=300, d=6):
    """What two heads lost: the first in a few directions, the second nothing."""
    generator = np.random.default_rng(0)
    basis = np.linalg.qr(generator.normal(size=(d, d)))[0][:, :rank]
    amounts = generator.normal(size=(tokens, rank)) + 3 * np.arange(1, rank + 1)
    return np.stack([amounts @ basis.T, np.zeros((tokens, d))], axis=1), basis


def summed(delta):
    losing = Losing()
    dense = torch.from_numpy(np.random.default_rng(1).normal(size=delta.shape))
    for part in (slice(0, 100), slice(100, None)):
        losing.take(dense[part] - torch.from_numpy(delta[part]), dense[part])
    return losing.finish()


def test_components_are_the_published_formula():
    delta = planted(3)[0] + 0.1 * np.random.default_rng(2).normal(size=(300, 2, 6))
    lost = summed(delta)
    for head in range(2):
        U, S, Vt = np.linalg.svd(delta[:, head], full_matrices=False)
        for rank in (1, 2, 6):
            alpha = (U * S).mean(axis=0)
            np.testing.assert_allclose(lost.components(rank)[head], alpha[:rank] @ Vt[:rank], atol=1e-9)
        np.testing.assert_allclose(abs(Vt @ lost.directions()[head]), np.eye(6), atol=1e-6)


def test_a_planted_component_is_recovered_and_nothing_is_nothing():
    delta, basis = planted(1)
    lost = summed(delta)
    np.testing.assert_allclose(lost.components(1)[0], delta[:, 0].mean(axis=0), atol=1e-10)
    np.testing.assert_allclose(abs(lost.directions()[0, :, 0] @ basis[:, 0]), 1.0, atol=1e-12)
    assert not lost.components(6)[1].any()


def test_all_directions_give_the_mean_and_more_than_there_are_give_no_more():
    lost = summed(planted(4)[0])
    np.testing.assert_allclose(lost.components(6)[0], lost.total[0] / lost.tokens, atol=1e-10)
    np.testing.assert_array_equal(lost.components(99), lost.components(6))


def test_heads_that_lost_most_are_chosen_across_layers():
    def losing(*lengths):
        total = np.array(lengths, dtype=float)[:, None]
        return Lost(1, total, total[..., None] ** 2)

    lost = {2: losing(1, 5, 2, 0), 4: losing(4, 0, 2, 0)}
    assert most_lost(lost, rank=1, share=0.25) == {2: (1,), 4: (0,)}
    assert most_lost(lost, rank=1, share=0.26) == {2: (1, 2), 4: (0,)}  # rounded up, the first of equals
    assert most_lost(lost, rank=1, share=1.0) == {2: (0, 1, 2), 4: (0, 2)}
    assert most_lost({3: losing(0, 0)}, rank=1, share=1.0) == {}


# -- in a model --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sequential", [True, False])
@pytest.mark.parametrize("positions", ["all", "last"])
def test_what_was_taken_from_heads_that_share_values_is_given_back_exactly(sequential, positions, biased):
    """Four heads of two groups: each lacks the bias of its group, at every token."""
    lost, under = without_bias(biased, 2)
    found = repair(
        biased, under, method=replace(ALL, rank=1, positions=positions), sequential=sequential, **FEW
    )
    assert isinstance(found, FittedRepair)
    own = {place: vector for place, vector in vectors(found).items() if place[0] == 2}
    assert list(own) == [(2, head) for head in range(4)]
    for (layer, head), vector in own.items():
        np.testing.assert_allclose(vector, lost[layer].view(2, 8)[head // 2], atol=1e-6)
    intact, sparse_, restored = (said(biased, one) for one in (Intervention(), under, under + found))
    assert (intact - sparse_).abs().max() > 0.1
    if sequential:  # the layers behind lost nothing any more, which each by itself would not know
        np.testing.assert_allclose(restored, intact, atol=1e-4)
        assert {place[0] for place in vectors(found)} == {2, 3, 4, 5}
        assert max(abs(v).max() for (layer, _), v in vectors(found).items() if layer > 2) < 1e-5


def test_layers_are_estimated_from_left_to_right_on_what_the_ones_before_give(biased):
    lost, under = without_bias(biased, 1, 3, 4)
    found = repair(biased, under, method=replace(ALL, rank=1), **FEW)
    for (layer, head), vector in vectors(found).items():
        expected = lost[layer].view(2, 8)[head // 2] if layer in lost else torch.zeros(8)
        np.testing.assert_allclose(vector, expected, atol=1e-4)
    np.testing.assert_allclose(said(biased, under + found), said(biased, Intervention()), atol=1e-3)
    assert [(p.layer, p.site) for p in found.fit.places] == [(layer, "head_out") for layer in range(1, 6)]
    for place in found.fit.places:
        assert place.error_before > 1e-4
        assert max(place.error_after, place.relative_after) < 1e-8


@pytest.mark.parametrize("method", [ALL, SHORT], ids=lambda how: how.name)
def test_where_nothing_was_lost_nothing_is_added(method, tiny):
    name = "self_attn.v_proj.weight"
    under = weights(2, {name: tiny.parameters(2)[name].detach().clone()})
    found = repair(tiny, under, method=method, **FEW)
    assert not found
    assert found.fit.parameters_trained == found.fit.parameters_added == 0
    assert all(place.error_before == place.error_after == 0 for place in found.fit.places)
    assert len(found.fit.to_pandas()) == 4


def test_only_the_share_of_heads_is_touched_and_errors_are_those_of_the_model(tiny, sparse):
    found = repair(tiny, sparse, method="lost_components", **FEW)
    assert len(found) == 6  # a quarter of 6 · 4
    assert all((edit.op, edit.site, edit.positions) == ("add", "head_out", "all") for edit in found)
    assert str(found).startswith("lost_components {")
    assert str(sparse + found).startswith("magnitude:0.5 {0..5} + lost_components {")
    assert found.fit.parameters_trained == found.fit.parameters_added == 6 * 8
    every = repair(tiny, sparse, method=ALL, **FEW)
    assert len(every) == 24
    sequences = source_of(tiny, seed=0, **FEW).data.sequences
    for place in every.fit.places:
        z = {
            name: np.concatenate(
                list(
                    capture(
                        tiny, sequences, sites=["head_out"], layers=[place.layer], positions="all", under=under
                    ).at("head_out", place.layer)
                )
            ).astype(np.float64).reshape(-1, 32)
            for name, under in (("dense", None), ("before", sparse), ("after", sparse + every))
        }  # fmt: skip
        for name, total, relative in (
            ("before", place.error_before, place.relative_before),
            ("after", place.error_after, place.relative_after),
        ):
            missed, whole = ((z["dense"] - z[name]) ** 2).sum(1), (z["dense"] ** 2).sum(1)
            np.testing.assert_allclose(total, missed.sum() / whole.sum(), rtol=1e-4)
            np.testing.assert_allclose(relative, (missed / whole).mean(), rtol=1e-4)
    assert sum(p.error_after for p in every.fit.places) < sum(p.error_before for p in every.fit.places)


def test_what_is_removed_besides_is_removed_in_the_dense_model_too(biased):
    lost, under = without_bias(biased, 2)
    cut = skip(1) + skip(4, part="attention")
    found = repair(biased, cut + under, method=replace(ALL, rank=1), **FEW)
    again = repair(biased, under, under=cut, method=replace(ALL, rank=1), **FEW)
    assert found == again
    assert {edit.layer for edit in found} <= {2, 3, 5}
    np.testing.assert_allclose(vectors(found)[2, 0], lost[2].view(2, 8)[0], atol=1e-6)
    np.testing.assert_allclose(said(biased, cut + under + found), said(biased, cut), atol=1e-4)


@pytest.mark.parametrize("family", ["gpt2", "gemma2", "gpt_neox"])
def test_families_whose_attention_has_heads(family, model_of):
    model = model_of(family)
    under = sparsify(model, "magnitude:0.5")
    found = repair(model, under, method=ALL, **FEW)
    assert all(len(edit.value.data) == model.d_head for edit in found)
    assert found.fit.places[0].error_after < found.fit.places[0].error_before


def test_in_float64_they_are_kept_so(sparse, model_of):
    model = model_of("llama", "float64")
    assert all(v.dtype == np.float64 for v in vectors(repair(model, sparse, method=ALL, **FEW)).values())


# -- learned -----------------------------------------------------------------------------------------------------


def divergence(model, under, sequences):
    from decision_phases.engine import Batch

    batch = Batch(tuple(sequences), tuple(range(len(sequences))), model.device)
    logs = []
    for variant in (Intervention(), under):
        with torch.no_grad(), applied(model, variant):
            logs.append(next_tokens(model, batch).double().log_softmax(-1))
    return float((logs[0].exp() * (logs[0] - logs[1])).sum(-1).mean())


def test_learning_brings_the_next_token_closer_to_the_dense_model(tiny, sparse):
    sequences = source_of(tiny, seed=0, **FEW).data.sequences
    fixed = repair(tiny, sparse, method=ALL, **FEW)
    learned = repair(tiny, sparse, method=replace(SHORT, steps=15, batch=4), **FEW)
    assert len(learned) == 24
    before, estimated, trained = (
        divergence(tiny, under, sequences) for under in (sparse, sparse + fixed, sparse + learned)
    )
    assert trained < estimated
    assert trained < before
    assert learned.fit.losses[-1] < learned.fit.losses[0]
    assert not fixed.fit.losses
    assert torch.equal(said(tiny, Intervention()), said(load("tiny-llama", quiet=True), Intervention()))


def test_the_published_loss_is_that_of_the_texts(tiny, sparse):
    texts = source_of(tiny, seed=0, **FEW)
    learned = repair(tiny, sparse, method=replace(SHORT, loss="cross_entropy", steps=15, batch=4), **FEW)
    fixed = repair(tiny, sparse, method=ALL, **FEW)
    documents = [tiny.tokenizer.decode(s.tokens) for s in texts.data.sequences]
    ppl = [perplexity(tiny, documents, window=20, under=sparse + one).log_value for one in (fixed, learned)]
    assert ppl[1] < ppl[0]


def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(tiny, sparse, tmp_path, monkeypatch):
    from decision_phases.repairs.components import learned

    whole = repair(tiny, sparse, method=SHORT, **FEW)
    run, calls = learned.next_tokens, iter(range(1000))

    def interrupted(*given):
        if next(calls) == 9:
            raise ZeroDivisionError
        return run(*given)

    with monkeypatch.context() as patch:
        patch.setattr(learned, "next_tokens", interrupted)
        with pytest.raises(ZeroDivisionError):
            repair(tiny, sparse, method=SHORT, checkpoint=tmp_path, **FEW)
    steps = []
    monkeypatch.setattr(learned, "next_tokens", lambda *given: steps.append(0) or run(*given))
    assert repair(tiny, sparse, method=SHORT, checkpoint=tmp_path, **FEW) == whole
    assert len(steps) == 2 * 2  # 4 of the 6 steps were kept, each runs both models
    with pytest.raises(InputError, match="checkpoint of another training"):
        repair(tiny, sparse, method=replace(SHORT, rate=0.5), checkpoint=tmp_path, **FEW)


def test_the_time_of_a_training_that_was_stopped_counts(tiny, sparse, tmp_path):
    repair(tiny, sparse, method=SHORT, checkpoint=tmp_path, **FEW)
    (path,) = tmp_path.glob("*.safetensors")
    with safe_open(path, "pt") as file:
        tensors, told = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    save_file(tensors, path, metadata={**told, "seconds": "1000"})
    seconds = repair(tiny, sparse, method=SHORT, checkpoint=tmp_path, **FEW).fit.seconds
    assert 1000 < seconds < 1100


def test_singular_vectors_of_other_signs_do_not_change_what_was_learned(tiny, sparse, tmp_path, monkeypatch):
    """Another thread count may give them so; what the checkpoint holds belongs to those of the first run."""
    method = replace(SHORT, steps=3)
    whole = repair(tiny, sparse, method=method, checkpoint=tmp_path, **FEW)
    monkeypatch.setattr(Lost, "directions", lambda self, own=Lost.directions: -own(self))
    assert repair(tiny, sparse, method=method, checkpoint=tmp_path, **FEW) == whole


def test_the_checkpoint_of_another_way_of_estimating_is_refused(tiny, sparse, tmp_path):
    """What was learned belongs to directions that depend on it."""
    one = replace(SHORT, steps=1)
    found = repair(tiny, sparse, method=one, checkpoint=tmp_path, **FEW)
    assert found.fit.parameters_trained == 24 * 2 * 8  # β and b of each head
    assert found.fit.parameters_added == 24 * 8
    assert repair(tiny, sparse, method=replace(one, every=7), checkpoint=tmp_path, **FEW) == found
    with pytest.raises(InputError, match="checkpoint of another training than learned_components"):
        repair(tiny, sparse, method=one, checkpoint=tmp_path, sequential=False, **FEW)


# -- compared, and refused ---------------------------------------------------------------------------------------


def test_they_are_compared_like_repairs(tiny, sparse):
    found = compare_repairs(
        tiny, sparse, methods=[LOST], questions=questions("facts", limit=8), held_out=2, **FEW
    )
    assert found.methods == ("lost_components",)
    assert found.of("lost_components").under == sparse + repair(tiny, sparse, method=LOST, **FEW)


@pytest.mark.parametrize(
    ("under", "how", "message"),
    [
        (
            skip(2),
            LOST,
            r"makes up for changed weights, as dp\.sparsify gives them, and 'skip \{2\}' changes none",
        ),
        (None, replace(LOST, rank=0), "rank=0, which must be above 0"),
        (None, replace(LOST, share=0.0), "share of heads must be above 0"),
        (None, replace(LOST, positions="first"), "unknown positions of a compensation 'first'"),
        (None, replace(LEARNED, loss="kl"), "unknown loss 'kl'"),
        (None, replace(LEARNED, steps=0), "steps=0, which must be above 0"),
    ],
)
def test_what_cannot_be_compensated(under, how, message, tiny, sparse, monkeypatch):
    monkeypatch.setattr("decision_phases.repairs.components.fit.stream", None)
    with pytest.raises(InputError, match=message):
        repair(tiny, under or sparse, method=how, **FEW)


def test_families_without_heads_and_edits_of_questions_are_refused(tiny, sparse, model_of):
    model = model_of("mamba")
    name = next(iter(model.parameters(2)))
    with pytest.raises(
        InputError, match=r"outputs of single heads, which tiny-mamba \(MambaForCausalLM\) does not"
    ):
        repair(model, weights(2, {name: model.parameters(2)[name] * 0}), method="lost_components", **FEW)
    with pytest.raises(InputError, match="depends on questions"):
        repair(tiny, sparse + noise(2, 0.1), method="lost_components", **FEW)
    with pytest.raises(InputError, match=r"no removal; .* use method='lost_components'"):
        repair(tiny, sparse, method="ghost", **FEW)
    with pytest.raises(InputError, match="lost_components makes up for changed weights, and a cut removes"):
        find_repair("lost_components")
    with pytest.raises(InputError, match="did you mean 'lost_components'"):
        repair(tiny, sparse, method="lost_component", **FEW)


def test_maps_are_fitted_under_what_else_is_done(tiny, sparse):
    """What enters a map is that of the sparse model, what should leave it that of the intact one."""
    cut = skip(3)
    base = Intervention(tuple(edit for edit in sparse if edit.layer != 3))
    plain, under = (repair(tiny, cut, method="ghost", under=one, texts=TEXTS, limit=12, window=32)
                    for one in (None, base))  # fmt: skip
    assert plain != under
    assert under.fit.under == base
    assert under.fit.places[0].error_after < under.fit.places[0].error_before
    for sequential in (True, False):
        assert repair(tiny, cut, method="ghost", under=base, texts=TEXTS, limit=12, window=32,
                      sequential=sequential) == under  # fmt: skip
    with pytest.raises(InputError, match="has nothing to act on"):
        repair(tiny, cut, method="ghost", under=sparse, texts=TEXTS)
    with pytest.raises(
        InputError, match=r"lora is trained through the model as it was loaded, not .*'magnitude"
    ):
        repair(tiny, cut, method="lora", under=base, texts=TEXTS)
    with pytest.raises(InputError, match="depends on questions"):
        repair(tiny, cut, method="ghost", under=noise(2, 0.1), texts=TEXTS)
