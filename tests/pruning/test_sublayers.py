"""Attentions and MLPs as units, splits, and timed passes."""

import json

import numpy as np
import pytest
import torch

from decision_phases.engine import applied
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention, skip
from decision_phases.models import load
from decision_phases.pruning import Step, Timing, Unit, prune, rank, safe_cut
from decision_phases.pruning.budget import n_parameters
from decision_phases.pruning.timing import measure_costs
from decision_phases.readout import read


@pytest.fixture(scope="module")
def made(tiny, facts):
    return prune(
        tiny,
        facts,
        by=["cosine_attention", "cosine_mlp", "cosine_joint", "margin:greedy:attention"],
        up_to=2,
        draws=1,
    )


def test_sublayers_go_in_the_order_of_their_cosines(tiny, facts, made):
    search, evaluation = facts.split(0.5, 0)
    for part in ("attention", "mlp", "joint"):
        order = [u for u in rank(tiny, search, by="cosine", part=part).order if u.layer in (1, 2, 3, 4)]
        intact, *steps = made.of(f"cosine_{part}")
        assert [step.units for step in steps] == [tuple(order[:k]) for k in (1, 2)]
        assert intact.under == Intervention()
        for step in steps:
            plain = read(tiny, evaluation, under=step.under)
            assert step.accuracy == plain.final.accuracy
            assert step.margin == pytest.approx(plain.final.margin.mean(), abs=1e-6)
            assert not np.isnan(step.margin_by_layer).any()  # a layer without its attention is still read


def test_what_was_removed_can_be_read_from_every_row(made):
    last = made.to_pandas().query("step == 2").set_index("strategy")
    assert last.loc["cosine_mlp", "parts"] == ["mlp", "mlp"]
    assert last.loc["cosine_mlp", "under"].startswith("skip mlp {")
    assert last.loc["deepest", "parts"] == ["block", "block"]
    assert made.unit == "unit"
    for step in made.steps:
        assert len(step.cut) == len(step.units) == step.step
        record = json.loads(json.dumps(step.to_record(), allow_nan=False))
        assert Step.from_record(record).to_record() == step.to_record()
        assert Step.from_record(record).units == step.units


def test_random_cuts_of_the_same_kind_run_along(made):
    assert {"random_attention", "random_mlp", "random_joint", "random", "deepest"} <= set(made.strategies)
    for part in ("attention", "mlp"):
        assert {unit.part for step in made.of(f"random_{part}") for unit in step.units} == {part}
    controls = made.against_random().set_index("strategy")["control"]
    assert controls["cosine_mlp"] == "random_mlp"
    assert controls["margin:greedy:attention"] == "random_attention"
    assert controls["deepest"] == "random"


def test_controls_with_fewer_units_end_earlier_and_say_so(tiny, facts):
    curves = prune(tiny, facts, by="cosine_joint", up_to=6, draws=1)
    assert curves.last_step("cosine_joint") == 6
    assert curves.last_step("deepest") == 4
    assert any("deepest ends at 4 blocks: there are no more" in note for note in curves.notes)


def test_sublayers_can_be_certified_too(tiny, facts):
    safe = safe_cut(tiny, facts, max_drop=0.9, by="cosine_mlp", up_to=2)
    assert safe.cut.removed("mlp") == tuple(sorted(safe.layers))
    assert "2 units (skip mlp" in str(safe)
    with pytest.raises(InputError, match="'random_mlp' draws several orders"):
        safe_cut(tiny, facts, max_drop=0.9, by="random_mlp", up_to=2)


def test_splits_repeat_the_whole_comparison_with_the_seeds_that_follow(tiny, facts):
    curves = prune(tiny, facts, by="margin", up_to=1, draws=1, splits=2, seed=3)
    for i, one in enumerate((curves, *curves.repeats)):
        alone = prune(tiny, facts, by="margin", up_to=1, draws=1, seed=3 + i)
        assert [s.cut for s in one.of("margin")] == [s.cut for s in alone.of("margin")]
        assert [s.accuracy for s in one.of("deepest")] == [s.accuracy for s in alone.of("deepest")]
    (again,) = curves.repeats
    assert [s.cut for s in again.of("random")] == [s.cut for s in curves.of("random")]
    assert not np.array_equal(again.steps[0].correct, curves.steps[0].correct)


def units_in(cut):
    return [Unit((edit.layer,), edit.site) for edit in cut.edits]


TIMING = Timing(batch=2, tokens=8, repeats=3)


def test_what_is_removed_is_not_computed_and_needs_no_memory(tiny, monkeypatch):
    cuts = [Intervention(), skip(2), skip(2, 3), skip(1, part="attention"), skip(1, 2, part="mlp")]
    ran = []
    real = type(tiny).run_block
    monkeypatch.setattr(
        type(tiny), "run_block", lambda self, layer, *a, **k: ran.append(layer) or real(self, layer, *a, **k)
    )
    costs = measure_costs(tiny, cuts, TIMING)
    assert ran.count(2) == 3 * (1 + TIMING.repeats)
    assert ran.count(0) == 5 * (1 + TIMING.repeats)
    assert all(cost.latency_ms > 0 for cost in costs)
    left = [tiny.n_params - n_parameters(tiny, units_in(cut)) for cut in cuts]
    held = [cost.peak_mib * 2**20 - 4 * weights for cost, weights in zip(costs, left, strict=True)]
    assert held[0] == held[1]  # one block holds as much as the next
    assert min(held) >= 2 * 8 * tiny.d_model * 4  # at least a residual
    again = measure_costs(tiny, cuts, TIMING)
    assert [cost.peak_mib for cost in again] == [cost.peak_mib for cost in costs]


def test_a_timed_pass_computes_what_the_cut_model_does(tiny, monkeypatch):
    import decision_phases.pruning.timing as timing

    seen = []
    monkeypatch.setattr(timing, "_seconds", lambda device, run: seen.append(run()) or 1.0)
    cuts = [Intervention(), skip(2), skip(1, part="attention") + skip(3, part="mlp")]
    costs = measure_costs(tiny, cuts, Timing(2, 8, 1))
    assert [cost.latency_ms for cost in costs] == [1000.0] * 3
    tokens = torch.randint(tiny.d_vocab, (2, 8), generator=torch.Generator().manual_seed(0))
    for cut, logits in zip(cuts, seen, strict=True):
        with torch.no_grad(), applied(tiny, cut):
            torch.testing.assert_close(logits, tiny.logits(tokens)[:, -1], atol=1e-5, rtol=0)


def test_what_cannot_be_left_out_is_not_timed(facts):
    model = load("tiny-llama", quiet=True)
    model.use_plain(None)  # as in families whose blocks need their hooks
    whole, part = measure_costs(model, [skip(2), skip(2, part="mlp")], TIMING)
    assert whole is not None
    assert part is None


def test_times_stand_in_the_rows_only_where_asked(tiny, facts):
    curves = prune(tiny, facts, by="deepest", up_to=1, draws=1, timing="1x8")
    table = curves.to_pandas()
    assert (table["latency_ms"] > 0).all()
    assert table["peak_mib"].notna().all()
    assert any("1 × 8 tokens, median of 5 passes" in note for note in curves.notes)
    plain = prune(tiny, facts, by="deepest", up_to=1, draws=1).to_pandas()
    assert plain[["latency_ms", "peak_mib"]].isna().all().all()


def test_timings_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="at least one sequence"):
        Timing(repeats=0)
