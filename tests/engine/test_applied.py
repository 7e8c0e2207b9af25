"""After an intervention, however it ends, the model is bit for bit what it was; a bad one never runs."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from decision_phases.engine import Batch, Collector, Inputs, applied, evaluate
from decision_phases.engine.capture import CaptureObserver
from decision_phases.engine.observers import ReadRows
from decision_phases.errors import InputError
from decision_phases.interventions import (
    Captured,
    Intervention,
    insert,
    noise,
    patch,
    scale,
    skip,
    weights,
    zero,
)
from decision_phases.models import ModelAccess
from decision_phases.tasks import TokenSequence

Rows = Sequence[TokenSequence]
LOOK = CaptureObserver(("resid_post",), (2,), "read")


def down(model: ModelAccess) -> str:
    return next(name for name in model.parameters(3) if "down_proj" in name)


@pytest.fixture
def everything(tiny: ModelAccess) -> Intervention:
    """Hooks, overrides with and without a map, and parameters."""
    mask = np.zeros((32, 48), dtype=bool)
    return (
        skip(0)
        + skip(1)
        + insert(1, np.eye(32))
        + skip(5, part="attention")
        + noise(2, 0.5)
        + zero("head_out", 4, head=1)
        + weights(3, {down(tiny): mask})
    )


def state(model: ModelAccess) -> tuple[Any, ...]:
    """All that an intervention touches: hooks, forwards, and every weight with its place in memory."""
    points = {name: (list(p.fwd_hooks), len(p._forward_hooks)) for name, p in model.tl.hook_dict.items()}
    modules = [
        (name, len(m._forward_hooks), len(m._forward_pre_hooks), "forward" in vars(m))
        for name, m in model.tl.named_modules()
    ]
    named = [(name, p.data_ptr(), p.detach().clone()) for name, p in model.root.named_parameters()]
    return points, modules, named


@pytest.fixture
def unchanged(tiny: ModelAccess) -> Iterator[None]:
    """Fails unless the model is afterwards what it was before."""
    points, modules, named = state(tiny)
    yield
    now_points, now_modules, now_named = state(tiny)
    assert now_points == points
    assert now_modules == modules
    for (name, place, old), (now_name, now_place, new) in zip(named, now_named, strict=True):
        assert (name, place) == (now_name, now_place)
        assert torch.equal(old, new)


@pytest.mark.usefixtures("unchanged")
def test_all_is_gone_after_a_with_block(tiny: ModelAccess, everything: Intervention, rows: Rows) -> None:
    tokens = torch.tensor([rows[0].tokens])
    before = tiny.logits(tokens)
    with applied(tiny, everything, rows[:1]):
        during = tiny.logits(tokens)
    assert not torch.allclose(before, during)
    assert torch.equal(before, tiny.logits(tokens))


@pytest.mark.usefixtures("unchanged")
def test_all_is_gone_after_an_exception(tiny: ModelAccess, everything: Intervention, rows: Rows) -> None:
    def burst(_: torch.Tensor) -> None:
        raise RuntimeError("burst")

    for hooks in ([], [(4, "mlp_out", burst)]):
        with (
            pytest.raises(RuntimeError, match="burst"),
            applied(tiny, everything, rows[:1]),
            tiny.hooked(hooks),
        ):
            burst(tiny.logits(torch.tensor([rows[0].tokens])))


@pytest.mark.usefixtures("unchanged")
def test_interventions_nest_and_come_off_one_by_one(tiny: ModelAccess, rows: Rows) -> None:
    tokens = torch.tensor([rows[0].tokens])
    with applied(tiny, skip(2)):
        one = tiny.logits(tokens)
        with applied(tiny, skip(4)):
            both = tiny.logits(tokens)
        assert torch.equal(tiny.logits(tokens), one)
    with applied(tiny, skip(2, 4)):
        assert torch.equal(tiny.logits(tokens), both)


class Bursting(CaptureObserver):
    """Raises at the second batch."""

    def start(self, model: ModelAccess, inputs: Inputs, variant: Intervention) -> Collector[Captured]:
        inner = super().start(model, inputs, variant)
        seen: list[Batch] = []

        class Once(Collector[Captured]):
            def take(self, batch: Batch, rows: ReadRows) -> None:
                if seen:
                    raise RuntimeError("burst")
                seen.append(batch)
                inner.take(batch, rows)

            def finish(self) -> Captured:
                return inner.finish()

        return Once()


@pytest.mark.usefixtures("unchanged")
def test_all_is_gone_when_an_evaluation_breaks(
    tiny: ModelAccess, everything: Intervention, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    observer = Bursting(("resid_post",), (5,), "read")
    with pytest.raises(RuntimeError, match="burst"):
        list(evaluate(tiny, rows, [everything, Intervention()], [observer], max_tokens=11))
    calls: list[int] = []
    original = tiny.run_block

    def breaking(layer: int, *args: Any, **how: Any) -> torch.Tensor:
        calls.append(layer)
        if layer == 3:
            raise RuntimeError("burst")
        return original(layer, *args, **how)

    monkeypatch.setattr(tiny, "run_block", breaking)
    with pytest.raises(RuntimeError, match="burst"):
        list(evaluate(tiny, rows, [everything], [observer]))
    assert calls == [2, 3]  # it broke where parameters were replaced


@pytest.mark.usefixtures("unchanged")
def test_all_is_gone_when_results_are_not_taken(
    tiny: ModelAccess, everything: Intervention, rows: Rows
) -> None:
    found = evaluate(tiny, rows, [everything, Intervention()], [LOOK])
    next(found)
    assert all("forward" not in vars(block) for block in tiny.engine_blocks)
    del found


def test_gradients_are_as_outside(tiny: ModelAccess, rows: Rows) -> None:
    with applied(tiny, skip(2)), torch.enable_grad():
        assert torch.is_grad_enabled()
    with torch.no_grad(), applied(tiny, skip(2)):
        assert not torch.is_grad_enabled()
    (run,) = evaluate(tiny, rows, [Intervention()], [LOOK])
    assert run["capture"].at("resid_post", 2).shape == (4, 32)


# -- refused before anything runs -----------------------------------------------------------------------------------


def refused(model: ModelAccess, inputs: Rows, variant: Intervention, text: str) -> None:
    """`evaluate` refuses when it is called, without being asked for a result."""
    with pytest.raises(InputError, match=text):
        evaluate(model, inputs, [variant], [LOOK])


@pytest.mark.parametrize(
    ("variant", "text"),
    [
        (skip(6), r"'skip block of layer 6' is out of range: the model has layers 0\.\.5"),
        (zero("head_out", 1, head=4), r"the model has heads 0\.\.3"),
        (
            patch("resid_post", 1, np.zeros((7, 32))),
            "7 questions of one vector each.* but the inputs are 4 questions",
        ),
        (
            patch("resid_post", 1, np.zeros((4, 9))),
            "values of width 9, but the model's resid_post has width 32",
        ),
        (scale("mlp_out", 1, 2.0, positions="option:0"), "does not fit question 0: .*no position 'option:0'"),
        (
            patch("mlp_out", 1, [np.zeros((3, 32))] * 4, positions="all"),
            "does not fit question 0: the source has 3 positions for question 0, but the edit writes at 11",
        ),
        (weights(3, {"nothing": np.ones((2, 2))}), "block 3 has no parameter 'nothing'; it has self_attn"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    variant: Intervention, text: str, tiny: ModelAccess, rows: Rows
) -> None:
    refused(tiny, rows, variant, text)


def test_parameters_of_another_shape_are_refused(tiny: ModelAccess, rows: Rows) -> None:
    refused(tiny, rows, weights(3, {down(tiny): np.ones((2, 2))}), r"is \(32, 48\), the replacement \(2, 2\)")


def test_sites_that_a_family_lacks_are_refused(model_of: Any, rows: Rows) -> None:
    refused(model_of("mamba"), rows, skip(1, part="mlp"), "needs the site mlp_out, which this model lacks")
    refused(model_of("gpt_neox"), rows, scale("resid_mid", 1, 2.0), "needs the site resid_mid")


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ([], "nothing to run"),
        ([TokenSequence((), (), (), 0)], "question 0 has no tokens"),
        (
            [TokenSequence((1, 9999), (1,), (), 0)],
            r"tokens 1\.\.9999, but the vocabulary of tiny-llama is 0\.\.\d+;",
        ),
        ([TokenSequence((1,) * 513, (1,), (), 0)], "513 tokens, but tiny-llama takes 512"),
    ],
)
def test_inputs_that_the_model_cannot_run_are_refused(inputs: Rows, text: str, tiny: ModelAccess) -> None:
    refused(tiny, inputs, Intervention(), text)


def test_observers_need_names_of_their_own(tiny: ModelAccess, rows: Rows) -> None:
    for observers in ([], [LOOK, LOOK]):
        with pytest.raises(InputError, match="each with its own name"):
            evaluate(tiny, rows, [Intervention()], observers)


def test_applied_needs_the_sequences_of_an_edit_that_depends_on_them(tiny: ModelAccess, rows: Rows) -> None:
    under = scale("mlp_out", 1, 2.0, positions="answer")
    with pytest.raises(InputError, match="depends on the question or on positions"), applied(tiny, under):
        pass
    text = r"sequences of the shape \(1, 11\), but the model runs on \(1, 4\)"
    with applied(tiny, under, rows[:1]), pytest.raises(InputError, match=text):
        tiny.logits(torch.tensor([rows[1].tokens]))
