"""What all tests share: one thread, no network, small random models."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import pytest
import torch

from decision_phases.models import ModelAccess, load

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny() -> ModelAccess:
    """A random Llama of 6 layers with a tokenizer for the bundled questions."""
    return load("tiny-llama", quiet=True)


@pytest.fixture(scope="session")
def smollm2() -> ModelAccess:
    """The bundled real model."""
    return load(quiet=True)
