"""Decisions without options: margins against a plain softmax, layers that are gone, and what phases are made of."""

import numpy as np
import pytest
import torch

from decision_phases.engine import capture, generate
from decision_phases.errors import InputError
from decision_phases.hierarchy import read_open
from decision_phases.hierarchy.open_observer import own_and_rival
from decision_phases.interventions import noise, scale, skip
from decision_phases.readout.phases import locate

PROMPTS = [
    "Which animal says moo",
    "Is water wet? Is",
    "Which animal quacks",
    "What is the capital of France",
]
STEPS = 3


@pytest.fixture(scope="module")
def intact(tiny):
    return generate(tiny, PROMPTS, steps=STEPS)


@pytest.fixture(scope="module")
def cut(tiny, intact):
    return read_open(tiny, PROMPTS, steps=STEPS, under=skip(2), intact=intact)


def lens(tiny, intact, under, prompt, step, layer):
    """Probabilities of the whole vocabulary, from captured residuals and one plain softmax."""
    seen = capture(tiny, intact.sequences(), layers=[layer], positions="all", under=under)
    at = len(intact.prompts.tokens[prompt]) - 1 + step
    resid = seen.at("resid_post", layer)[prompt][at]
    with torch.no_grad():
        return tiny.readout(torch.tensor(resid)).double().softmax(-1)


def test_margins_are_those_of_a_plain_softmax(tiny, intact, cut):
    for prompt, step, layer in ((0, 0, 0), (1, 2, 3), (3, 1, 5)):
        p = lens(tiny, intact, skip(2), prompt, step, layer)
        own = int(intact.tokens[prompt, step])
        others = torch.cat([p[:own], p[own + 1 :]])
        assert cut.margin[prompt, step, layer] == pytest.approx(float(p[own] - others.max()), abs=1e-6)
    with torch.no_grad():
        start = tiny.enter(torch.tensor([intact.prompts.tokens[0]])).resid[0, -1]
        p = tiny.readout(start).double().softmax(-1)
    own = int(intact.tokens[0, 0])
    rest = p.clone()
    rest[own] = 0
    assert cut.embed_margin[0, 0] == pytest.approx(float(p[own] - rest.max()), abs=1e-6)


def test_the_vocabulary_in_parts_is_the_vocabulary(tiny, monkeypatch):
    resid = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 7, 99, 100, 640])
    with torch.no_grad():
        whole = own_and_rival(tiny, resid, targets)
        monkeypatch.setattr("decision_phases.hierarchy.open_observer._PART", 100)
        for a, b in zip(own_and_rival(tiny, resid, targets), whole, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_the_intact_model_always_ends_with_its_own_token(tiny, intact):
    found = read_open(tiny, PROMPTS, steps=STEPS, intact=intact)
    assert found.kept.all()
    assert (found.margin[:, :, -1] > 0).all()
    assert found.survivors == tuple(range(6))
    ahead = found.ahead
    for prompt, step in np.ndindex(*found.kept.shape):
        layer = int(found.commitment_layer[prompt, step])
        assert ahead[prompt, step, layer:].all()
        assert layer == 0 or not ahead[prompt, step, layer - 1]


def test_removed_layers_are_left_out(cut):
    assert cut.survivors == (0, 1, 3, 4, 5)
    assert np.isnan(cut.margin[:, :, 2]).all()
    assert not cut.ahead[:, :, 2].any()
    assert 2 not in set(cut.commitment_layer[cut.kept].tolist())
    table = cut.to_pandas()
    assert set(table["layer"]) == set(cut.survivors)
    row = table[(table["step"] == 1) & (table["layer"] == 4)].iloc[0]
    assert row["margin"] == pytest.approx(cut.margin[:, 1, 4].mean())
    assert row["ahead"] == cut.ahead[:, 1, 4].mean()
    last = table[(table["step"] == 0) & (table["layer"] == 5)].iloc[0]
    assert last["committed"] == cut.kept[:, 0].mean()


def test_phases_are_those_of_two_options_own_token_and_best_other(cut):
    scores = np.stack([cut.scores.own[:, 1, :-1], cut.scores.rival[:, 1, :-1]], axis=-1)
    expected = locate(
        scores, np.zeros(4, dtype=int), log_normaliser=cut.scores.log_normaliser[:, 1, :-1], method="max_jump"
    )
    assert cut.phases(1, method="max_jump").to_dict() == expected.to_dict()
    assert len(cut.plot().axes[0].lines) >= STEPS + 1
    assert "Open decisions of tiny-llama at 3 steps after 4 prompts" in str(cut)


def test_results_are_kept_and_found_again(tiny, intact, tmp_path, monkeypatch):
    first = read_open(tiny, PROMPTS, steps=STEPS, under=skip(1), intact=intact, store=tmp_path)
    monkeypatch.setattr(
        "decision_phases.hierarchy.open_observer.own_and_rival", lambda *_: pytest.fail("read")
    )
    again = read_open(tiny, PROMPTS, steps=STEPS, under=skip(1), intact=intact, store=tmp_path)
    np.testing.assert_array_equal(again.margin, first.margin)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"steps": 0}, "steps=0"),
        ({"under": noise(1, variance=0.1)}, "treats all positions alike"),
        ({"prompts": ["a", ""]}, "prompt #1"),
        (
            {"under": scale("resid_post", 1, 1e30) + scale("resid_post", 2, 1e30)},
            "not finite at layer 2, step 0",
        ),
    ],
)
def test_what_cannot_be_read_is_refused(given, text, tiny):
    with pytest.raises(InputError, match=text):
        read_open(tiny, **{"prompts": PROMPTS, "steps": 1, **given})


def test_another_text_and_missing_steps_are_refused(tiny, intact, cut):
    with pytest.raises(InputError, match="intact= is of other prompts"):
        read_open(tiny, PROMPTS[:2], steps=STEPS, intact=intact)
    with pytest.raises(InputError, match=r"step=3: the texts have steps 0\.\.2"):
        cut.phases(3)
    none = read_open(tiny, PROMPTS, steps=STEPS, under=skip(*range(6)), intact=intact)
    with pytest.raises(InputError, match="every layer is removed"):
        none.phases(0)
