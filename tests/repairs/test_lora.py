"""Adapters merged are adapters applied; losses are what they say; training goes on where it was stopped."""

import sys
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from decision_phases.engine import applied, capture
from decision_phases.errors import InputError, MissingPackageError
from decision_phases.exports import export
from decision_phases.interventions import Array, Intervention, LowRank, skip, weights
from decision_phases.models import load
from decision_phases.models.twins import InDouble
from decision_phases.readout import perplexity, read
from decision_phases.repairs import MAPS, REPAIRS, FittedRepair, LoraRepair, compare_repairs, repair
from decision_phases.repairs.contract import Task
from decision_phases.repairs.repair import source_of
from decision_phases.repairs.trained import losses
from decision_phases.repairs.trained.adapters import merged
from decision_phases.repairs.trained.batches import Rows, schedule
from decision_phases.repairs.trained.layers import around
from decision_phases.repairs.trained.losses import LOSSES, Seen, lens_trajectory, residual_trajectory
from decision_phases.repairs.trained.student import Student, entered, intact_residuals
from decision_phases.tasks import TextSet, questions
from decision_phases.tasks import texts as read_texts

TEXTS = TextSet("some", tuple(text for text in read_texts("pydoc").documents if len(text) < 1500)[:24])
FEW = {"texts": TEXTS, "limit": 8, "window": 32}
LORAS = [name for name, found in REPAIRS.items() if isinstance(found, LoraRepair)]
DISTILLING = [loss for loss in LOSSES if LOSSES[loss].distils]
CUT = skip(2, 3)
#: Parts of two layers and two blocks, one of them the last.
MIXED = skip(1, 5) + skip(2, part="attention") + skip(3, part="mlp")
#: Families whose attention or MLP can be left out of a plain block, and others.
FAMILIES = ["llama", "gemma2", "mixtral", "gpt2", "gpt_neox", "bloom", "falcon"]


def short(kind="lora", **settings):
    own = {"rank": 2} if isinstance(REPAIRS[kind], LoraRepair) else {}
    return replace(REPAIRS[kind], **own | {"steps": 4, "batch": 96, "every": 2} | settings)


def windows(model):
    return source_of(model, seed=0, **FEW).data.sequences


@pytest.fixture(scope="module")
def double(model_of):
    return model_of("llama", "float64")


@pytest.fixture(scope="module")
def batch(double):
    """Three windows, of unequal length."""
    ordered = sorted(windows(double), key=len)
    chosen = [replace(w, owner=i) for i, w in enumerate([ordered[0], *ordered[-2:]])]
    assert len({len(window) for window in chosen}) > 1
    return chosen


def with_random_adapters(model, cut, **settings):
    """The cut model with adapters that do something, and what they are worth as an intervention."""
    student, adapters = short(**settings).student(model, cut)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for adapter in adapters:
            for p in adapter.parameters.values():
                p.copy_(0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return student, merged(adapters, "made up")


# -- adapters --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_merged_are_adapters_applied(family, model_of):
    """Also where a family keeps queries, keys and values in one matrix, or its matrices the other way round."""
    exact = family != "mixtral"  # whose experts are computed in float32 at most
    model = model_of(family, "float64" if exact else "auto")
    cut = MIXED if {"attention", "mlp"} <= model.skips else skip(1, 5)
    student, change = with_random_adapters(model, cut, neighbours=None)
    tokens = torch.arange(24).view(2, 12) * 7 % model.d_vocab
    with InDouble() if exact else nullcontext(), torch.no_grad():
        entry = entered(model, tokens)
        by_adapters = student.residuals(entry, entry.resid, 0)
        with applied(model, cut + change):
            logits = model.logits(tokens)
        with applied(model, cut):
            without = model.logits(tokens)
        np.testing.assert_allclose(model.readout(by_adapters[4]), logits, atol=1e-10 if exact else 1e-4)
    assert (logits - without).abs().max() > 1e-2
    # Without its attention, a layer of experts has no plain linear module left.
    assert [edit.layer for edit in change] == ([0, 2, 3, 4] if exact else [0, 3, 4])
    names = {name for edit in change for name in edit.value.names}
    assert len(names) >= 4  # also queries, keys and values of joint matrices


def test_a_part_that_is_gone_gets_no_adapter(double):
    _, change = with_random_adapters(double, MIXED, neighbours=1)
    named = {edit.layer: " ".join(edit.value.names) for edit in change}
    assert sorted(named) == [0, 2, 3, 4]
    assert "mlp" in named[2]
    assert "attn" not in named[2]
    assert "attn" in named[3]
    assert "mlp" not in named[3]


def test_only_what_is_targeted_gets_an_adapter(double, model_of):
    _, change = with_random_adapters(double, CUT, targets=("q_proj", "up_proj"))
    assert [edit.value.names for edit in change] == [("mlp.up_proj.weight", "self_attn.q_proj.weight")] * 4
    assert all(isinstance(held, LowRank) for edit in change for _, held in edit.value.parameters)
    _, joint = with_random_adapters(model_of("gpt2"), CUT, targets=("q",))
    assert joint.edits[0].value.names == ("attn.k.weight", "attn.q.weight", "attn.v.weight")


@pytest.mark.parametrize(
    ("cut", "neighbours", "expected"),
    [
        (skip(4, 5), 1, (3, 6)),
        (skip(4, 5), 2, (2, 3, 6, 7)),
        (skip(4, 6), 2, (2, 3, 5, 7, 8)),
        (skip(0), 2, (1, 2)),
        (skip(9), 1, (8,)),
        (skip(4, part="mlp"), 1, (3, 4, 5)),
        (skip(4, part="mlp") + skip(4, part="attention"), 1, (3, 5)),
        (skip(4), None, (0, 1, 2, 3, 5, 6, 7, 8, 9)),
    ],
)
def test_what_surrounds_a_cut(cut, neighbours, expected):
    assert around(10, cut, neighbours) == expected


# -- the contract ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LORAS)
def test_every_one_keeps_the_contract(name, tiny, tmp_path):
    before = [p.detach().clone() for p in tiny.unique_parameters()]
    found, again = (repair(tiny, CUT, method=short(name), **FEW) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(before, tiny.unique_parameters(), strict=True))
    assert not any(p.requires_grad for p in tiny.unique_parameters())
    assert isinstance(found, FittedRepair)
    assert (again, again.key, again.fit.losses) == (found, found.key, found.fit.losses)
    assert [(edit.op, edit.layer) for edit in found] == [("weights", layer) for layer in (0, 1, 4, 5)]
    healed = CUT + found
    assert type(healed) is Intervention
    assert str(healed) == f"skip {{2, 3}} + {name} {{0, 1, 4, 5}}"
    assert np.isfinite(perplexity(tiny, ["Is water wet? Yes."], window=8, under=healed).log_value)
    fit = found.fit
    assert fit.parameters_added == 0  # merged into weights that are there anyway
    assert fit.parameters_trained == 4 * 2 * sum(32 + out for out in (32, 16, 16, 32, 48, 48)) + 4 * 2 * (
        48 + 32
    )
    assert len(fit.losses) == len(fit.to_pandas()) == 4
    lengths = [len(window) for window in windows(tiny)]
    order = schedule(lengths, steps=4, batch=96, seed=0)
    assert fit.trained == sum(lengths[i] for step in order for i in step)
    assert fit.tokens == sum(lengths)
    assert fit.places == ()
    assert f"{fit.trained} tokens" in repr(found)
    assert len(fit.plot().axes) == 1
    found.save(tmp_path / "kept")
    assert Intervention.load(tmp_path / "kept") == found
    assert (tmp_path / "kept" / "arrays.safetensors").stat().st_size < 6 * 4 * fit.parameters_trained


def test_no_steps_is_no_repair(tiny):
    found = repair(tiny, CUT, method=short(steps=0, batch=10**6), **FEW)
    some = questions("facts").limit(20, 0)
    under_cut, healed = (read(tiny, some, under=under) for under in (CUT, CUT + found))
    np.testing.assert_array_equal(healed.margin, under_cut.margin)
    assert found.fit.losses == ()
    with pytest.raises(InputError, match="no loss to draw"):
        found.fit.plot()


def test_seed_and_text_decide(tiny):
    one = repair(tiny, CUT, method=short(), **FEW)
    own = repair(tiny, CUT, method=short(seed=0), **FEW)
    other = repair(tiny, CUT, method=short(seed=1), **FEW)
    assert own == one
    assert own.fit.seed == 0
    assert other != one
    assert repair(tiny, CUT, method=short(seed=1), **FEW | {"limit": None}) != other


def test_training_makes_the_loss_small(tiny):
    """Windows of the same words, which the cut model cannot know."""
    words = TextSet(
        "again", ("Is water wet? Yes, it is. Is fire cold? No, it is hot. " * 12,) * 2, half="fit"
    )
    how = {"texts": words, "window": 32, "limit": 12}
    settings = {"steps": 24, "rate": 2e-2, "rank": 8, "neighbours": None, "clip": 10.0, "lens": 8}
    learnt = repair(tiny, CUT, method=short(**settings), **how)
    first, last = learnt.fit.losses[0], learnt.fit.losses[-1]
    assert last < 0.75 * first
    logs = [perplexity(tiny, words, window=32, under=under).log_value for under in (CUT, CUT + learnt)]
    assert logs == pytest.approx([first, last], rel=0.05)
    for name in LORAS[1:]:
        first, *_, last = repair(tiny, CUT, method=short(name, **settings), **how).fit.losses
        assert last < 0.4 * first, name


@pytest.mark.parametrize("name", ["lora", "lora_lens", "patch_distil"])
def test_what_was_stopped_goes_on_as_if_nothing_had_happened(name, tiny, tmp_path, monkeypatch):
    method = short(name, steps=7, every=3)
    whole = repair(tiny, CUT, method=method, **FEW)
    real, calls = Rows.of, []

    def stopping(*args):
        calls.append(args)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(Rows, "of", stopping)
        with pytest.raises(
            KeyboardInterrupt, match=f"{name} was stopped after 5 of 7 steps, which are kept in"
        ):
            repair(tiny, CUT, method=method, checkpoint=tmp_path, **FEW)
    assert [path.name for path in tmp_path.glob("*.safetensors")] == [f"{name}.safetensors"]
    calls.clear()
    monkeypatch.setattr(Rows, "of", lambda *args: calls.append(args) or real(*args))
    resumed = repair(tiny, CUT, method=method, checkpoint=tmp_path, **FEW)
    assert len(calls) == 2
    assert (resumed, resumed.fit.losses) == (whole, whole.fit.losses)
    assert repair(tiny, CUT, method=replace(method, every=1), checkpoint=tmp_path, **FEW) == whole
    for other in ({"method": replace(method, rate=1e-5)}, {"seed": 1}, {"limit": 7}):
        with pytest.raises(InputError, match="checkpoint of another training"):
            repair(tiny, CUT, **{"method": method, "checkpoint": tmp_path} | FEW | other)


def test_adapters_of_half_precision_are_trained_in_float32():
    """Steps of a thousandth of a weight would be rounded away."""
    model = load("tiny-llama", dtype="bfloat16", quiet=True)
    _, adapters = short().student(model, CUT)
    assert {p.dtype for adapter in adapters for p in adapter.parameters.values()} == {torch.float32}


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_it_is_trained_in_the_number_format_of_the_model(dtype, model_of):
    model = model_of("llama", dtype)
    found = repair(model, CUT, method=short("lora_trajectory"), **FEW)
    kinds = {held.left.data.dtype.name for edit in found for _, held in edit.value.parameters}
    assert kinds == {"float32" if dtype == "bfloat16" else "float64"}
    assert np.isfinite(found.fit.losses).all()


@pytest.mark.parametrize("name", ["lora_lens", "patch_distil"])
def test_matrices_can_be_multiplied_in_half_precision(name, tiny):
    own = repair(tiny, CUT, method=short(name), **FEW)
    kinds = []

    def note(*args):
        kinds.append((args[-1].dtype, torch.is_grad_enabled()))

    handle = torch.nn.modules.module.register_module_forward_hook(
        lambda module, _, out: note(out) if isinstance(module, torch.nn.Linear) else None
    )
    try:
        found = repair(tiny, CUT, method=short(name, autocast="bfloat16"), **FEW)
    finally:
        handle.remove()
    assert (torch.bfloat16, True) in kinds  # in the model that is trained
    assert (torch.bfloat16, False) in kinds  # and in the intact one
    assert (torch.float32, True) not in kinds
    assert found != own
    np.testing.assert_allclose(found.fit.losses, own.fit.losses, rtol=0.02)
    assert {array.dtype.name for array in found.arrays().values()} == {"float32"}
    assert not any(p.requires_grad for p in tiny.unique_parameters())


def test_the_map_itself_is_never_multiplied_in_half_precision(tiny, batch):
    """Near the identity, bfloat16 rounds more than the map changes."""
    asked = short("patch_distil", autocast="bfloat16")
    prepared, _ = begun(tiny, asked, batch)
    (maps,) = prepared.student.entering.values()
    x = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        narrow = maps[0](x)
    assert torch.equal(narrow, maps[0](x))


@pytest.mark.parametrize("name", ["lora_lens", "patch_distil"])
def test_what_cannot_be_narrowed_is_refused(name, tiny, double):
    with pytest.raises(InputError, match="unknown autocast 'float16'"):
        repair(tiny, CUT, method=short(name, autocast="float16"), **FEW)
    with pytest.raises(InputError, match=r"is in float64\. Leave autocast= out"):
        repair(double, CUT, method=short(name, autocast="bfloat16"), **FEW)


def test_repairs_of_both_kinds_stand_in_one_table(tiny):
    some = questions("facts").limit(20, 0)
    methods = ["ghost", short("lora_distil"), short("lora_distil", name="another", seed=5)]
    found = compare_repairs(tiny, CUT, methods=methods, questions=some, held_out=4, **FEW)
    assert found.methods == ("ghost", "lora_distil", "another")
    alone = repair(tiny, CUT, method=short("lora_distil"), **FEW)
    assert found.of("lora_distil").repair == alone
    np.testing.assert_allclose(
        found.of("lora_distil").margins, read(tiny, some, under=CUT + alone).final.margin, atol=1e-6
    )
    assert found.to_dict()["rows"][3]["fit"]["losses"] == alone.fit.losses
    shown = found.to_pandas().set_index("method")
    assert shown.loc["lora_distil", "parameters_trained"] == alone.fit.parameters_trained > 0
    assert list(shown.parameters_added) == [0, 0, 32 * 32, 0, 0]
    assert f"{alone.fit.parameters_trained} parameters trained, 0 added" in str(found)
    assert not set(LORAS) & set(MAPS)  # what is compared when nothing is named


def test_what_is_exported_has_the_adapters_merged(tiny, tmp_path, monkeypatch):
    from decision_phases.exports.check import check

    monkeypatch.setattr("decision_phases.exports.reload.in_fresh_process", check)
    found = repair(tiny, CUT, method=short(rate=1e-2), **FEW)
    saved = export(tiny, CUT + found, tmp_path / "healed")
    assert (saved.kind, saved.kept) == ("plain", (0, 1, 4, 5))
    again = load(tmp_path / "healed", quiet=True)
    tokens = torch.arange(24).view(2, 12)
    with torch.no_grad(), applied(tiny, CUT + found):
        logits = tiny.logits(tokens)
    with torch.no_grad(), applied(tiny, CUT):
        assert (tiny.logits(tokens) - logits).abs().max() > 1e-3
    np.testing.assert_allclose(again.logits(tokens).detach(), logits, atol=1e-5)


# -- losses ----------------------------------------------------------------------------------------------------------


def logits_of(model, under, window):
    with torch.no_grad(), applied(model, under):
        return model.logits(torch.tensor([window.tokens]))[0, list(window.read)]


def begun(model, asked, batch, cut=CUT):
    """What is trained, and what a step makes small on these windows."""
    task = Task(model, cut, source_of(model, seed=0, **FEW))
    prepared = asked.prepare(task)
    return prepared, asked.objective(task, prepared, lambda _: Rows.of(batch, model.device))


def first_loss(model, batch, loss, cut=CUT, **settings):
    """The loss of the first step, with adapters that do nothing yet."""
    asked = short("lora", loss=loss, **settings)
    made = begun(model, asked, batch, cut)[1]
    with InDouble() if model.dtype == torch.float64 else nullcontext():
        return float(made(0).detach())


def test_next_token_is_cross_entropy_under_the_cut(double, batch):
    with InDouble():
        parts = [
            cross_entropy(logits_of(double, CUT, w), torch.tensor(w.targets), reduction="sum") for w in batch
        ]
    expected = float(sum(parts)) / sum(len(w.targets) for w in batch)
    assert first_loss(double, batch, "next_token") == pytest.approx(expected, rel=1e-12)


def divergence(wanted, logits):
    p, q = wanted.softmax(-1), logits.softmax(-1)
    return (p * (p.log() - q.log())).sum(-1)


def test_distillation_is_the_divergence_from_the_intact_model(double, batch):
    with InDouble():
        parts = [divergence(logits_of(double, Intervention(), w), logits_of(double, CUT, w)) for w in batch]
    expected = float(torch.cat(parts).mean())
    assert first_loss(double, batch, "logits") == pytest.approx(expected, rel=1e-10)


def test_sums_over_a_vocabulary_are_wide_whatever_logits_are_in():
    wanted, found = torch.randn(2, 5, 40000, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    expected = divergence(wanted.double(), found.double()).mean()
    assert float(losses.divergence(wanted, found)) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(("neighbours", "layers"), [(1, (1, 4, 5)), (None, (0, 1, 4, 5))])
def test_trajectories_are_means_over_surviving_layers_that_something_reaches(
    neighbours, layers, double, batch
):
    def stream(under):
        with InDouble():
            found = capture(double, batch, sites=["resid_post"], layers=layers, positions="all", under=under)
        return {layer: found.at("resid_post", layer) for layer in layers}

    intact, cut = stream(Intervention()), stream(CUT)
    misses, lenses = [], []
    for layer in layers:
        for window, h, other in zip(batch, intact[layer], cut[layer], strict=True):
            h, other = np.asarray(h, np.float64), np.asarray(other, np.float64)
            misses.append((layer, ((h - other) ** 2).sum(1) / (h**2).sum(1)))
            read_at = list(window.read)
            with InDouble(), torch.no_grad():
                lens = [double.readout(torch.from_numpy(x[read_at])) for x in (h, other)]
                lenses.append((layer, divergence(*lens).numpy()))
    misses, lenses = (
        float(np.mean([np.concatenate([v for at, v in parts if at == layer]).mean() for layer in layers]))
        for parts in (misses, lenses)
    )
    answer = first_loss(double, batch, "logits")
    how = {"neighbours": neighbours, "trajectory": 3.0, "lens": 10**6}
    assert first_loss(double, batch, "residuals", **how) == pytest.approx(answer + 3 * misses, rel=1e-7)
    assert first_loss(double, batch, "lens", **how) == pytest.approx(answer + 3 * lenses, rel=1e-7)
    assert misses > 0.01 < lenses


@pytest.mark.parametrize("loss", DISTILLING)
def test_the_intact_model_is_at_no_distance_from_itself(loss, tiny):
    chosen = windows(tiny)[:3]
    assert first_loss(tiny, chosen, loss, cut=Intervention(), neighbours=None) == 0.0
    assert first_loss(tiny, chosen, loss) > 0.01


def test_a_trajectory_sees_what_the_answer_does_not():
    """A stream that goes astray and comes back."""
    h = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    astray, first = torch.tensor([[[1.0, 0.5], [1.0, 2.0]]]), torch.zeros(1, dtype=torch.long)
    seen = Seen(
        readout=lambda x: x, real=torch.ones(1, 2, dtype=torch.bool), targets=first, places=(first, first), drawn=first,
        layers=(0, 1), intact={0: h, 1: h}, trained={0: astray, 1: h}, ends=(h, h),
    )  # fmt: skip
    assert LOSSES["logits"].of(seen, 1.0) == 0.0
    assert residual_trajectory(seen) == (0.25 / 1 + 1 / 4) / 2 / 2
    assert float(LOSSES["residuals"].of(seen, 2.0)) == 0.25
    assert float(lens_trajectory(seen)) == pytest.approx(float(divergence(h[0, :1], astray[0, :1])) / 2)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_slopes(loss, double, batch):
    """Through norms and unembedding of the bridge, and the adapters of peft."""
    asked = short("lora", loss=loss)
    prepared, made = begun(double, asked, batch)
    up = next(p for name, p in prepared.parameters.items() if name.startswith("0.") and name.endswith(".up"))
    with InDouble():
        (slope,) = torch.autograd.grad(made(0), [up])
        place = tuple(np.unravel_index(int(slope.abs().argmax()), slope.shape))
        ends = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                up[place] += step
            ends.append(float(made(0).detach()))
            with torch.no_grad():
                up[place] -= step
    assert float(slope[place]) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5)


def test_both_models_start_from_the_same_stream(double, batch):
    """Layers before the cut and the adapters are computed once."""
    rows = Rows.of(batch, double.device)
    entry = entered(double, rows.tokens)
    student = Student(CUT, short().student(double, CUT)[0].blocks)
    intact = intact_residuals(double, entry, 5)
    whole = student.residuals(entry, entry.resid, 0)
    late = student.residuals(entry, intact[0], 1)
    assert sorted(whole) == [0, 1, 4, 5]
    assert sorted(late) == [1, 4, 5]
    for layer, resid in late.items():
        torch.testing.assert_close(resid, whole[layer], rtol=1e-12, atol=1e-12)
    assert intact_residuals(double, entry, -1) == []


# -- batches ---------------------------------------------------------------------------------------------------------


def test_every_window_is_seen_once_before_any_is_seen_twice():
    lengths = [int(n) for n in np.random.default_rng(0).integers(3, 33, 40)]
    order = schedule(lengths, steps=30, batch=64, seed=0)
    assert all(sum(lengths[i] for i in step) <= 64 for step in order)
    flat = [i for step in order for i in step]
    for start in range(0, len(flat) - 40, 40):
        assert sorted(flat[start : start + 40]) == list(range(40))
    assert flat[:40] != flat[40:80]
    assert (
        order[:10]
        == schedule(lengths, steps=10, batch=64, seed=0)
        != schedule(lengths, steps=10, batch=64, seed=1)
    )
    assert [len(step) for step in schedule([100, 100], steps=3, batch=10, seed=0)] == [1, 1, 1]


def test_rows_are_padded_to_the_right_and_padding_is_not_trained_on(batch):
    rows = Rows.of(batch, torch.device("cpu"))
    for row, window in enumerate(batch):
        assert rows.tokens[row, : len(window)].tolist() == list(window.tokens)
        assert rows.real[row].tolist() == [i < len(window) for i in range(rows.tokens.shape[1])]
        mine = rows.places[0] == row
        assert rows.places[1][mine].tolist() == list(window.read)
        assert rows.targets[mine].tolist() == list(window.targets)


# -- edits of low rank -----------------------------------------------------------------------------------------------


def test_what_is_added_to_weights_is_what_replaces_them(double):
    generator = np.random.default_rng(0)
    left, right = generator.normal(size=(48, 2)), generator.normal(size=(2, 32))
    name = "mlp.up_proj.weight"
    old = double.parameters(1)[name].detach().numpy()
    added = weights(1, {name: LowRank(Array(left), Array(right))})
    replaced = weights(1, {name: old + left @ right})
    some = questions("facts").limit(8, 0)
    a, b = (read(double, some, under=under).margin for under in (added, replaced))
    np.testing.assert_allclose(a, b, atol=1e-6)
    twice = added + weights(1, {name: LowRank(Array(left), Array(-right))})
    np.testing.assert_allclose(read(double, some, under=twice).margin, read(double, some).margin, atol=1e-6)
    with pytest.raises(InputError, match=r"is \(48, 32\), the replacement \(32, 48\)"):
        read(double, some, under=weights(1, {name: LowRank(Array(right.T), Array(left.T))}))


# -- what cannot be done ---------------------------------------------------------------------------------------------


@pytest.fixture
def nothing_runs(monkeypatch):
    """Refused before the model is rebuilt or run."""
    monkeypatch.setattr("decision_phases.repairs.dispatch.fit_maps", None)
    monkeypatch.setattr(LoraRepair, "train", None)


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch": 10**6}, r"trains on 1000000 tokens a step; some gives \d+ in 8 windows"),
        ({"targets": ("q_prol",)}, "did you mean 'q_proj'"),
        ({"loss": "logit"}, "did you mean 'logits'"),
        ({"rank": 0}, "out of range"),
        ({"steps": -1}, "out of range"),
        ({"neighbours": 0}, "out of range"),
        ({"rate": 0.0}, "out of range"),
        ({"alpha": -1.0}, "out of range"),
        (
            {"rank": 0, "seed": -1, "clip": float("nan")},
            "rank=0, .* clip=nan, .* seed=-1, which must be 0 or above",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_runs(settings, message, tiny):
    with pytest.raises(InputError, match=message):
        repair(tiny, CUT, method=short(**settings), **FEW)


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize(
    ("family", "cut", "message"),
    [
        ("rwkv", skip(2), "its own loop .* changes the stream between blocks"),
        ("gpt2", skip(2, part="attention"), "the attention of a block of tiny-gpt2 .* cannot be left out"),
    ],
)
def test_models_that_cannot_be_trained_are_refused_before_anything_runs(family, cut, message, model_of):
    with pytest.raises(InputError, match=message):
        repair(model_of(family), cut, method=short(), **FEW)


@pytest.mark.usefixtures("nothing_runs")
def test_a_cut_that_leaves_nothing_to_train_is_refused_before_anything_runs(tiny):
    nothing = skip(0, 1, 2, 3, 4) + skip(5, part="attention") + skip(5, part="mlp")
    with pytest.raises(InputError, match="removes all 6 blocks of tiny-llama and leaves nothing"):
        repair(tiny, nothing, method=short(), **FEW)
    attention = sum((skip(layer, part="attention") for layer in range(6)), start=Intervention())
    with pytest.raises(InputError, match=r"unknown target 'q_proj'.* Known: down_proj, gate_proj, up_proj"):
        repair(tiny, attention, method=short(targets=("q_proj",)), **FEW)
    with pytest.raises(InputError, match="some-short gives 4 in 1 windows"):
        repair(
            tiny, CUT, method=short(), texts=TextSet("some-short", ("Is water wet?",), half="fit"), window=32
        )


@pytest.mark.usefixtures("nothing_runs")
def test_the_checkpoint_of_another_training_is_refused_before_the_first_is_trained(tiny, tmp_path):
    (tmp_path / "lora_distil.safetensors").write_bytes(b"nothing")
    methods = [short("lora"), short("lora_distil")]
    with pytest.raises(InputError, match=r"lora_distil.safetensors is damaged"):
        compare_repairs(
            tiny, CUT, methods=methods, questions=questions("facts").limit(8, 0), checkpoint=tmp_path, **FEW
        )


@pytest.mark.usefixtures("nothing_runs")
def test_a_model_that_cannot_be_rebuilt_is_refused(tiny):
    given = load(tiny.tl, tokenizer=tiny.tokenizer, quiet=True)
    with pytest.raises(InputError, match="no plain Hugging Face model can be rebuilt"):
        repair(given, CUT, method=short(), **FEW)


@pytest.mark.usefixtures("nothing_runs")
def test_a_missing_package_is_named_with_what_installs_it(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'decision-phases\[lora\]'"):
        repair(tiny, CUT, method="lora", **FEW)
    with pytest.raises(MissingPackageError, match="peft"):
        compare_repairs(tiny, CUT, methods=["ghost", "lora"], questions=questions("facts").limit(8, 0), **FEW)


def test_a_training_that_diverges_says_so(tiny):
    with pytest.raises(
        InputError, match=r"the (loss|gradient) of step \d+ of 4 of lora is .* smaller rate than 1e\+30"
    ):
        repair(tiny, CUT, method=short(rate=1e30), **FEW)
