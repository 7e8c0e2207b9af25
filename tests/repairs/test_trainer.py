"""Training is Adam with a cosine, goes on bit for bit where it was stopped, and says what is wrong."""

import math

import pytest
import torch

from decision_phases.errors import InputError
from decision_phases.repairs.trainer import Course, check_checkpoint, train

COURSE = Course("a curve", steps=12, rate=0.1, every=5, key="one")
TARGET = torch.linspace(-1, 1, 4)


def start():
    return {"a": torch.zeros(4, requires_grad=True), "b": torch.ones(1, requires_grad=True)}


def loss_of(parameters, stop_at=None, seen=None):
    def loss(step):
        if step == stop_at:
            raise KeyboardInterrupt
        if seen is not None:
            seen.append(step)
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(8, 4, generator=generator)
        return (x @ (parameters["a"] - TARGET) + parameters["b"]).square().mean()

    return loss


def trained(course=COURSE, checkpoint=None, **how):
    parameters = start()
    found = train(course, parameters, loss_of(parameters, **how), checkpoint=checkpoint)
    assert found.seconds > 0
    return found.losses, {name: p.detach() for name, p in parameters.items()}


def test_it_is_adam_whose_rate_falls_along_a_cosine():
    losses, found = trained()
    parameters = start()
    optimizer = torch.optim.Adam(parameters.values())
    scheduler_rates = [0.05 * (1 + math.cos(math.pi * step / 12)) for step in range(12)]
    expected = []
    for step, rate in enumerate(scheduler_rates):
        optimizer.param_groups[0]["lr"] = rate
        value = loss_of(parameters)(step)
        expected.append(value.detach().item())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert losses == tuple(expected)
    assert losses[-1] < 0.7 * losses[0]
    for name, p in parameters.items():
        assert torch.equal(found[name], p.detach())


def test_long_gradients_are_shortened():
    _, free = trained(Course("free", 1, 1e-3, every=1))
    _, clipped = trained(Course("clipped", 1, 1e-3, every=1, clip=1e-9))
    assert not torch.equal(free["a"], clipped["a"])  # Adam divides by its own size, but for an epsilon
    assert clipped["a"].abs().max() < 0.5 * free["a"].abs().max()


@pytest.mark.parametrize("stop_at", [5, 7, 11])
def test_what_was_stopped_goes_on_as_if_nothing_had_happened(stop_at, tmp_path):
    path = tmp_path / "here" / "a.safetensors"
    losses, whole = trained()
    kept = stop_at // 5 * 5
    with pytest.raises(KeyboardInterrupt) as stopped:
        trained(checkpoint=path, stop_at=stop_at)
    said = str(stopped.value)
    assert said.startswith(
        f"a curve was stopped after {stop_at} of 12 steps; {kept} of them are kept in {path}"
    )
    assert f'checkpoint="{path.parent}"' in said
    seen = []
    again, resumed = trained(checkpoint=path, seen=seen)
    assert seen == list(range(kept, 12))
    assert again == losses
    for name, p in whole.items():
        assert torch.equal(resumed[name], p)
    assert trained(checkpoint=path, stop_at=0)[0] == losses  # nothing is left to do


def test_what_is_said_when_nothing_was_kept(tmp_path):
    with pytest.raises(KeyboardInterrupt, match=r"after 3 of 12 steps; nothing is kept \(checkpoint= names"):
        trained(stop_at=3)
    with pytest.raises(KeyboardInterrupt, match="none is kept yet, the first would have been after 5"):
        trained(checkpoint=tmp_path / "a.safetensors", stop_at=3)
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    trained(checkpoint=path)
    other = Course("a curve", steps=12, rate=0.1, every=5, key="two")
    check_checkpoint(COURSE, path)
    check_checkpoint(other, None)
    check_checkpoint(other, tmp_path / "not there")
    with pytest.raises(InputError, match="checkpoint of another repair"):
        check_checkpoint(other, path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"is damaged .* is trained from the start"):
        trained(checkpoint=path)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_what_is_not_finite_stops_the_training_before_it_spoils_anything(what, tmp_path):
    parameters = start()

    def loss(step):
        value = loss_of(parameters)(step)
        if step == 6:
            value = value * math.nan if what == "loss" else value + (parameters["a"] * 0).sqrt().sum()
        return value

    path = tmp_path / "a.safetensors"
    with pytest.raises(
        InputError, match=rf"the {what} of step 7 of 12 of a curve is nan; give a smaller rate than 0.1"
    ):
        train(COURSE, parameters, loss, checkpoint=path)
    assert all(torch.isfinite(p).all() for p in parameters.values())
    assert path.exists()
