"""Greedy search against an exhaustive one that runs every cut by itself."""

from itertools import combinations

import numpy as np
import pytest
import torch

from decision_phases.engine import applied
from decision_phases.errors import InputError
from decision_phases.interventions import scale, skip
from decision_phases.pruning import OBJECTIVES, SEARCHES, STRATEGIES, Unit, greedy, rank
from decision_phases.readout import ask, read
from decision_phases.readout.observe import FinalObserver

CANDIDATES = (1, 2, 3, 4)
LABELLED = [name for name, objective in OBJECTIVES.items() if objective.labels]


@pytest.fixture(scope="module")
def encoded(tiny, facts):
    return ask(tiny, facts)


def plain_scores(model, encoded, cut):
    """Option scores of every question under a cut: one plain run a question, with no engine around it."""
    rows = []
    for sequence, ids in zip(encoded.sequences, encoded.option_ids, strict=True):
        with torch.no_grad(), applied(model, skip(*cut)):
            logits = model.logits(torch.tensor([sequence.tokens]))[0, sequence.read[0]]
        rows.append(logits[list(ids)].double().numpy())
    return np.array(rows)


def plain_value(scores, gold, objective):
    rows = np.arange(len(gold))
    if objective == "accuracy":
        return float((scores.argmax(axis=1) == gold).mean())
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    share = odds / odds.sum(axis=1, keepdims=True)
    right = share[rows, gold].copy()
    share[rows, gold] = -1
    return float((right - share.max(axis=1)).mean())


@pytest.fixture(scope="module")
def by_force(tiny, encoded):
    """Scores of every cut of one or two candidates."""
    cuts = [cut for size in (1, 2) for cut in combinations(CANDIDATES, size)]
    return {cut: plain_scores(tiny, encoded, cut) for cut in cuts}


@pytest.mark.parametrize("objective", LABELLED)
def test_every_step_takes_the_best_of_all_cuts_measured_one_by_one(tiny, encoded, by_force, objective):
    found = greedy(tiny, encoded, objective=objective, candidates=CANDIDATES, steps=2)
    gone = ()
    for step in found:
        values = {
            layer: plain_value(by_force[tuple(sorted((*gone, layer)))], encoded.gold, objective)
            for layer in CANDIDATES
            if layer not in gone
        }
        tried = {cut[-1].layer: value for cut, value in step.candidates.items()}
        assert set(tried) == set(values)
        for layer, value in values.items():
            assert tried[layer] == pytest.approx(value, abs=1e-6)
        assert step.removed.layer == max(values, key=lambda layer: (round(values[layer], 6), layer))
        assert step.value == step.candidates[step.cut]
        gone = (*gone, step.removed.layer)
        assert step.cut == tuple(Unit((layer,)) for layer in gone)
    assert len(set(gone)) == 2


def test_margins_and_accuracies_choose_differently_somewhere(by_force, encoded):
    """Otherwise the test above could not tell the two objectives apart."""
    orders = {
        objective: sorted(by_force, key=lambda cut: plain_value(by_force[cut], encoded.gold, objective))
        for objective in LABELLED
    }
    assert orders["margin"] != orders["accuracy"]


def test_ties_go_to_the_deepest(planted, planted_setting):
    found = greedy(planted, planted_setting.search, objective="accuracy", candidates=(1, 2, 3, 4), steps=3)
    assert [step.removed.layer for step in found] == [4, 2, 1]


@pytest.mark.parametrize("objective", LABELLED)
def test_a_block_that_does_nothing_goes_first_and_changes_no_number(planted, planted_setting, objective):
    encoded = planted_setting.search
    intact = read(planted, encoded)
    (step,) = greedy(planted, encoded, objective=objective, candidates=(3, 4), steps=1)
    assert step.removed == Unit((4,))
    assert step.value == OBJECTIVES[objective].of(intact.final, None).mean()
    without = read(planted, encoded, under=skip(4))
    kept = list(without.survivors)
    assert np.array_equal(without.scores[:, kept], intact.scores[:, kept])
    assert np.array_equal(without.final.margin, intact.final.margin)


def test_what_is_known_already_changes_no_choice_and_is_not_run_again(tiny, encoded, monkeypatch):
    known = {}
    settings = {"objective": "margin", "candidates": CANDIDATES, "steps": 2}
    alone = greedy(tiny, encoded, **settings)
    first = greedy(tiny, encoded, **settings, known=known)
    best = first[0].removed.layer
    assert set(known) == {
        (encoded.key, FinalObserver().key, skip(*cut))
        for cut in [
            *((layer,) for layer in CANDIDATES),
            *((best, layer) for layer in CANDIDATES if layer != best),
        ]
    }

    def refuse(*args, **kwargs):
        raise AssertionError("run again")

    monkeypatch.setattr("decision_phases.pruning.ground.evaluate", refuse)
    again = greedy(tiny, encoded, **settings, known=known)
    assert alone == first == again


def test_search_within_another_intervention_measures_under_it(tiny, encoded, by_force):
    (step,) = greedy(tiny, encoded, objective="margin", candidates=(2, 4), steps=1, under=skip(1))
    for layer in (2, 4):
        value = plain_value(by_force[tuple(sorted((1, layer)))], encoded.gold, "margin")
        assert step.candidates[Unit((layer,)),] == pytest.approx(value, abs=1e-6)


def test_what_is_removed_takes_with_it_what_was_done_to_it(tiny, encoded, by_force):
    (step,) = greedy(
        tiny, encoded, objective="margin", candidates=(2,), steps=1, under=scale("resid_mid", 2, 0.5)
    )
    assert step.value == pytest.approx(plain_value(by_force[2,], encoded.gold, "margin"), abs=1e-6)


def test_more_steps_than_candidates_are_refused(tiny, encoded):
    with pytest.raises(InputError, match="3 blocks cannot be removed from 2 candidates"):
        greedy(tiny, encoded, objective="margin", candidates=(1, 2), steps=3)


def test_magnitudes_are_what_they_say(tiny, encoded):
    """Lengths over all positions of the prompts, and squares over all weights, by hand."""
    added, squares = "‖Δh‖ / ‖h‖", "Σ w²"
    assert added in STRATEGIES["activation_magnitude"].what
    assert squares in STRATEGIES["magnitude"].what
    by = [STRATEGIES[name].criterion for name in ("activation_magnitude", "magnitude")]
    ratios, sums = rank(tiny, encoded, by=by).members
    hf = tiny.fresh_hf().requires_grad_(False)
    states = [
        hf.model(torch.tensor([s.tokens]), output_hidden_states=True).hidden_states for s in encoded.sequences
    ]
    for layer in range(5):  # of the last, transformers shows what the final norm leaves
        own = [(s[layer + 1] - s[layer]).norm(dim=-1) / s[layer].norm(dim=-1) for s in states]
        assert ratios.scores[layer] == pytest.approx(float(torch.cat(own, dim=1).mean()), rel=1e-4)
        weights = sum(float(p.double().square().sum()) for p in hf.model.layers[layer].parameters())
        assert sums.scores[layer] == pytest.approx(weights, rel=1e-6)


def test_every_strategy_says_what_it_does():
    assert {s.search for s in STRATEGIES.values()} == set(SEARCHES)
    for name, strategy in STRATEGIES.items():
        assert strategy.name == name
        assert strategy.what
        by = SEARCHES[strategy.search].by
        assert bool(strategy.criterion) == (by == "criterion")
        assert bool(strategy.start) == (by == "strategy")
        assert not strategy.objective or (by == "objective" and strategy.objective in OBJECTIVES)
