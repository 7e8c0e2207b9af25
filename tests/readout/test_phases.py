"""Detectors by brute force and hand; the verdict by its level on noise and its power on planted steps."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import f_oneway, kstest

from decision_phases.errors import InputError
from decision_phases.readout.metrics import choices, commitment_layer, excess_margin
from decision_phases.readout.phases import (
    DETECTORS,
    change_point,
    change_ratio,
    crossing_depth,
    half_committed,
    locate,
    max_jump,
    sharpness,
    zero_crossing,
)

L = 24
DEPTH = np.arange(L)
CURVES = arrays(np.float64, st.integers(1, 9), elements=st.floats(-1, 1).map(lambda x: round(x, 3)))


def readout(strength, *, n=120, options=4, noise=1.0, shared=0.0, seed=0):
    """Scores whose gold option gains ``strength[layer]``; ``shared`` noise is the same at every layer."""
    rng = np.random.default_rng(seed)
    gold = rng.integers(options, size=n)
    scores = noise * rng.normal(size=(n, len(strength), options)) + shared * rng.normal(size=(n, 1, options))
    return scores + np.asarray(strength)[None, :, None] * np.eye(options)[gold][:, None], gold


# -- detectors


@settings(deadline=None)
@given(CURVES)
def test_detectors_equal_their_definitions(curve):
    n = len(curve)
    layers = 2 * np.arange(n) + 3  # every second layer survives
    crossing = [i for i in range(n) if (curve[i:] > 0).all()]
    expected = layers[crossing[0]] if crossing else np.nan
    np.testing.assert_equal(zero_crossing(curve, layers).item(), expected)

    jumps = [(curve[i] - curve[i - 1], -i) for i in range(1, n)]
    jump, at = max(jumps, default=(0, 0))
    np.testing.assert_equal(max_jump(curve, layers).item(), layers[-at] if jump > 0 else np.nan)

    def error(t):
        return sum(((part - part.mean()) ** 2).sum() for part in (curve[:t], curve[t:]))

    rising = [t for t in range(1, n) if curve[t:].mean() > curve[:t].mean() + 1e-6]
    found = change_point(curve, layers).item()
    if rising:
        best = min(error(t) for t in rising)
        assert error(layers.tolist().index(int(found))) == pytest.approx(best, abs=1e-12)
    else:
        assert np.isnan(found)


@settings(deadline=None)
@given(arrays(np.float64, (4, 6), elements=st.floats(-1, 1)), st.sampled_from(sorted(DETECTORS)))
def test_a_batch_is_its_rows(curves, name):
    layers, find = np.array([0, 1, 2, 5, 6, 9]), DETECTORS[name].find
    np.testing.assert_array_equal(find(curves, layers), [find(row, layers).item() for row in curves])


def test_change_ratio_is_the_f_of_the_two_segments():
    curve = np.array([-0.4, -0.3, -0.45, 0.5, 0.7, 0.6])
    assert change_point(curve, np.arange(6)).item() == 3
    assert change_ratio(curve) == pytest.approx(f_oneway(curve[:3], curve[3:]).statistic)
    assert change_ratio(np.array([0.0, 0.0, 1.0])) == np.inf
    assert np.isnan(change_ratio(np.array([1.0, 0.5, 0.0])))
    assert np.isnan(change_ratio(np.array([0.0, 1.0])))


def test_crossing_depth_interpolates_between_survivors():
    assert crossing_depth(np.array([-0.2, 0.1, -0.3, 0.1]), np.array([0, 1, 4, 8])) == 4 + 4 * 0.75
    assert crossing_depth(np.array([0.2, 0.1]), np.array([3, 4])) == 3
    assert np.isnan(crossing_depth(np.array([0.2, 0.0]), np.array([3, 4])))


def test_sharpness_of_a_ramp_a_step_and_a_fall():
    assert sharpness(np.linspace(-0.5, 0.5, 11), np.arange(11)) == pytest.approx(8)
    assert sharpness(np.array([0.0, 0, 1, 1]), np.arange(4)) == pytest.approx(0.8)
    assert sharpness(np.array([-0.1, -0.4, 0.6, 0.5, 0.6]), np.arange(5)) == pytest.approx(0.8)
    assert np.isnan(sharpness(np.array([0.3, 0.2]), np.arange(2)))


def test_one_layer_has_a_crossing_and_nothing_else():
    curve, layers = np.array([0.5]), np.array([7])
    assert zero_crossing(curve, layers).item() == 7
    assert np.isnan([change_point(curve, layers).item(), max_jump(curve, layers).item()]).all()


def test_half_committed_is_the_median_commitment_layer():
    scores, _ = readout(np.where(DEPTH > 12, 6.0, 0.0), n=101)
    committed = commitment_layer(choices(scores))
    curve = (committed[:, None] <= DEPTH).mean(axis=0)
    assert half_committed(curve, DEPTH).item() == np.median(committed)


# -- where the transition is


@pytest.mark.parametrize("t", [1, 5, 12, 23])
def test_a_step_is_found_by_every_detector_of_the_labels(t):
    scores, gold = readout(np.where(t <= DEPTH, 8.0, 0.0))
    phases = locate(scores, gold)
    assert (phases.outcome, phases.transition, phases.ci) == ("transition", t, (t, t))
    assert phases.silent == tuple(range(t))
    assert phases.decisive == tuple(range(t, L))
    assert phases.depth < t < phases.depth + 1
    for name in ("zero_crossing", "change_point", "change_point_margin", "max_jump"):
        assert phases.detectors[name] == t
    assert phases.width == pytest.approx(0.8, abs=0.15)


@pytest.mark.parametrize("seed", range(6))
def test_a_logistic_is_found_within_its_interval(seed):
    strength = 8 / (1 + np.exp(-(DEPTH - 14) / 1.5))
    scores, gold = readout(strength, seed=seed, n=80)
    truth, true_gold = readout(strength, seed=1000, n=40_000)
    expected = locate(truth, true_gold, n_boot=2, n_perm=20).transition
    phases = locate(scores, gold)
    assert phases.ci[0] <= expected <= phases.ci[1]
    assert phases.ci[0] <= phases.transition <= phases.ci[1]
    assert phases.ci[1] - phases.ci[0] <= 2


def test_the_interval_covers_as_often_as_it_says():
    strength = 5 / (1 + np.exp(-(DEPTH - 14) / 4))
    truth, gold = readout(strength, seed=1, n=40_000)
    expected = locate(truth, gold, n_boot=2, n_perm=20).transition
    hits = []
    for seed in range(150):
        low, high = locate(*readout(strength, seed=seed, n=40), n_boot=300, n_perm=20).ci
        hits.append(low <= expected <= high)
    assert 0.9 <= np.mean(hits) <= 1.0


def test_removed_layers_are_skipped_and_indices_stay_intact():
    scores, gold = readout(np.where(DEPTH >= 15, 8.0, 0.0))
    scores[:, [3, 4, 14, 15, 20]] = np.nan
    phases = locate(scores, gold)
    assert phases.transition == 16
    assert phases.silent == tuple(i for i in range(14) if i not in (3, 4))
    assert phases.decisive == (16, 17, 18, 19, 21, 22, 23)
    assert 13 < phases.depth < 16
    assert str(phases) == "Phases(transition=16, ci=(16, 16), silent=0..2,5..13, decisive=16..19,21..23)"
    kept = list(phases.layers)
    alone = locate(scores[:, kept], gold)
    assert (phases.n_layers, alone.n_layers) == (L, L - 5)
    assert kept[alone.transition] == phases.transition
    assert alone.p_value == phases.p_value
    assert alone.rise == phases.rise


@pytest.mark.parametrize("gain", [8.0, 0.1])
def test_absent_options_do_not_matter(gain):
    scores, gold = readout(np.where(DEPTH >= 9, gain, 0.0), options=3)
    padded = np.concatenate([np.full((120, L, 1), np.nan), scores], axis=2)
    assert locate(padded, gold + 1).to_dict() == locate(scores, gold).to_dict()


def test_vocabulary_space_keeps_the_crossing():
    scores, gold = readout(np.where(DEPTH >= 9, 8.0, 0.0))
    normaliser = np.full(scores.shape[:2], scores.max() + 3)
    phases = locate(scores, gold, log_normaliser=normaliser)
    assert phases.transition == 9
    assert phases.rise < locate(scores, gold).rise


def test_above_zero_from_the_first_layer_leaves_the_silent_phase_empty():
    phases = locate(*readout(np.linspace(3, 9, L)))
    assert (phases.transition, phases.silent, len(phases.decisive)) == (0, (), L)
    assert "The Silent Phase is empty" in phases.verdict


# -- whether there is one


def test_the_shuffle_test_keeps_its_level_on_random_scores():
    p = [locate(*readout(np.zeros(3), n=25, seed=s), n_boot=1, n_perm=199).p_value for s in range(600)]
    assert 0.03 <= np.mean(np.array(p) < 0.05) <= 0.075
    assert kstest(p, "uniform").pvalue > 0.01


def test_the_null_of_the_shuffle_test_is_that_of_enumeration():
    scores, gold = readout(np.array([0.0, 0.7]), n=5, options=3, seed=4)
    grids = np.stack(np.meshgrid(*[np.arange(3)] * 5), axis=-1).reshape(-1, 5)
    null = [excess_margin(scores, other)[:, -1].mean() for other in grids]
    exact = np.mean(np.array(null) >= excess_margin(scores, gold)[:, -1].mean() - 1e-12)
    assert locate(scores, gold, n_perm=40_000).p_value == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize(
    "settings_",
    [
        {"strength": np.zeros(L)},
        {"strength": np.zeros(L), "noise": 0.2, "shared": 3.0},
        {"strength": np.full(L, 2.0)},
        {"strength": np.full(L, 2.0), "noise": 0.3, "shared": 1.0},
    ],
    ids=["random", "confident uninformed", "informed from the start", "flat and confident"],
)
def test_without_a_transition_none_is_found(settings_):
    outcomes = [locate(*readout(**settings_, n=50, seed=s), n_boot=1, n_perm=99).outcome for s in range(100)]
    assert outcomes.count("no transition") >= 93


def test_a_rise_from_wrong_to_uninformed_is_no_transition():
    phases = locate(*readout(np.where(DEPTH >= 12, 0.0, -5.0), seed=2))
    assert phases.rise > 10 * phases.rise_se
    assert phases.p_value >= 0.05
    assert phases.outcome == "no transition"
    assert "not told from chance" in phases.verdict


def test_the_same_large_margin_at_every_layer_has_not_risen():
    scores, gold = readout([9.0], n=60)
    phases = locate(np.repeat(scores, L, axis=1), gold)
    assert phases.outcome == "no transition"
    assert phases.p_value < 0.001
    assert (phases.rise, phases.rise_se) == pytest.approx((0, 0), abs=1e-12)
    assert phases.phases is None
    assert phases.silent == phases.decisive == ()
    assert "informed" in phases.verdict
    assert "None of them is evidence" in phases.agreement


def test_shuffled_labels_have_no_transition():
    scores, gold = readout(np.where(DEPTH >= 15, 8.0, 0.0))
    assert locate(scores, gold).found
    rng = np.random.default_rng(0)
    outcomes = [locate(scores, rng.permutation(gold), n_boot=1, n_perm=99).outcome for _ in range(100)]
    assert outcomes.count("no transition") >= 93


def test_informed_but_never_above_zero_is_not_located():
    # a third right and the rest wrong: better than chance, yet the mean margin stays below zero
    rng = np.random.default_rng(0)
    gold = rng.integers(4, size=150)
    mixed = 0.3 * rng.normal(size=(150, L, 4)) + 4.0 * np.eye(4)[(gold + 1) % 4][:, None]
    mixed[:, 16:] += 2.0 * np.eye(4)[gold][:, None]
    mixed[:50, 16:] += 5.0 * np.eye(4)[gold[:50]][:, None]
    phases = locate(mixed, gold)
    assert phases.outcome == "not located"
    assert phases.p_value < 0.05
    assert (phases.transition, phases.ci, phases.phases, phases.depth) == (None, None, None, None)
    assert phases.detectors["change_point"] == 16
    assert "does not stay above zero" in phases.verdict
    by_change = locate(mixed, gold, method="change_point")
    assert (by_change.transition, by_change.ci) == (16, (16, 16))
    assert by_change.phases == {"silent": list(range(16)), "decisive": list(range(16, L))}


def test_resamples_without_a_crossing_are_reported():
    strength = np.where(DEPTH >= 16, 1.0, 0.0)
    phases = next(
        p
        for s in range(200)
        if (p := locate(*readout(strength, n=40, seed=s))).found and p.decider.share < 0.9
    )
    assert f"Only {phases.decider.share:.0%} of the resamples" in phases.verdict
    assert phases.ci is not None


# -- the value


def test_printing_agreement_and_the_other_lens():
    scores, gold = readout(np.where(DEPTH >= 15, 8.0, 0.0))
    phases = locate(scores, gold, lens_name="last-blocks", lens_transition=11)
    assert repr(phases) == "Phases(transition=15, ci=(15, 15), silent=0..14, decisive=15..23)"
    assert phases.agreement == (
        "zero_crossing 15; within one layer: change_point 15, change_point_margin 15, max_jump 15, "
        "commitment 15; elsewhere: the last-blocks lens 11."
    )
    assert "the last-blocks lens none" in locate(scores, gold, lens_name="last-blocks").agreement
    assert sum(phases.commitment) == pytest.approx(1)
    nothing = locate(*readout(np.zeros(L)))
    assert str(nothing).startswith("Phases(transition=None: no transition, p=")


@pytest.mark.parametrize("strength", [np.where(DEPTH >= 15, 8.0, 0.0), np.zeros(L)])
def test_json_and_table(strength):
    phases = locate(*readout(strength), lens_name="last-blocks", lens_transition=14)
    data = json.loads(json.dumps(phases.to_dict(), allow_nan=False))
    assert data["transition"]["layer"] == phases.transition
    assert data["transition"]["method"] == "zero_crossing"
    assert [data["transition"]["ci_low"], data["transition"]["ci_high"]] == list(phases.ci or (None, None))
    assert data["phases"] == phases.phases
    assert data["lens"] == {"name": "last-blocks", "transition": 14}
    table = phases.to_pandas()
    assert table["detector"].tolist() == list(DETECTORS)
    assert table.loc[table["method"], "detector"].tolist() == ["zero_crossing"]
    assert table["layer"].tolist()[1] == phases.detectors["change_point"]


def test_an_exact_step_has_no_finite_ratio_in_json():
    scores = np.zeros((10, 6, 2))
    scores[:, 3:, 0] = 50
    phases = locate(scores, np.zeros(10, dtype=int))
    assert phases.change_ratio == np.inf
    assert phases.to_dict()["change_ratio"] is None
    assert phases.transition == 3


def test_the_same_seed_gives_the_same_value():
    scores, gold = readout(np.linspace(-1, 3, L))
    assert locate(scores, gold, seed=1) == locate(scores, gold, seed=1)
    assert hash(locate(scores, gold, seed=1)) == hash(locate(scores, gold, seed=1))
    assert locate(scores, gold, seed=1).p_value < 0.05


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "zero_cross"}, "did you mean 'zero_crossing'"),
        ({"n_perm": 19}, "at least 2 and 20"),
        ({"lens_transition": 3}, "without lens_name"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        locate(*readout(np.zeros(L)), **arguments)
    with pytest.raises(InputError, match="1 questions"):
        locate(*readout(np.zeros(L), n=1))
