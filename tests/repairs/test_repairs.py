"""Every map keeps the contract; closed forms are what least squares say; maps are fitted where they act."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from decision_phases.engine import capture
from decision_phases.errors import InputError
from decision_phases.interventions import Affine, Bottleneck, Intervention, scale, skip
from decision_phases.lenses import tuned_lens
from decision_phases.models import load
from decision_phases.models.tiny import tiny_hf, tiny_tokenizer
from decision_phases.readout import perplexity
from decision_phases.repairs import (
    MAPS,
    REPAIRS,
    FittedRepair,
    compare_repairs,
    find_repair,
    hadamard,
    places_of,
    repair,
)
from decision_phases.repairs.bottleneck import TrainedBottleneck, _Fitting
from decision_phases.repairs.contract import Job, Task
from decision_phases.repairs.dispatch import fit_all
from decision_phases.repairs.fitting import _Open
from decision_phases.repairs.repair import source_of
from decision_phases.repairs.walk import can_walk
from decision_phases.tasks import TextSet
from decision_phases.tasks import texts as read_texts

_TOPICS = read_texts("pydoc").documents
TEXTS = TextSet("some", tuple(text for text in _TOPICS if len(text) < 1500)[:24])
LINEAR = [name for name in MAPS if name != "bottleneck"]
FEW = {"texts": TEXTS, "limit": 8, "window": 32}
SHORT = TrainedBottleneck("bottleneck", "short", "a test", hidden=4, steps=40, batch=64, every=10)


def asked(name):
    return SHORT if name == "bottleneck" else REPAIRS[name]


def fitted(repair_, x, y, **settings):
    fitter = repair_.begin(Job(x.shape[1], len(x), double=True, **settings))
    for part in (slice(0, 50), slice(50, len(x))):
        fitter.take(x[part], y[part])
    return fitter.finish()


def applied_to(value, x):
    if isinstance(value, Affine):
        return x.numpy() @ value.weight.data + (0 if value.bias is None else value.bias.data)
    down, hidden, up, bias = (torch.from_numpy(array.data.copy()) for array in value.arrays)
    normed = x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    return (x + torch.nn.functional.gelu(normed @ down + hidden) @ up + bias).numpy()


def missed(y, guess):
    return float(((y - guess) ** 2).sum() / (y**2).sum())


def missed_by_token(y, guess):
    return float((((y - guess) ** 2).sum(axis=1) / (y**2).sum(axis=1)).mean())


def around(model, cut, place, variant):
    """What enters a place under a variant and what should leave it, one row a token, by another way than the fit's."""
    sequences = windows(model)
    x = capture(
        model,
        sequences,
        sites=[place.site],
        layers=[place.layer],
        positions="all",
        under=variant + place.without,
    ).at(place.site, place.layer)
    site, layer = place.target
    y = capture(model, sequences, sites=[site], layers=[layer], positions="all").at(site, layer)
    return np.concatenate(list(x)).astype(np.float64), np.concatenate(list(y)).astype(np.float64)


def windows(model):
    """The windows that `repair` takes with the settings `FEW`."""
    return source_of(model, seed=0, **FEW).data.sequences


# -- the contract ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAPS)
def test_every_repair_keeps_the_contract(name, tiny, scattered):
    found = repair(tiny, scattered, method=asked(name), **FEW)
    again = repair(tiny, scattered, method=asked(name), **FEW)
    assert isinstance(found, FittedRepair)
    assert REPAIRS[name].name == name
    assert REPAIRS[name].what
    assert REPAIRS[name].source
    assert again == found
    assert again.key == found.key
    assert not any(edit.op == "skip" for edit in found)
    assert [(edit.op, edit.site, edit.layer) for edit in found] == [
        ("map", "resid_pre", 1),
        ("map", "resid_mid", 2),
        ("map", "resid_post", 3),
        ("map", "resid_post", 3),
    ]
    healed = scattered + found
    assert type(healed) is Intervention
    assert healed.removed_blocks == (1, 4, 5)
    fit = found.fit
    assert fit.parameters_trained == fit.parameters_added == 4 * asked(name).n_parameters(32)
    assert fit.tokens == sum(map(len, windows(tiny)))
    assert fit.cut == scattered
    assert [place.cut for place in fit.places] == [str(place) for place in places_of(tiny, scattered)]
    assert all(place.error_before > 0 for place in fit.places)
    assert fit.seconds > 0
    assert len(fit.to_pandas()) == 4
    assert np.isfinite(perplexity(tiny, ["Is water wet? Yes."], window=8, under=healed).log_value)


@pytest.mark.parametrize("name", MAPS)
def test_reported_errors_are_those_of_the_map(name, planted):
    x, y, _ = planted
    y = y + 0.1 * torch.sin(5 * x) + 0.2
    found = fitted(asked(name), x, y)
    assert isinstance(found.value, Bottleneck if name == "bottleneck" else Affine)
    np.testing.assert_allclose(found.before.total, missed(y.numpy(), x.numpy()), rtol=1e-10)
    np.testing.assert_allclose(found.after.total, missed(y.numpy(), applied_to(found.value, x)), rtol=1e-9)
    np.testing.assert_allclose(found.before.relative, missed_by_token(y.numpy(), x.numpy()), rtol=1e-10)
    np.testing.assert_allclose(
        found.after.relative, missed_by_token(y.numpy(), applied_to(found.value, x)), rtol=1e-9
    )
    if name in ("bottleneck", "relative_ghost", "relative_affine"):
        assert found.after.relative < found.before.relative
    elif name != "linear_patch":
        assert found.after.total < found.before.total


# -- closed forms ------------------------------------------------------------------------------------------------


def test_ghost_recovers_a_planted_map(planted):
    x, y, weight = planted
    exact = fitted(replace(REPAIRS["ghost"], ridge=0.0), x, y)
    np.testing.assert_allclose(exact.value.weight.data, weight.numpy(), atol=1e-12)
    assert exact.after.total < 1e-14
    shifted = fitted(replace(REPAIRS["affine"], ridge=0.0), x, y + torch.arange(12))
    np.testing.assert_allclose(shifted.value.weight.data, weight.numpy(), atol=1e-11)
    np.testing.assert_allclose(shifted.value.bias.data, np.arange(12), atol=1e-11)


def test_least_squares_are_ordered_as_what_they_can_express(planted):
    x, y, _ = planted
    y = y + 0.3 * torch.sin(5 * x) + 0.2
    error = {name: fitted(REPAIRS[name], x, y).after.total for name in LINEAR}
    for name in ("ghost", "affine"):
        error[name] = fitted(replace(REPAIRS[name], ridge=0.0), x, y).after.total
    nothing = fitted(REPAIRS["ghost"], x, y).before.total
    assert error["diagonal"] <= nothing
    assert error["hadamard_diagonal"] <= nothing
    assert error["hadamard_diagonal"] <= error["linear_patch"]
    assert error["mean_bias"] <= nothing
    assert error["ghost"] <= min(error[name] for name in ("diagonal", "hadamard_diagonal", "linear_patch"))
    assert error["affine"] <= min(error.values())


def test_linear_patch_is_the_published_formula(planted):
    x, y, _ = planted
    H = hadamard(12)
    scales = np.abs(y.numpy() @ H).mean(0) / np.abs(x.numpy() @ H).mean(0)
    weight = fitted(REPAIRS["linear_patch"], x, y).value.weight.data
    np.testing.assert_allclose(weight, H @ np.diag(scales) @ H.T, atol=1e-12)
    np.testing.assert_allclose(weight, weight.T, atol=1e-12)
    np.testing.assert_allclose(
        fitted(REPAIRS["linear_patch"], x, x).value.weight.data, np.eye(12), atol=1e-12
    )
    np.testing.assert_allclose(
        fitted(REPAIRS["linear_patch"], x, -3 * x).value.weight.data, 3 * np.eye(12), atol=1e-12
    )


@pytest.mark.parametrize("rotated", [False, True])
def test_diagonals_are_least_squares_channel_by_channel(rotated, planted):
    x, y, _ = planted
    H = hadamard(12) if rotated else np.eye(12)
    before, behind = x.numpy() @ H, y.numpy() @ H
    scales = [np.linalg.lstsq(before[:, [k]], behind[:, k], rcond=None)[0].item() for k in range(12)]
    found = fitted(REPAIRS["hadamard_diagonal" if rotated else "diagonal"], x, y)
    np.testing.assert_allclose(found.value.weight.data, H @ np.diag(scales) @ H.T, atol=1e-12)


def test_relative_least_squares_weigh_every_token_by_its_length(planted):
    x, y, _ = planted
    y = y + 0.3 * torch.sin(5 * x) + 0.2
    root = 1 / y.norm(dim=1, keepdim=True).numpy()
    design = np.hstack([x.numpy(), np.ones((200, 1))]) * root
    reference = np.linalg.lstsq(design, (y - x).numpy() * root, rcond=None)[0]
    found = fitted(replace(REPAIRS["relative_affine"], ridge=0.0), x, y)
    np.testing.assert_allclose(found.value.weight.data, np.eye(12) + reference[:12], atol=1e-10)
    np.testing.assert_allclose(found.value.bias.data, reference[12], atol=1e-10)
    others = [fitted(repair_, x, y).after.relative for repair_ in map(asked, LINEAR)]
    assert found.after.relative <= min(others) + 1e-12
    mean = fitted(replace(REPAIRS["mean_bias"], relative=True), x, y).value.bias.data
    np.testing.assert_allclose(mean, ((y - x).numpy() * root**2).sum(0) / (root**2).sum(), atol=1e-12)


def test_tokens_of_huge_norm_that_the_cut_made_spoil_only_what_weighs_tokens_equally(planted):
    """As the first token of a text, when the block that gives it its norm is in the cut."""
    x, y, weight = planted
    first = torch.arange(200) % 20 == 0
    y = torch.where(first[:, None], 1e4 * torch.ones(12, dtype=torch.float64), y)
    plain, relative = (fitted(REPAIRS[name], x, y).value.weight.data for name in ("ghost", "relative_ghost"))
    rest = ~first.numpy()
    guesses = [missed(y.numpy()[rest], x.numpy()[rest] @ found) for found in (plain, relative)]
    assert guesses[1] < 1e-3 < 1 < guesses[0]
    np.testing.assert_allclose(relative, weight.numpy(), atol=0.05)


def test_the_ridge_does_not_depend_on_the_scale_of_the_stream(planted):
    x, y, _ = planted
    strong = replace(REPAIRS["ghost"], ridge=0.1)
    one, other = (fitted(strong, factor * x, factor * y).value.weight.data for factor in (1.0, 1e4))
    np.testing.assert_allclose(one, other, rtol=1e-10)
    assert (
        np.abs(one - np.eye(12)).sum()
        < np.abs(fitted(REPAIRS["ghost"], x, y).value.weight.data - np.eye(12)).sum()
    )


def test_channels_of_very_different_size_are_no_singular_system(planted):
    """Trained models have channels a thousand times larger than the others."""
    x, _, weight = planted
    x = x * torch.logspace(-4, 4, 12, dtype=torch.float64)
    found = fitted(replace(REPAIRS["ghost"], ridge=0.0), x, x @ weight)
    np.testing.assert_allclose(found.value.weight.data, weight.numpy(), rtol=1e-6)


def test_singular_systems_are_refused_without_a_ridge_and_solved_with_one(planted):
    x, _, weight = planted
    x = torch.cat([x[:, :6], x[:, :6]], dim=1)
    with pytest.raises(InputError, match=r"vary in fewer directions.*ridge above 0"):
        fitted(replace(REPAIRS["ghost"], ridge=0.0), x, x @ weight)
    assert fitted(REPAIRS["ghost"], x, x @ weight).after.total < 1e-10


def test_a_channel_without_any_signal_is_left_alone(planted):
    x, y, _ = planted
    x = x * (torch.arange(12) != 3)
    for name in ("diagonal", "linear_patch", "ghost"):
        assert np.isfinite(fitted(REPAIRS[name], x, y).value.weight.data).all()
    assert fitted(REPAIRS["diagonal"], x, y).value.weight.data[3, 3] == 1.0


# -- in a model --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sequential", [True, False])
def test_maps_are_fitted_left_to_right_on_the_repaired_model_or_each_on_the_intact_one(
    sequential, tiny, scattered
):
    found = repair(tiny, scattered, method="ghost", sequential=sequential, **FEW)
    under = Intervention()
    for place, edit, fit in zip(places_of(tiny, scattered), found, found.fit.places, strict=True):
        x, y = around(tiny, scattered, place, under if sequential else Intervention())
        weight = edit.value.weight.data
        ridge = 1e-3 * np.sqrt(np.trace(x.T @ x) / 32) * np.eye(32)  # as rows of data, its square is ε
        reference = np.linalg.lstsq(np.vstack([x, ridge]), np.vstack([y - x, 0 * ridge]), rcond=None)[0]
        np.testing.assert_allclose(weight, np.eye(32) + reference, atol=2e-5)
        np.testing.assert_allclose(fit.error_before, missed(y, x), rtol=1e-4)
        np.testing.assert_allclose(fit.error_after, missed(y, x @ weight), rtol=1e-3)
        under += place.cut + Intervention((edit,))
    assert under == scattered + found


@contextmanager
def blocks_run(model, monkeypatch):
    """The numbers of the blocks that run, one after the other."""
    ran, run_block = [], type(model).run_block

    def counted(self, layer, *given, **how):
        ran.append(layer)
        return run_block(self, layer, *given, **how)

    with monkeypatch.context() as here:
        here.setattr(type(model), "run_block", counted)
        yield ran


def test_repairs_fitted_together_are_those_fitted_alone_and_run_what_they_share_once(tiny, monkeypatch):
    """Two runs of blocks, from left to right: at the second place the repaired models part only after the first."""
    cut, names = skip(2, 4), ["mean_bias", "diagonal", "ghost"]
    task = Task(tiny, cut, source_of(tiny, seed=0, **FEW))
    with blocks_run(tiny, monkeypatch) as ran:
        together = fit_all(task, places_of(tiny, cut), [REPAIRS[name] for name in names])
    # Until block 2, all in common; then on to block 4, the intact model and each repaired one.
    assert ran == [0, 1, 2] * (len(ran) // 8) + [3, 4, *3 * [3]] * (len(ran) // 8)
    for name, found in zip(names, together, strict=True):
        alone = repair(tiny, cut, method=name, **FEW)
        assert [edit.layer for edit in found] == [edit.layer for edit in alone] == [2, 4]
        for edit, other in zip(found, alone, strict=True):
            for mine, its in zip(arrays_of(edit.value), arrays_of(other.value), strict=True):
                np.testing.assert_allclose(mine, its, atol=1e-5)


def test_repairs_under_something_else_run_what_they_share_once(tiny, monkeypatch):
    """Two runs of blocks, from left to right: at the second place the repaired models part only after the first."""
    cut, names = skip(2, 4), ["mean_bias", "diagonal", "ghost"]
    task = Task(tiny, cut, source_of(tiny, seed=0, **FEW), base=scale("mlp_out", 5, 2.0))
    with blocks_run(tiny, monkeypatch) as ran:
        fit_all(task, places_of(tiny, cut), [REPAIRS[name] for name in names])
    # Until block 2, then until block 4: the intact model, and the repaired ones with two blocks in common.
    assert ran[-16:] == [0, 1, 2, *range(5), 0, 1, *3 * [3, 4]]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "gpt_neox", "bloom", "falcon", "mamba"])
@pytest.mark.parametrize("cut", [skip(1, 3), skip(0, 2, 3, 5)], ids=str)
def test_walking_from_place_to_place_fits_what_running_anew_fits(family, cut, model_of, monkeypatch):
    model = model_of(family)
    names = ["mean_bias", "relative_affine", "hadamard_diagonal"]
    source = source_of(model, seed=0, **FEW)
    assert len({len(window) for window in source.data.sequences}) > 1  # or nothing is padded
    task = Task(model, cut, source)
    places, repairs = places_of(model, cut), [REPAIRS[name] for name in names]
    assert can_walk(task, places, 3)
    walked = fit_all(task, places, repairs)
    monkeypatch.setattr("decision_phases.repairs.fitting.can_walk", lambda *_: False)
    for mine, anew in zip(walked, fit_all(task, places, repairs), strict=True):
        assert [(edit.site, edit.layer) for edit in mine] == [(edit.site, edit.layer) for edit in anew]
        for place, other in zip(mine.fit.places, anew.fit.places, strict=True):
            assert place.error_before == pytest.approx(other.error_before, rel=1e-4)
            assert place.error_after == pytest.approx(other.error_after, rel=1e-3)
        for edit, other in zip(mine, anew, strict=True):
            for a, b in zip(arrays_of(edit.value), arrays_of(other.value), strict=True):
                np.testing.assert_allclose(a, b, atol=1e-3)


def test_what_is_drawn_for_training_does_not_depend_on_how_texts_are_run(tiny, monkeypatch):
    """Other repairs beside it, or a fit that goes on, decide whether texts are walked."""
    walked = repair(tiny, skip(1, 3), method=SHORT, **FEW)
    monkeypatch.setattr("decision_phases.repairs.fitting.can_walk", lambda *_: False)
    for place, other in zip(
        walked.fit.places, repair(tiny, skip(1, 3), method=SHORT, **FEW).fit.places, strict=True
    ):
        assert place.error_after == pytest.approx(other.error_after, rel=1e-5)
        assert place.relative_after == pytest.approx(other.relative_after, rel=1e-5)


@pytest.mark.parametrize("sequential", [True, False])
@pytest.mark.parametrize("cut", [skip(1, 3, 4), skip(1) + skip(3, part="mlp")], ids=str)
def test_an_interrupted_fit_goes_on_where_it_was(sequential, cut, tiny, tmp_path, monkeypatch):
    repairs = [REPAIRS["affine"], REPAIRS["mean_bias"]]
    places = places_of(tiny, cut)
    task = Task(tiny, cut, source_of(tiny, seed=0, **FEW), sequential=sequential)
    whole = fit_all(task, places, repairs)
    kept_task = replace(task, checkpoint=tmp_path / "kept")
    finish, finished, taken = _Open.finish, [], []

    def until_the_third(self):
        if len(finished) == 3:
            raise KeyboardInterrupt
        finish(self)
        finished.append((self.of.repair.name, self.at))

    monkeypatch.setattr(_Open, "finish", until_the_third)
    with pytest.raises(KeyboardInterrupt):
        fit_all(kept_task, places, repairs)
    monkeypatch.setattr(_Open, "finish", finish)
    take = _Open.take

    def told(self, chunk):
        taken.append((self.of.repair.name, self.at))
        take(self, chunk)

    monkeypatch.setattr(_Open, "take", told)
    again = fit_all(kept_task, places, repairs)
    assert len(set(taken)) == 1
    assert not set(taken) & set(finished)
    for one, other in zip(again, whole, strict=True):
        assert one == other
        assert one.fit.places == other.fit.places
    taken.clear()
    monkeypatch.setattr(type(tiny), "run_block", lambda *_, **__: pytest.fail("ran"))
    assert fit_all(kept_task, places, repairs) == again
    assert not taken
    with pytest.raises(pytest.fail.Exception, match="ran"):  # other texts are another fit
        fit_all(replace(kept_task, source=source_of(tiny, seed=1, **FEW)), places, repairs)


def test_a_map_that_was_half_written_is_fitted_again(tiny, tmp_path):
    found = repair(tiny, skip(2), method="ghost", checkpoint=tmp_path, **FEW)
    (folder,) = tmp_path.iterdir()
    (folder / "fit.json").unlink()
    assert repair(tiny, skip(2), method="ghost", checkpoint=tmp_path, **FEW) == found
    assert (folder / "fit.json").exists()


@pytest.mark.parametrize("name", ["hadamard_diagonal", "linear_patch"])
def test_a_channel_that_holds_rounding_only_is_left_alone(name):
    """A stream whose channels add up to nothing, as behind a layer norm: its first rotated channel is rounding."""
    x = torch.randn(200, 32, generator=torch.Generator().manual_seed(0))
    x = x - x.mean(dim=1, keepdim=True)
    y = x + 0.1 * torch.randn(200, 32, generator=torch.Generator().manual_seed(1)) + 1
    H = hadamard(32)
    assert 0 < np.abs(x.numpy() @ H[:, 0]).max() < 1e-5
    weight = fitted(REPAIRS[name], x, y).value.weight.data
    np.testing.assert_allclose(H[:, 0] @ weight @ H[:, 0], 1.0, atol=1e-6)
    assert np.abs(weight).max() < 2


def test_what_cannot_be_walked(tiny, model_of, monkeypatch):
    cut = skip(2, 4)
    task = Task(tiny, cut, source_of(tiny, seed=0, **FEW))
    assert can_walk(task, places_of(tiny, cut), 1)
    for changed in (
        replace(task, sequential=False),
        replace(task, base=scale("mlp_out", 5, 2.0)),
        replace(task, cut=skip(2) + skip(4, part="mlp")),
        replace(task, cut=skip(2, 3)),
    ):
        assert not can_walk(changed, places_of(tiny, changed.cut), 1)
    rwkv = model_of("rwkv")
    assert not can_walk(replace(task, model=rwkv), places_of(rwkv, cut), 1)
    monkeypatch.setattr("decision_phases.repairs.walk.MEMORY_BUDGET", 1000)
    assert not can_walk(task, places_of(tiny, cut), 1)


def arrays_of(value):
    return [array.data for array in (value.weight, value.bias) if array is not None]


@pytest.mark.parametrize("family", ["gemma2", "gpt_neox", "bloom", "mamba", "rwkv"])
def test_a_map_makes_up_for_its_cut_in_every_kind_of_family(family, model_of):
    """What leaves the gap in the repaired model is as far from the intact model's as the fit says."""
    model = model_of(family)
    cut = skip(1, 2) + (skip(4, part="attention") if "attn_out" in model.sites else Intervention())
    found = repair(model, cut, method="affine", **FEW)
    for place in found.fit.places:
        assert place.error_after < place.error_before
    sequences = windows(model)
    site, layer = ("resid_pre", 3)
    healed, intact = (
        np.concatenate(
            list(
                capture(model, sequences, sites=[site], layers=[layer], positions="all", under=under).at(
                    site, layer
                )
            )
        ).astype(np.float64)
        for under in (cut + found, None)
    )
    np.testing.assert_allclose(missed(intact, healed), found.fit.places[0].error_after, rtol=1e-3)


def test_a_block_that_adds_a_linear_map_of_the_stream_is_replaced_exactly():
    """A block without effect: every least-squares repair is the identity."""
    hf = tiny_hf("llama")
    with torch.no_grad():
        hf.model.layers[3].self_attn.o_proj.weight.zero_()
        hf.model.layers[3].mlp.down_proj.weight.zero_()
    idle = load(hf, tokenizer=tiny_tokenizer(), consume=True, quiet=True)
    for name in LINEAR:
        found = repair(idle, skip(3), method=name, **FEW)
        np.testing.assert_allclose(found.edits[0].value.weight.data, np.eye(32), atol=1e-6)
        assert found.fit.places[0].error_before == found.fit.places[0].error_after == 0.0


def test_only_the_fit_half_is_seen(tiny):
    found = repair(tiny, skip(2), method="diagonal", **FEW)
    assert found == repair(tiny, skip(2), method="diagonal", **FEW | {"texts": TEXTS.fit})
    assert found.fit.texts_hash == TEXTS.fit.content_hash
    with pytest.raises(InputError, match="the half that measures"):
        repair(tiny, skip(2), texts=TEXTS.evaluation)


def test_what_comes_back_is_a_value(tiny, tmp_path):
    found = repair(tiny, skip(2), method="diagonal", **FEW)
    found.save(tmp_path / "kept")
    again = Intervention.load(tmp_path / "kept")
    assert again == Intervention(found.edits)
    assert found == again
    assert hash(found) == hash(again)
    assert skip(2) + again == skip(2) + found
    assert "error" in repr(found)
    assert found.fit.to_dict()["cut"] == "skip {2}"
    assert len(found.fit.plot().axes) == 1


# -- the trained one ---------------------------------------------------------------------------------------------


def test_the_bottleneck_learns_what_no_linear_map_can(planted):
    x, _, _ = planted
    y = x + torch.nn.functional.gelu(x @ torch.ones(12, 1, dtype=torch.float64)) @ torch.ones(
        1, 12, dtype=torch.float64
    )
    trained = fitted(replace(SHORT, steps=400, rate=1e-2), x, y)
    linear = fitted(REPAIRS["affine"], x, y)
    assert trained.after.relative < 0.5 * linear.after.relative


def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(planted, tmp_path, monkeypatch):
    x, y, _ = planted
    whole = fitted(SHORT, x, y)
    path = tmp_path / "training.safetensors"
    rows = _Fitting._rows
    calls = iter(range(1000))

    def interrupted(self, drawn):
        if next(calls) == 25:
            raise KeyboardInterrupt
        return rows(self, drawn)

    with monkeypatch.context() as patch:
        patch.setattr(_Fitting, "_rows", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fitted(SHORT, x, y, checkpoint=path)
    steps = []
    monkeypatch.setattr(_Fitting, "_rows", lambda self, drawn: steps.append(0) or rows(self, drawn))
    resumed = fitted(SHORT, x, y, checkpoint=path)
    assert resumed == whole
    assert len(steps) == 15 + 2  # 25 of the 40 steps were kept; two looks at the error
    with pytest.raises(InputError, match="checkpoint of another training"):
        fitted(SHORT, x, y, checkpoint=path, seed=1)


def test_every_place_has_a_checkpoint_of_its_own(tiny, scattered, tmp_path):
    """A layer without its MLP and the last blocks behind it: two maps of what leaves that layer."""
    found = repair(tiny, scattered, method=SHORT, checkpoint=tmp_path, **FEW)
    assert len(list(tmp_path.glob("*.safetensors"))) == len(found) == 4
    assert len(list(tmp_path.glob("*/fit.json"))) == 4
    assert found == repair(tiny, scattered, method=SHORT, **FEW)
    assert found == repair(tiny, scattered, method=SHORT, checkpoint=tmp_path, **FEW)


def test_cuts_that_share_a_place_share_a_folder(tiny, tmp_path):
    for cut in (skip(1, 4), skip(2, 4)):
        found = repair(tiny, cut, method=SHORT, checkpoint=tmp_path, **FEW)
        assert found == repair(tiny, cut, method=SHORT, **FEW)


def test_training_leaves_no_file_behind(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "passing"))
    (tmp_path / "passing").mkdir()
    found = repair(tiny, skip(2), method=SHORT, checkpoint=tmp_path / "kept", **FEW)
    assert not list((tmp_path / "passing").iterdir())
    training, fitted_map = sorted((tmp_path / "kept").iterdir(), key=lambda path: path.is_dir())
    assert training.name == f"{fitted_map.name}.safetensors"
    assert training.name.startswith("bottleneck-0-resid_pre-2-")
    assert sorted(path.name for path in fitted_map.iterdir()) == [
        "arrays.safetensors",
        "fit.json",
        "intervention.json",
    ]
    assert repair(tiny, skip(2), method=SHORT, checkpoint=tmp_path / "kept", **FEW) == found


# -- what cannot be done -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (Intervention(), "nothing to repair"),
        (skip(2) + scale("mlp_out", 3, 0.5), "'scale mlp_out of layer 3' is no removal"),
        (skip(range(6)), "leaves nothing"),
        (skip(range(6), part="attention") + skip(range(6), part="mlp"), "leaves nothing"),
        (skip(7), "out of range"),
    ],
)
def test_cuts_that_cannot_be_repaired(cut, message, tiny):
    with pytest.raises(InputError, match=message):
        repair(tiny, cut)


@pytest.mark.parametrize("name", ["../evil", "a/b", ".hidden"])
def test_names_that_no_file_can_have_are_refused(name, tiny, tmp_path):
    with pytest.raises(InputError, match="give a name without slashes"):
        repair(tiny, skip(2), method=replace(SHORT, name=name), checkpoint=tmp_path / "kept", **FEW)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_too_few_tokens_are_refused_before_anything_runs(tiny, monkeypatch):
    monkeypatch.setattr("decision_phases.repairs.fitting.stream", None)
    few = TextSet("few", ("Is water wet? Yes, it is.", "Is fire cold? No."), half="fit")
    with pytest.raises(
        InputError, match=r"ghost has 1024 parameters at the width 32 and needs at least 32 tokens"
    ):
        repair(tiny, skip(2), texts=few)


def test_a_run_to_the_end_of_a_model_that_changes_its_stream_between_blocks_is_refused():
    with pytest.raises(InputError, match="changes the stream between blocks"):
        repair("tiny-rwkv", skip(4, 5))


def test_names_and_settings_that_do_not_exist(tiny, tmp_path):
    with pytest.raises(InputError, match="did you mean 'ghost'"):
        repair(tiny, skip(2), method="goast")
    assert find_repair(SHORT) is SHORT
    with pytest.raises(InputError, match="which must be above 0"):
        repair(tiny, skip(2), method=replace(SHORT, steps=0))
    with pytest.raises(InputError, match="hidden=0, which must be above 0"):
        repair(tiny, skip(2), method=replace(SHORT, hidden=0))
    with pytest.raises(InputError, match="seed=-1, which must be 0 or above"):
        repair(tiny, skip(2), seed=-1)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        repair(tiny, skip(2), method=SHORT, checkpoint=tmp_path / "file" / "folder")


@pytest.mark.parametrize("function", [repair, compare_repairs, tuned_lens])
def test_a_folder_for_checkpoints_is_looked_at_first_and_made_last(function, tiny, tmp_path, monkeypatch):
    cut = () if function is tuned_lens else (skip(2),)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be made or written to: .*file is no folder"):
        function("no-such-model", *cut, checkpoint=tmp_path / "file" / "folder")
    with pytest.raises(InputError, match="unknown model"):
        function("no-such-model", *cut, checkpoint=tmp_path / "folder")
    with pytest.raises(InputError, match="seed=-1"):
        function(tiny, *cut, seed=-1, checkpoint=tmp_path / "folder")
    short = {"limit": 1} if function is tuned_lens else {"method": replace(SHORT, steps=0)}
    if function is compare_repairs:
        short = {"methods": [replace(SHORT, steps=0)]}
    with pytest.raises(InputError, match=r"needs more than 32 tokens|must be above 0"):
        function(tiny, *cut, texts=TEXTS, window=16, checkpoint=tmp_path / "folder", **short)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    monkeypatch.setattr("os.access", lambda *_: False)  # tests may run as root, whom no mode stops
    with pytest.raises(InputError, match="may not be written to"):
        function("no-such-model", *cut, checkpoint=tmp_path / "folder")
