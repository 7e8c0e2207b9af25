"""Maps that are trained further: what is trained is what the engine then runs, and nothing else changes."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from decision_phases.engine import applied
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention, scale, skip
from decision_phases.models import load
from decision_phases.models.twins import InDouble
from decision_phases.repairs import REPAIRS, compare_repairs, places_of, repair
from decision_phases.repairs.contract import Task
from decision_phases.repairs.fitting import fit_maps
from decision_phases.repairs.repair import source_of
from decision_phases.repairs.trained.batches import Rows
from decision_phases.tasks import TextSet, questions
from decision_phases.tasks import texts as read_texts

TEXTS = TextSet("some", tuple(text for text in read_texts("pydoc").documents if len(text) < 1500)[:24])
FEW = {"texts": TEXTS, "limit": 8, "window": 32}
CUT = skip(2, 3)
#: A map of everything: before a block, before an MLP without its attention, behind one without its MLP, and at the end.
MIXED = skip(1, 4, 5) + skip(2, part="attention") + skip(3, part="mlp")


def short(**settings):
    return replace(REPAIRS["patch_distil"], **{"steps": 4, "batch": 96, "every": 2} | settings)


def windows(model):
    return source_of(model, seed=0, **FEW).data.sequences


def begun(model, asked, cut=CUT):
    task = Task(model, cut, source_of(model, seed=0, **FEW))
    prepared = asked.prepare(task)
    return prepared, asked.objective(task, prepared, lambda _: Rows.of(windows(model)[:3], model.device))


def divergence(model, under):
    """KL(intact ‖ changed) over what the first three windows predict, as the engine runs both."""
    parts = []
    for window in windows(model)[:3]:
        logits = []
        for variant in (Intervention(), under):
            with torch.no_grad(), applied(model, variant):
                found = model.logits(torch.tensor([window.tokens]))[0, list(window.read)]
                logits.append(found.double().log_softmax(-1))
        parts.append((logits[0].exp() * (logits[0] - logits[1])).sum(-1))
    return float(torch.cat(parts).mean())


@pytest.mark.parametrize("start", ["linear_patch", "affine"])
@pytest.mark.parametrize(
    ("family", "cut"),
    [
        ("llama", CUT),
        ("llama", MIXED),
        ("gemma2", MIXED),
        ("gpt2", CUT + skip(5)),
        ("gpt_neox", CUT + skip(5)),
        ("bloom", CUT + skip(5)),
    ],
)
def test_what_is_trained_starts_as_the_repair_it_starts_from(family, cut, start, model_of):
    model = model_of(family, "float64")
    short(start=start).check(Task(model, cut, source_of(model, seed=0, **FEW)))
    _, objective = begun(model, short(start=start), cut)
    with InDouble():
        first = float(objective(0).detach())
        under = cut + Intervention(repair(model, cut, method=start, **FEW).edits)
        assert first == pytest.approx(divergence(model, under), rel=1e-7)
        assert first != pytest.approx(divergence(model, cut), rel=1e-3)


@pytest.mark.parametrize("cut", [CUT, MIXED])
def test_what_comes_back_runs_as_what_was_trained(cut, model_of):
    model = model_of("llama", "float64")
    asked = short(start="affine", rate=1e-2)
    prepared, objective = begun(model, asked, cut)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in prepared.parameters.values():
            p += 0.05 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    edits = prepared.edits()
    assert [(e.op, e.site, e.layer, e.label) for e in edits] == [
        ("map", place.site, place.layer, "patch_distil") for place in places_of(model, cut)
    ]
    with InDouble():
        assert float(objective(0).detach()) == pytest.approx(
            divergence(model, cut + Intervention(edits)), rel=1e-7
        )


@pytest.mark.parametrize("loss", ["logits", "residuals"])
def test_gradients_are_slopes(loss, model_of):
    prepared, objective = begun(model_of("llama", "float64"), short(loss=loss, start="affine"), MIXED)
    with InDouble():
        for p in prepared.parameters.values():
            (slope,) = torch.autograd.grad(objective(0), [p])
            place = tuple(np.unravel_index(int(slope.abs().argmax()), slope.shape))
            ends = []
            for step in (1e-5, -1e-5):
                with torch.no_grad():
                    p[place] += step
                ends.append(float(objective(0).detach()))
                with torch.no_grad():
                    p[place] -= step
            assert float(slope[place]) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-4)


def test_without_steps_it_is_the_repair_that_it_starts_from(tiny):
    for start in ("linear_patch", "relative_ghost"):
        found = repair(tiny, MIXED, method=short(start=start, steps=0), **FEW)
        assert [edit.value for edit in found] == [
            edit.value for edit in repair(tiny, MIXED, method=start, **FEW)
        ]


def test_it_starts_from_evenly_spaced_windows(tiny):
    found = repair(tiny, CUT, method=short(steps=0, start_windows=3), **FEW)
    task = Task(tiny, CUT, source_of(tiny, seed=0, **FEW))
    chosen = [task.source.data.sequences[i] for i in (0, 4, 7)]
    some = replace(task.source.data, sequences=tuple(chosen), groups=np.arange(3), labels=("a", "b", "c"))
    (alone,) = fit_maps(
        replace(task, source=replace(task.source, data=some)), places_of(tiny, CUT), [REPAIRS["linear_patch"]]
    )
    assert [edit.value for edit in found] == [edit.value for edit in alone]
    assert found != repair(tiny, CUT, method=short(steps=0), **FEW)
    assert found.fit.tokens == task.source.tokens


def test_training_brings_the_answer_nearer_and_leaves_the_model_alone(tiny):
    before = [p.detach().clone() for p in tiny.unique_parameters()]
    found = repair(tiny, CUT, method=short(steps=80, rate=1e-2), **FEW)
    assert all(torch.equal(a, b) for a, b in zip(before, tiny.unique_parameters(), strict=True))
    assert not any(p.requires_grad for p in tiny.unique_parameters())
    assert found.fit.losses[-1] < 0.8 * found.fit.losses[0]
    start = repair(tiny, CUT, method="linear_patch", **FEW)
    assert divergence(tiny, CUT + found) < 0.8 * divergence(tiny, CUT + start)
    assert found.fit.parameters_trained == found.fit.parameters_added == 32 * 32


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_maps_are_at_least_single_precision(dtype, model_of):
    model = load("tiny-llama", dtype=dtype, quiet=True)
    with nullcontext() if dtype == "bfloat16" else InDouble():
        found = repair(model, CUT, method=short(), **FEW)
    assert {edit.value.weight.data.dtype.name for edit in found} == {
        "float32" if dtype == "bfloat16" else "float64"
    }
    assert np.isfinite(found.fit.losses).all()


def test_it_stands_in_one_table_with_what_it_starts_from(tiny):
    table = compare_repairs(
        tiny, CUT, methods=["linear_patch", short()], questions=questions("facts").limit(20, 0), held_out=4, **FEW
    )  # fmt: skip
    assert table.methods == ("linear_patch", "patch_distil")


def test_models_through_which_nothing_can_be_trained_are_named_as_such(tiny, monkeypatch):
    """It trains maps, not weights; the way out is a map that is fitted, not one that only is a map."""
    monkeypatch.setattr(type(tiny), "fresh_hf", None)
    way_out = "ghost.*, which are fitted under it"
    with pytest.raises(
        InputError, match=rf"patch_distil is trained through the model as it was loaded.*{way_out}"
    ):
        repair(tiny, CUT, method=short(), under=scale("resid_post", 1, 0.5), **FEW)
    monkeypatch.setattr("decision_phases.repairs.trained.on_text.quantised", lambda _: "it has int8 weights")
    way_out = "a repair that needs no training on text, such as method='relative_ghost'"
    with pytest.raises(InputError, match=rf"cannot be through tiny-llama: it has int8 weights.*{way_out}"):
        repair(tiny, CUT, method=short(), **FEW)


@pytest.mark.parametrize(
    ("settings", "cut", "message"),
    [
        ({"start": "bottleneck"}, CUT, "unknown start 'bottleneck'"),
        ({"loss": "logit"}, CUT, "unknown loss 'logit'"),
        ({"batch": 10**6}, CUT, "trains on 1000000 tokens a step"),
        ({"loss": "residuals"}, skip(4, 5), "compares layers behind the cut, and 'skip {4, 5}' leaves none"),
        ({"rate": 0.0}, CUT, "rate"),
        ({"start_windows": 0}, CUT, "start_windows"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(settings, cut, message, tiny, monkeypatch):
    monkeypatch.setattr(type(tiny), "fresh_hf", None)
    with pytest.raises(InputError, match=message):
        repair(tiny, cut, method=short(**settings), **FEW)
