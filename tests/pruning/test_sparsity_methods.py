"""Which weights go, and what the others become: against slow references, and by counting."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from decision_phases.errors import InputError
from decision_phases.pruning.sparsity import SPARSITY_METHODS, Amount, find_sparsity
from decision_phases.pruning.sparsity.inputs import Inputs, Summing
from decision_phases.pruning.sparsity.sparsegpt import reconstruct

OUT, WIDTH = 12, 32
AMOUNTS = ("0.5", "0.3", "0.7", "2:4", "4:8", "1:4", "3:4")


@pytest.fixture(scope="module")
def layer():
    """A matrix and inputs that are correlated and of very different size, in float64."""
    random = np.random.default_rng(0)
    mixed = random.normal(size=(WIDTH, WIDTH)) * 0.3 + np.eye(WIDTH)
    inputs = random.normal(size=(200, WIDTH)) @ mixed * np.exp(random.normal(size=WIDTH))
    return torch.from_numpy(random.normal(size=(OUT, WIDTH))), torch.from_numpy(inputs)


def pruned(name, weight, inputs, amount):
    """The new matrix, in float64."""
    method = SPARSITY_METHODS[name]
    sums = {"": None, "squares": inputs.square().sum(0), "products": inputs.T @ inputs}[method.needs]
    found = method.prune(weight, sums, Amount.of(amount))
    return weight * found if found.dtype == torch.bool else found


def lowest(scores, count):
    return set(sorted(range(len(scores)), key=lambda i: scores[i])[:count])


@pytest.mark.parametrize("amount", AMOUNTS)
def test_magnitude_takes_the_smallest_of_the_matrix(layer, amount):
    weight, inputs = layer
    found, given = pruned("magnitude", weight, inputs, amount).numpy(), weight.numpy()
    expected = given.copy()
    if ":" in amount:
        kept, every = map(int, amount.split(":"))
        for row in range(OUT):
            for start in range(0, WIDTH, every):
                for i in lowest(abs(given[row, start : start + every]), every - kept):
                    expected[row, start + i] = 0.0
    else:
        flat = expected.reshape(-1)
        for i in lowest(abs(flat), int(round(float(amount) * flat.size, 9))):
            flat[i] = 0.0
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("amount", AMOUNTS)
def test_wanda_takes_the_smallest_of_each_row(layer, amount):
    weight, inputs = layer
    found, given, x = pruned("wanda", weight, inputs, amount).numpy(), weight.numpy(), inputs.numpy()
    expected = given.copy()
    norms = [np.linalg.norm(x[:, j]) for j in range(WIDTH)]
    for row in range(OUT):
        scores = [abs(given[row, j]) * norms[j] for j in range(WIDTH)]
        if ":" in amount:
            kept, every = map(int, amount.split(":"))
            gone = {
                start + i
                for start in range(0, WIDTH, every)
                for i in lowest(scores[start : start + every], every - kept)
            }
        else:
            gone = lowest(scores, int(round(float(amount) * WIDTH, 9)))
        expected[row, list(gone)] = 0.0
    np.testing.assert_array_equal(found, expected)


def obs(weight, hessian, amount, *, block, damping=0.01):
    """Optimal Brain Surgeon, column by column, with the inverse Hessian of all columns not yet passed made anew."""
    w, h = weight.copy(), hessian + damping * np.diag(hessian).mean() * np.eye(len(hessian))
    out, width = w.shape
    kept, every = map(int, amount.split(":")) if ":" in amount else (0, 0)
    rest = [np.linalg.inv(h[j:, j:]) for j in range(width)]
    gone = np.zeros(w.shape, dtype=bool)
    for j in range(width):
        group = every or block
        if j % group == 0:
            columns = range(j, min(j + group, width))
            scores = np.array([w[:, c] ** 2 / rest[c][0, 0] for c in columns]).T
            if every:
                for row in range(out):
                    gone[row, [j + i for i in lowest(scores[row], every - kept)]] = True
            else:
                flat = lowest(scores.reshape(-1), int(round(float(amount) * scores.size, 9)))
                for i in flat:
                    gone[i // len(columns), j + i % len(columns)] = True
        for row in range(out):
            if gone[row, j]:
                w[row, j:] -= w[row, j] / rest[j][0, 0] * rest[j][0]
                w[row, j] = 0.0
    return w


@pytest.mark.parametrize("amount", AMOUNTS)
@pytest.mark.parametrize("block", [8, 24, 128])
def test_sparsegpt_is_optimal_brain_surgeon(layer, amount, block):
    weight, inputs = layer
    hessian = inputs.T @ inputs
    found = reconstruct(weight, hessian, Amount.of(amount), block=block).numpy()
    expected = obs(weight.numpy(), hessian.numpy(), amount, block=block)
    np.testing.assert_array_equal(found == 0, expected == 0)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


def test_sparsegpt_with_a_given_choice_is_least_squares():
    """Where all rows lose the same first columns, the rest is the regression of the outputs on what is left."""
    random = np.random.default_rng(1)
    inputs = torch.from_numpy(random.normal(size=(100, 6)) @ random.normal(size=(6, 6)))
    weight = torch.from_numpy(random.normal(size=(4, 6)))
    weight[:, :3] *= 1e-6  # so that these go
    found = reconstruct(weight, inputs.T @ inputs, Amount(0.5), damping=1e-13)
    expected = torch.linalg.lstsq(inputs[:, 3:], inputs @ weight.T).solution.T
    assert (found[:, :3] == 0).all()
    torch.testing.assert_close(found[:, 3:], expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", SPARSITY_METHODS)
@pytest.mark.parametrize("amount", AMOUNTS)
def test_every_method_leaves_exactly_as_many_zeros_as_asked(name, amount, layer):
    weight, inputs = layer
    zeros = (pruned(name, weight, inputs, amount) == 0).numpy()
    if ":" in amount:
        kept, every = map(int, amount.split(":"))
        assert set(zeros.reshape(-1, every).sum(1).tolist()) == {every - kept}
    elif name == "wanda":
        assert set(zeros.sum(1).tolist()) == {int(float(amount) * WIDTH + 1e-9)}
    else:
        assert zeros.sum() == int(float(amount) * OUT * WIDTH + 1e-9)


@pytest.mark.parametrize("amount", ["0.5", "2:4", "4:8"])
def test_what_knows_more_of_the_inputs_changes_the_outputs_less(layer, amount):
    weight, inputs = layer
    error = {
        name: float((inputs @ (pruned(name, weight, inputs, amount) - weight).T).square().sum())
        for name in SPARSITY_METHODS
    }
    assert error["sparsegpt"] < 0.8 * error["wanda"] < 0.8 * 0.8 * error["magnitude"]


def test_columns_without_input_go_first_and_no_more_than_asked(layer):
    weight, inputs = layer
    quiet = inputs.clone()
    quiet[:, 4:12] = 0
    new = (
        pruned("wanda", weight, quiet, 0.5),
        reconstruct(weight, quiet.T @ quiet, Amount(0.5), damping=1e-6),
    )
    for found in new:
        assert (found[:, 4:12] == 0).all()
        assert (found == 0).sum() == OUT * WIDTH / 2


@pytest.mark.parametrize("name", SPARSITY_METHODS)
def test_without_inputs_weights_alone_decide(name, layer):
    weight, _ = layer
    method = SPARSITY_METHODS[name]
    found = method.prune(weight, None, Amount.of("2:4"))
    kept = SPARSITY_METHODS["magnitude"].prune(weight, None, Amount.of("2:4"))
    values = weight * found if found.dtype == torch.bool else found
    torch.testing.assert_close(values, weight * kept)


def test_settings_are_those_of_the_method(layer):
    weight, inputs = layer
    hessian, half = inputs.T @ inputs, Amount(0.5)
    method = replace(SPARSITY_METHODS["sparsegpt"], damping=0.5, block=16)
    expected = reconstruct(weight, hessian, half, damping=0.5, block=16)
    assert torch.equal(method.prune(weight, hessian, half), expected)
    assert not torch.equal(SPARSITY_METHODS["sparsegpt"].prune(weight, hessian, half), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_new_values_are_in_the_format_of_the_old(layer, dtype):
    weight, inputs = layer
    found = SPARSITY_METHODS["sparsegpt"].prune(weight.to(dtype), inputs.T @ inputs, Amount(0.5))
    assert found.dtype == dtype


def test_sums_are_made_once_for_equal_inputs_and_never_for_others():
    inputs = Inputs((2, 3, 4), "products", torch.device("cpu"))
    summing = Summing("products")
    total = torch.zeros(4, 4, dtype=torch.float64)
    for seed in range(20):  # memory that one lets go of is the next one's
        x = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        assert summing(x) is summing(x)
        inputs.add(1, summing(x), len(x))
        total += x.T @ x
        del x
    torch.testing.assert_close(inputs.sums[1], total)
    assert inputs.tokens == [0, 100]
    assert not inputs.sums[0].any()


# -- how it is spelled ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "share", "every"),
    [
        (0.5, 0.5, 0),
        ("0.25", 0.25, 0),
        ("2:4", 0.5, 4),
        ("4:8", 0.5, 8),
        ("1:4", 0.75, 4),
        (" 3:4 ", 0.25, 4),
    ],
)
def test_amounts(given, share, every):
    amount = Amount.of(given)
    assert (amount.share, amount.every) == (share, every)
    assert Amount.of(str(amount)) == amount == Amount.of(amount)


@pytest.mark.parametrize(
    ("method", "amount", "name", "spelled"),
    [
        ("wanda:0.5", None, "wanda", "0.5"),
        ("magnitude:2:4", None, "magnitude", "2:4"),
        ("sparsegpt", 0.3, "sparsegpt", "0.3"),
        (SPARSITY_METHODS["wanda"], "4:8", "wanda", "4:8"),
    ],
)
def test_methods(method, amount, name, spelled):
    found, share = find_sparsity(method, amount)
    assert (found, str(share)) == (SPARSITY_METHODS[name], spelled)


@pytest.mark.parametrize(
    ("method", "amount", "message"),
    [
        (
            "wanda",
            None,
            "'wanda' does not say a method and an amount; write METHOD:AMOUNT, such as wanda:0.5",
        ),
        (":0.5", None, "':0.5' does not say a method"),
        ("wandda:0.5", None, "unknown sparsity method 'wandda'; did you mean 'wanda'"),
        ("wanda:half", None, "'half' is no amount of sparsity; give 0.5 for half of them, or 2:4"),
        ("wanda:1.5", None, "a sparsity of 1.5 is no share"),
        ("wanda", 0, "a sparsity of 0 is no share"),
        ("wanda", float("nan"), "a sparsity of nan is no share"),
        ("wanda", 50, "a sparsity of 50 is no share"),
        ("wanda", "4:4", "the pattern 4:4 keeps 4 of every 4 weights"),
        ("wanda", "0:4", "the pattern 0:4 keeps 0 of every 4"),
        ("wanda:0.5", 0.5, "'wanda:0.5' says 0.5, and the amount 0.5 is given as well"),
        (SPARSITY_METHODS["wanda"], None, "wanda is given without an amount"),
    ],
)
def test_what_cannot_be_read_is_refused(method, amount, message):
    with pytest.raises(InputError, match=message):
        find_sparsity(method, amount)
