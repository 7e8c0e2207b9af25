"""Gradient criteria against plain transformers' own backward pass, against finite differences, and for their traces."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import stats

from decision_phases.errors import InputError
from decision_phases.interventions import skip, weights
from decision_phases.models import load
from decision_phases.models.tiny import tiny_hf
from decision_phases.pruning import rank
from decision_phases.pruning.criteria import question_data, text_data
from decision_phases.pruning.criteria import slope_sums as slope_sums_module
from decision_phases.pruning.criteria.contract import Request
from decision_phases.pruning.criteria.slope_sums import slope_sums
from decision_phases.pruning.criteria.slopes import unit_slopes
from decision_phases.pruning.criteria.units import units_of
from decision_phases.readout import ask
from decision_phases.tasks import questions as read_questions

TEXTS = ("Is water wet? Yes, it is. Is fire cold? No, it is not.", "What is hot? Fire is hot.")
TAYLOR = ("taylor", "taylor_second", "taylor_mixed", "taylor_vector", "gradient_norm")
PARTS = (("self_attn", "input_layernorm"), ("mlp", "post_attention_layernorm"))  # attention, MLP


@pytest.fixture(scope="module")
def wide(model_of):
    """In float64, where finite differences can be believed."""
    return model_of("llama", "float64")


@pytest.fixture(scope="module")
def some():
    return read_questions("facts", limit=4)


@pytest.fixture(scope="module")
def data_of(wide, some):
    return {
        "first_token": question_data(ask(wide, some)),
        "cloze": question_data(ask(wide, some, scoring="cloze")),
        "texts": text_data(wide, TEXTS, window=6),
    }


def ranked(model, some, on, by, **settings):
    if on == "texts":
        return rank(model, texts=TEXTS, window=6, by=by, **settings)
    return rank(model, some, by=by, scoring=on, **settings)


def plain(family="llama"):
    """With gradients of everything; the norms of Llama are computed in float32 all the same."""
    return tiny_hf(family).double()


def loss_sum(hf, sequence):
    logits = hf(torch.tensor([sequence.tokens]), use_cache=False).logits[0, list(sequence.read)]
    return torch.nn.functional.cross_entropy(logits, torch.tensor(sequence.targets), reduction="sum")


def mean_loss(hf, data):
    return sum(loss_sum(hf, s) for s in data.sequences) / sum(len(s.targets) for s in data.sequences)


@pytest.mark.parametrize("on", ["cloze", "texts"])
def test_taylor_scores_are_those_of_plain_gradients(on, wide, some, data_of):
    data, hf = data_of[on], plain()
    block, joint = (ranked(wide, some, on, TAYLOR, part=part) for part in ("block", "joint"))
    every = dict(hf.model.layers.named_parameters())
    mean_loss(hf, data).backward()
    w, g = (
        {name: value(p) for name, p in every.items()} for value in (torch.Tensor.detach, lambda p: p.grad)
    )
    f = {name: torch.zeros_like(p) for name, p in w.items()}
    for s in data.sequences:
        slopes = torch.autograd.grad(loss_sum(hf, s) / len(s.targets), list(every.values()))
        for name, slope in zip(every, slopes, strict=True):
            f[name] += slope**2 / len(data.sequences)
    units = [(block, i, f"{i}.") for i in range(6)]
    units += [
        (joint, 2 * i + j, tuple(f"{i}.{m}" for m in own)) for i in range(6) for j, own in enumerate(PARTS)
    ]
    for found, place, prefix in units:
        own = [name for name in every if name.startswith(prefix)]
        expected = {
            "taylor": sum((w[n] * g[n]).abs().sum() for n in own),
            "taylor_second": sum((w[n] ** 2 * f[n]).sum() for n in own),
            "taylor_mixed": sum((w[n] * g[n] - w[n] ** 2 * f[n] / 2).abs().sum() for n in own),
            "taylor_vector": abs(sum((w[n] * g[n]).sum() for n in own)),
            "gradient_norm": sum((g[n] ** 2).sum() for n in own) ** 0.5,
        }
        for name, value in expected.items():
            assert found[name].scores[place] == pytest.approx(float(value), rel=1e-6, abs=1e-6), name


def test_taylor_scores_are_slopes_of_the_loss_by_finite_differences(some, model_of):
    """Along w the slope is Σ w g, along w with the signs of w g it is Σ |w g|; GPT-2 is in float64 throughout."""
    model = model_of("gpt2", "float64")
    found = rank(model, some, by=["taylor", "taylor_vector"])
    data, hf, step = question_data(ask(model, some)), plain("gpt2"), 1e-5
    mean_loss(hf, data).backward()
    for place in (0, 3):
        slopes = [p.grad for p in hf.transformer.h[place].parameters()]
        for name, turn in (("taylor_vector", False), ("taylor", True)):
            values = []
            for sign in (1, -1):
                fresh = plain("gpt2")
                with torch.no_grad():
                    for p, g in zip(fresh.transformer.h[place].parameters(), slopes, strict=True):
                        p += sign * step * p * ((p * g).sign() if turn else 1)
                    values.append(float(mean_loss(fresh, data)))
            slope = (values[0] - values[1]) / (2 * step)
            assert found[name].scores[place] == pytest.approx(abs(slope), rel=1e-6)


def test_gradients_are_of_the_model_under_its_intervention(wide, some, data_of):
    """Replaced weights are the ones that are multiplied, removed blocks are not ranked."""
    hf = plain()
    own = dict(wide.parameters(4))
    name = next(n for n in own if "down_proj" in n)
    new = 2 * own[name].detach().numpy()
    with torch.no_grad():
        hf.model.layers[4].mlp.down_proj.weight.mul_(2)
    del hf.model.layers[1]
    found = ranked(wide, some, "first_token", "taylor", under=skip(1) + weights(4, {name: new}))
    mean_loss(hf, data_of["first_token"]).backward()
    expected = [
        sum(float((p.detach() * p.grad).abs().sum()) for p in layer.parameters()) for layer in hf.model.layers
    ]
    assert [unit.layer for unit in found.units] == [0, 2, 3, 4, 5]
    np.testing.assert_allclose(found.scores, expected, rtol=1e-6)


@pytest.mark.parametrize("on", ["cloze", "texts"])
def test_intervals_come_from_scores_with_a_fold_left_out(on, wide, some, data_of):
    """Every question, or every text, is a fold here: each ranking without one is taken by itself."""
    found = ranked(wide, some, on, TAYLOR)
    n = data_of[on].n_groups
    if on == "texts":
        rests = [
            rank(wide, texts=[t for j, t in enumerate(TEXTS) if j != i], window=6, by=TAYLOR)
            for i in range(n)
        ]
    else:
        kept = [tuple(one for j, one in enumerate(some) if j != i) for i in range(n)]
        rests = [ranked(wide, dataclasses.replace(some, items=rows), on, TAYLOR) for rows in kept]
    for name, ranking in found.items():
        scores = np.array([rest[name].scores for rest in rests])
        if name == "taylor_vector":
            continue  # its folds keep the sign of the whole
        error = np.sqrt((n - 1) / n * np.square(scores - scores.mean(axis=0)).sum(axis=0))
        far = stats.t.ppf(0.975, n - 1) * error
        np.testing.assert_allclose(ranking.high, ranking.scores + far, rtol=1e-6)
        np.testing.assert_allclose(ranking.low, np.maximum(ranking.scores - far, 0), rtol=1e-6, atol=1e-9)


def test_a_sum_that_changes_sign_between_questions_is_not_told_from_zero(wide, some):
    """Folds of |Σ w g| keep the sign of the whole, or the two halves of nothing would agree."""
    data = question_data(ask(wide, some))
    request = Request(wide, units_of(wide, "block"), data)
    whole, left_out = slope_sums(request, "vector")
    turning = np.flatnonzero((np.sign(left_out) != np.sign(whole)).any(axis=0))
    assert len(turning)
    ranking = rank(wide, some, by="taylor_vector")
    np.testing.assert_allclose(ranking.scores, np.abs(whole))
    assert (ranking.low[turning] == 0).all()
    error = np.sqrt((len(left_out) - 1) * left_out.var(axis=0))
    np.testing.assert_allclose(ranking.high, np.abs(whole) + stats.t.ppf(0.975, 3) * error)


def test_intervals_that_cost_runs_are_left_out_on_request(wide, some, monkeypatch):
    ran = []
    monkeypatch.setattr(
        slope_sums_module, "unit_slopes", lambda *a, **k: ran.append(a) or unit_slopes(*a, **k)
    )
    with_them, without = (
        rank(wide, some, by=("taylor", "gradient_norm"), intervals=i) for i in (True, False)
    )
    assert len(ran) == (1 + 4) + 1  # on all of the data and on each fold, whatever the number of criteria
    for name, ranking in without.items():
        np.testing.assert_array_equal(ranking.scores, with_them[name].scores)
        assert np.isnan(ranking.low).all()
        assert np.isfinite(with_them[name].low).all()


@pytest.mark.parametrize("on", ["first_token", "texts"])
def test_activation_gradients_are_those_of_plain_outputs(on, wide, some, data_of):
    data, hf = data_of[on], plain()
    found = ranked(wide, some, on, ["activation_gradient", "activation_taylor"])
    inner = ranked(wide, some, on, ["activation_gradient", "activation_taylor"], part="joint")
    seen = {}
    for i, layer in enumerate(hf.model.layers):

        def block(_m, args, out, i=i):
            seen["block", i] = out if isinstance(out, torch.Tensor) else out[0]
            seen["before", i] = args[0].detach()

        layer.register_forward_hook(block)
        layer.self_attn.register_forward_hook(
            lambda _m, _a, out, i=i: seen.__setitem__(("attention", i), out[0])
        )
        layer.mlp.register_forward_hook(lambda _m, _a, out, i=i: seen.__setitem__(("mlp", i), out))
    sums = {}
    for s in data.sequences:
        loss = loss_sum(hf, s) / len(s.targets)
        places = [(part, i) for part in ("block", "attention", "mlp") for i in range(6)]
        slopes = torch.autograd.grad(loss, [seen[place] for place in places])
        for place, slope in zip(places, slopes, strict=True):
            added = seen[place].detach() - (seen["before", place[1]] if place[0] == "block" else 0)
            norm, product = sums.get(place, (0.0, 0.0))
            sums[place] = (norm + float(slope.norm()), product + float((slope * added).abs().sum()))
    n = len(data.sequences)
    for which, name in enumerate(("activation_gradient", "activation_taylor")):
        for i in range(6):
            assert found[name].scores[i] == pytest.approx(sums["block", i][which] / n, rel=1e-6)
            assert inner[name].scores[2 * i] == pytest.approx(sums["attention", i][which] / n, rel=1e-6)
            assert inner[name].scores[2 * i + 1] == pytest.approx(sums["mlp", i][which] / n, rel=1e-6)


def test_several_blocks_are_one_output(wide, some):
    """Removing two blocks in a row changes the stream by what both add, and loses the second's output."""
    one = ranked(wide, some, "first_token", "activation_gradient")
    two = ranked(wide, some, "first_token", "activation_gradient", size=2)
    np.testing.assert_allclose(two.scores, one.scores[1:], rtol=1e-6)
    single = ranked(wide, some, "first_token", "taylor")
    pair = ranked(wide, some, "first_token", "taylor", size=2)
    np.testing.assert_allclose(pair.scores, single.scores[1:] + single.scores[:-1], rtol=1e-6)


def test_padding_takes_no_part(wide):
    """Texts of unequal length in one batch give what they give one by one."""
    texts = ("Is water wet?", "Is water wet? Yes, it is. What is hot? Fire.")
    names = ["activation_gradient", "activation_taylor"]
    both = rank(wide, texts=texts, window=32, by=names)
    for i, text in enumerate(texts):
        alone = rank(wide, texts=[text], window=32, by=names)
        for name in names:
            np.testing.assert_allclose(both[name].values[:, i], alone[name].scores, rtol=1e-6)


def test_nothing_is_left_behind(some, monkeypatch):
    model = load("tiny-llama", quiet=True)
    every = list(model.unique_parameters())
    every[3].requires_grad_(requires_grad=True)
    every[3].grad = torch.full_like(every[3], 7.0)
    before = [(p.requires_grad, p.detach().clone()) for p in every]

    def check():
        assert [p.requires_grad for p in every] == [flag for flag, _ in before]
        assert [p.grad is None for p in every] == [i != 3 for i in range(len(every))]
        assert bool((every[3].grad == 7).all())
        assert all(torch.equal(p.detach(), old) for p, (_, old) in zip(every, before, strict=True))
        assert not model.has_own_hooks
        assert torch.is_grad_enabled()

    ranking = rank(model, some, by=["taylor_mixed", "gradient_norm", "activation_taylor"])
    assert ranking["gradient_norm"].scores.min() > 0
    check()
    with torch.no_grad():  # gradients are taken all the same
        again = rank(model, some, by="gradient_norm")
    np.testing.assert_array_equal(again.scores, ranking["gradient_norm"].scores)

    def fail(*_args):
        raise InputError("in the middle")

    for module in ("slopes", "activation_gradient"):
        monkeypatch.setattr(f"decision_phases.pruning.criteria.{module}.batch_losses", fail)
    for name in ("taylor", "activation_gradient"):
        with pytest.raises(InputError, match="in the middle"):
            rank(model, some, by=name)
    check()


@pytest.mark.parametrize("family", ["mixtral", "falcon"])
def test_families_have_gradients_for_both_parts(family, some, model_of):
    model = model_of(family)
    names = ["taylor", "taylor_vector", "gradient_norm", "activation_gradient", "activation_taylor"]
    for ranking in rank(model, some, by=names, part="joint").values():
        assert ranking.scores.min() > 0, ranking.by
