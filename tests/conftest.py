"""What all tests share: one thread, no network, small random models."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from pathlib import Path

import jaxtyping
import pytest
import torch

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "decision_phases"

# Shapes and types are checked, in every module that names a shape; in all of them, tests would take twice as long.
jaxtyping.install_import_hook(
    [
        ".".join(path.relative_to(TESTS.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted(PACKAGE.rglob("*.py"))
        if "from jaxtyping import" in path.read_text(encoding="utf-8")
    ],
    "beartype.beartype",
)

from decision_phases.models import ModelAccess, load  # noqa: E402 - after the hook

torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what depends on TransformerLens, which runs once more with the oldest version that is supported."""
    below = {TESTS / name for name in ("models", "engine", "interventions", "readout")}
    for item in items:
        runs_models = {"tiny", "model_of", "case"} & set(getattr(item, "fixturenames", ()))
        if below & set(item.path.parents) and (runs_models or item.path.parent == TESTS / "models"):
            item.add_marker("tl")


@pytest.fixture(scope="session")
def tiny() -> ModelAccess:
    """A random Llama of 6 layers with a tokenizer for the bundled questions."""
    return load("tiny-llama", quiet=True)


@pytest.fixture(scope="session")
def smollm2() -> ModelAccess:
    """The bundled real model."""
    return load(quiet=True)
