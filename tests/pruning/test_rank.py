"""What `rank` gives: order, intervals, tables, figures."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from decision_phases.errors import InputError
from decision_phases.interventions import Intervention, skip
from decision_phases.pruning import CRITERIA, Ranking, Rankings, rank
from decision_phases.pruning.criteria import Scores, Unit, question_data, text_data, units_of
from decision_phases.readout import ask
from decision_phases.stats import resample_weights
from decision_phases.tasks import TextSet
from decision_phases.tasks import questions as read_questions

TEXTS = ("Is water wet? Yes, it is.", "Is fire cold? No.", "What is hot? Fire is hot, and ice is not.")


@pytest.fixture(scope="module")
def some():
    return read_questions("facts", limit=10)


def ranking(scores, units=None, protected=(), values=None, labels=()):
    scores = np.array(scores, dtype=float)
    units = units or tuple(Unit((i,)) for i in range(len(scores)))
    nothing = np.full(len(scores), np.nan)
    return Ranking(
        "toy", "a toy", units, scores, nothing, nothing, values, labels, protected, "", "", 0.95, Intervention(),
        "none", len(scores),
    )  # fmt: skip


def test_the_lowest_goes_first_ties_from_the_deepest_and_protected_never():
    found = ranking([0.5, 0.1, 0.1, -0.2, 9.0], protected=(Unit((3,)),))
    assert found.layers == (2, 1, 0, 4)
    assert found.cut(2) == skip(1, 2)
    assert found.cut(0) == Intervention()
    assert found.to_pandas()["rank"].tolist() == [3, 2, 1, pd.NA, 4]
    with pytest.raises(InputError, match="5 units cannot be removed: toy ranks 4"):
        found.cut(5)


def test_in_one_layer_the_mlp_is_the_deeper():
    units = (Unit((0,), "attention"), Unit((0,), "mlp"), Unit((1,), "attention"))
    found = ranking([0.0, 0.0, 0.0], units)
    assert found.order == (units[2], units[1], units[0])
    assert found.cut(2) == skip(1, part="attention") + skip(0, part="mlp")


def test_shapes_are_checked():
    with pytest.raises(InputError, match="2 units, but scores"):
        ranking([1.0], units=(Unit((0,)), Unit((1,))))
    with pytest.raises(InputError, match=r"values \(1, 3\) for 1 units and 2 labels"):
        ranking([1.0], values=np.ones((1, 3)), labels=("a", "b"))


def test_intervals_resample_ratios_of_sums_over_whole_questions():
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 9, size=12).astype(float)
    sums = rng.normal(size=(3, 12)) * counts
    scores = Scores.mean(sums, counts)
    np.testing.assert_allclose(scores.score, sums.sum(1) / counts.sum())
    np.testing.assert_allclose(scores.values, sums / counts)
    low, high = scores.interval(confidence=0.9, seed=4, n_boot=300)
    drawn = np.round(resample_weights(12, 300, seed=4) * 12).astype(int)
    for unit in range(3):
        means = []
        for times in drawn:
            which = np.repeat(np.arange(12), times)
            means.append(sums[unit, which].sum() / counts[which].sum())
        np.testing.assert_allclose([low[unit], high[unit]], np.quantile(means, [0.05, 0.95]))


def test_the_jackknife_of_a_mean_is_the_interval_of_students_t():
    x = np.random.default_rng(1).normal(2, 0.1, size=(9, 2))
    left_out = (x.sum(axis=0) - x) / 8
    low, high = Scores(x.mean(axis=0), left_out=left_out).interval(confidence=0.9, seed=0)
    told = stats.ttest_1samp(x, 0).confidence_interval(0.9)
    np.testing.assert_allclose([low, high], [told.low, told.high])
    wide, _ = Scores(x.mean(axis=0) / 100, left_out=left_out).interval(confidence=0.9, seed=0)
    assert (wide == 0).all()  # such scores are not below zero


def test_what_cannot_be_resampled_has_no_interval():
    alone = Scores.mean(np.ones((2, 1)), np.ones(1))
    assert np.isnan(alone.interval(confidence=0.95, seed=0)).all()
    assert np.isnan(Scores(np.ones(2)).interval(confidence=0.95, seed=0)).all()
    assert Scores(np.ones(2)).values is None


def test_what_stands_for_texts_is_said(tiny, some):
    found = rank(tiny, some, by=["perplexity", "margin", "magnitude_l1"])
    assert "No texts were given (texts=), so this is measured on the questions" in str(found["perplexity"])
    assert found["margin"].notes == found["magnitude_l1"].notes == ()
    assert rank(tiny, some, texts=["Is water wet? Yes.", "Is fire cold? No."], by="perplexity").notes == ()


def test_seed_and_confidence_move_intervals_only(tiny, some):
    one, other = (rank(tiny, some, by="kl", seed=seed) for seed in (0, 1))
    narrow = rank(tiny, some, by="kl", confidence=0.5)
    np.testing.assert_array_equal(one.scores, other.scores)
    assert (one.low != other.low).any()
    assert (narrow.high - narrow.low < one.high - one.low).all()


def test_random_orders_follow_the_seed_and_not_the_company(tiny):
    orders = [rank(tiny, by="random", seed=seed).order for seed in range(6)]
    assert rank(tiny, by="random", seed=2).order == orders[2]
    assert len(set(orders)) > 1
    left = rank(tiny, by="random", seed=2, under=skip(1)).order
    assert left == tuple(unit for unit in orders[2] if unit.layer != 1)
    found = rank(tiny, by=["deepest", "shallowest"], part="joint")
    assert [str(unit) for unit in found["deepest"].order[:2]] == ["mlp 5", "attention 5"]
    assert found["shallowest"].order == found["deepest"].order[::-1]


def test_texts_serve_what_needs_no_labels_and_questions_the_rest(tiny, some):
    found = rank(tiny, some, texts=TEXTS, window=8, by=["margin", "kl", "block_influence", "cka", "deepest"])
    assert {name: r.resampled for name, r in found.items()} == {
        "margin": "question", "kl": "text", "block_influence": "text", "cka": "text", "deepest": "",
    }  # fmt: skip
    alone = rank(tiny, texts=TEXTS, window=8, by="kl")
    np.testing.assert_array_equal(found["kl"].scores, alone.scores)
    np.testing.assert_array_equal(found["margin"].scores, rank(tiny, some, by="margin").scores)


def test_a_single_text_is_resampled_by_window(tiny):
    running = TextSet("book", TEXTS, running=True)
    data = text_data(tiny, running, window=4)
    assert data.kind == "window"
    assert data.n_groups == len(data.sequences) > 2
    assert [s.owner for s in data.sequences] == list(range(len(data.sequences)))
    few = text_data(tiny, running, window=4, limit=2, seed=3)
    assert len(few.sequences) == 2
    assert {s.tokens for s in few.sequences} < {s.tokens for s in data.sequences}


def test_positions_of_questions_and_texts(tiny, some):
    letters = question_data(ask(tiny, some, scoring="letter"))
    assert all(s.read == (len(s) - 1,) for s in letters.reading("last"))
    cloze = question_data(ask(tiny, some, scoring="cloze"))
    prompts = ask(tiny, some, scoring="first_token")
    for s, prompt in zip(cloze.reading("last"), prompts.sequences, strict=True):
        assert s.read == prompt.read
        assert len(s) > len(prompt)
    every = cloze.reading("all")[0]
    assert every.read == tuple(range(len(every)))
    texts = text_data(tiny, TEXTS, window=5)
    assert all(s.read == (len(s) - 1,) and not s.targets for s in texts.reading("last"))
    grouped = texts.by_group(np.ones(len(texts.sequences)))
    assert grouped.tolist() == [sum(g == i for g in texts.groups) for i in range(3)]


def test_units_of_several_blocks_pass_over_removed_ones(tiny):
    units = units_of(tiny, size=2, under=skip(2) + skip(4, part="mlp"))
    assert [unit.layers for unit in units] == [(0, 1), (1, 3), (3, 4), (4, 5)]
    assert [str(unit) for unit in units_of(tiny, "mlp", under=skip(2) + skip(4, part="mlp"))] == [
        "mlp 0", "mlp 1", "mlp 3", "mlp 5",
    ]  # fmt: skip
    assert Unit((1, 3)).cut == skip(1, 3)
    with pytest.raises(InputError, match="no attention of tiny-llama is left"):
        units_of(tiny, "attention", under=skip(*range(6), part="attention"))


def test_a_list_gives_rankings_by_name(tiny, some):
    found = rank(tiny, some, by=["kl", CRITERIA["cosine"]])
    assert isinstance(found, Rankings)
    assert list(found) == ["kl", "cosine"]
    assert "margin" not in found
    with pytest.raises(InputError, match="did you mean 'cosine'"):
        found["cosin"]
    table = found.to_pandas()
    assert len(table) == 12
    assert table.columns.tolist() == [
        "by", "unit", "layer", "last_layer", "part", "score", "low", "high", "rank",
    ]  # fmt: skip
    assert table.groupby("by")["rank"].apply(sorted).tolist() == [[1, 2, 3, 4, 5, 6]] * 2
    assert "removed first: block" in str(found["kl"])


def test_agreement_is_spearmans():
    members = tuple(
        Ranking(**{**vars(ranking(scores)), "by": name})
        for name, scores in (
            ("a", [1, 2, 3, 4]),
            ("b", [4, 3, 2, 1]),
            ("c", [2, 1, 4, 3]),
            ("d", [1, 1, 1, 1]),
        )
    )
    table = Rankings(members).agreement()
    assert table.loc["a", ["a", "b", "c"]].tolist() == pytest.approx([1, -1, 0.6])
    assert table["d"].isna().all()


def test_scores_are_drawn_with_their_intervals(tiny, some):
    found = rank(tiny, some, by=["kl", "magnitude_l1"], part="joint")
    figure = found.plot()
    assert [axes.get_ylabel() for axes in figure.axes] == ["kl", "magnitude l1"]
    drawn = [line.get_ydata() for line in figure.axes[0].get_lines() if len(line.get_xdata()) == 6]
    np.testing.assert_array_equal(drawn[0], found["kl"].scores[0::2])
    np.testing.assert_array_equal(drawn[1], found["kl"].scores[1::2])
    first = figure.axes[0].collections[0].get_segments()[0]
    assert first[:, 1].tolist() == [found["kl"].low[0], found["kl"].high[0]]
    wide = rank(tiny, some, by="cosine", size=2).plot()
    lines = [line.get_xdata() for line in wide.axes[0].get_lines() if len(line.get_xdata()) == 5]
    np.testing.assert_allclose(lines[0], [0.5, 1.5, 2.5, 3.5, 4.5])


def test_settings_of_a_criterion_can_be_replaced(tiny, some):
    from dataclasses import replace

    own = replace(CRITERIA["block_influence"], name="at_the_answer", positions="last")
    found = rank(tiny, some, by=[own, "angular_distance", "block_influence"])
    cosines = 1 - np.cos(np.pi * found["angular_distance"].values)
    np.testing.assert_allclose(found["at_the_answer"].values, cosines, atol=1e-12)
    assert (found["at_the_answer"].scores != found["block_influence"].scores).all()
