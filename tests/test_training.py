"""Training is Adam with a cosine, goes on bit for bit where it was stopped, and says what is wrong."""

import math
from dataclasses import replace

import pytest
import torch

from decision_phases.errors import InputError, check_numbers
from decision_phases.training import Training

CURVE = Training("a curve", steps=12, rate=0.1, every=5, key="one")
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


def trained(training=CURVE, checkpoint=None, **how):
    parameters = start()
    found = replace(training, checkpoint=checkpoint).run(parameters, loss_of(parameters, **how))
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
    _, free = trained(Training("free", 1, 1e-3))
    _, clipped = trained(Training("clipped", 1, 1e-3, clip=1e-9))
    assert not torch.equal(free["a"], clipped["a"])  # Adam divides by its own size, but for an epsilon
    assert clipped["a"].abs().max() < 0.5 * free["a"].abs().max()


def same(first, second):
    return first[0] == second[0] and all(torch.equal(first[1][name], p) for name, p in second[1].items())


@pytest.mark.parametrize("stop_at", [1, 5, 7, 11])
def test_what_was_stopped_goes_on_as_if_nothing_had_happened(stop_at, tmp_path):
    path, whole, seen = tmp_path / "here" / "a.safetensors", trained(), []
    with pytest.raises(KeyboardInterrupt) as stopped:
        trained(checkpoint=path, stop_at=stop_at)
    said = str(stopped.value)
    assert said.startswith(
        f"a curve was stopped after {stop_at} of 12 steps, which are kept in {path}; the same call"
    )
    assert f'checkpoint="{path.parent}"' in said
    assert same(trained(checkpoint=path, seen=seen), whole)
    assert seen == list(range(stop_at, 12))
    assert same(trained(checkpoint=path, stop_at=0), whole)  # nothing is left to do


def test_what_was_killed_goes_on_from_its_last_checkpoint(tmp_path):
    class Killed(BaseException):
        """What no one catches."""

    path, seen = tmp_path / "a.safetensors", []
    parameters = start()

    def loss(step):
        if step == 8:
            raise Killed
        return loss_of(parameters)(step)

    with pytest.raises(Killed):
        replace(CURVE, checkpoint=path).run(parameters, loss)
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]
    assert same(trained(checkpoint=path, seen=seen), trained())
    assert seen == list(range(5, 12))


def test_a_stop_in_the_middle_of_a_step_leaves_the_checkpoint_before_it(tmp_path, monkeypatch):
    path, whole, step, calls = tmp_path / "a.safetensors", trained(), torch.optim.Adam.step, []

    def half_done(self, *given):
        calls.append(0)
        step(self, *given)
        if len(calls) == 8:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", half_done)
        with pytest.raises(KeyboardInterrupt, match="stopped after 7 of 12 steps, 5 of which are kept in"):
            trained(checkpoint=path)
    assert same(trained(checkpoint=path), whole)


def test_what_is_said_when_nothing_was_kept(tmp_path):
    with pytest.raises(KeyboardInterrupt, match=r"after 3 of 12 steps; nothing is kept \(checkpoint= names"):
        trained(stop_at=3)
    with pytest.raises(KeyboardInterrupt, match="after 0 of 12 steps, so there was nothing to keep"):
        trained(checkpoint=tmp_path / "a.safetensors", stop_at=0)
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    trained(checkpoint=path)
    mine, other = (replace(CURVE, key=key, checkpoint=path) for key in ("one", "two"))
    kept = mine.kept()
    assert (len(kept.so_far.losses), set(kept.parameters)) == (12, {"a", "b"})
    assert replace(other, checkpoint=None).kept() is None
    assert replace(other, checkpoint=tmp_path / "not there").kept() is None
    with pytest.raises(
        InputError, match=r"checkpoint of another training than a curve .* give another folder"
    ):
        other.kept()
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"is damaged .* is trained from the start"):
        trained(checkpoint=path)


def test_what_does_not_change_is_kept_beside_what_does(tmp_path):
    path, parameters = tmp_path / "a.safetensors", start()
    training = replace(CURVE, checkpoint=path)
    training.run(parameters, loss_of(parameters), fixed={"a": TARGET})
    assert torch.equal(training.kept().fixed["a"], TARGET)


def test_nothing_but_the_parameters_gets_a_gradient():
    parameters, other = start(), torch.ones(1, requires_grad=True)
    CURVE.run(parameters, lambda step: loss_of(parameters)(step) * other.sum())
    assert other.grad is None


def test_a_parameter_that_a_step_does_not_reach_is_kept_too(tmp_path):
    def both(checkpoint, stop_at):
        parameters = start()
        training = replace(CURVE, checkpoint=checkpoint)

        def loss(step):
            if step == stop_at:
                raise KeyboardInterrupt
            return (parameters["a"] - TARGET).square().sum() + (parameters["b"].sum() if step % 2 else 0)

        return training.run(parameters, loss).losses, {name: p.detach() for name, p in parameters.items()}

    path = tmp_path / "a.safetensors"
    with pytest.raises(KeyboardInterrupt):
        both(path, 1)
    assert same(both(path, None), both(None, None))


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
        replace(CURVE, checkpoint=path).run(parameters, loss)
    assert all(torch.isfinite(p).all() for p in parameters.values())
    assert path.exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"steps": -1}, "a curve has a setting out of range: steps=-1, which must be 0 or above"),
        ({"every": 0}, "every=0, which must be above 0"),
        ({"rate": math.nan, "clip": 0.0}, "rate=nan, which must be above 0; clip=0.0, which must be above 0"),
    ],
)
def test_settings_out_of_range_are_named(setting, message):
    with pytest.raises(InputError, match=message):
        replace(CURVE, **setting)
    check_numbers("nothing")
