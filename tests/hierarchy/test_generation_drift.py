"""Drift of generation: distances by hand, exact zeros, and what one mode must say given another."""

import contextlib

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cosine, jensenshannon

from decision_phases.engine import applied, generate
from decision_phases.errors import DecisionPhasesError, InputError
from decision_phases.hierarchy import MODES, generation_drift
from decision_phases.hierarchy.repetition import distinct_ngrams, repeated_ngrams, shared_prefix
from decision_phases.hierarchy.steps import MEASURES, step_deviations
from decision_phases.interventions import Intervention, insert, noise, skip, zero
from decision_phases.tasks import questions

PROMPTS = [
    "Which animal says moo",
    "Is water wet? Is",
    "Which animal quacks",
    "What is the capital of France",
]
STEPS = 6
ALL = tuple(MODES)


@pytest.fixture(scope="module")
def drift(tiny):
    return generation_drift(tiny, PROMPTS, under=skip(4), steps=STEPS, mode=ALL, temperature=1.0)


# -- distances and text measures by hand ----------------------------------------------------------------------------


def test_distances_are_those_of_their_definitions(tiny):
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(2, 1, 3, 32)).astype(np.float32)
    found = step_deviations(tiny, first, second, temperature=0.7)
    assert set(found) == set(MEASURES)
    with torch.no_grad():
        h, k = (tiny.final_norm(torch.from_numpy(x[0])).double().numpy() for x in (first, second))
        z, y = (tiny.readout(torch.from_numpy(x[0])).double().numpy() for x in (first, second))
    p, q = (np.exp(x / 0.7) / np.exp(x / 0.7).sum(-1, keepdims=True) for x in (z, y))
    for i in range(3):
        expected = {
            "h": cosine(h[i], k[i]),
            "z": cosine(z[i], y[i]),
            "p": cosine(p[i], q[i]),
            "kl_dense_from_pruned": (p[i] * np.log(p[i] / q[i])).sum(),
            "total_variation": np.abs(p[i] - q[i]).sum() / 2,
            "jensen_shannon": jensenshannon(p[i], q[i]) ** 2,
            "top_differs": float(z[i].argmax() != y[i].argmax()),
        }
        for name, value in expected.items():
            assert found[name][0, i] == pytest.approx(value, rel=1e-9), name


def test_ngrams_by_hand():
    assert distinct_ngrams([1, 2, 3, 1, 2, 3], 1) == pytest.approx(3 / 6)
    assert distinct_ngrams([1, 2, 3, 1, 2, 3], 2) == pytest.approx(3 / 5)  # 12 23 31 12 23
    assert distinct_ngrams([1, 2, 3, 1, 2, 3], 3) == pytest.approx(3 / 4)  # 123 231 312 123
    assert repeated_ngrams([1, 2, 3, 1, 2, 3], 4) == 0.0
    assert repeated_ngrams([7] * 9, 4) == pytest.approx(5 / 6)  # six 4-grams, all the same
    assert (distinct_ngrams([1, 2], 3), repeated_ngrams([1, 2], 3)) == (1.0, 0.0)
    with pytest.raises(InputError, match="n=0"):
        distinct_ngrams([1], 0)


def test_shared_prefixes_by_hand():
    a = np.array([[1, 2, 3], [1, 2, 3], [1, 2, 3]])
    b = np.array([[1, 2, 3], [1, 9, 3], [9, 2, 3]])
    assert shared_prefix(a, b).tolist() == [3, 1, 0]


# -- what must hold -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [None, 1.0])
def test_the_intact_model_does_not_drift_from_itself_at_all(tiny, temperature):
    found = generation_drift(
        tiny, PROMPTS, under=Intervention(), steps=STEPS, mode=ALL, temperature=temperature
    )
    for mode in ALL:
        for measure in MEASURES:
            assert not found.values(mode, measure).any(), (mode, measure)
    assert found.shared_prefix.tolist() == [STEPS] * 4
    assert np.isnan(found.first_difference).all()
    assert found.notes == ()


def test_deviations_are_those_of_whole_runs_with_and_without_the_intervention(tiny, drift):
    """The intact text under both models; each model's own text under itself; both texts under the intact model."""

    def logits(generation, under):
        rows = []
        for prompt, row in zip(generation.prompts.tokens, generation.tokens.tolist(), strict=True):
            with torch.no_grad(), applied(tiny, under):
                rows.append(tiny.logits(torch.tensor([[*prompt, *row[:-1]]]))[0, len(prompt) - 1 :].double())
        return torch.stack(rows).log_softmax(-1)

    intact, cut = Intervention(), skip(4)
    own, read = logits(drift.intact, intact), logits(drift.changed, intact)
    for mode, (p, q) in {
        "teacher_forced": (own, logits(drift.intact, cut)),
        "free": (own, logits(drift.changed, cut)),
        "changed_text": (read, logits(drift.changed, cut)),
        "paths": (own, read),
    }.items():
        kl = (p.exp() * (p - q)).sum(-1)
        np.testing.assert_allclose(drift.values(mode, "kl_dense_from_pruned"), kl, rtol=1e-3, atol=1e-6)
        assert drift.values(mode, "kl_dense_from_pruned").max() > 1e-3
    quality = drift.quality["changed"]
    for i, row in enumerate(drift.changed.tokens):
        size = int(quality.tokens[i])
        nll = -read.numpy()[i, np.arange(size), row[:size]].mean()
        assert quality.log_perplexity[i] == pytest.approx(nll, rel=1e-4)
        assert quality.repetition[i] == repeated_ngrams(row[:size].tolist(), 4)


def test_as_long_as_the_texts_agree_free_running_is_teacher_forcing(drift):
    same = np.arange(STEPS) <= drift.shared_prefix[:, None]
    assert same.any(axis=1).all()
    assert not same.all()
    for measure in MEASURES:
        forced = drift.values("teacher_forced", measure)
        for mode in ("free", "changed_text"):
            np.testing.assert_allclose(drift.values(mode, measure)[same], forced[same], rtol=1e-3, atol=1e-6)
    assert not drift.values("paths", "kl_dense_from_pruned")[:, 0].any()


def test_tables_and_figure_hold_what_was_measured(drift):
    table = drift.to_pandas()
    assert len(table) == len(ALL) * len(MEASURES) * STEPS
    row = table[
        (table["mode"] == "free") & (table["measure"] == "total_variation") & (table["step"] == 3)
    ].iloc[0]
    assert row["value"] == pytest.approx(drift.values("free", "total_variation")[:, 3].mean())
    assert row["low"] <= row["value"] <= row["high"]
    texts = drift.texts_to_pandas().set_index(["run", "what"])
    assert texts.loc[("changed", "shared prefix"), "value"] == drift.shared_prefix.mean()
    logs = drift.quality["intact"].log_perplexity
    assert texts.loc[("intact", "perplexity"), "value"] == pytest.approx(np.exp(logs.mean()))
    grown = drift.growth("free", "total_variation")
    tv = drift.values("free", "total_variation")
    assert grown.difference == pytest.approx((tv[:, -1] - tv[:, 0]).mean())
    figure = drift.plot()
    drawn = figure.axes[3].lines[1].get_ydata()
    np.testing.assert_allclose(drawn, drift.values("free", "kl_dense_from_pruned").mean(axis=0))
    assert "teacher_forced: h " in str(drift)


def test_one_prompt_has_no_interval_and_one_mode_no_other(tiny):
    found = generation_drift(tiny, PROMPTS[:1], under=skip(4), steps=1, mode="teacher_forced")
    assert np.isnan(found.to_pandas()["low"]).all()
    with pytest.raises(InputError, match="the changed model did not write"):
        found.shared_prefix  # noqa: B018
    with pytest.raises(InputError, match="unknown mode of this comparison 'free'"):
        found.values("free", "kl_dense_from_pruned")
    with pytest.raises(InputError, match="unknown measure 'jensen_shanon'; did you mean 'jensen_shannon'"):
        found.values("teacher_forced", "jensen_shanon")
    with pytest.raises(InputError, match="one step only"):
        found.growth("teacher_forced", "kl_dense_from_pruned")


def test_what_is_known_of_the_intact_model_is_not_written_again(tiny, drift, monkeypatch):
    again = generation_drift(
        tiny, PROMPTS, under=skip(4), steps=STEPS, mode=ALL, temperature=1.0, intact=drift.intact
    )
    np.testing.assert_array_equal(
        again.values("free", "kl_dense_from_pruned"), drift.values("free", "kl_dense_from_pruned")
    )
    monkeypatch.setattr("decision_phases.hierarchy.drift.generate", lambda *_, **__: pytest.fail("it wrote"))
    with pytest.raises(InputError, match="intact= is of another model, other prompts or other settings"):
        generation_drift(tiny, PROMPTS[:2], under=skip(4), steps=STEPS, temperature=1.0, intact=drift.intact)


# -- interventions without effect -----------------------------------------------------------------------------------


def test_an_intervention_that_changes_nothing_is_said_to(tiny):
    found = generation_drift(tiny, PROMPTS, under=insert(3, lambda_identity(tiny)), steps=2)
    assert any("changes nothing" in note for note in found.notes)
    assert "changes nothing" in str(found)


def lambda_identity(model):
    return np.eye(model.d_model, dtype=np.float32)


@pytest.mark.parametrize("temperature", [None, 1.0])
def test_an_intervention_without_effect_on_writing_is_caught(tiny, monkeypatch, temperature):
    """The engine applies it, writing silently does not."""
    monkeypatch.setattr("decision_phases.engine.generating.applied", lambda *_: contextlib.nullcontext())
    with pytest.raises(
        DecisionPhasesError, match=r"written by tiny-llama under skip \{0\.\.5\} are not those"
    ):
        generation_drift(tiny, PROMPTS, under=skip(*range(6)), steps=STEPS, temperature=temperature)


# -- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"steps": 0}, "steps=0"),
        ({"steps": 600}, "600 are to follow"),
        ({"temperature": 0.0}, "for the likeliest token give temperature=None"),
        ({"mode": "forced"}, "unknown mode 'forced'; did you mean 'teacher_forced'"),
        ({"mode": ()}, "unknown mode ''"),
        ({"prompts": [""]}, "prompt #0 of 'prompts' is empty"),
        ({"under": noise(1, variance=0.1)}, "treats all positions alike"),
        ({"under": skip(6)}, "out of range"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_runs(given, text, tiny, monkeypatch):
    monkeypatch.setattr("decision_phases.hierarchy.drift.generate", lambda *_, **__: pytest.fail("it wrote"))
    settings = {"prompts": PROMPTS, "under": skip(4), "steps": 2, **given}
    with pytest.raises(InputError, match=text):
        generation_drift(tiny, **settings)


def test_states_without_length_are_named(tiny):
    with pytest.raises(InputError, match=r"h \(.*\) is undefined at step 0 of prompt 0, teacher_forced"):
        generation_drift(tiny, PROMPTS, under=zero("resid_post", 5), steps=1, mode="teacher_forced")


def test_questions_are_asked_openly(tiny):
    some = questions("facts", limit=4)
    found = generation_drift(tiny, some, under=skip(4), steps=2)
    assert found.intact.prompts.labels == tuple(item.id for item in some)
    np.testing.assert_array_equal(found.intact.tokens, generate(tiny, some, steps=2).tokens)
