"""Layers are given as a collection; one layer by itself is refused in words wherever they can be named."""

import inspect

import pytest

import decision_phases as dp
from decision_phases.interventions.layer_sets import listed_layers
from decision_phases.views.pictures import attention_picture

NAMING = {
    "sparsify": lambda model, layers: dp.sparsify(model, "magnitude:0.5", layers=layers),
    "quantise": lambda model, layers: dp.quantise(model, "int8", layers=layers),
    "rank": lambda model, layers: dp.rank(model, by="random", layers=layers),
    "capture": lambda model, layers: _plain(dp.capture)(model, "facts", layers=layers),
    "steering": lambda model, layers: _plain(dp.steering)(model, "facts", layers=layers, scoring="letter"),
    "restore": lambda model, layers: _plain(dp.restore)(model, "facts", dp.skip(1), layers=layers),
    "patch_sweep": lambda model, layers: _plain(dp.patch_sweep)(
        model, dp.pairs(model, "facts", least=2), layers=layers
    ),
    "view_attention": lambda model, layers: _plain(attention_picture)(
        model,
        dp.ask(model, dp.questions("facts", limit=1), scoring="letter"),
        dp.Intervention(),
        layers=layers,
    ),
}


def _plain(function):
    """A function as it is without the checks of types that tests add."""
    return inspect.unwrap(function)


@pytest.mark.parametrize("name", NAMING)
def test_a_single_layer_is_refused_in_words(name):
    model = dp.load("tiny-llama", quiet=True)
    with pytest.raises(dp.InputError, match=r"layers=2 is no collection of layers; give one, such as"):
        NAMING[name](model, 2)


def test_so_is_what_is_protected():
    with pytest.raises(dp.InputError, match="protect=2 is no collection of layers"):
        dp.prune("tiny-llama", "facts", protect=2, up_to=1)


@pytest.mark.parametrize("given", ["23", [2, "3"], [2, None], [True], [2.0]])
def test_what_is_in_it_are_integers(given):
    with pytest.raises(dp.InputError, match=r"no collection of layers|in it, which is no integer"):
        listed_layers(given)
