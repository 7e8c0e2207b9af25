"""Every metric by hand-worked example, invariance and an independent reference."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, logsumexp

from decision_phases.errors import InputError
from decision_phases.readout.metrics import (
    REMOVED,
    accuracy,
    agreement_with_final,
    at_gold,
    choices,
    commitment_layer,
    decision_margin,
    excess_margin,
    flips,
    frequency_distance,
    frequency_entropy,
    gold_frequency,
    logit_margin,
    margins_by_gold,
    option_frequency,
    option_probabilities,
    self_margin,
    soft_margin,
    survivors,
    tie_rate,
    top_margin,
)

NAN = np.nan


@st.composite
def readouts(draw):
    """Scores with ragged options and removed layers, and a gold option each."""
    n, n_layers, width = draw(st.integers(1, 5)), draw(st.integers(1, 4)), draw(st.integers(2, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = rng.normal(size=(n, n_layers, width)) * draw(st.sampled_from([0.1, 1.0, 10.0]))
    counts = rng.integers(2, width + 1, size=n)
    present = np.array([rng.permutation(np.arange(width) < c) for c in counts])
    scores[~np.repeat(present[:, None], n_layers, axis=1)] = NAN
    gold = np.array([rng.choice(np.flatnonzero(p)) for p in present])
    removed = rng.random(n_layers) < 0.3
    removed[rng.integers(n_layers)] = False
    scores[:, removed] = NAN
    return scores, gold


def one(*scores):
    return np.array([[list(scores)]], dtype=float)


def test_margin_of_one_hot_uniform_and_opposite():
    assert decision_margin(one(900, 0, 0, 0), np.array([0])).item() == 1
    assert decision_margin(one(0, 0, 0, 0), np.array([2])).item() == 0
    assert decision_margin(one(900, 0, 0, 0), np.array([3])).item() == -1


def test_probabilities_and_margins_worked_out():
    scores = np.log(one(0.5, 0.2, 0.3))
    np.testing.assert_allclose(option_probabilities(scores), one(0.5, 0.2, 0.3))
    assert decision_margin(scores, np.array([0])).item() == pytest.approx(0.2)
    assert decision_margin(scores, np.array([1])).item() == pytest.approx(-0.3)
    assert logit_margin(scores, np.array([2])).item() == pytest.approx(np.log(0.3 / 0.5))
    assert soft_margin(scores, np.array([1])).item() == pytest.approx(np.log(0.2 / 0.8))
    assert top_margin(scores).item() == pytest.approx(0.2)
    # mean over gold of (0.2, -0.3, -0.2) is -0.1
    assert excess_margin(scores, np.array([0])).item() == pytest.approx(0.3)


def test_vocabulary_space_scales_by_the_mass_of_the_options():
    scores = np.log(one(0.5, 0.2, 0.3))
    log_normaliser = np.array([[np.log(4.0)]])  # the options hold a quarter of the vocabulary's mass
    assert decision_margin(scores, np.array([0]), log_normaliser=log_normaliser).item() == pytest.approx(0.05)
    assert excess_margin(scores, np.array([0]), log_normaliser=log_normaliser).item() == pytest.approx(0.075)
    assert top_margin(scores, log_normaliser=log_normaliser).item() == pytest.approx(0.05)
    with pytest.raises(InputError, match="whole vocabulary"):
        option_probabilities(scores, np.array([[-1.0]]))


def test_confident_and_uninformed_has_margin_minus_half_and_no_excess():
    rng = np.random.default_rng(0)
    scores, gold = np.zeros((4000, 1, 4)), rng.integers(4, size=4000)
    scores[np.arange(4000), 0, rng.integers(4, size=4000)] = 50
    assert decision_margin(scores, gold).mean() == pytest.approx(-0.5, abs=0.05)
    assert excess_margin(scores, gold).mean() == pytest.approx(0, abs=0.05)


@settings(deadline=None)
@given(readouts())
def test_margin_is_gold_minus_best_rival_by_brute_force(readout):
    scores, gold = readout
    p = option_probabilities(scores)
    soft, logit = soft_margin(scores, gold, tau=0.5), logit_margin(scores, gold)
    margin, top = decision_margin(scores, gold), top_margin(scores)
    for i, layer in itertools.product(range(len(gold)), range(scores.shape[1])):
        row = {o: s for o, s in enumerate(scores[i, layer]) if not np.isnan(s)}
        if not row:
            values = [margin[i, layer], logit[i, layer], soft[i, layer], top[i, layer], *p[i, layer]]
            assert np.isnan(values).all()
            continue
        reference = np.exp(log_softmax(list(row.values())))
        np.testing.assert_allclose([p[i, layer, o] for o in row], reference, rtol=1e-12)
        rivals = [o for o in row if o != gold[i]]
        best = max(p[i, layer, o] for o in rivals)
        assert margin[i, layer] == pytest.approx(p[i, layer, gold[i]] - best)
        assert logit[i, layer] == pytest.approx(row[gold[i]] - max(row[o] for o in rivals))
        other = 0.5 * logsumexp([row[o] / 0.5 for o in rivals])
        assert soft[i, layer] == pytest.approx(row[gold[i]] - other)
        first, second = sorted(reference, reverse=True)[:2]
        assert top[i, layer] == pytest.approx(first - second)


@settings(deadline=None)
@given(readouts(), st.floats(0, 5))
def test_sign_is_the_same_in_both_spaces_and_for_logits(readout, elsewhere):
    scores, gold = readout
    normaliser = logsumexp(np.where(np.isnan(scores), -np.inf, scores), axis=2) + elsewhere
    normaliser[np.isnan(scores).all(axis=2)] = NAN
    options = decision_margin(scores, gold)
    vocabulary = decision_margin(scores, gold, log_normaliser=normaliser)
    np.testing.assert_array_equal(np.sign(options), np.sign(vocabulary))
    np.testing.assert_array_equal(np.sign(options), np.sign(logit_margin(scores, gold)))
    np.testing.assert_allclose(vocabulary, options * np.exp(-elsewhere), atol=1e-12)


@settings(deadline=None)
@given(readouts(), st.integers(0, 1000))
def test_a_constant_per_question_and_layer_changes_nothing(readout, seed):
    scores, gold = readout
    shift = np.random.default_rng(seed).normal(size=scores.shape[:2]) * 20
    moved = scores + shift[..., None]
    for metric in (decision_margin, excess_margin, logit_margin, soft_margin):
        np.testing.assert_allclose(metric(moved, gold), metric(scores, gold), atol=1e-10)
    np.testing.assert_array_equal(choices(moved), choices(scores))


@settings(deadline=None)
@given(readouts(), st.randoms(use_true_random=False))
def test_relabelling_options_moves_choices_and_leaves_margins(readout, random):
    scores, gold = readout
    order = random.sample(range(scores.shape[2]), scores.shape[2])  # new option j is old option order[j]
    place = np.argsort(order)
    for metric in (decision_margin, excess_margin, logit_margin, soft_margin):
        np.testing.assert_allclose(metric(scores[..., order], place[gold]), metric(scores, gold), atol=1e-12)
    old, new = choices(scores), choices(scores[..., order])
    np.testing.assert_array_equal(new, np.where(old == REMOVED, REMOVED, place[old]))
    before = option_frequency(old, np.tile(np.arange(len(order)), (len(gold), 1)), len(order))
    after = option_frequency(new, np.tile(np.arange(len(order)), (len(gold), 1)), len(order))
    np.testing.assert_allclose(after, before[:, order])


@settings(deadline=None)
@given(readouts())
def test_excess_sums_to_zero_over_all_gold_choices(readout):
    scores, gold = readout
    kept = survivors(scores)
    for i in range(len(gold)):
        present = np.flatnonzero(~np.isnan(scores[i, kept[0]]))
        every = [excess_margin(scores[i : i + 1], np.array([g]))[0, kept] for g in present]
        np.testing.assert_allclose(np.sum(every, axis=0), 0, atol=1e-12)
        # and the mean taken off is the one under shuffled gold
        margins = [decision_margin(scores[i : i + 1], np.array([g]))[0, kept] for g in present]
        expected = decision_margin(scores, gold)[i, kept] - np.mean(margins, axis=0)
        np.testing.assert_allclose(excess_margin(scores, gold)[i, kept], expected, atol=1e-12)


def test_soft_margin_tends_to_the_logit_margin():
    scores, gold = np.array([[[1.0, 3.0, 2.0]]]), np.array([1])
    assert soft_margin(scores, gold, tau=1e-3).item() == pytest.approx(logit_margin(scores, gold).item())
    with pytest.raises(InputError, match="must be positive"):
        soft_margin(scores, gold, tau=0.0)


def test_ties_have_margin_zero_for_either_option():
    np.testing.assert_array_equal(margins_by_gold(one(0.4, 0.4, 0.2)), one(0, 0, -0.2))


def test_self_margin_follows_the_final_or_a_given_choice():
    scores = np.log(np.array([[[0.7, 0.3], [0.4, 0.6], [NAN, NAN]]]))
    np.testing.assert_allclose(self_margin(scores), [[-0.4, 0.2, NAN]])
    np.testing.assert_allclose(self_margin(scores, np.array([0])), [[0.4, -0.2, NAN]])
    np.testing.assert_allclose(self_margin(scores, log_normaliser=np.full((1, 3), np.log(2.0)))[0, 1], 0.1)


CHOSEN = np.array([[0, 1, REMOVED, 1, 1], [2, 2, REMOVED, 0, 2], [1, 1, REMOVED, 1, 1]])


def test_choice_metrics_worked_out():
    np.testing.assert_allclose(accuracy(CHOSEN, np.array([1, 2, 0])), [1 / 3, 2 / 3, NAN, 1 / 3, 2 / 3])
    np.testing.assert_allclose(agreement_with_final(CHOSEN), [2 / 3, 1, NAN, 2 / 3, 1])
    assert commitment_layer(CHOSEN).tolist() == [1, 4, 0]
    assert flips(CHOSEN).tolist() == [1, 2, 0]


def test_option_frequency_by_identity_worked_out():
    # the same three words, in another order for question 1; question 2 has only two of them
    identities = np.array([[0, 1, 2], [2, 0, 1], [1, 0, REMOVED]])
    frequency = option_frequency(CHOSEN, identities, 3)
    expected = [[2 / 3, 1 / 3, 0], [1 / 3, 2 / 3, 0], [NAN] * 3, [1 / 3, 1 / 3, 1 / 3], [1 / 3, 2 / 3, 0]]
    np.testing.assert_allclose(frequency, expected)
    gold = gold_frequency(np.array([0, 0, 0]), identities, 3)
    np.testing.assert_allclose(gold, [1 / 3, 1 / 3, 1 / 3])
    np.testing.assert_allclose(frequency_distance(frequency, gold), [1 / 3, 1 / 3, NAN, 0, 1 / 3])
    two_thirds = (np.log(3) / 3 + 2 / 3 * np.log(1.5)) / np.log(3)
    np.testing.assert_allclose(frequency_entropy(frequency), [two_thirds, two_thirds, NAN, 1, two_thirds])


def test_frequency_refuses_choices_without_identity():
    with pytest.raises(InputError, match="no identity"):
        option_frequency(np.array([[1]]), np.array([[0, REMOVED]]), 1)
    with pytest.raises(InputError, match="at least two"):
        frequency_entropy(np.ones((1, 1)))
    with pytest.raises(InputError, match="every layer is removed"):
        flips(np.full((2, 3), REMOVED))


def test_ties_go_to_the_lowest_index_and_are_counted():
    scores = np.array([[[1.0, 1, 0], [NAN] * 3, [0, 2, 2]], [[0.0, 1, NAN], [NAN] * 3, [3, 3, NAN]]])
    assert choices(scores).tolist() == [[0, REMOVED, 1], [1, REMOVED, 0]]
    np.testing.assert_allclose(tie_rate(scores), [0.5, NAN, 1.0])


@settings(deadline=None)
@given(readouts())
def test_commitment_flips_and_agreement_by_brute_force(readout):
    scores, gold = readout
    chosen, kept = choices(scores), survivors(scores)
    for i in range(len(gold)):
        path = [chosen[i, layer] for layer in kept]
        expected = next(layer for at, layer in enumerate(kept) if len(set(path[at:])) == 1)
        assert commitment_layer(chosen)[i] == expected
        assert flips(chosen)[i] == len([1 for a, b in itertools.pairwise(path) if a != b])
    assert agreement_with_final(chosen)[kept[-1]] == 1
    above = (decision_margin(scores, gold) > 0).mean(axis=0)
    np.testing.assert_allclose(accuracy(chosen, gold)[kept], above[kept])
    assert np.isnan(np.delete(accuracy(chosen, gold), kept)).all()


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.zeros((0, 2, 2)), "no question"),
        (np.full((2, 2, 2), NAN), "no layer"),
        (
            np.array([[[0.0, 1, NAN], [0, 1, 2]]]),
            r"question 0, option 2: NaN at one of the layers 0 and 1 only",
        ),
        (np.array([[[0.0, 1], [NAN, NAN]], [[0.0, 1], [2, 3]]]), "NaN at one of the layers 0 and 1 only"),
        (np.array([[[0.0, NAN]]]), "fewer than two options"),
        (np.array([[[0.0, np.inf]]]), "infinite"),
    ],
)
def test_malformed_scores_are_named(scores, message):
    with pytest.raises(InputError, match=message):
        survivors(scores)


@pytest.mark.parametrize("gold", [-1, 2, 3])
def test_gold_must_be_an_option_of_its_question(gold):
    with pytest.raises(InputError, match=f"gold {gold} of question 0 is not one of its 2 options"):
        decision_margin(one(0, 1, NAN), np.array([gold]))
    with pytest.raises(InputError, match="1 gold options for 2 questions"):
        at_gold(np.zeros((2, 1, 2)), np.array([0]))
