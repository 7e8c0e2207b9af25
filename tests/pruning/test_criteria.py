"""Every criterion keeps the contract, and says of what is known beforehand what is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import LlamaConfig, LlamaForCausalLM

from decision_phases.engine import capture
from decision_phases.errors import InputError
from decision_phases.interventions import scale, skip, zero
from decision_phases.models import load
from decision_phases.models.tiny import tiny_hf, tiny_tokenizer
from decision_phases.pruning import CRITERIA, rank
from decision_phases.pruning.criteria import PARTS, Unit, find_criterion
from decision_phases.pruning.criteria.angular import angular_distance
from decision_phases.pruning.criteria.change import Change
from decision_phases.pruning.criteria.magnitude import magnitude
from decision_phases.pruning.criteria.slope_sums import first_order, mixed_order, second_order
from decision_phases.readout import ask
from decision_phases.readout.similarity import debiased_cka
from decision_phases.tasks import questions as read_questions

IDENTITY = 3
TEXTS = (
    "Is water wet? Yes, it is. Is fire cold? No, it is not.",
    "What is hot? Fire is hot, and ice is not.",
)
VANISHING = [name for name, criterion in CRITERIA.items() if criterion.vanishes]


@pytest.fixture(scope="module")
def deep():
    """Seven random blocks, so that published protections leave one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(tiny_tokenizer()), hidden_size=16, intermediate_size=24, num_hidden_layers=7,
            num_attention_heads=2, num_key_value_heads=1, bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
        config._attn_implementation = "eager"
        hf = LlamaForCausalLM(config).eval()
        with torch.no_grad():
            for parameter in hf.parameters():
                if parameter.ndim == 2:
                    parameter.mul_(8)
    return load(hf, tokenizer=tiny_tokenizer(), consume=True, quiet=True)


@pytest.fixture(scope="module")
def some():
    return read_questions("facts", limit=6)


@pytest.fixture(scope="module")
def idle():
    """The tiny Llama with a block that adds nothing."""
    hf = tiny_hf("llama")
    with torch.no_grad():
        hf.model.layers[IDENTITY].self_attn.o_proj.weight.zero_()
        hf.model.layers[IDENTITY].mlp.down_proj.weight.zero_()
    return load(hf, tokenizer=tiny_tokenizer(), consume=True, quiet=True)


def trusting(names):
    """The same, but no surrogate is refused: this model is as good as random."""
    return [replace(CRITERIA[n], least_r2=-np.inf) if n.startswith("shapley") else n for n in names]


@pytest.fixture(scope="module")
def by_part(deep, some):
    """All criteria on all parts of the deep model."""
    return {
        part: rank(deep, some, by=trusting([n for n, c in CRITERIA.items() if part in c.parts]), part=part)
        for part in ("block", "joint")
    }


@pytest.mark.parametrize(
    ("name", "part"),
    [(name, part) for name, c in CRITERIA.items() for part in c.parts if part in ("block", "joint")],
)
def test_every_criterion_keeps_the_contract(name, part, by_part):
    ranking = by_part[part][name]
    criterion = CRITERIA[name]
    assert criterion.name == name
    assert criterion.what
    assert criterion.source
    n_units = 14 if part == "joint" else 7
    assert ranking.units == tuple(Unit((i,), p) for i in range(7) for p in PARTS[part])
    assert ranking.scores.shape == (n_units,)
    assert np.isfinite(ranking.scores).all()
    assert len(np.unique(ranking.scores)) > 1
    if criterion.vanishes:
        assert (ranking.scores >= 0).all()
    # Lower first, ties from the deepest, protected ones never.
    free = [u for u in ranking.units if u.layer == 4] if name.endswith("plus") else ranking.units
    score = dict(zip(ranking.units, ranking.scores.tolist(), strict=True))
    assert ranking.order == tuple(sorted(free, key=lambda u: (score[u], -u.layer, u.part == "attention")))
    assert set(ranking.protected) == set(ranking.units) - set(free)
    if ranking.values is not None:
        assert ranking.values.shape == (n_units, 6)
        assert ranking.labels == tuple(item.id for item in read_questions("facts", limit=6))
    if not criterion.needs.data:
        assert np.isnan(ranking.low).all()
        assert np.isnan(ranking.high).all()
    elif not name.startswith("shapley"):  # percentiles of a fit need not lie around the fit
        assert (ranking.low <= ranking.scores + 1e-12).all()
        assert (ranking.scores <= ranking.high + 1e-12).all()
    else:
        assert (ranking.low < ranking.high).any()
    assert bool(ranking.data) == criterion.needs.data


def test_every_criterion_is_deterministic_and_does_not_depend_on_its_company(deep, some, by_part):
    """Whatever criteria share: once in another order, and by themselves."""
    names = list(by_part["block"])
    again = dict(rank(deep, some, by=trusting(names[::-1])))
    for name in ("accuracy", "kl", "cka", "taylor", "activation_gradient"):
        again[f"{name} alone"] = rank(deep, some, by=name)
    for ranking in again.values():
        before = by_part["block"][ranking.by]
        np.testing.assert_array_equal(ranking.scores, before.scores)
        np.testing.assert_array_equal(ranking.low, before.low)


@pytest.mark.parametrize(
    ("on", "part"),
    [
        ("questions", "block"),
        ("questions", "joint"),
        ("texts", "block"),
        ("texts", "attention"),
        ("questions", "mlp"),
    ],
)
def test_what_adds_nothing_scores_zero_and_goes_first(part, on, idle, some):
    given = {"questions": some} if on == "questions" else {"texts": TEXTS, "window": 6}
    names = [n for n in VANISHING if part in CRITERIA[n].parts and n != "taylor_plus"]
    if on == "texts":
        names = [n for n in names if not CRITERIA[n].needs.labels]
    found = rank(idle, by=names, part=part, **given)
    count = len(PARTS[part])
    for name, ranking in found.items():
        planted = np.array([unit.layer == IDENTITY for unit in ranking.units])
        assert np.abs(ranking.scores[planted]).max() <= 1e-12, name
        assert ranking.scores[~planted].min() > 1e-6, name
        assert {unit.layer for unit in ranking.order[:count]} == {IDENTITY}, name


@pytest.mark.parametrize("name", ["margin", "accuracy", "perplexity"])
def test_removing_what_adds_nothing_changes_no_objective(name, idle, some):
    ranking = rank(idle, some, by=name)
    assert ranking.scores[IDENTITY] == 0
    assert np.count_nonzero(ranking.values[IDENTITY]) == 0


# -- known answers --------------------------------------------------------------------------------------------------


def test_lengths_and_angles_by_hand():
    x = torch.tensor([[3.0, 4.0], [1.0, 0.0], [1.0, 0.0], [2.0, 0.0], [1.0, 1.0]])
    y = torch.tensor([[3.0, 4.0], [0.0, 2.0], [-5.0, 0.0], [1.0, 1.0], [7.0, 7.0]])
    change = Change.between(x, y)
    # Equal, at a right angle, opposite, at 45 degrees, parallel but longer.
    assert change.cosine_distance() == pytest.approx([0, 1, 2, 1 - np.sqrt(0.5), 0], abs=1e-15)
    assert angular_distance(change) == pytest.approx([0, 0.5, 1, 0.25, 0], abs=1e-7)
    assert change.behind.tolist() == [25, 4, 25, 2, 98]
    assert change.cosine_distance()[0] == 0


def test_small_angles_keep_their_digits():
    tiny = 1e-9
    change = Change.between(
        torch.tensor([1.0, 0.0], dtype=torch.float64), torch.tensor([1.0, tiny], dtype=torch.float64)
    )
    assert angular_distance(change) == pytest.approx(tiny / np.pi, rel=1e-7)
    assert change.cosine_distance() == pytest.approx(tiny**2 / 2, rel=1e-7)


def test_weights_and_slopes_by_hand():
    w, g, f = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0]), torch.tensor([4.0, 1.0])
    assert first_order(w, g).tolist() == [0.5, 6.0]
    assert second_order(w, f).tolist() == [4.0, 4.0]
    assert mixed_order(w, g, f).tolist() == [1.5, 8.0]
    assert magnitude([w, g], 1) == 6.5
    assert magnitude([w, g], 2) == 14.25


# -- against plain transformers -------------------------------------------------------------------------------------


def plain_streams(encoded):
    """Streams before attention, behind it and behind the MLP, of every block and question, by hooks on plain blocks."""
    hf = tiny_hf("llama")
    found = [[] for _ in hf.model.layers]
    attention = {}
    for i, layer in enumerate(hf.model.layers):
        layer.self_attn.register_forward_hook(lambda _m, _a, out, i=i: attention.__setitem__(i, out[0]))
        layer.register_forward_hook(
            lambda _m, args, out, i=i: found[i].append((args[0][0], attention[i][0], out[0]))
        )
    with torch.no_grad():
        for sequence in encoded.sequences:
            hf(torch.tensor([sequence.tokens]), use_cache=False)
    return [
        [(x.double(), (x + a).double(), (y if y.ndim == 2 else y[0]).double()) for x, a, y in rows]
        for rows in found
    ]


def cos(a, b):
    return torch.nn.functional.cosine_similarity(a, b, dim=-1)


def test_cosines_are_those_of_plain_streams(tiny, some):
    encoded = ask(tiny, some)
    streams = plain_streams(encoded)
    block = rank(tiny, encoded, by=["block_influence", "angular_distance", "update_norm", "activation_norm"])
    joint = rank(tiny, encoded, by="cosine", part="joint")
    for i, rows in enumerate(streams):
        every = [torch.cat([row[k] for row in rows]) for k in range(3)]
        assert block["block_influence"].scores[i] == pytest.approx(
            float(1 - cos(every[0], every[2]).mean()), abs=1e-6
        )
        last = torch.stack([cos(row[0][-1], row[2][-1]).acos() / np.pi for row in rows])
        assert block["angular_distance"].scores[i] == pytest.approx(float(last.mean()), abs=1e-5)
        assert block["angular_distance"].values[i] == pytest.approx(last.numpy(), abs=1e-5)
        assert block["update_norm"].scores[i] == pytest.approx(
            float((every[2] - every[0]).norm(dim=-1).mean()), rel=1e-5
        )
        assert block["activation_norm"].scores[i] == pytest.approx(
            float(every[2].norm(dim=-1).mean()), rel=1e-5
        )
        assert joint.scores[2 * i] == pytest.approx(float(1 - cos(every[0], every[1]).mean()), abs=1e-6)
        assert joint.scores[2 * i + 1] == pytest.approx(float(1 - cos(every[1], every[2]).mean()), abs=1e-6)


def test_windows_are_measured_from_their_first_block_to_their_last(tiny, some):
    encoded = ask(tiny, some)
    streams = plain_streams(encoded)
    ranking = rank(tiny, encoded, by="angular_distance", size=3)
    assert [unit.layers for unit in ranking.units] == [(i, i + 1, i + 2) for i in range(4)]
    for i in range(4):
        before, behind = streams[i], streams[i + 2]
        angle = [cos(x[0][-1], y[2][-1]).acos() / np.pi for x, y in zip(before, behind, strict=True)]
        assert ranking.scores[i] == pytest.approx(float(torch.stack(angle).mean()), abs=1e-5)


def test_cka_compares_streams_averaged_over_positions(tiny, some):
    streams = plain_streams(ask(tiny, some))
    ranking = rank(tiny, some, by="cka")
    for i, rows in enumerate(streams):
        x, y = (np.stack([row[k].mean(0).numpy() for row in rows]) for k in (0, 2))
        assert ranking.scores[i] == pytest.approx(1 - debiased_cka(x, y), abs=1e-5)
        rest = [
            1 - debiased_cka(np.delete(x, row, axis=0), np.delete(y, row, axis=0)) for row in range(len(x))
        ]
        error = np.sqrt((len(x) - 1) / len(x) * np.square(rest - np.mean(rest)).sum())
        far = stats.t.ppf(0.975, len(x) - 1) * error
        assert ranking.high[i] == pytest.approx(ranking.scores[i] + far, abs=1e-4)
        assert ranking.low[i] == pytest.approx(max(ranking.scores[i] - far, 0), abs=1e-4)


def test_the_mlp_of_a_parallel_block_starts_from_the_same_stream_as_its_attention(some, model_of):
    model = model_of("gpt_neox")
    assert not model.capabilities.resid_mid
    encoded = ask(model, some)
    seen = capture(model, encoded, sites=("resid_pre", "mlp_out", "attn_out"))
    joint = rank(model, encoded, by=replace(CRITERIA["cosine"], positions="last"), part="joint")
    for i in range(6):
        x = torch.tensor(seen.at("resid_pre", i)).double()
        for place, site in enumerate(("attn_out", "mlp_out")):
            expected = 1 - cos(x, x + torch.tensor(seen.at(site, i)).double()).mean()
            assert joint.scores[2 * i + place] == pytest.approx(float(expected), abs=1e-6)


def plain_losses(sequences, without=None):
    """Cross-entropy of each sequence's targets, with plain transformers and a shorter list of blocks."""
    hf = tiny_hf("llama")
    if without is not None:
        del hf.model.layers[without]
    found, distributions = [], []
    with torch.no_grad():
        for s in sequences:
            logs = hf(torch.tensor([s.tokens]), use_cache=False).logits[0].double().log_softmax(-1)
            found.append(-sum(float(logs[p, t]) for p, t in zip(s.read, s.targets, strict=True)))
            distributions.append(logs[list(s.read)])
    return np.array(found), distributions


@pytest.mark.parametrize("on", ["letter", "first_token", "cloze_pmi", "texts"])
def test_perplexity_and_kl_are_those_of_a_model_without_the_block(on, tiny, some):
    from decision_phases.pruning.criteria import question_data, text_data

    if on == "texts":
        data = text_data(tiny, TEXTS, window=5)
        found = rank(tiny, texts=TEXTS, window=5, by=["perplexity", "kl"])
    else:
        encoded = ask(tiny, some, scoring=on)
        data = question_data(encoded)
        found = rank(tiny, encoded, by=["perplexity", "kl"])
        assert len(data.sequences) == len(some)
        for s, item in zip(data.sequences, encoded.questions, strict=True):
            told = tiny.tokenizer.decode(s.targets)
            assert told == (f" {'ABCDEFGH'[item.answer]}" if on == "letter" else f" {item.gold}")
    tokens = sum(len(s.targets) for s in data.sequences)
    intact, p = plain_losses(data.sequences)
    for layer in (0, 2, 5):
        less, q = plain_losses(data.sequences, without=layer)
        assert found["perplexity"].scores[layer] == pytest.approx((less - intact).sum() / tokens, abs=1e-5)
        kl = sum(float((a.exp() * (a - b)).sum()) for a, b in zip(p, q, strict=True)) / tokens
        assert found["kl"].scores[layer] == pytest.approx(kl, abs=1e-5)
    if on == "texts":
        assert found["kl"].labels == ("#0", "#1")
        assert found["kl"].resampled == "text"


def test_margin_and_accuracy_drops_are_differences_of_readings(tiny, some):
    from decision_phases.readout import read

    found = rank(tiny, some, by=["margin", "accuracy"], under=skip(1))
    assert [unit.layer for unit in found["margin"].units] == [0, 2, 3, 4, 5]
    intact = read(tiny, some, under=skip(1)).final
    for place, layer in enumerate((0, 2, 3, 4, 5)):
        without = read(tiny, some, under=skip(1, layer)).final
        np.testing.assert_allclose(found["margin"].values[place], intact.margin - without.margin, atol=1e-6)
        assert found["accuracy"].scores[place] == pytest.approx(intact.accuracy - without.accuracy)


def test_a_removed_block_takes_with_it_what_was_removed_of_it_before(tiny, some):
    from decision_phases.readout import read

    before = skip(2, part="mlp")
    found = rank(tiny, some, by="margin", under=before)
    intact = read(tiny, some, under=before).final.margin
    without = read(tiny, some, under=skip(2)).final.margin
    np.testing.assert_allclose(found.values[2], intact - without, atol=1e-6)


EDITED = {
    "mlp_out": ("block", "mlp"), "attn_out": ("block", "attention"), "resid_mid": ("block",), "resid_post": ("block",),
}  # fmt: skip


@pytest.mark.parametrize("site", EDITED)
def test_a_removed_unit_takes_with_it_what_was_done_to_it(site, tiny, some):
    from decision_phases.readout import read

    before = scale(site, 3, 0.5) + scale("mlp_out", 1, 0.5)
    intact = read(tiny, some, under=before).final.margin
    for part in EDITED[site]:
        found = rank(tiny, some, by="margin", under=before, part=part)
        without = read(tiny, some, under=skip(3, part=part) + scale("mlp_out", 1, 0.5)).final.margin
        np.testing.assert_allclose(found.values[3], intact - without, atol=1e-6)


def test_a_block_of_a_sparse_model_can_be_removed(tiny, some):
    from decision_phases.pruning.sparsity import sparsify
    from decision_phases.readout import read

    sparse, others = (
        sparsify(tiny, "magnitude:0.5", layers=layers) for layers in (range(6), (0, 1, 2, 4, 5))
    )
    found = rank(tiny, some, by="margin", under=sparse)
    intact = read(tiny, some, under=sparse).final.margin
    without = read(tiny, some, under=skip(3) + others).final.margin
    np.testing.assert_allclose(found.values[3], intact - without, atol=1e-6)


def test_magnitudes_are_those_of_plain_weights(tiny):
    hf = tiny_hf("llama")
    block = rank(tiny, by=["magnitude_l1", "magnitude_l2"])
    parts = rank(tiny, by="magnitude_l1", part="joint")
    for i, layer in enumerate(hf.model.layers):
        every = [p.detach() for p in layer.parameters()]
        assert block["magnitude_l1"].scores[i] == pytest.approx(
            sum(float(p.abs().sum()) for p in every), rel=1e-6
        )
        assert block["magnitude_l2"].scores[i] == pytest.approx(
            sum(float((p * p).sum()) for p in every), rel=1e-5
        )
        attention = [*layer.self_attn.parameters(), *layer.input_layernorm.parameters()]
        own = sum(float(p.detach().abs().sum()) for p in attention)
        assert parts.scores[2 * i] == pytest.approx(own, rel=1e-6)
        assert parts.scores[2 * i] + parts.scores[2 * i + 1] == pytest.approx(block["magnitude_l1"].scores[i])


# -- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"by": "block_influenc"}, "unknown criterion 'block_influenc'; did you mean 'block_influence'"),
        ({"by": "block_influence", "part": "mlp"}, "block_influence is defined for part=block, not for 'mlp'"),
        ({"by": "kl", "part": "mpl"}, "unknown part 'mpl'; did you mean 'mlp'"),
        ({"by": "kl", "part": "mlp", "size": 2}, "only blocks are removed together"),
        ({"by": "kl", "size": 7}, r"size=7: 6 blocks of tiny-llama are left, so it can be 1\.\.6"),
        ({"by": "taylor_plus"}, "taylor_plus never removes the first 4 and the last 2 blocks, which leaves none"),
        ({"by": []}, "give at least one"),
        ({"by": None}, "unknown criterion None. Known: "),
        ({"by": ["kl", 3]}, "unknown criterion 3. Known: "),
        ({"by": ["kl", "kl"]}, "each once and with its own name"),
        ({"by": "kl", "confidence": 1.0}, "confidence=1.0"),
        ({"by": "kl", "under": skip(9)}, "out of range"),
        ({"by": "block_influence", "under": zero("resid_post", 1)},
         r"block_influence is not finite for block 1 \(nan\), block 2 \(nan\).*first on question"),
        ({"by": "perplexity", "part": "mlp", "under": scale("resid_post", 1, 1e30) + scale("resid_post", 2, 1e30)},
         r"perplexity is not finite for mlp 0 \(nan\)"),
    ],
)  # fmt: skip
def test_what_cannot_be_ranked_is_refused(given, text, tiny, some):
    with pytest.raises(InputError, match=text):
        rank(tiny, some, **given)


def test_data_that_a_criterion_needs_are_asked_for(tiny):
    with pytest.raises(InputError, match="margin compares with right answers, which texts do not have"):
        rank(tiny, texts=TEXTS, by="margin")
    with pytest.raises(InputError, match="shots can be set for questions only, and texts were given"):
        rank(tiny, texts=TEXTS, by="kl", shots=2)
    with pytest.raises(InputError, match="margin is measured on data, and none is given; give questions"):
        rank(tiny, by="margin")
    with pytest.raises(
        InputError, match="kl is measured on data, and none is given; give questions or texts="
    ):
        rank(tiny, by=["random", "kl"])


def test_quantised_and_processed_models_are_refused_where_it_matters(some):
    model = load("tiny-llama", quiet=True)
    down = model.root.model.layers[2].mlp._original_component.down_proj._original_component
    down.weight = torch.nn.Parameter(torch.zeros(32, 48, dtype=torch.int8), requires_grad=False)
    for name in ("taylor", "gradient_norm", "activation_gradient", "magnitude_l1"):
        with pytest.raises(
            InputError, match=rf"{name} takes .* but tiny-llama is quantised \(it has int8 weights"
        ):
            rank(model, some, by=name)
    model = load("tiny-llama", quiet=True)
    model.processed = True
    for name, criterion in CRITERIA.items():
        if criterion.needs.raw_weights or criterion.needs.raw_stream:
            with pytest.raises(InputError, match=f"{name} depends on weights as published"):
                CRITERIA[name].check(model, "block", rank_data(model, some))
        else:
            criterion.check(model, "block", rank_data(model, some))


def rank_data(model, some):
    from decision_phases.pruning.criteria import question_data

    return question_data(ask(model, some))


def test_models_without_attention_are_ranked_by_block_only(some, model_of):
    model = model_of("mamba")
    with pytest.raises(InputError, match=r"has no attention to remove; use part='block'"):
        rank(model, some, by="cosine", part="joint")
    assert (
        len(rank(model, some, by=["block_influence", "kl", "taylor", "activation_taylor"])["kl"].order) == 6
    )


def test_cka_names_the_unit_that_it_is_undefined_for(tiny, some):
    with pytest.raises(InputError, match="cka of block 0 on facts: one side has the same state"):
        rank(tiny, some, by=replace(find_criterion("cka"), positions="last"))
