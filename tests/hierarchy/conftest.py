"""A small model in float64, so that what differs is no rounding, and questions to compare it on."""

import pytest
import torch

from decision_phases.interventions import skip
from decision_phases.models import load
from decision_phases.models.tiny import tiny_hf, tiny_tokenizer
from decision_phases.readout import ask
from decision_phases.tasks import questions


@pytest.fixture(scope="session")
def wide():
    hf = tiny_hf("llama").to(torch.float64)
    return load(hf, tokenizer=tiny_tokenizer(), dtype="float64", consume=True, quiet=True)


@pytest.fixture(scope="session")
def some(wide):
    return ask(wide, questions("facts", limit=8))


@pytest.fixture(scope="session")
def cut():
    return skip(2) + skip(4, part="mlp")


@pytest.fixture(scope="session")
def compared(wide, some, cut):
    from decision_phases.hierarchy import compare_spaces

    return compare_spaces(wide, some, under=cut, partners=7, random_sets=2, top=(5,), temperature=0.5)
