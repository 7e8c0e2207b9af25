"""Models that are right about what they are asked, and one whose only circuit is known."""

from dataclasses import replace
from functools import cache
from importlib import import_module

import pytest
import torch

import decision_phases as dp
from decision_phases.models import load, tiny_hf, tiny_tokenizer

HEAD, LAYER = 1, 2


def _relabelled(model, questions, **settings):
    encoded = dp.ask(model, questions, **settings)
    choice = dp.read(model, encoded).final.choice.tolist()
    items = tuple(replace(q, answer=c) for q, c in zip(encoded.questions, choice, strict=True))
    return replace(encoded.questions, items=items)


@pytest.fixture(scope="session")
def relabelled():
    """The same questions, with what a model says as the right answer."""
    return _relabelled


@pytest.fixture
def nothing_runs(monkeypatch):
    """The engine cannot run, so that what is refused is refused before."""
    monkeypatch.setattr(import_module("decision_phases.engine.evaluate"), "walk_all", None)


@pytest.fixture(scope="session")
def double():
    """Tiny models by family, in float64 where they can run in it: torch groups experts in float32 at most."""
    return cache(
        lambda family: load(
            f"tiny-{family}", dtype="float32" if family == "mixtral" else "float64", quiet=True
        )
    )


@pytest.fixture(scope="session")
def planted():
    """A Llama of which one head alone does anything: it looks at all tokens alike, and says what it saw."""
    hf = tiny_hf("llama")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for block in hf.model.layers:
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
        attention = hf.model.layers[LAYER].self_attn
        attention.q_proj.weight.zero_()
        columns = slice(8 * HEAD, 8 * HEAD + 8)
        attention.o_proj.weight[:, columns] = torch.randn(32, 8, generator=generator)
    return load(hf, tokenizer=tiny_tokenizer(), dtype="float64", quiet=True)


@pytest.fixture(scope="session")
def planted_pairs(planted):
    return dp.pairs(planted, _relabelled(planted, "facts"), limit=8)


@pytest.fixture(scope="session")
def pairs(double):
    """Pairs that the tiny Llama is right about."""
    model = double("llama")
    return dp.pairs(model, _relabelled(model, "facts"), limit=8)
