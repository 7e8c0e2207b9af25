"""What all tests share: one thread, no network, small random models."""

import gc
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from type_checks import check

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "decision_phases"

# In every module that names a shape.
check(
    ".".join(path.relative_to(TESTS.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted(PACKAGE.rglob("*.py"))
    if "from jaxtyping import" in path.read_text(encoding="utf-8")
)

from decision_phases.models import ModelAccess, load, loading  # noqa: E402 - after the hook
from decision_phases.plots import save_figure  # noqa: E402
from decision_phases.report import figures  # noqa: E402

torch.set_num_threads(1)
FROM_HF = loading._from_hf


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what depends on TransformerLens, which runs once more with the oldest version that is supported.

    That is what loads, hooks and calls its models, not what is computed of what these give.
    """
    names = ("engine/test_applied.py", "engine/test_capture.py", "engine/test_generating.py", "engine/test_planner.py",
             "readout/test_read.py")  # fmt: skip
    below = {TESTS / "interventions", *(TESTS / name for name in names)}
    for item in items:
        runs_models = {"tiny", "model_of"} & set(getattr(item, "fixturenames", ()))
        within_models = item.path.parent == TESTS / "models" and item.path.name != "test_bundled.py"
        if within_models or (runs_models and below & {item.path, *item.path.parents}):
            item.add_marker("tl")


def pytest_collection_finish() -> None:
    """The garbage collector need not look again and again at what stays."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def model_of() -> Callable[..., ModelAccess]:
    """Tiny models by family, each loaded once: for tests that leave them as they were."""

    @cache
    def find(family: str, dtype: str = "auto") -> ModelAccess:
        return load(f"tiny-{family}", dtype=dtype, quiet=True)

    return find


@pytest.fixture(scope="session")
def tiny(model_of: Callable[..., ModelAccess]) -> ModelAccess:
    """A random Llama of 6 layers with a tokenizer for the bundled questions."""
    return model_of("llama")


@cache
def _tiny(*given: Any) -> ModelAccess:
    return FROM_HF(*given, {}, consume=False)


@pytest.fixture
def loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for a tiny model by its name gets the one that was loaded before: for tests that change none."""

    def find(source: Any, *given: Any, consume: bool) -> ModelAccess:
        *settings, tokenizer, placing = given
        if str(source).startswith("tiny-") and tokenizer is None and not placing:
            return _tiny(source, *settings, tokenizer)
        return FROM_HF(source, *given, consume=consume)

    monkeypatch.setattr(loading, "_from_hf", find)


@pytest.fixture
def blank_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures of a run are composed, but nothing is on them when they are saved, which takes longest."""
    monkeypatch.setattr(figures, "save_figure", lambda _, path: save_figure(Figure(figsize=(0.1, 0.1)), path))


@pytest.fixture(scope="session")
def smollm2() -> ModelAccess:
    """The bundled real model."""
    return load(quiet=True)
