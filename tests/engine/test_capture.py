"""What is captured can be put back without a trace, and put elsewhere with the expected one."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from decision_phases.engine import capture, evaluate
from decision_phases.engine.capture import CaptureObserver
from decision_phases.engine.inputs import as_inputs
from decision_phases.engine.plan import make_plan
from decision_phases.engine.run import walk
from decision_phases.engine.trees import make_trees
from decision_phases.errors import InputError
from decision_phases.interventions import (
    Intervention,
    mean,
    noise,
    patch,
    resample,
    resample_index,
    scale,
    skip,
    zero,
)
from decision_phases.models import FAMILIES, ModelAccess
from decision_phases.tasks import TokenSequence

Rows = Sequence[TokenSequence]


@pytest.mark.parametrize(("family", "positions"), [*((f, "all") for f in FAMILIES), ("llama", "answer")])
def test_putting_back_what_was_there_changes_nothing(
    family: str, positions: str, model_of: Any, rows: Rows, planned: Any, close: Any
) -> None:
    model, rows = model_of(family), rows[:2]
    sites = sorted(model.sites if model.capabilities.resid_mid else model.sites - {"resid_mid"})
    kept = capture(model, rows, sites=sites, positions=positions)
    variants = [Intervention()]
    for site in sites:
        head = 2 if site == "head_out" else None
        variants += [patch(site, layer, kept, head=head) for layer in (0, 2, 5)]
    intact, *patched = planned(model, rows, variants)
    for found in patched:
        close(found, intact)


def test_a_capture_is_what_plain_hooks_see(tiny: ModelAccess, rows: Rows) -> None:
    kept = capture(tiny, rows, sites=("resid_mid", "head_out"), positions="question", under=skip(1))
    for sequence in rows:
        seen: dict[str, torch.Tensor] = {}
        hooks = [(3, site, lambda x, site=site, seen=seen: seen.update({site: x[0]})) for site in kept.sites]
        with torch.no_grad(), tiny.hooked(hooks), tiny.overridden({1: None}):
            tiny.logits(torch.tensor([sequence.tokens]))
        for site in kept.sites:
            expected = seen[site][1 : len(sequence) - 1].numpy()
            np.testing.assert_allclose(kept.at(site, 3)[sequence.owner], expected, atol=1e-5)


def test_the_answers_follow_the_source(tiny: ModelAccess, rows: Rows, planned: Any, close: Any) -> None:
    """At the last layer's answer position nothing but the source is left to be read."""
    order = [2, 0, 3, 1]
    source = capture(tiny, rows).reordered(order)
    intact, patched = planned(tiny, rows, [Intervention(), patch("resid_post", 5, source)])
    close(patched, intact[order])


def test_earlier_patches_equal_the_source_if_nothing_else_is_seen(
    tiny: ModelAccess, rows: Rows, planned: Any, close: Any
) -> None:
    """Patched at all positions of layer 1, a question of equal length becomes the other question."""
    source = capture(tiny, rows, positions="all", layers=[1]).reordered([3, 1, 2, 0])
    intact, patched = planned(tiny, rows, [Intervention(), patch("resid_post", 1, source)])
    close(patched, intact[[3, 1, 2, 0]])


def test_resampling_takes_the_question_that_the_seed_draws(
    tiny: ModelAccess, rows: Rows, planned: Any, close: Any
) -> None:
    source = capture(tiny, rows)
    intact, found = planned(tiny, rows, [Intervention(), resample("resid_post", 5, source, seed=7)])
    drawn = [resample_index(7, i, 4) for i in range(4)]
    assert all(i != k for i, k in enumerate(drawn))
    close(found, intact[drawn])


def test_a_mean_makes_all_questions_say_the_same(
    tiny: ModelAccess, rows: Rows, planned: Any, close: Any
) -> None:
    source = capture(tiny, rows)
    (found,) = planned(tiny, rows, [mean("resid_post", 5, source)])
    average = torch.from_numpy(source.at("resid_post", 5).mean(axis=0))
    close(found, tiny.readout(average).expand(4, -1))


def test_noise_depends_on_the_question_only(tiny: ModelAccess, rows: Rows, planned: Any, close: Any) -> None:
    variants = [noise(1, 0.5, seed=3), noise(1, 0.5, seed=4)]
    together = planned(tiny, rows, variants)
    assert not torch.allclose(*together)
    for settings in ({"max_tokens": 1}, {"memory_budget": 1}):
        for a, b in zip(together, planned(tiny, rows, variants, **settings), strict=True):
            close(a, b)
    for a, b in zip(together, planned(tiny, rows[::-1], variants), strict=True):
        close(a, b)
    twin = replace(rows[0], owner=1)
    first, second = planned(tiny, [rows[0], twin], variants[:1])[0]
    assert not torch.allclose(first, second)


def test_noise_has_the_variance_asked_for(tiny: ModelAccess, rows: Rows) -> None:
    intact = capture(tiny, rows, positions="all", layers=[2])
    for relative_to in ("token_std", "absolute"):
        under = noise(2, 0.04, relative_to=relative_to)
        noisy = capture(tiny, rows, positions="all", layers=[2], under=under)
        ratios = []
        for a, b in zip(noisy.at("resid_post", 2), intact.at("resid_post", 2), strict=True):
            width = b.std(axis=-1, keepdims=True) if relative_to == "token_std" else 1.0
            ratios.append(((a - b) / width).ravel())
        assert np.concatenate(ratios).var() == pytest.approx(0.04, rel=0.15)


def test_another_number_of_questions_is_refused_naming_both(tiny: ModelAccess, rows: Rows) -> None:
    source = capture(tiny, rows[:3])
    with pytest.raises(
        InputError, match="3 questions of one vector each, width 32, but the inputs are 4 questions"
    ):
        evaluate(
            tiny, rows, [patch("resid_post", 2, source)], [CaptureObserver(("resid_post",), (2,), "answer")]
        )


def test_a_reader_sees_what_edits_at_its_own_site_leave(tiny: ModelAccess, rows: Rows) -> None:
    kept = capture(tiny, rows, sites=("mlp_out", "resid_post"), layers=[2], under=zero("mlp_out", 2))
    assert not kept.at("mlp_out", 2).any()
    doubled = capture(tiny, rows, layers=[2], under=scale("resid_post", 2, 2.0))
    np.testing.assert_allclose(
        doubled.at("resid_post", 2), 2 * capture(tiny, rows, layers=[2]).at("resid_post", 2)
    )


def test_float64_is_kept(model_of: Any, rows: Rows) -> None:
    assert capture(model_of("llama", "float64"), rows, layers=[0]).at("resid_post", 0).dtype == np.float64
    assert capture(model_of("llama"), rows, layers=[0]).at("resid_post", 0).dtype == np.float32


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"layers": [6]}, r"layer 6 is out of range: tiny-llama has layers 0\.\.5"),
        ({"layers": []}, "nothing is to be captured"),
        ({"sites": []}, "nothing is to be captured"),
        ({"sites": ["resid_pst"]}, "did you mean 'resid_post'"),
        ({"positions": "option:1"}, "no position 'option:1'"),
        (
            {"under": skip(2), "layers": [1, 2]},
            r"layer 2 is removed by skip \{2\}; nothing can be captured there",
        ),
    ],
)
def test_what_cannot_be_captured_is_refused(
    settings: dict[str, Any], text: str, tiny: ModelAccess, rows: Rows
) -> None:
    with pytest.raises(InputError, match=text):
        capture(tiny, rows, **settings)


def test_one_sequence_a_question_is_needed(tiny: ModelAccess, rows: Rows) -> None:
    for owners in ([0, 0], [0, 2, 2]):
        several = [replace(row, owner=owner) for row, owner in zip(rows, owners, strict=False)]
        with pytest.raises(InputError, match="one sequence a question"):
            capture(tiny, several)
    with pytest.raises(InputError, match="read at several positions"):
        capture(tiny, [replace(rows[0], read=(0, 2))], positions="read")


def test_a_parallel_block_has_no_residual_between(model_of: Any, rows: Rows) -> None:
    with pytest.raises(InputError, match="has no site 'resid_mid'"):
        capture(model_of("gpt_neox"), rows, sites=["resid_mid"])


@pytest.mark.parametrize("family", ["llama", "rwkv"])
def test_the_embedding_is_read_before_any_edit(family: str, model_of: Any, rows: Rows) -> None:
    look = CaptureObserver(("resid_post",), (-1,), "answer")
    model = model_of(family)
    intact, edited = (_embedding(model, rows, u, look) for u in (Intervention(), scale("resid_pre", 0, 3.0)))
    assert torch.equal(intact, edited)


def _embedding(model: ModelAccess, rows: Rows, under: Intervention, look: CaptureObserver) -> torch.Tensor:
    found: dict[int, torch.Tensor] = {}
    trees = make_trees(as_inputs(rows).sequences)
    plan = make_plan(model, [under], trees, last_layer=1, memory_budget=1 << 30)

    def deliver(_place: int, batch: Any, read: Any) -> None:
        found.update(zip(batch.indices, read[look.reads]["resid_post", -1], strict=True))

    for group in plan.groups:
        walk(model, plan, group, [look.reads], deliver)
    return torch.stack([found[i] for i in range(len(rows))])
