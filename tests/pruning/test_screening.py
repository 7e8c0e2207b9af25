"""Screening on candidates whose exact values are known, and in a search on a tiny model."""

import json

import numpy as np
import pytest
import torch
from scipy import stats

from decision_phases.errors import InputError
from decision_phases.models import load, tiny_hf, tiny_tokenizer
from decision_phases.models.twins import twin
from decision_phases.pruning import Step, greedy, prune
from decision_phases.pruning.screener import Screener
from decision_phases.pruning.screening import Errors, choose, error_band
from decision_phases.readout import ask

STEPS = 3
N = 28


def looked_up(exact, asked):
    def confirm(places):
        asked.append(list(places))
        return exact[list(places)]

    return confirm


# -- the band --------------------------------------------------------------------------------------------------


def errors_of(every, drawn):
    return Errors(np.array(every, dtype=float), np.array(drawn, dtype=float))


def test_the_band_is_a_prediction_interval_over_all_steps():
    now = errors_of([0.1, 0.4, 0.1, 0.2], [0.1, 0.4, 0.2])
    before = [
        errors_of([7.0, 7.5, 7.0], [7.0, 7.5]),
        errors_of([-1.0], []),
        errors_of([3.0, 9.0, 3.0], [3.0]),
    ]
    drawn = (2 * np.var(now.drawn, ddof=1) + 0.125 + 0.3**2) / 3
    every = (3 * np.var(now.every, ddof=1) + 2 * np.var([7, 7.5, 7], ddof=1) + 24 + 0.3**2) / 7
    assert every > drawn
    band = error_band(now, before, resolution=0.3)
    assert band.df == 3
    assert band.bias == pytest.approx(0.7 / 3)
    assert band.width == pytest.approx(np.sqrt(every * 4 / 3))
    assert error_band(now, before[:2], resolution=0.3).width == pytest.approx(np.sqrt(drawn * 4 / 3))
    chance = band.chance_above(np.array([1.0, 2.0]), 1.5)
    for found, rough in zip(chance, (1.0, 2.0), strict=True):
        assert found == pytest.approx(1 - stats.t.cdf((1.5 - rough + band.bias) / band.width, 3))


@pytest.mark.parametrize("drawn", [[], [0.5]])
def test_of_one_drawn_error_nothing_is_known(drawn):
    band = error_band(errors_of([0.5, 0.7], drawn), resolution=1e-6)
    assert (band.width, band.df) == (np.inf, 0)
    assert band.chance_above(np.array([-1e9, 1e9]), 0.0).tolist() == [1.0, 1.0]


def test_equal_errors_are_not_taken_for_certain_ones():
    few = errors_of([0] * 6, [0] * 4)
    band = error_band(few, resolution=0.01)
    assert band.width == pytest.approx(0.01 * np.sqrt(1.25 / 3))
    assert error_band(few, [errors_of([0] * 100, [0] * 100)], resolution=0.01).width < band.width / 4


def test_the_larger_spread_counts():
    calm, wild = [0.1, 0.11, 0.09, 0.1], [-1.0, 1.0]
    looked_good = error_band(errors_of(calm + wild, wild), resolution=1e-9)
    drawn_calm = error_band(errors_of(calm + wild, calm), resolution=1e-9)
    assert looked_good.width > 1
    assert drawn_calm.width > 0.5
    assert drawn_calm.bias == pytest.approx(0.1)


# -- the choice ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "draw", [lambda g, n: g.normal(0, 1, n), lambda g, n: g.laplace(0, 0.7, n)], ids=["normal", "laplace"]
)
@pytest.mark.parametrize("spread", [0.3, 3, 50])
def test_choices_differ_from_exact_ones_no_more_often_than_is_said(draw, spread):
    """Errors are shifted anew at each step. Where candidates differ by little beside them, nearly all are confirmed."""
    risk, wrong, chance, confirmed = 0.1, [], [], []
    for run in range(150):
        rng = np.random.default_rng([run, 7])
        before = []
        for step in range(STEPS):
            exact = rng.normal(0, spread, N - step)
            rough = exact + draw(rng, N - step) + rng.normal(0, 3)
            found = choose(
                rough,
                looked_up(exact, []),
                before=before,
                resolution=1e-9,
                risk=risk,
                seed=[run, step],
            )
            before.append(found.errors)
            wrong.append(found.best != exact.argmax())
            chance.append(found.chance)
            confirmed.append(found.confirmed.mean())
            assert found.best == np.nanargmax(found.exact)
            assert np.array_equal(found.exact[found.confirmed], exact[found.confirmed])
            assert found.chance <= risk
    slack = 3 * np.sqrt(1 / len(wrong)) * 0.1
    assert np.mean(wrong) <= risk / 5
    if spread >= 3:
        assert np.mean(wrong) <= np.mean(chance) + slack
        assert np.mean(confirmed) < 0.6
    if spread == 0.3:
        assert np.mean(confirmed) > 0.9


def test_candidates_are_confirmed_once_and_until_none_is_left_within_the_band():
    rng = np.random.default_rng(3)
    exact = np.concatenate([rng.normal(0, 0.02, 10), rng.normal(-5, 1, 18)])
    rough, asked = exact + 0.3 + rng.normal(0, 0.05, N), []
    found = choose(rough, looked_up(exact, asked), resolution=1e-9, seed=1)
    flat = [place for places in asked for place in places]
    assert len(flat) == len(set(flat)) == found.confirmed.sum()
    assert len(asked) > 1
    assert len(asked[0]) == 5
    assert rough.argmax() in asked[0]
    assert len(flat) < N
    rest = ~found.confirmed
    band = found.band
    assert found.half_width == pytest.approx(stats.t.isf(0.01 / rest.sum(), band.df) * band.width)
    assert (rough[rest] - band.bias + found.half_width < exact.max()).all()
    assert found.chance == pytest.approx(band.chance_above(rough[rest], exact.max()).sum())
    assert np.allclose(found.estimate[rest], rough[rest] - band.bias)
    errors, first = rough - exact, [place for place in asked[0] if place != rough.argmax()]
    assert band == error_band(Errors(errors[found.confirmed], errors[first]), resolution=1e-9)


def test_the_sample_is_seeded_and_not_only_the_top():
    exact = np.arange(N, dtype=float) * 100
    firsts = []
    for seed in (0, 0, 1):
        asked = []
        choose(exact, looked_up(exact, asked), resolution=1e-9, at_random=6, seed=seed)
        firsts.append(asked[0])
    assert firsts[0] == firsts[1] != firsts[2]
    assert all(N - 1 in first and len(first) == 7 for first in firsts)
    counts = np.zeros(N)
    for seed in range(400):
        asked = []
        choose(exact, looked_up(exact, asked), resolution=1e-9, seed=seed)
        counts[asked[0]] += 1
    assert counts[-1] == 400
    assert stats.chisquare(counts[:-1]).pvalue > 0.01


def test_ties_go_to_the_last_even_if_it_looked_worse():
    exact = np.array([1.0, 1.0, 1.0, -9.0, 1.0, -8.0, -7.0, -9.0, -9.0, -9.0])
    for seed in range(20):
        rough = exact + np.random.default_rng(seed).normal(0, 1e-3, 10)
        assert choose(rough, looked_up(exact, []), resolution=1e-9, seed=seed).best == 4
    assert choose(exact + 0.1, looked_up(exact, []), resolution=1e-7).best == 4


def test_what_is_known_is_not_asked_for_and_counts():
    exact = np.array([0.0, 5.0, 1.0, 2.0, 3.0, -4.0, -5.0])
    known = np.where([True, False, True, False, False, True, False], exact, np.nan)
    asked = []
    found = choose(exact + 1, looked_up(exact, asked), known=known, resolution=1e-3, at_random=2)
    assert not {0, 2, 5} & {p for places in asked for p in places}
    assert found.confirmed[[0, 1, 2, 5]].all()
    assert found.best == 1
    asked = []
    everything = choose(exact, looked_up(exact, asked), known=exact, resolution=1e-3)
    assert (everything.best, everything.chance, everything.half_width, asked) == (1, 0.0, 0.0, [])


@pytest.mark.parametrize("n", [1, 2, 5])
def test_of_few_candidates_all_are_confirmed(n):
    exact = np.arange(n, dtype=float)
    found = choose(exact * 10, looked_up(exact, []), resolution=1e-9)
    assert found.confirmed.all()
    assert (found.best, found.chance, found.half_width) == (n - 1, 0.0, 0.0)


@pytest.mark.parametrize("wrong", [{"at_random": 1}, {"risk": 0.0}, {"risk": 1.0}, {"resolution": 0.0}])
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(InputError, match="there must be candidates"):
        choose(np.arange(3.0), looked_up(np.arange(3.0), []), **{"resolution": 1e-9, **wrong})
    with pytest.raises(InputError, match="0 candidates"):
        choose(np.array([]), looked_up(np.array([]), []), resolution=1e-9)


# -- the search ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def deep():
    """A tiny Llama of more layers, of which some matter much more than others."""
    from transformers import AutoModelForCausalLM

    hf = tiny_hf("llama")
    hf.config.num_hidden_layers = 14
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = AutoModelForCausalLM.from_config(hf.config, attn_implementation="eager")
        with torch.no_grad():
            for name, p in made.named_parameters():
                if p.ndim == 2:
                    p.mul_(4.0 if "layers" not in name or int(name.split(".")[2]) % 3 == 0 else 1.0)
    return load(made, tokenizer=tiny_tokenizer(), consume=True, quiet=True)


@pytest.mark.parametrize("objective", ["margin", "accuracy"])
def test_a_screened_search_chooses_the_same_and_confirms_fewer(deep, facts, objective):
    encoded = ask(deep, facts[:16])
    settings = {"objective": objective, "candidates": range(1, 13), "steps": 2}
    full = greedy(deep, encoded, **settings)
    known = {}
    found = greedy(deep, encoded, **settings, known=known, screen="bfloat16")
    assert [step.removed for step in found] == [step.removed for step in full]
    assert [step.value for step in found] == pytest.approx([step.value for step in full], abs=1e-6)
    confirmed = [step.screening.confirmed for step in found]
    assert sum(map(len, confirmed)) == len(known)
    assert (
        objective == "accuracy" or len(known) < 12 + 11
    )  # of 16 questions, one more or less is within any band
    for step, expected in zip(found, full, strict=True):
        assert step.screening.precision == "bfloat16"
        assert step.screening.candidates == len(step.candidates) == len(expected.candidates)
        assert step.removed.layer in step.screening.confirmed
        assert 0 <= step.screening.chance <= 0.01
        assert (step.screening.band > 0) == (len(step.screening.confirmed) < step.screening.candidates)
        assert f"{len(step.screening.confirmed)} of {step.screening.candidates} confirmed" in str(
            step.screening
        )
        for cut, value in step.candidates.items():
            near = 1e-6 if cut[-1].layer in step.screening.confirmed else step.screening.band
            assert value == pytest.approx(expected.candidates[cut], abs=near)
    assert [step.screening for step in full] == [None] * 2


def test_a_screener_is_shared_and_what_is_known_needs_none(deep, facts, monkeypatch):
    encoded = ask(deep, facts[:8])
    screener, settings = (
        Screener(deep, "bfloat16"),
        {"objective": "margin", "candidates": range(1, 13), "steps": 2},
    )
    first = greedy(deep, encoded, **settings, screen=screener)
    said = dict(screener.rough)
    assert len(said) == 12 + 11
    known = {}
    greedy(deep, encoded, **settings, known=known)

    def refuse(*args, **kwargs):
        raise AssertionError("run again")

    monkeypatch.setattr("decision_phases.pruning.ground.evaluate", refuse)
    again = greedy(deep, encoded, **settings, known=known, screen=screener)
    assert [step.removed for step in again] == [step.removed for step in first]
    assert [len(step.screening.confirmed) for step in again] == [12, 11]
    assert all(step.screening.chance == 0 for step in again)


def test_screening_keeps_ties_for_the_deepest(planted, planted_setting):
    found = greedy(
        planted,
        planted_setting.search,
        objective="accuracy",
        candidates=(1, 2, 3, 4),
        steps=3,
        screen="bfloat16",
    )
    assert [step.removed.layer for step in found] == [4, 2, 1]


def test_curves_say_what_was_left_to_chance_also_after_they_were_kept(deep, facts):
    settings = {"by": "margin", "up_to": 2, "draws": 1, "controls": False}
    plain = prune(deep, facts[:24], **settings)
    curves = prune(deep, facts[:24], **settings, screen="bfloat16")
    assert [step.cut for step in curves.steps] == [step.cut for step in plain.steps]
    first, *rest = curves.steps
    assert first.screening is None
    assert [step.screening.candidates for step in rest] == [12, 11]
    confirmed = sum(len(step.screening.confirmed) for step in rest)
    assert 2 < confirmed < 23
    (note,) = [note for note in curves.notes if "confirmed" in note]
    assert f"The strategy margin looked at its candidates in bfloat16 and confirmed {confirmed} of 23" in note
    assert f"{sum(step.screening.chance for step in rest):.1e} at most" in note
    assert not any("confirmed" in note for note in plain.notes)
    for step in curves.steps:
        record = json.loads(json.dumps(step.to_record()))
        assert Step.from_record(record).screening == step.screening
        del record["screening"]  # kept before there was screening
        assert Step.from_record(record).screening is None


def test_what_cannot_be_screened_is_refused(deep, facts):
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    with pytest.raises(InputError, match="unknown precision to screen in 'bfloat8'; did you mean 'bfloat16'"):
        Screener(deep, "bfloat8")
    with pytest.raises(InputError, match="is in float16, so screening in bfloat16 would save nothing"):
        Screener(load("tiny-llama", dtype="float16", quiet=True), "bfloat16")
    hf = tiny_hf("llama")
    bridge = build_bridge_from_module(hf, type(hf).__name__, hf_config=hf.config, tokenizer=None)
    with pytest.raises(InputError, match="no plain Hugging Face model can be rebuilt"):
        Screener(load(bridge, tokenizer=tiny_tokenizer(), quiet=True), "bfloat16")


def test_swaps_say_how_their_start_was_screened(deep, facts):
    curves = prune(deep, facts[:24], by="swaps", up_to=2, draws=1, controls=False, screen="bfloat16")
    assert [step.screening is not None for step in curves.of("swaps")] == [False, True, True]
    assert any("The strategy swaps looked at its candidates in bfloat16" in note for note in curves.notes)


@pytest.mark.parametrize("by", ["margin:beam", "kl:iterative", "block_influence", "random"])
def test_screening_where_nothing_is_searched_greedily_is_refused(by, tiny, facts):
    with pytest.raises(InputError, match=r"screen='bfloat16' is for strategies that search greedily"):
        prune(tiny, facts, by=by, up_to=1, screen="bfloat16")


def test_splits_share_the_twin(deep, facts, monkeypatch):
    made = []
    monkeypatch.setattr(
        "decision_phases.pruning.screener.twin", lambda *given: made.append(given) or twin(*given)
    )
    prune(deep, facts[:24], by="margin", up_to=1, draws=1, splits=2, screen="bfloat16")
    assert len(made) == 1
