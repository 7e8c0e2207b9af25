"""Certificates hold as often as they say, and are given where they can be."""

from functools import cache
from inspect import unwrap

import numpy as np
import pytest
from scipy import stats

from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.pruning.safe import certify, drop_p_value, questions_needed, safe_cut
from decision_phases.readout import read
from decision_phases.tasks import questions


def answers(rng, runs, n, p_lost, p_won):
    """Numbers of answers lost and won, in simulated evaluations."""
    return rng.multinomial(n, [p_lost, p_won, 1 - p_lost - p_won], size=runs)[:, :2]


@pytest.mark.parametrize("changed", [0.05, 0.1, 0.4])
def test_a_drop_that_is_there_is_seldom_ruled_out(changed):
    drop, rng = 0.05, np.random.default_rng(0)
    pairs = answers(rng, 2000, 80, (changed + drop) / 2, (changed - drop) / 2)
    known = {tuple(pair): drop_p_value(*map(int, pair), 80, drop) for pair in np.unique(pairs, axis=0)}
    wrong = np.mean([known[tuple(pair)] <= 0.05 for pair in pairs])
    assert wrong <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)


@pytest.mark.parametrize(("n", "drop"), [(60, 0.1), (150, 0.02), (192, 0.05), (400, 0.02)])
def test_it_is_never_less_sharp_than_the_binomial_test_of_answers_lost(n, drop):
    """A drop means at least as many answers lost, so that these alone give a test; it is exact where none is won."""
    for lost in range(8):
        alone = stats.binom.cdf(lost, n, drop)
        assert drop_p_value(lost, 0, n, drop) == pytest.approx(alone, abs=2e-6)
        for won in (1, 3, 8):
            assert drop_p_value(lost, won, n, drop) <= alone + 2e-6
    assert drop_p_value(7, 7, n, drop) < 0.7 * stats.binom.cdf(7, n, drop)


def test_the_sum_is_the_chance_of_all_outcomes_that_speak_as_much_against_the_drop():
    """By brute force over all outcomes of ten questions, with the nuisance on a grid of its own."""
    n, drop, seen = 10, 0.2, (1, 2)
    every = [(lost, won) for lost in range(n + 1) for won in range(n + 1 - lost)]
    values = {pair: drop_p_value(*pair, n, drop) for pair in every}
    extreme = [pair for pair in every if values[pair] <= values[seen] + 1e-9]
    worst = 0.0
    for won in np.linspace(0, (1 - drop) / 2, 400):
        chances = stats.multinomial(n, [won + drop, won, 1 - 2 * won - drop])
        worst = max(worst, sum(chances.pmf([a, b, n - a - b]) for a, b in extreme))
    assert values[seen] == pytest.approx(worst, abs=2e-3)


def test_more_losses_or_fewer_wins_never_help():
    values = [drop_p_value(lost, 3, 150, 0.05) for lost in range(12)]
    assert values == sorted(values)
    values = [drop_p_value(6, won, 150, 0.05) for won in range(7)]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize(("drop", "confidence"), [(0.02, 0.95), (0.1, 0.9), (0.3, 0.9999), (0.001, 0.5)])
def test_as_many_questions_are_needed_as_certify_and_no_fewer(drop, confidence):
    n = questions_needed(drop, confidence)
    assert drop_p_value(0, 0, n, drop) <= 1 - confidence
    assert (1 - drop) ** (n - 2) > 1 - confidence


def test_any_wrong_certificate_in_a_sequence_is_as_rare_as_promised(monkeypatch):
    """Ten cuts, of which the fourth is the first that really loses too much."""
    monkeypatch.setattr("decision_phases.pruning.safe.drop_p_value", cache(drop_p_value))
    rng, n, drop = np.random.default_rng(1), 150, 0.05
    losses, wrong, right = [0.0, 0.0, 0.0, 0.05, 0.05, 0.1, 0.2, 0.2, 0.3, 0.3], 0, 0
    for _ in range(600):
        intact = np.ones(n, dtype=bool)
        after = np.stack([rng.random(n) >= loss for loss in losses])
        tests = certify(intact, after, max_drop=drop, confidence=0.9)
        passed = sum(p <= 0.1 for *_, p in tests)
        assert all(p <= 0.1 for *_, p in tests[:-1])
        wrong += passed > 3
        right += passed >= 3
    assert wrong / 600 <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 600)
    assert right / 600 > 0.9


def test_a_certified_cut_is_a_prefix_of_the_order_and_was_measured_on_other_questions(tiny):
    items = questions("facts", limit=120)
    safe = safe_cut(tiny, items, max_drop=0.3, by="margin", up_to=3, split=0.3)
    assert safe.n_search + safe.n_evaluation == 120
    table = safe.to_pandas()
    assert table["certified"].tolist() == [True] * len(safe.layers) + [False] * (
        len(table) - len(safe.layers)
    )
    assert tuple(table["removed"][: len(safe.layers)]) == safe.layers
    _, evaluation = items.split(0.3, 0)
    before, after = read(tiny, evaluation), read(tiny, evaluation, under=safe.cut)
    row = table[table["certified"]].iloc[-1]
    assert row["accuracy"] == after.final.accuracy
    assert row["lost"] - row["won"] == before.final.correct.sum() - after.final.correct.sum()
    assert "is certified to lose less than 0.300" in str(safe)


def test_the_order_may_come_from_texts_and_ends_alone_are_read(tiny, monkeypatch):
    monkeypatch.setattr("decision_phases.pruning.measure.DecisionObserver", None)
    items, texts = questions("facts", limit=60), [f"Is water number {i} wet? Yes, it is." for i in range(6)]
    safe = safe_cut(tiny, items, max_drop=0.5, by="perplexity:greedy", up_to=1, split=0.3, texts=texts)
    assert len(safe.table) == 1
    with pytest.raises(InputError, match=r"give texts="):
        safe_cut(tiny, items, max_drop=0.5, by="perplexity:greedy", up_to=1, split=0.3)


def test_none_is_an_answer_too(tiny, monkeypatch):
    monkeypatch.setattr(
        "decision_phases.pruning.safe.drop_p_value", lambda lost, won, n, drop: 0.5 * (lost > 0)
    )
    safe = safe_cut(tiny, questions("facts", limit=60), max_drop=0.1, by="shallowest", up_to=2)
    if not safe.found:
        assert safe.cut == Intervention()
        assert str(safe).startswith("No cut is certified")
    assert len(safe.table) >= 1


def test_what_cannot_be_certified_is_refused_before_anything_runs(tiny, monkeypatch):
    monkeypatch.setattr("decision_phases.pruning.safe.make_setting", None)
    few = questions("facts", limit=60)
    with pytest.raises(
        InputError, match=r"36 questions cannot certify a drop below 0\.02 .* at least 149 are needed"
    ):
        safe_cut(tiny, few)
    with pytest.raises(InputError, match="'random' draws several orders"):
        safe_cut(tiny, few, by="random")
    with pytest.raises(InputError, match=r"by=\['margin'\] names no strategy; give a text, such as 'margin'"):
        unwrap(safe_cut)(tiny, few, by=["margin"])  # as it is without the checks of types that tests add
    with pytest.raises(InputError, match="max_drop=2"):
        safe_cut(tiny, few, max_drop=2.0)
    with pytest.raises(InputError, match=r"confidence=0\.99999 given"):
        safe_cut(tiny, few, confidence=0.99999)
    with pytest.raises(InputError, match="split=None would test on the questions that chose"):
        safe_cut(tiny, few, split=None)
    with pytest.raises(InputError, match=r"at least \d+ are needed"):
        safe_cut(tiny, few, max_drop=1e-6, confidence=0.9999)
