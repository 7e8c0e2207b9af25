"""The game that a model plays: equal to removing units one mask at a time, and counted."""

from itertools import combinations

import numpy as np
import pytest

import decision_phases as dp
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention, scale, skip
from decision_phases.pruning.game import (
    GAME_OBJECTIVES,
    ModelGame,
    all_masks,
    draw_masks,
    find_units,
    values_of_masks,
)
from decision_phases.readout import ask, read
from decision_phases.stats import resample_weights
from decision_phases.tasks import questions

LAYERS = (1, 2, 4)


@pytest.fixture(scope="module")
def encoded(tiny):
    return ask(tiny, questions("facts").limit(8, 0))


@pytest.fixture(scope="module")
def exact(tiny, encoded):
    return dp.shapley(tiny, encoded, method="exact", n_boot=2)


BLOCKS = tuple(skip(layer) for layer in LAYERS)


def one_by_one(model, encoded, removals, masks):
    """Final decisions of every mask, each read by itself without the units that it does not keep."""
    cuts = [[cut for cut, kept in zip(removals, mask, strict=True) if not kept] for mask in masks]
    return [read(model, encoded, under=sum(cut, Intervention())).final for cut in cuts]


def log_gold(final, gold):
    odds = np.exp(final.scores)
    rows = np.arange(len(gold))
    return np.log(odds[rows, gold] / np.nansum(odds, axis=1))


@pytest.mark.parametrize(
    ("units", "removals"),
    [
        (LAYERS, BLOCKS),
        (
            {"early": (0, 1), "late": (4, 5), "attention": skip(2, 3, part="attention")},
            (skip(0, 1), skip(4, 5), skip(2, 3, part="attention")),
        ),
        ([skip(1, part="mlp"), 3, skip(5)], (skip(1, part="mlp"), skip(3), skip(5))),
    ],
)
def test_values_are_those_of_removing_units_one_mask_at_a_time(tiny, encoded, units, removals):
    masks = all_masks(3)
    found = values_of_masks(tiny, encoded, masks, find_units(units, tiny.n_layers))
    finals = one_by_one(tiny, encoded, removals, masks)
    np.testing.assert_allclose(found.per_question, [final.margin for final in finals], atol=1e-6)
    np.testing.assert_allclose(found.values, [final.margin.mean() for final in finals], atol=1e-6)


def test_every_objective_is_what_it_says(tiny, encoded):
    units, masks = find_units(LAYERS, tiny.n_layers), all_masks(3)
    finals = one_by_one(tiny, encoded, BLOCKS, masks)
    logs = np.array([log_gold(final, encoded.gold).mean() for final in finals])
    expected = {
        "margin": [final.margin.mean() for final in finals],
        "accuracy": [final.accuracy for final in finals],
        "log_probability": logs,
        "perplexity_ratio": np.exp(-logs[-1]) / np.exp(-logs),  # PPL of the intact model over PPL of the mask
    }
    assert set(expected) == set(GAME_OBJECTIVES)
    for name, values in expected.items():
        found = values_of_masks(tiny, encoded, masks, units, objective=name)
        np.testing.assert_allclose(found.values, values, atol=1e-6, err_msg=name)

    def scores(final, gold):
        return final.scores[:, 0]

    found = values_of_masks(tiny, encoded, masks, units, objective=scores)
    np.testing.assert_allclose(found.values, [final.scores[:, 0].mean() for final in finals], atol=1e-6)


def test_no_mask_is_run_twice(tiny, encoded, monkeypatch):
    game = ModelGame(tiny, encoded, find_units("block", tiny.n_layers))
    masks = draw_masks(tiny.n_layers, 12).masks
    first = game(np.concatenate([masks, masks[::-1]]))
    assert game.n_masks == len({bytes(mask) for mask in masks})
    np.testing.assert_array_equal(first[:12], first[12:][::-1])

    def refuse(*args, **kwargs):
        raise AssertionError("run again")

    monkeypatch.setattr("decision_phases.pruning.game.model_game.evaluate", refuse)
    np.testing.assert_array_equal(game(masks), first[:12])


def test_what_is_kept_in_a_store_is_not_run_again(tiny, encoded, tmp_path):
    units, masks = find_units(LAYERS, tiny.n_layers), all_masks(3)
    first = values_of_masks(tiny, encoded, masks, units, store=tmp_path)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    assert len(written) == 8
    again = values_of_masks(tiny, encoded, masks, units, store=tmp_path)
    np.testing.assert_array_equal(first.per_question, again.per_question)
    assert written == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}


def test_pairs_have_names_and_intervals_over_questions(tiny, encoded):
    found = dp.shapley(tiny, encoded, units=LAYERS, method="exact", n_boot=50, confidence=0.9, seed=3)
    table = found.pairs.to_pandas()
    assert table[["first", "second"]].values.tolist() == [
        ["block 1", "block 2"], ["block 1", "block 4"], ["block 2", "block 4"],
    ]  # fmt: skip
    # By hand: the second difference of every question with the third block and without it, on the same resamples.
    values = values_of_masks(tiny, encoded, all_masks(3), find_units(LAYERS, 6)).per_question
    first = (values[[3, 7]] - values[[1, 5]] - values[[2, 6]] + values[[0, 4]]).mean(axis=0)
    drawn = resample_weights(8, 50, seed=3) @ first
    row = table.iloc[0]
    np.testing.assert_allclose(
        [row["interaction"], row["low"], row["high"]], [first.mean(), *np.quantile(drawn, [0.05, 0.95])]
    )
    assert found.interactions[0, 1] == row["interaction"]
    assert "90% intervals, of each pair by itself, resample questions" in str(found.pairs)
    drawn = dp.shapley(tiny, encoded, units=LAYERS, n_masks=12)
    with pytest.raises(
        InputError, match="the permutation method knows of no pairs; use method='exact' for up to 12"
    ):
        _ = drawn.pairs


def test_masks_hold_under_another_intervention(tiny, encoded):
    masks = all_masks(2)
    found = values_of_masks(tiny, encoded, masks, find_units((1, 2), 6), under=skip(4))
    for mask, value in zip(masks, found.values, strict=True):
        gone = [layer for layer, kept in zip((1, 2), mask, strict=True) if not kept]
        assert value == pytest.approx(read(tiny, encoded, under=skip(4, *gone)).final.margin.mean(), abs=1e-6)
    with pytest.raises(InputError, match="removed twice"):
        values_of_masks(tiny, encoded, masks, find_units((1, 2), 6), under=skip(2))


def test_a_unit_takes_with_it_what_was_done_to_it(tiny, encoded):
    halved, no_mlp, besides = scale("mlp_out", 1, 0.5), skip(2, part="mlp"), scale("resid_post", 3, 0.5)
    by_hand = {(False, False): skip(1, 2), (True, False): halved + skip(2), (False, True): skip(1) + no_mlp,
               (True, True): halved + no_mlp}  # fmt: skip
    masks = all_masks(2)
    found = values_of_masks(tiny, encoded, masks, find_units((1, 2), 6), under=halved + no_mlp + besides)
    for mask, value in zip(masks, found.values, strict=True):
        under = by_hand[tuple(mask.tolist())] + besides
        assert value == pytest.approx(read(tiny, encoded, under=under).final.margin.mean(), abs=1e-6)


@pytest.mark.parametrize("objective", ["margin", "perplexity_ratio"])
def test_resampled_values_are_those_of_the_resampled_questions(tiny, encoded, objective):
    game = ModelGame(tiny, encoded, find_units(LAYERS, 6), objective=objective)
    masks = all_masks(3)
    found = game.resampled(masks, 5, seed=2)
    counts = (resample_weights(len(encoded), 5, seed=2) * len(encoded)).round().astype(int)
    measured = game.per_question(masks)
    for boot, count in enumerate(counts):
        means = np.repeat(measured, count, axis=1).mean(axis=1)
        expected = means if objective == "margin" else np.exp(means - means[-1])
        np.testing.assert_allclose(found[:, boot], expected)


def by_enumeration(values):
    """Shapley values of three units from all eight values, by bit."""
    found = np.zeros(3)
    for unit in range(3):
        others = [other for other in range(3) if other != unit]
        for size, weight in ((0, 1 / 3), (1, 1 / 6), (2, 1 / 3)):
            for kept in combinations(others, size):
                without = sum(1 << other for other in kept)
                found[unit] += weight * (values[without | 1 << unit] - values[without])
    return found


def test_shapley_of_a_model_is_that_of_its_masks(tiny, encoded):
    found = dp.shapley(tiny, encoded, units=LAYERS, method="exact", n_boot=50)
    values = values_of_masks(tiny, encoded, all_masks(3), find_units(LAYERS, 6)).values
    np.testing.assert_allclose(found.values, by_enumeration(values), atol=1e-9)
    assert found.gap == pytest.approx(0, abs=1e-9)
    assert (found.intact, found.empty) == pytest.approx((values[-1], values[0]), rel=1e-12)
    assert found.units.names == ("block 1", "block 2", "block 4")
    assert (found.n_masks, found.forward_passes) == (8, 8 * len(encoded.sequences))
    assert found.over == "questions"
    assert (found.low < found.values).all()
    assert (found.values < found.high).all()


@pytest.mark.parametrize("method", ["permutation", "kernel", "surrogate"])
def test_every_method_plays_all_blocks(tiny, encoded, exact, method):
    found = dp.shapley(
        tiny,
        encoded,
        method=method,
        sampler=None if method == "permutation" else "stratified",
        n_masks=60,
        n_boot=20,
        seed=1,
    )
    assert np.corrcoef(found.values, exact.values)[0, 1] > 0.9
    assert found.over == "masks"
    assert (found.surrogate is not None) == (method == "surrogate")
    assert found.n_masks <= 62


def test_the_block_that_knows_the_answers_gets_all_the_credit(planted):
    letters = "abcdefgh"
    items = [dp.Question(("W", "X", "Y", "Z"), i % 4, prompt=letters[i]) for i in range(8)]
    asked = dp.QuestionSet("planted", tuple(items), "first_token", "a test")
    found = dp.shapley(planted, asked, n_masks=30, n_boot=10)
    assert found.intact - found.empty > 0.5
    np.testing.assert_allclose(found.values, np.eye(6)[3] * (found.intact - found.empty), atol=1e-6)
    assert found.order()[-1] == 3
    assert dp.read(planted, asked, under=found.cut(5)).final.accuracy == 1.0


@pytest.mark.parametrize(
    ("units", "names"),
    [
        ("block", [f"block {layer}" for layer in range(3)]),
        ("attention", [f"attention {layer}" for layer in range(3)]),
        ("mlp", [f"mlp {layer}" for layer in range(3)]),
        ("part", [f"{part} {layer}" for layer in range(3) for part in ("attention", "mlp")]),
        ([2, 0], ["block 2", "block 0"]),
        ([(0, 1), 2], ["skip {0, 1}", "block 2"]),
        ({"a": 0, "b": [1, 2]}, ["a", "b"]),
    ],
)
def test_units_are_named(units, names):
    found = find_units(units, 3)
    assert list(found.names) == names
    assert find_units(found, 3) is found
    assert found.cut(np.ones(len(names), dtype=bool)) == Intervention()
    assert found.cut(np.zeros(len(names), dtype=bool)) == sum(found.cuts, Intervention())


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ("head", "unknown kind of unit 'head'"),
        ([3], "at least two"),
        ([3, (3, 4)], "removed twice"),
        ([3, 3], "its own name"),
        ({"a": 1, "b": ()}, "no layer is given"),
        ({"a": 1, "b": Intervention()}, "unit 'b' is 'intact'"),
        ({"a": 1, "b": dp.noise(3, variance=0.1)}, "a unit is one removal or several"),
    ],
)
def test_units_that_cannot_be_removed_are_refused(units, message):
    with pytest.raises(InputError, match=message):
        find_units(units, 6)


def test_what_does_not_fit_is_refused_before_anything_runs(tiny, encoded, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("run")

    monkeypatch.setattr("decision_phases.pruning.game.model_game.evaluate", refuse)
    with pytest.raises(AssertionError, match="run"):
        dp.shapley(tiny, encoded, units=LAYERS, method="exact")
    for settings, message in [
        ({"objective": "marg"}, "unknown objective 'marg'; did you mean 'margin'"),
        ({"method": "surrogate", "surrogate": "pairwise", "n_masks": 20}, "20 masks are too few"),
        ({"units": "heads"}, "unknown kind of unit"),
        ({"scoring": "letter"}, "encoded already"),
    ]:
        with pytest.raises(InputError, match=message):
            dp.shapley(tiny, encoded, **settings)
    with pytest.raises(InputError, match="masks of 2 units given for a game of 6"):
        ModelGame(tiny, encoded, find_units("block", 6))(all_masks(2))


def test_one_question_has_no_interval(tiny):
    found = dp.shapley(tiny, questions("facts", limit=1), units=[1, 2, 3], method="exact")
    assert np.isnan(found.low).all()
    assert np.isnan(found.high).all()
    assert "intervals resample" not in str(found)
