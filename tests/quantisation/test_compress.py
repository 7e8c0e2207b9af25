"""What does not fit is refused before the first step of `compress`, however long the steps are."""

import sys
from dataclasses import replace

import pytest

from decision_phases.errors import InputError
from decision_phases.interventions import skip
from decision_phases.quantisation import compress
from decision_phases.repairs import COMPENSATIONS
from decision_phases.tasks import TextSet
from decision_phases.tasks import texts as read_texts

TEXTS = TextSet("some", tuple(text for text in read_texts("pydoc").documents if len(text) < 1500)[:24])
ORDERS = [("prune", "repair", "quantise"), ("prune", "quantise", "repair"), ("quantise", "prune", "repair")]


@pytest.mark.parametrize(
    ("prune", "how", "message"),
    [
        (skip(2), {"quantise_to": "int5.5"}, "no scheme of quantisation"),
        (skip(2), {"quantise_to": "int4:7"}, "7 does not divide"),
        (skip(range(6)), {}, "no weight matrices in the layers"),
        (skip(9), {}, "out of range"),
        (skip(2), {"texts": "no-such-texts"}, "no-such-texts"),
        (skip(2), {"texts": TEXTS.evaluation}, "the half that measures"),
        (skip(2), {"window": 10**6}, "window"),
        (skip(2), {"repair_by": "lora", "limit": 1}, "trains on 512 tokens a step"),
        (skip(2), {"repair_by": replace(COMPENSATIONS["lost_components"], share=2.0)}, "share of heads"),
        (skip(2), {"checkpoint": f"{__file__}/folder"}, "is no folder"),
    ],
)
@pytest.mark.parametrize("order", ORDERS)
def test_compress_refuses_before_the_first_step(prune, how, message, order, tiny, monkeypatch):
    module = sys.modules[compress.__module__]
    monkeypatch.setattr(module, "quantise", lambda *_, **__: pytest.fail("rounded"))
    monkeypatch.setattr(module, "repair", lambda *_, **__: pytest.fail("repaired"))
    if how.get("repair_by") == "lora":
        order = ORDERS[0]
    elif "repair_by" in how:
        order = ("quantise", "prune", "repair")
    with pytest.raises(InputError, match=message):
        compress(tiny, prune, order=order, **{"texts": TEXTS, "window": 24} | how)
