"""Every family under every kind of TransformerLens model that is installed, loaded once in a session."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

import pytest
import torch
from torch import Tensor

from decision_phases.models import FAMILIES, ModelAccess, load, tiny_hf

# TransformerLens 4 has no HookedTransformer; the one of 3.9 can hold these without asking the hub.
HOOKED = ("llama", "gpt2", "gpt_neox", "qwen2", "mistral", "mixtral")
HAS_HOOKED = version("transformer-lens").startswith("3.")
CASES = [("bridge", family) for family in FAMILIES] + [("hooked", family) for family in HOOKED if HAS_HOOKED]


@dataclass(frozen=True)
class Case:
    """A tiny model as loaded, and what the plain one says about `tokens`."""

    backend: str
    family: str
    model: ModelAccess
    tokens: Tensor
    logits: Tensor
    hidden: tuple[Tensor, ...]


@cache
def _plain(family: str) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Tokens, and the logits and hidden states of the plain model."""
    generator = torch.Generator().manual_seed(7)
    tokens = torch.randint(3, 800, (2, 12), generator=generator)  # longer than the sliding windows of 8
    plain: Any = tiny_hf(family)
    with torch.no_grad():
        out = plain(input_ids=tokens, output_hidden_states=True, use_cache=False)
        embedded = plain.get_input_embeddings()(tokens)
    # Recurrent families leave out what enters block 0.
    hidden = tuple(out.hidden_states) if family not in ("mamba", "rwkv") else (embedded, *out.hidden_states)
    return tokens, out.logits, hidden


@cache
def _hooked(family: str) -> ModelAccess:
    return load(f"tiny-{family}", backend="hooked", quiet=True)


@pytest.fixture(scope="session", params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def case(request: pytest.FixtureRequest, model_of: Callable[..., ModelAccess]) -> Case:
    """One family under one kind of model."""
    backend, family = request.param
    return Case(
        backend, family, model_of(family) if backend == "bridge" else _hooked(family), *_plain(family)
    )


@pytest.fixture(params=["bridge", "hooked"] if HAS_HOOKED else ["bridge"])
def backend(request: pytest.FixtureRequest) -> str:
    """Every kind of TransformerLens model that is installed."""
    return str(request.param)


@pytest.fixture
def traces() -> Callable[[ModelAccess], tuple[int, ...]]:
    """Count everything that hooks and overrides leave on a model."""

    def count(model: ModelAccess) -> tuple[int, ...]:
        modules = list(model.tl.modules())
        return (
            sum(len(m._forward_hooks) for m in modules),
            sum(len(m._forward_pre_hooks) for m in modules),
            sum(len(getattr(m, "fwd_hooks", ())) for m in modules),
            sum("forward" in m.__dict__ for m in modules),
        )

    return count
