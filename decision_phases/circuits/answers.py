"""The logits of named tokens at the end of a model, question by question: what a patch does to an answer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from decision_phases.engine import Batch, Collector, Inputs, Observer, Reads, evaluate
from decision_phases.engine.observers import ReadRows
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.store import Packed
from decision_phases.tasks import EncodedQuestions

Logits = Float[np.ndarray, "question token"]


@dataclass(frozen=True)
class AnswerObserver(Observer[np.ndarray]):
    """Reads tokens that are named for each question, whether or not they are options of it.

    Attributes:
        tokens: For every question, the tokens.
        name: Under which the result is found.
    """

    tokens: tuple[tuple[int, ...], ...]
    name: str = "answers"

    @property
    def reads(self) -> Reads:
        """The residual that the model ends with."""
        return Reads(layers="final")

    @property
    def key(self) -> str:
        """The tokens."""
        return f"answers {hashlib.sha256(repr(self.tokens).encode()).hexdigest()[:16]}"

    def start(self, model: ModelAccess, inputs: Inputs, variant: Intervention) -> Collector[np.ndarray]:
        """Begin with one variant."""
        if len(self.tokens) != len(inputs) or any(len(s.read) != 1 for s in inputs.sequences):
            msg = (
                f"tokens of {len(self.tokens)} questions are read at one position each, but there are {len(inputs)} "
                "questions, or several positions are read"
            )
            raise InputError(msg)
        return _Answering(self, model, variant)

    def pack(self, result: Logits) -> Packed:
        """The logits."""
        return Packed(arrays={"logits": result})

    def unpack(self, packed: Packed, model: ModelAccess, inputs: Inputs, variant: Intervention) -> Logits:
        """Put a result together again."""
        return packed.arrays["logits"]


class _Answering(Collector[np.ndarray]):
    def __init__(self, observer: AnswerObserver, model: ModelAccess, variant: Intervention) -> None:
        self.tokens, self.model, self.variant = observer.tokens, model, variant
        self.last = ("resid_post", model.n_layers - 1)
        self.logits = np.full((len(self.tokens), max(map(len, self.tokens))), np.nan)

    def take(self, batch: Batch, rows: ReadRows) -> None:
        owners = [s.owner for s in batch.sequences]
        wanted = sorted({token for owner in owners for token in self.tokens[owner]})
        column = {token: i for i, token in enumerate(wanted)}
        ids = torch.tensor(wanted, device=self.model.device)
        found = self.model.readout(rows[self.last], ids).double().cpu().numpy()
        if not np.isfinite(found).all():
            msg = f"logits are not finite ({self.variant}); try dtype='float32', or a smaller intervention"
            raise InputError(msg)
        for row, owner in enumerate(owners):
            mine = [column[token] for token in self.tokens[owner]]
            self.logits[owner, : len(mine)] = found[row, mine]

    def finish(self) -> Logits:
        return self.logits


def read_answers(
    model: ModelAccess, encoded: EncodedQuestions, tokens: tuple[tuple[int, ...], ...]
) -> Logits:
    """Read named tokens at the end of the intact model.

    Args:
        model: The model.
        encoded: The questions.
        tokens: For every question, the tokens.

    Returns:
        Their logits, NaN where a question has fewer.
    """
    (run,) = evaluate(model, encoded, [Intervention()], [AnswerObserver(tokens)])
    logits: Logits = run["answers"]
    return logits
