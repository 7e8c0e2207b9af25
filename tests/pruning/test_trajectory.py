"""The trajectory criterion by hand and by reading one removal at a time; its local estimate by finite differences."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from decision_phases.errors import InputError
from decision_phases.interventions import skip
from decision_phases.models import load
from decision_phases.models.tiny import tiny_hf
from decision_phases.pruning import CRITERIA, prune, rank
from decision_phases.pruning.criteria.trajectory import trajectory_harm
from decision_phases.pruning.criteria.trajectory_local import margin_slopes
from decision_phases.readout import ask, read
from decision_phases.readout.metrics import decision_margin
from decision_phases.tasks import questions as read_questions

PLANTED = 3  # the block that knows, in the fixture `planted`


@pytest.fixture(scope="module")
def some():
    return read_questions("facts", limit=8)


@pytest.mark.parametrize(
    ("without", "vanished", "shift", "lost", "net"),
    [
        ([-0.5, 0.2, 0.4, 0.8], 0, 0, 0, 0),
        ([-0.5, 0.4, 0.6, 0.9], 0, 0, 0, -(0.2 + 0.1) / 2),  # what is gained is no harm
        ([-0.5, -0.2, 0.4, 0.8], 0, 0.25, 0.2 / 2, 0.2 / 2),  # mean of 0.4 and 0, and the final 0
        ([-0.5, 0.2, 0.4, -0.2], 1, 0, 1.0 / 2, 1.0 / 2),
        ([-0.5, 0.4, 0.2, 0.6], 0, 0, (0.1 + 0.2) / 2, (0 + 0.2) / 2),
        ([-0.9, 0.2, 0.4, 0.8], 0, 0, 0, 0),  # layers before the first changed one do not count
    ],
)
def test_harm_by_hand(without, vanished, shift, lost, net):
    intact = np.array([[-0.5, 0.2, 0.4, 0.8]])
    found = trajectory_harm(intact, np.array([without]), np.arange(4), first=1, n_layers=4)
    np.testing.assert_allclose(
        [found.vanished[0], found.shift[0], found.lost[0], found.net[0]], [vanished, shift, lost, net], atol=1e-12
    )  # fmt: skip
    assert found.total[0] == pytest.approx(vanished + shift + lost)


def test_what_never_was_cannot_vanish_and_an_earlier_transition_is_no_harm():
    wrong, right = np.array([[-0.5, -0.5, -0.5]]), np.array([[0.5, 0.5, 0.5]])
    late = np.array([[-0.5, -0.5, 0.5]])
    layers = np.array([0, 2, 5])
    for intact, without in ((wrong, wrong), (wrong, right), (late, right)):
        assert trajectory_harm(intact, without, layers, first=1, n_layers=6).total[0] == 0
    later = trajectory_harm(right, late, layers, first=1, n_layers=6)
    assert later.shift[0] == pytest.approx(5 / 6)
    assert trajectory_harm(right, wrong, layers, first=1, n_layers=6).vanished[0] == 1


def by_hand(model, encoded, layer, base=()):
    """Score of one block from two readouts, question by question, in plain Python."""
    intact = read(model, encoded, under=skip(*base) if base else None)
    left = read(model, encoded, under=skip(*base, layer))
    kept = list(left.survivors)
    scores = []
    for before, behind, m0, m1 in zip(
        intact.margin, left.margin, intact.final.margin, left.final.margin, strict=True
    ):
        rows = [(k, before[k], behind[k]) for k in kept]
        if not kept or kept[-1] < layer:
            rows.append((layer, m0, m1))

        def crossing(column, rows=rows):
            found = None
            for row in reversed(rows):
                if row[column] <= 0:
                    break
                found = row[0]
            return found

        t0, t1 = crossing(1), crossing(2)
        score = 1.0 if t0 is not None and t1 is None else 0.0
        if t0 is not None and t1 is not None and t1 > t0:
            score += (t1 - t0) / model.n_layers
        between = [max(0.0, a - b) for k, a, b in rows[:-1] if k > layer]
        end = max(0.0, m0 - m1)
        scores.append(score + (end if not between else (end + sum(between) / len(between)) / 2))
    return np.array(scores)


@pytest.mark.parametrize("base", [(), (1, 4)])
def test_scores_are_those_of_reading_one_removal_at_a_time(tiny, some, base):
    encoded = ask(tiny, some, scoring="letter")
    ranking = rank(tiny, encoded, by="trajectory", under=skip(*base) if base else None)
    assert base or (ranking.details["vanished"] > 0).any()
    for row, unit in enumerate(ranking.units):
        np.testing.assert_allclose(ranking.values[row], by_hand(tiny, encoded, unit.layer, base), atol=1e-6)


def test_details_make_up_the_score_and_stand_in_the_table(planted, planted_setting):
    ranking = rank(planted, planted_setting.search, by="trajectory")
    table = ranking.to_pandas()
    np.testing.assert_allclose(table["score"], table["vanished"] + table["shift"] + table["margin_lost"])
    # Only the planted block matters: no question is decided without it, and the mean margin never rises above zero.
    assert table["vanished"].tolist() == [0, 0, 0, 1, 0, 0]
    assert table["transition"].isna().tolist() == [False] * 3 + [True] + [False] * 2
    np.testing.assert_array_equal(np.delete(table["score"], PLANTED), 0)
    assert ranking.layers == (5, 4, 2, 1, 0, PLANTED)


def test_the_last_blocks_decision_is_lost_with_it(some):
    """Nothing is left behind the last block: the final margin counts whole."""
    model = load("tiny-llama", quiet=True)
    encoded = ask(model, some)
    intact, left = read(model, encoded), read(model, encoded, under=skip(5))
    drop = intact.final.margin - left.final.margin
    ranking = rank(model, encoded, by="trajectory")
    assert ranking.details["margin_net"][5] == pytest.approx(drop.mean(), abs=1e-9)
    assert ranking.details["margin_lost"][5] == pytest.approx(np.maximum(drop, 0).mean(), abs=1e-9)


def test_runs_without_units_are_kept_in_a_store_and_found_again(tiny, some, tmp_path):
    first = rank(tiny, some, by="trajectory", store=tmp_path)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    assert len(written) == 7
    again = rank(tiny, some, by="trajectory", store=tmp_path)
    np.testing.assert_array_equal(first.values, again.values)
    assert written == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}


def test_only_the_layers_asked_for_are_ranked(tiny, some):
    every, two = rank(tiny, some, by="trajectory"), rank(tiny, some, by="trajectory", layers=[4, 2])
    assert [unit.layer for unit in two.units] == [2, 4]
    np.testing.assert_array_equal(two.scores, every.scores[[2, 4]])
    assert [u.layers for u in rank(tiny, some, layers=[1, 2, 3], size=2).units] == [(1, 2), (2, 3)]
    with pytest.raises(InputError, match="layer 9"):
        rank(tiny, some, layers=[9])
    with pytest.raises(InputError, match=r"within layers \[1\]"):
        rank(tiny, some, layers=[1], size=2)


# -- the local estimate ---------------------------------------------------------------------------------------------


def test_slopes_of_the_margin_are_those_of_autograd():
    rng = np.random.default_rng(0)
    scores, gold = rng.normal(size=(12, 4)), rng.integers(3, size=12)
    scores[::3, 3] = np.nan
    found = margin_slopes(scores, gold)
    for row, (s, g) in enumerate(zip(scores, gold, strict=True)):
        own = torch.tensor(s[~np.isnan(s)], requires_grad=True)
        p = own.softmax(0)
        others = torch.cat([p[:g], p[g + 1 :]])
        (slope,) = torch.autograd.grad(p[g] - others.max(), own)
        np.testing.assert_allclose(found[row][~np.isnan(s)], slope.numpy(), atol=1e-12)
        assert not found[row][np.isnan(s)].any()


def weakened(encoded, part, layer, share):
    """Final margins of plain transformers with what a part adds reduced by a share."""
    hf = tiny_hf("gpt2").double()
    block = hf.transformer.h[layer]

    def less(module, args, out):
        first = out if isinstance(out, torch.Tensor) else out[0]
        new = first - share * (first - (args[0] if part == "block" else 0))
        return new if isinstance(out, torch.Tensor) else (new, *out[1:])

    {"block": block, "attention": block.attn, "mlp": block.mlp}[part].register_forward_hook(less)
    scores = np.full((len(encoded), int(encoded.n_options.max())), np.nan)
    with torch.no_grad():
        for s in encoded.sequences:
            logits = hf(torch.tensor([s.tokens]), use_cache=False).logits[0]
            if encoded.option_ids:
                ids = list(encoded.option_ids[s.owner])
                scores[s.owner, : len(ids)] = logits[s.read[0], ids].numpy()
            else:
                logs = logits.log_softmax(-1)
                scores[s.owner, s.option] = sum(
                    float(logs[p, t]) for p, t in zip(s.read, s.targets, strict=True)
                )
    return decision_margin(scores[:, None], encoded.gold)[:, 0]


@pytest.mark.parametrize("scoring", ["letter", "cloze"])
def test_the_local_estimate_is_the_slope_towards_removal(some, scoring, model_of):
    """By finite differences in float64: the block is taken away a little, and a little is added."""
    model = model_of("gpt2", "float64")
    encoded = ask(model, some, scoring=scoring)
    step = 1e-5
    for part in ("block", "attention", "mlp"):
        ranking = rank(model, encoded, by="trajectory_local", part=part)
        for layer in (0, 3):
            slope = (weakened(encoded, part, layer, -step) - weakened(encoded, part, layer, step)) / (
                2 * step
            )
            np.testing.assert_allclose(ranking.values[layer], np.maximum(slope, 0), atol=1e-7)
            assert ranking.details["margin_net"][layer] == pytest.approx(slope.mean(), abs=1e-7)


def test_scorings_that_say_the_same_have_the_same_slopes(tiny, some):
    """Every option of these questions is one token: its logit and its log-probability differ by what all share."""
    one, other = (rank(tiny, some, by="trajectory_local", scoring=s) for s in ("first_token", "cloze"))
    assert one.values.max() > 0.01
    np.testing.assert_allclose(one.values, other.values, atol=1e-6)


def test_where_options_are_read_only_the_last_block_keeps_its_whole_effect(tiny, some):
    """No later block fetches what the last one writes elsewhere."""
    every = rank(tiny, some, by="trajectory_local")
    here = rank(tiny, some, by=replace(CRITERIA["trajectory_local"], positions="read"))
    np.testing.assert_allclose(here.values[5], every.values[5], atol=1e-9)
    assert abs(here.values[:5] - every.values[:5]).max() > 1e-3


def test_both_are_strategies_and_can_be_searched(planted, planted_setting):
    questions = planted_setting.search.questions + planted_setting.evaluation.questions
    curves = prune(
        planted, questions, by=["trajectory", "trajectory_local", "trajectory:iterative"], up_to=4, draws=1
    )
    for name in ("trajectory", "trajectory_local", "trajectory:iterative"):
        assert curves.of(name)[-1].cut == (4, 2, 1, PLANTED), name
        assert [row.accuracy for row in curves.of(name)][:4] == [1.0] * 4
