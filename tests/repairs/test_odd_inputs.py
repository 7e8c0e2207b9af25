"""What is no number, no list or no intervention is named as such before anything is computed."""

import sys
from copy import copy

import numpy as np
import pytest

from decision_phases.errors import InputError
from decision_phases.exports import export
from decision_phases.interventions import skip, weights
from decision_phases.pruning.sparsity import sparsify
from decision_phases.quantisation import Scheme, compress, quantise
from decision_phases.repairs import COMPENSATIONS, REPAIRS, compare_repairs, repair
from decision_phases.tasks import TextSet
from decision_phases.tasks import texts as read_texts

TEXTS = TextSet("some", tuple(text for text in read_texts("pydoc").documents if len(text) < 1500)[:24])
FEW = {"texts": TEXTS, "limit": 8, "window": 32}
CUT = skip(2)


def odd(how, **settings):
    """With settings that tests would refuse for their types before the package can."""
    made = copy(how)
    for name, value in settings.items():
        object.__setattr__(made, name, value)
    return made


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch, tiny):
    monkeypatch.setattr("decision_phases.repairs.dispatch.fit_maps", None)
    monkeypatch.setattr("decision_phases.repairs.components.fit.stream", None)
    monkeypatch.setattr(sys.modules[quantise.__module__], "rounded", None)
    monkeypatch.setattr(type(tiny), "fresh_hf", None)


@pytest.mark.parametrize("name", ["ghost", "relative_affine"])
@pytest.mark.parametrize(
    ("ridge", "message"),
    [
        (-1.0, "ridge=-1.0, which must be 0 or above"),
        (float("nan"), "ridge=nan, which must be 0 or above"),
        (float("inf"), "ridge=inf has no solution"),
        ("small", "ridge='small', which must be a number"),
    ],
)
def test_a_ridge_that_is_none(name, ridge, message, tiny):
    with pytest.raises(InputError, match=message):
        repair(tiny, CUT, method=odd(REPAIRS[name], ridge=ridge), **FEW)


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        *(("bottleneck", setting, 2.5) for setting in ("hidden", "steps", "batch", "every")),
        *(
            ("lora", setting, 2.5)
            for setting in ("rank", "steps", "batch", "neighbours", "lens", "every", "seed")
        ),
        ("bottleneck", "hidden", "4"),
        ("patch_distil", "start_windows", 2.5),
    ],
)
def test_settings_that_are_no_whole_numbers(name, setting, value, tiny):
    with pytest.raises(InputError, match=f"{setting}={value!r}, which must be a whole number"):
        repair(tiny, CUT, method=odd(REPAIRS[name], **{setting: value}), texts=TEXTS, limit=None)


@pytest.mark.parametrize(
    ("name", "setting", "message"),
    [
        ("lost_components", {"rank": 2.5}, "rank=2.5, which must be a whole number"),
        ("lost_components", {"share": "x"}, "share='x', which must be a number"),
        ("lost_components", {"positions": 1}, "unknown positions of a compensation 1"),
        ("learned_components", {"steps": 2.5}, "steps=2.5, which must be a whole number"),
        ("learned_components", {"batch": 2.5}, "batch=2.5, which must be a whole number"),
    ],
)
def test_settings_of_compensations(name, setting, message, tiny):
    sparse = weights(2, {"mlp.up_proj.weight": np.zeros((48, 32), dtype=bool)})
    with pytest.raises(InputError, match=message):
        repair(tiny, sparse, method=odd(COMPENSATIONS[name], **setting), **FEW)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"limit": 8.5}, "limit=8.5, which must be a whole number"),
        ({"limit": "8"}, "limit='8', which must be a whole number"),
        ({"window": 32.5}, "window=32.5, which must be a whole number"),
        ({"window": "32"}, "window='32', which must be a whole number"),
        ({"seed": 0.5}, "seed=0.5, which must be a whole number"),
        ({"method": ["ghost"]}, r"a repair is given by its name or as a Repair, not as \['ghost'\]"),
        ({"cut": [2]}, r"cut=\[2\] is no intervention; give one such as dp.skip"),
        ({"under": [2]}, r"under=\[2\] is no intervention"),
        (
            {"method": odd(REPAIRS["lora"], targets="q_proj")},
            "targets='q_proj' is one name; give several",
        ),
        ({"method": odd(REPAIRS["lora"], targets=())}, "names no matrix; give some of down_proj"),
    ],
)
def test_what_repair_is_asked(given, message, tiny):
    with pytest.raises(InputError, match=message):
        repair(tiny, **{"cut": CUT, "method": "ghost", "texts": TEXTS} | given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"methods": "ghost"}, r"methods='ghost' is one name; give a list, such as methods=\['ghost'\]"),
        ({"held_out": 4.5}, "held_out=4.5, which must be a whole number"),
        ({"cut": None}, "cut=None is no intervention"),
    ],
)
def test_what_a_comparison_is_asked(given, message, tiny):
    with pytest.raises(InputError, match=message):
        compare_repairs(tiny, **{"cut": CUT, "methods": ["ghost"]} | given, **FEW)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: quantise(model, layers="1"), "layers='1' is no collection of layers"),
        (lambda model: quantise(model, layers=[1.5]), "layers has 1.5 in it, which is no integer"),
        (lambda model: quantise(model, layers=1), "layers=1 is no collection of layers"),
        (
            lambda model: sparsify(model, "magnitude:0.5", layers=[1.5]),
            "layers has 1.5 in it, which is no integer",
        ),
        (lambda model: quantise(model, parts=1), "unknown part 1"),
        (lambda model: quantise(model, under=[CUT]), "is no intervention"),
        (lambda model: compress(model, [2]), r"prune=\[2\] is no intervention"),
        (lambda model: compress(model, CUT, order="prune"), "order='prune'"),
        (lambda model: export(model, [2], "short"), r"under=\[2\] is no intervention"),
        (lambda model: export(model, CUT, 3), "a folder is given by its path, not as 3"),
        (lambda _: Scheme(4, 2.5), "group=2.5, which must be a whole number"),
        (lambda _: Scheme("8"), "bits='8', which must be a whole number"),
    ],
)
def test_what_quantisation_and_export_are_asked(call, message, tiny):
    with pytest.raises(InputError, match=message):
        call(tiny)
