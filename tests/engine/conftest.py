"""Two ways to the same logits: through the planner, and through one plain run after the other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from decision_phases.engine import Batch, Collector, Inputs, Observer, Reads, applied, evaluate
from decision_phases.engine.observers import ReadRows
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.tasks import TokenSequence

LENGTHS = (11, 4, 7, 11)  # 11 is longer than the tiny models' sliding windows


@dataclass(frozen=True)
class FinalLogits(Observer[Tensor]):
    """Logits over the whole vocabulary at the last position read, one row a question."""

    name: str = "logits"

    @property
    def reads(self) -> Reads:
        return Reads(layers="final")

    @property
    def key(self) -> str:
        return self.name

    def start(self, model: ModelAccess, inputs: Inputs, variant: Intervention) -> Collector[Tensor]:
        return _Rows(model, len(inputs))


class _Rows(Collector[Tensor]):
    def __init__(self, model: ModelAccess, n: int) -> None:
        self.model = model
        self.rows: list[Tensor] = [torch.empty(0)] * n

    def take(self, batch: Batch, rows: ReadRows) -> None:
        logits = self.model.readout(rows["resid_post", self.model.n_layers - 1])
        for sequence, row in zip(batch.sequences, logits, strict=True):
            self.rows[sequence.owner] = row

    def finish(self) -> Tensor:
        return torch.stack(self.rows)


@pytest.fixture(scope="session")
def rows() -> tuple[TokenSequence, ...]:
    """Sequences of unequal length, not sorted by it, one a question."""
    generator = torch.Generator().manual_seed(3)
    made = []
    for owner, n in enumerate(LENGTHS):
        tokens = tuple(torch.randint(1, 800, (n,), generator=generator).tolist())
        spans = {"question": (1, n - 1), "answer": (n - 1, n)}
        made.append(TokenSequence(tokens, (n - 1,), (), owner, spans=spans))
    return tuple(made)


@pytest.fixture(scope="session")
def planned() -> Callable[..., list[Tensor]]:
    """Final logits `[question, vocabulary]` of every variant, through `evaluate`."""

    def run(
        model: ModelAccess, inputs: Sequence[TokenSequence], variants: Sequence[Intervention], **settings: int
    ) -> list[Tensor]:
        found = evaluate(model, inputs, variants, [FinalLogits()], **settings)
        return [result["logits"] for result in found]

    return run


@pytest.fixture(scope="session")
def alone() -> Callable[..., Tensor]:
    """The same of one variant, by running the whole model on every sequence by itself, without padding."""

    def run(model: ModelAccess, inputs: Sequence[TokenSequence], variant: Intervention) -> Tensor:
        found = []
        for sequence in inputs:
            with torch.no_grad(), applied(model, variant, [sequence]):
                found.append(model.logits(torch.tensor([sequence.tokens]))[0, sequence.read[-1]])
        return torch.stack(found)

    return run


@pytest.fixture(scope="session")
def close() -> Callable[[Tensor, Tensor], None]:
    """Equal up to the rounding of float32 kernels, which differs with the shape of a batch."""

    def check(a: Tensor, b: Tensor, tolerance: float = 1e-4) -> None:
        scale = max(1.0, float(b.abs().max()))
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance * scale)

    return check
