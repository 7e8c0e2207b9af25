"""What the experiments make of rankings: against scipy, on planted data, and on noise."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats


@pytest.fixture
def c(module_of):
    return module_of("", "correlations")


def test_rank_correlation_is_that_of_scipy_with_ties_and_in_rows(c):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 4, (5, 12)).astype(float), rng.normal(size=(5, 12))
    for a, b, found in zip(x, y, c.spearman(x, y), strict=True):
        assert found == pytest.approx(stats.spearmanr(a, b).statistic)
    assert c.spearman(x[0], y).shape == (5,)
    assert np.isnan(c.spearman(np.ones(4), np.arange(4.0)))


def test_an_aligned_bump_survives_shifting_and_a_misplaced_one_does_not(c):
    """Both curves are smooth: a usual p-value would call either of them significant."""
    depth = np.arange(28)
    bump, other = np.exp(-((depth - 20) ** 2) / 8), np.exp(-((depth - 8) ** 2) / 8)
    assert c.shift_p(bump, 2 * bump + 1) == pytest.approx(1 / 28)
    assert c.shift_p(bump, other) > 0.5
    assert np.isnan(c.shift_p(np.ones(28), bump))


def test_shift_p_keeps_its_level_on_smooth_noise(c):
    rng = np.random.default_rng(1)
    kernel = np.exp(-(np.minimum(np.arange(24), 24 - np.arange(24)) ** 2) / 8)

    def smooth():
        return np.real(np.fft.ifft(np.fft.fft(rng.normal(size=24)) * np.fft.fft(kernel)))

    p = np.array([c.shift_p(smooth(), smooth()) for _ in range(400)])
    usual = np.mean([stats.spearmanr(smooth(), smooth()).pvalue < 0.1 for _ in range(400)])
    assert abs((p <= 0.125).mean() - 0.125) < 0.06
    assert usual > 0.2


def test_reliability_is_the_share_of_true_variance(c):
    """Damage with variance 1 over layers and n² between N questions: means have reliability 1 / (1 + n² / N)."""
    rng = np.random.default_rng(2)
    for noise, expected in ((0.3, 1 / (1 + 0.3**2 / 40)), (6.0, 1 / (1 + 6.0**2 / 40))):
        found = [
            c.reliability(rng.normal(size=60) + rng.normal(0, noise, (40, 60)), n_splits=20)
            for _ in range(20)
        ]
        assert np.mean(found) == pytest.approx(expected, abs=0.06)
    nothing = [c.reliability(rng.normal(size=(40, 30)), n_splits=20) for _ in range(20)]
    assert np.mean(nothing) < 0.2


def test_an_interval_holds_the_estimate_of_what_is_plain(c):
    rng = np.random.default_rng(3)
    damage = np.arange(20.0) + rng.normal(0, 1, (50, 20))
    found = c.with_interval(np.arange(20.0), damage, n_boot=100)
    assert 0.95 < found["low"] <= found["estimate"] <= 1
    assert c.with_interval(-np.arange(20.0), damage, n_boot=100)["high"] < -0.95


def test_shared_blocks_by_hand(c):
    assert c.shared(np.array([3.0, 1.0, 2.0, 9.0]), np.array([0.0, 5.0, 1.0, 9.0]), 2) == 0.5
    assert c.shared(np.zeros(4), np.array([3.0, 2.0, 1.0, 0.0]), 1) == 1.0  # ties go to the last


def test_a_criterion_that_knows_the_damage_reaches_the_ceiling(module_of):
    analysis = module_of("criteria", "analysis")
    rng = np.random.default_rng(4)
    truth = rng.normal(size=20)
    damage = truth + rng.normal(0, 2.0, (100, 20))
    s = SimpleNamespace(N_BOOT=50, N_SPLITS=40, SEED=0, COMPARED=(("knows", "does not"), ("knows", "partly")))
    scores = {"knows": truth, "does not": rng.normal(size=20), "partly": np.append(truth[:-1], np.nan)}
    found = analysis.correlate(scores, {"margin": damage}, {"all": list(range(20))}, s)
    by = {row["criterion"]: row for row in found["rows"]}
    assert set(by) == {"knows", "does not"}  # what has no score for a layer is not compared
    assert by["knows"]["estimate"] == pytest.approx(found["ceilings"][0]["ceiling"], abs=0.08)
    assert by["knows"]["shift_p"] == 1 / 20
    assert abs(by["does not"]["estimate"]) < 0.6
    (pair,) = found["differences"]
    assert pair["estimate"] == pytest.approx(by["knows"]["estimate"] - by["does not"]["estimate"])
    assert 0 < pair["low"] < pair["estimate"] < pair["high"]


def test_sums_of_scores_foretell_additive_cuts(module_of):
    analysis = module_of("criteria", "analysis")
    rng = np.random.default_rng(5)
    cost = rng.gamma(1.0, size=10)
    orders = [rng.permutation(10) for _ in range(12)]
    damage = np.array([[cost[order[:k]].sum() for k in (1, 2, 4)] for order in orders])
    late = -damage.sum(axis=1)
    s = SimpleNamespace(N_BOOT=50, SEED=0)
    found = analysis.foretell(damage, damage + 7.0, late, s)
    assert found == {
        "estimate": 1.0,
        "low": pytest.approx(1.0),
        "high": pytest.approx(1.0),
        "collapse": pytest.approx(1.0),
    }
    assert analysis.foretell(-damage, damage, late, s)["estimate"] == pytest.approx(-1.0)
    assert analysis.foretell(0 * damage, damage, late, s)["estimate"] is None


def test_perplexity_that_ranks_alike_is_told_from_one_that_does_not(module_of):
    analysis = module_of("criteria", "analysis")
    rng = np.random.default_rng(6)
    truth, other = rng.normal(size=24), rng.normal(size=24)
    margin = truth + rng.normal(0, 0.2, (60, 24))
    s = SimpleNamespace(N_SPLITS=20, N_BOOT=50, SEED=0)
    for loss, alike in ((3 * truth + 1, True), (other, False)):
        (row,) = analysis.perplexity_against_decisions(
            margin, loss + rng.normal(0, 0.2, (12, 24)), {"all": list(range(24))}, [4, 24], s
        )
        assert row["ceiling"] > 0.95
        assert (row["estimate"] > 0.9) == alike
        assert row["low"] <= row["estimate"] <= row["high"] + 0.05
        assert (row["high"] > 0.9) == alike
        (overlap,) = row["overlaps"]  # all 24 of 24 say nothing
        assert overlap["blindly"] == 4 / 24
        assert (overlap["shared"] >= 0.75) == alike
        assert overlap["questions"] > 0.7


# -- surrogates of the experiment -----------------------------------------------------------------------------------


def test_r2_within_sizes_is_blind_to_how_many_go(module_of):
    run = module_of("surrogates", "run")
    rng = np.random.default_rng(9)
    masks = rng.random((300, 6)) < 0.5
    kept = masks.sum(axis=1) * 10.0
    first = masks[:, 0] * 1.0
    assert run.within_sizes(masks, kept, kept + first) == pytest.approx(0.0)
    assert run.within_sizes(masks, first, kept + first) == pytest.approx(1.0)
    assert run.between_sizes(masks, kept) == pytest.approx(1.0)


# -- pairs of model and task ----------------------------------------------------------------------------------------


def pair(name, late, kept):
    return {"model": name, "relative_transition": late, "pruned": {"random": {"kept": kept}}}


def test_no_correlation_is_given_for_too_few_pairs(module_of):
    pairs = module_of("depth", "pairs")
    s = SimpleNamespace(LEAST_PAIRS=5, N_BOOT=200, SEED=0)
    four = [pair(f"m{i}", 0.5 + 0.1 * i, 0.9 - 0.1 * i) for i in range(4)]
    undecided = pair("none", None, 0.4)
    few = pairs.relate([*four, undecided], s)["correlations"]["random"]
    assert few == {"n": 4}
    found = pairs.relate([*four, undecided, pair("m4", 0.95, 0.3)], s)["correlations"]["random"]
    assert found["n"] == 5
    assert found["spearman"]["estimate"] == pytest.approx(-1.0)
    assert found["p"] < 0.05
    assert found["pearson"]["estimate"] == pytest.approx(
        stats.pearsonr([0.5, 0.6, 0.7, 0.8, 0.95], [0.9, 0.8, 0.7, 0.6, 0.3])[0]
    )


# -- trained repairs ------------------------------------------------------------------------------------------------


def test_several_trainings_count_as_one_question_by_question(module_of):
    analysis = module_of("trained_repairs", "analysis")

    def row(correct, margins, nll):
        ppl = SimpleNamespace(nll=np.array(nll), tokens=np.array([4, 6]))
        return SimpleNamespace(correct=np.array(correct, bool), margins=np.array(margins), perplexity=ppl)

    many = 10
    rows = {
        "intact": row([1, 1] * many, [1.0, 0.8] * many, [4.0, 6.0]),
        "nothing": row([0, 0] * many, [-0.2, 0.0] * many, [8.0, 12.0]),
        "a 0": row([1, 0] * many, [0.4, 0.4] * many, [6.0, 9.0]),
        "a 1": row([0, 0] * many, [0.2, 0.4] * many, [6.0, 9.0]),
        "b": row([0, 0] * many, [-0.2, 0.0] * many, [8.0, 12.0]),
    }
    layers = {
        name: np.column_stack([r.margins / 2, np.full(2 * many, np.nan), r.margins])
        for name, r in rows.items()
    }
    layers["intact"][:, 1] = 0.5
    groups = {"intact": ["intact"], "nothing": ["nothing"], "a": ["a 0", "a 1"], "b": ["b"]}
    values = analysis.values_of(rows, layers, groups)
    assert values["a"]["accuracy"].tolist() == [0.5, 0.0] * many
    table = analysis.pooled(values, 0).set_index("method")
    assert table.loc["a", "recovered_accuracy"] == pytest.approx(0.25)
    assert table.loc["a", "recovered_log_perplexity"] == pytest.approx(0.5)
    assert table.loc["a", "perplexity"] == pytest.approx(np.exp(1.5))
    assert table.loc["b", "recovered_margin"] == pytest.approx(0.0)
    assert table.loc["intact", "off_the_way"] == 0.0
    assert table.loc["a", "off_the_way"] == pytest.approx(np.mean([0.7, 0.4]) * 0.75)
    found = analysis.compared(values, ["b", "a"], 0).set_index("measure")
    assert set(found["first"]) == {"a"}
    assert found.loc["margin", "estimate"] == pytest.approx(0.45)
    assert found.loc["on_the_way", "estimate"] == pytest.approx(
        table.loc["b", "off_the_way"] - table.loc["a", "off_the_way"]
    )


def test_a_share_of_nothing_is_told_as_such(module_of):
    analysis = module_of("trained_repairs", "analysis")
    noise = np.random.default_rng(0).normal(size=40)
    assert np.isnan(analysis.share(noise, noise, noise + 1, seed=0)).all()


def test_what_is_said_of_the_way_follows_the_numbers(module_of):
    story = module_of("trained_repairs", "story")
    row = {"measure": "margin", "first": "lora_trajectory", "second": "lora_distil", "estimate": 0.1, "low": 0.05,
           "high": 0.15, "p_holm": 0.01, "minimum_detectable": 0.04}  # fmt: skip
    for name in ("lora_trajectory", "lora_lens"):
        assert f"`{name}` beside distillation" in story._verdict(name, [row])
        assert "the way helps" in story._verdict(name, [row])
        assert "the way hurts" in story._verdict(name, [row | {"estimate": -0.1}])
        assert "no difference is told from chance; 0.040" in story._verdict(name, [row | {"p_holm": 0.3}])
    assert not story._verdict("lora_lens", [])
