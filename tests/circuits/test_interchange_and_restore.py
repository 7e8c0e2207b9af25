"""Where an answer follows a residual, and what brings a pruned model's decision back."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

import decision_phases as dp
from decision_phases.circuits.restoring import _random_cuts, wrong_prompts
from decision_phases.engine import applied
from decision_phases.models import InDouble
from decision_phases.readout.phases import locate

QUESTIONS = dp.questions("facts").limit(12, seed=1)


def test_the_planted_transition_is_where_the_head_is(planted, planted_pairs):
    """Before layer 2 the answer position knows nothing of the question; from there on it holds the answer."""
    found = dp.causal_transition(planted, planted_pairs)
    assert found.transition == 2
    assert found.ci == (2, 2)
    assert found.share == 1.0
    np.testing.assert_array_equal(found.follows.mean(axis=0), [0, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(found.stays.mean(axis=0), [1, 1, 0, 0, 0, 0])
    np.testing.assert_allclose(found.margin[:, 0], -found.margin[:, 5], atol=1e-9)
    table = found.to_pandas()
    assert list(table["layer"]) == list(range(6))
    assert "from layer 2 on" in str(found)
    assert [axes.get_ylabel() for axes in found.plot().axes] == ["mean margin"]


@pytest.mark.parametrize("under", [dp.Intervention(), dp.skip(4)])
def test_interchange_by_hand(double, pairs, under):
    """Both directions, each by itself through the whole model."""
    model = double("llama")
    found = dp.causal_transition(model, pairs, under=under)
    clean, corrupted = pairs.sides
    kept = {}
    for name, side in (("clean", clean), ("corrupted", corrupted)):
        kept[name] = dp.capture(model, side, layers=[3])
    for i in (1, 6):
        values = []
        for base, source, sign in ((corrupted, "clean", 1), (clean, "corrupted", -1)):
            patched = dp.patch("resid_post", 3, kept[source].at("resid_post", 3)[[i]])
            sequence = base.sequences[i].__class__(
                base.sequences[i].tokens, base.sequences[i].read, (), 0, spans=base.sequences[i].spans
            )
            with torch.no_grad(), applied(model, under + patched, [sequence]):
                logits = model.logits(torch.tensor([sequence.tokens]))[0, -1]
            p = torch.softmax(logits[list(pairs.tokens[i])], dim=0)
            values.append(sign * float(p[0] - p[1]))
        assert found.margin[i, 3] == pytest.approx(np.mean(values), abs=1e-6)
    assert (found.follows[:, 5] == 1).all() or under
    assert not (found.follows + found.stays > 1).any()


def test_the_lens_is_that_of_both_prompts(double, pairs):
    model = double("llama")
    found = dp.causal_transition(model, pairs, under=dp.skip(1))
    own = [dp.read(model, side, under=dp.skip(1)) for side in pairs.sides]
    np.testing.assert_allclose(found.lens_margin, (own[0].margin + own[1].margin) / 2)
    assert found.lens.n_questions == 2 * len(pairs)
    golds = np.concatenate([decisions.gold for decisions in own])
    assert found.lens == locate(np.concatenate([decisions.scores for decisions in own]), golds, seed=0)
    assert found.survivors == (0, 2, 3, 4, 5)
    assert np.isnan(found.margin[:, 1]).all()
    if found.transition is not None and found.lens.transition is not None:
        assert found.lead == found.lens.transition - found.transition


def test_the_transition_and_its_interval_are_those_of_resampled_pairs(double, pairs, monkeypatch):
    """Of pairs that cross at layers 1 to 4; layer 0 removed, so that intact layers are told apart from survivors."""
    lens = dp.causal_transition(double("llama"), pairs, under=dp.skip(0))
    made = (
        np.where(np.arange(6) >= np.arange(8)[:, None] % 4 + 1, 1.0, -1.0) * np.linspace(0.5, 1.5, 8)[:, None]
    )
    found = replace(lens, margin=made)
    rows = np.random.default_rng(9).integers(8, size=(4000, 8))
    drawn = [next(k for k in range(1, 7) if (mean[k:] > 0).all()) for mean in made[rows].mean(axis=1)]
    assert found.transition == next(k for k in range(1, 6) if made.mean(axis=0)[k] > 0)
    assert found.ci == tuple(np.quantile(drawn, [0.025, 0.975], method="inverted_cdf"))
    assert found.ci[0] < found.transition <= found.ci[1]
    assert "resamples" not in str(found)
    for seen, lead in ((5, 5 - found.transition), (None, None)):
        monkeypatch.setattr(type(found.lens), "transition", seen)
        assert found.lead == lead
    unsure = replace(found, margin=made - 1)
    assert 0 < unsure.share < 1
    assert f"of the {unsure.share:.0%} of resamples" in str(unsure) or unsure.transition is None


def test_a_cut_that_takes_the_head_leaves_no_transition(planted, planted_pairs):
    found = dp.causal_transition(planted, planted_pairs, under=dp.skip(2))
    assert found.transition is None
    assert found.ci is None or found.share < 0.95
    assert "does not come to follow" in str(found)


def test_the_place_of_the_planted_head_restores_its_cut(planted, planted_pairs):
    """With the attention of layer 2 gone, nothing before it can help, and what is behind it carries the answer."""
    cut = dp.skip(2, part="attention")
    found = dp.restore(planted, planted_pairs, cut, layers=[0, 1, 2, 3, 5])
    dense, given = found.dense[:, None], found.given
    for column, cell in enumerate(given.cells):
        back = cell.site == "resid_post" and cell.layer >= 2
        expected = dense[:, 0] if back else given.pruned
        np.testing.assert_allclose(given.own[:, column], expected, atol=1e-6, err_msg=str(cell))
        if not back:
            np.testing.assert_allclose(given.wrong[:, column], expected, atol=1e-6)
    assert {cell.layer for cell in given.cells if cell.site == "attn_out"} == {0, 1, 3, 5}
    ahead = [
        ("resid_post", 0),
        ("resid_post", 1),
        ("attn_out", 0),
        ("attn_out", 1),
        ("mlp_out", 0),
        ("mlp_out", 1),
    ]
    known = [(cell.site, cell.layer) for cell in given.cells if found.by_construction(cell)]
    assert sorted(known) == sorted([*ahead, ("resid_post", 5)])
    assert given.check == pytest.approx(0, abs=1e-6)
    sure = replace(found, dense=found.dense + 5)
    lost = (sure.dense - given.pruned).mean()
    assert sure.lost().low > 0
    for told, gained in (
        (sure.specific(), given.own - given.wrong),
        (sure.recovered(), given.own - given.pruned[:, None]),
        (sure.recovered(wrong=True), given.wrong - given.pruned[:, None]),
    ):
        np.testing.assert_allclose(told.estimate, gained.mean(axis=0) / lost, atol=1e-9)
    rows = found.to_pandas().query("cut == 'given' and site == 'resid_post'").set_index("layer")
    assert (rows.loc[2:, "gain"] > rows.loc[2:, "wrong_gain"]).all()
    assert len(found.random) == 1
    assert len(found.random[0].cut.removed("attention")) == 1
    assert "by construction" in str(found)


@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
@pytest.mark.parametrize("part", ["attention", "mlp"])
def test_what_stands_ahead_of_a_removed_part_brings_nothing_back(family, part, double, pairs):
    model = double(family)
    cut, places = dp.skip(2, part=part), ("resid_pre", "attn_out", "mlp_out", "resid_post")
    with InDouble():
        found = dp.restore(model, pairs, cut, sites=places, layers=[1, 2, 3], draws=0)
    idle = np.isclose(found.given.own, found.given.pruned[:, None], rtol=0, atol=1e-9).all(axis=0)
    cells = [(c.site, c.layer) for c in found.given.cells if found.by_construction(c)]
    assert set(cells) <= {(c.site, c.layer) for c, here in zip(found.given.cells, idle, strict=True) if here}
    assert ("resid_pre", 2) in cells
    assert ("attn_out", 2) not in cells or part == "mlp"
    assert ("resid_post", 2) not in cells


def test_whole_residuals_behind_the_cut_restore_it_exactly(double):
    model = double("llama")
    for cut in (dp.skip(1, 3), dp.skip(2, part="attention") + dp.skip(5, part="mlp")):
        with InDouble():
            found = dp.restore(model, QUESTIONS, cut, sites=["mlp_out"], layers=[0], draws=0)
        assert found.given.check == pytest.approx(0, abs=1e-9)
        assert abs(found.given.pruned - found.dense).max() > 1e-3
    assert (
        dp.restore(model, QUESTIONS, dp.skip(5), sites=["mlp_out"], layers=[0], draws=0).given.check is None
    )


def test_the_check_of_the_machinery_can_fail(double, monkeypatch):
    monkeypatch.setattr("decision_phases.circuits.restoring._whole_residuals", lambda *given: [given[2]])
    found = dp.restore(double("llama"), QUESTIONS, dp.skip(1), sites=["mlp_out"], layers=[0], draws=0)
    assert found.given.check == abs(found.given.pruned - found.dense).max() > 1e-3


def test_streams_behind_the_cut_and_all_ahead_of_it_are_no_evidence(double, pairs):
    """At all positions behind the last removal, or at the answer behind the last attention, all is as it was.

    Ahead of the first removal there is nothing to put in that is not there already.
    """
    model = double("llama")
    cut = dp.skip(1) + dp.skip(3, part="attention")
    places = ("resid_pre", "resid_mid", "resid_post")
    with InDouble():
        found = dp.restore(model, pairs, cut, sites=places, positions=["answer", "all"], draws=0)
    same = np.isclose(found.given.own, found.dense[:, None], rtol=0, atol=1e-9).all(axis=0)
    idle = np.isclose(found.given.own, found.given.pruned[:, None], rtol=0, atol=1e-9).all(axis=0)
    assert {c.layer for c, here in zip(found.given.cells, idle, strict=True) if here} == {0}
    told = [found.by_construction(cell) for cell in found.given.cells]
    assert told == (same | idle).tolist() == found.to_pandas()["by_construction"].tolist()
    named = {(c.site, c.layer, c.position) for c, here in zip(found.given.cells, same, strict=True) if here}
    assert {(site, layer) for site, layer, position in named if position == "answer"} == {
        ("resid_mid", 5), ("resid_post", 5),
    }  # fmt: skip
    assert min((layer, site) for site, layer, position in named if position == "all") == (3, "resid_mid")
    only = dp.restore(model, pairs, cut, sites=["resid_post"], layers=[5], draws=0)
    assert "nothing to restore" in str(only) or "no place is evidence" in str(only)


def test_random_cuts_leave_something_to_compare(double):
    """Whatever the seed: a cut that takes the one layer that is asked about says nothing of it."""
    model = double("llama")
    for seed in range(3):
        found = dp.restore(
            model, QUESTIONS, dp.skip(0, 1, 2, 3), sites=["mlp_out"], layers=[5], draws=2, seed=seed
        )
        assert all(one.own.shape == (12, 1) for one in found.random)
        assert all(5 not in one.cut.removed_blocks for one in found.random)
        assert len(found.to_pandas()) == 3


def test_parts_of_random_cuts_are_drawn_by_themselves():
    cut = dp.skip(1, part="attention") + dp.skip(1, part="mlp")
    drawn = list(islice(_random_cuts(cut, 6, 0), 60))
    same = [one.removed("attention") == one.removed("mlp") for one in drawn]
    assert 0 < sum(same) < 30
    for part in ("attention", "mlp"):
        assert {one.removed(part) for one in drawn} == {(k,) for k in range(6)}


def test_every_place_is_the_dense_activation_in_the_pruned_model(double):
    model, cut = double("llama"), dp.skip(2)
    found = dp.restore(model, QUESTIONS, cut, layers=[4], draws=0)
    encoded = found.encoded
    kept = dp.capture(model, encoded, sites=["attn_out", "mlp_out", "resid_post"])
    order = wrong_prompts(encoded, 0)
    intact = dp.read(model, encoded).final.scores.copy()
    intact[np.arange(12), encoded.gold] = -np.inf
    rival = intact.argmax(axis=1)
    for column, cell in enumerate(found.given.cells):
        for source, margins in ((kept, found.given.own), (kept.reordered(order), found.given.wrong)):
            final = dp.read(model, encoded, under=cut + dp.patch(cell.site, cell.layer, source)).final
            scores = final.scores
            if source is kept:
                np.testing.assert_array_equal(found.given.correct[:, 1 + column], final.correct)
            rows = np.arange(12)
            np.testing.assert_allclose(
                margins[:, column], scores[rows, encoded.gold] - scores[rows, rival], rtol=0, atol=1e-6
            )
    scores = dp.read(model, encoded, under=cut).final
    np.testing.assert_array_equal(found.given.correct[:, 0], scores.correct)
    lost = found.lost()
    if lost.low > 0:
        gain = (found.given.own - found.given.pruned[:, None]).mean(axis=0)
        np.testing.assert_allclose(found.recovered().estimate, gain / lost.estimate)
    assert lost.estimate == pytest.approx((found.dense - found.given.pruned).mean())
    assert np.isnan(found.specific().estimate).all() == (not lost.low > 0)


def test_wrong_prompts_have_another_answer(double):
    encoded = dp.ask(double("llama"), QUESTIONS)
    gold = [ids[g] for ids, g in zip(encoded.option_ids, encoded.gold, strict=True)]
    order = wrong_prompts(encoded, 3)
    assert all(gold[i] != gold[j] for i, j in enumerate(order))
    assert order == wrong_prompts(encoded, 3) != wrong_prompts(encoded, 4)
    same = dp.ask(double("llama"), [QUESTIONS[0], QUESTIONS[0]], scoring="first_token")
    with pytest.raises(dp.InputError, match="same right answer"):
        wrong_prompts(same, 0)


def test_random_cuts_are_matched_and_repeatable(double):
    model = double("llama")
    cut = dp.skip(2) + dp.skip(3, part="attention") + dp.skip(0, 4, part="mlp")
    settings = {"sites": ["resid_post"], "layers": [0, 1, 3, 4, 5], "draws": 3}
    found, again = (dp.restore(model, QUESTIONS, cut, **settings) for _ in range(2))
    for one, other in zip(found.random, again.random, strict=True):
        assert [len(one.cut.removed(part)) for part in ("block", "attention", "mlp")] == [1, 1, 2]
        assert one.cut == other.cut
        assert {cell.layer for cell in one.cells} == {0, 1, 3, 4, 5} - set(one.cut.removed_blocks)
    assert len({one.cut for one in found.random}) > 1
    assert list(found.cuts) == ["given", "random 0", "random 1", "random 2"]
    assert set(found.to_pandas()["cut"]) == set(found.cuts)
    labels = [text.get_text() for text in found.plot().axes[0].get_legend().get_texts()]
    assert labels == ["own prompt", "wrong prompt", "random 0 cut", "random 1 cut", "random 2 cut"]


@pytest.mark.parametrize(
    ("cut", "settings", "message"),
    [
        (dp.Intervention(), {}, "'intact' is no cut"),
        (dp.zero("mlp_out", 2), {}, "is no cut"),
        (dp.skip(2), {"layers": [2]}, "layer 2 is removed by"),
        (dp.skip(2), {"positions": ["question"]}, "need prompts that are aligned"),
        (dp.skip(2), {"scoring": "cloze"}, "in letter or first_token"),
        (dp.skip(2), {"draws": -1}, "draws=-1"),
        (dp.skip(2), {"sites": ["mlp"]}, "unknown site 'mlp'"),
        (dp.skip(8), {}, "out of range"),
    ],
)
def test_what_cannot_be_restored_is_refused_before_anything_runs(
    double, cut, settings, message, nothing_runs
):
    with pytest.raises(dp.InputError, match=message):
        dp.restore(double("llama"), QUESTIONS, cut, **settings)


def test_pairs_take_no_settings_and_letters_that_do_not_bind_nothing(tiny):
    found = dp.pairs(tiny, QUESTIONS, kind="symbol")
    for how in (dp.causal_transition, lambda m, p: dp.restore(m, p, dp.skip(2))):
        with pytest.raises(dp.InputError, match="not testable"):
            how(tiny, found)
