"""Retrieval: the passage that answers a query, found by the similarity of pooled hidden states."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from decision_phases.engine import evaluate
from decision_phases.engine.inputs import as_inputs, check_inputs
from decision_phases.engine.lower import check_variant
from decision_phases.errors import InputError, unknown_name
from decision_phases.hierarchy.families.contract import Measured, Task, TaskFamily
from decision_phases.hierarchy.families.ranks import places, recall_at, reciprocal_rank
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.readout.divergence import EndingObserver, Endings
from decision_phases.tasks import RetrievalSet, TokenSequence, read_passages
from decision_phases.tasks.tokenise import tokenise

#: How the states of a text become one vector.
POOLING = {
    "mean": "mean over all tokens but BOS of the residuals behind the final norm, minus the mean of all passages",
    "last": "the residual behind the final norm at the last token, minus the mean of all passages",
}


@dataclass(frozen=True)
class Retrieval(TaskFamily):
    """Each query against all passages, by the cosine of pooled final hidden states.

    Every text runs by itself. States of a language model share a large common part, so the mean of all passages is
    subtracted from every vector before the cosine.

    Attributes:
        name: Under which results are found.
        passages: "passages" (bundled), a file, rows, or a retrieval set.
        pooling: A name in `POOLING`.
    """

    name: str = "retrieval"
    passages: str | Path | RetrievalSet = "passages"
    pooling: str = "mean"
    what: str = "mean reciprocal rank of the right passage"
    floor: str = "exact: passages in random order, (1 + 1/2 + … + 1/N) / N"

    def prepare(self, model: ModelAccess, *, limit: int | None, seed: int) -> Task:
        """Tokenise queries and passages."""
        if self.pooling not in POOLING:
            raise unknown_name("pooling", self.pooling, POOLING)
        found = read_passages(self.passages)
        return _Retrieving(model, found if limit is None else found.limit(limit, seed), self.pooling)


class _Retrieving(Task):
    def __init__(self, model: ModelAccess, texts: RetrievalSet, pooling: str) -> None:
        super().__init__(model)
        if model.tokenizer is None:
            msg = f"{model.name} has no tokenizer, so queries and passages cannot be put to it; give a tokenizer"
            raise InputError(msg)
        self.texts, self.pooling = texts, pooling
        written = [*(query.text for query in texts.queries), *texts.passages]
        table = tokenise(written, model.tokenizer)
        self.rows = [
            TokenSequence(table[text].ids, tuple(range(len(table[text].ids))), (), owner)
            for owner, text in enumerate(written)
        ]
        check_inputs(model, as_inputs(self.rows))
        self.bos = model.tokenizer.bos_token_id
        self.key = f"retrieval {pooling} {as_inputs(self.rows).key} {texts.answers.tolist()}"

    def check(self, under: Intervention) -> None:
        check_variant(self.model, under, self.rows, len(self.rows))

    def measure(self, under: Intervention) -> Measured:
        (run,) = evaluate(self.model, self.rows, [under], [EndingObserver()])
        vectors = self._pooled(run["endings"])
        queries, passages = vectors[: len(self.texts)], vectors[len(self.texts) :]
        above, tied = places(cosines(queries, passages), self.texts.answers)
        n = len(passages)
        floor = np.full(len(queries), (1.0 / np.arange(1, n + 1)).sum() / n)
        extra = {f"recall@{k}": recall_at(k, above, tied) for k in (1, 5)}
        return Measured(reciprocal_rank(above, tied), floor, extra)

    def _pooled(self, endings: Endings) -> Float[np.ndarray, "text d_model"]:
        pooled = []
        for row, sequence in zip(endings.rows, self.rows, strict=True):
            states = torch.from_numpy(row).to(device=self.model.device, dtype=self.model.dtype)
            with torch.no_grad():
                normed = self.model.final_norm(states).double().cpu().numpy()
            first = 1 if len(sequence) > 1 and sequence.tokens[0] == self.bos else 0
            pooled.append(normed[-1] if self.pooling == "last" else normed[first:].mean(axis=0))
        return np.stack(pooled)


def cosines(
    queries: Float[np.ndarray, "query d"], passages: Float[np.ndarray, "passage d"]
) -> Float[np.ndarray, "query passage"]:
    """Cosine of every query with every passage, all relative to the mean of the passages.

    A vector without length is as similar to everything.

    Args:
        queries: One vector a query.
        passages: One vector a passage.

    Returns:
        Cosines.

    Example:
        >>> cosines(np.array([[3.0, 1.0]]), np.array([[2.0, 0.0], [0.0, 2.0]])).round(3).tolist()
        [[0.707, -0.707]]
    """
    centre = passages.mean(axis=0)
    units = []
    for rows in (queries - centre, passages - centre):
        size = np.linalg.norm(rows, axis=1, keepdims=True)
        units.append(np.divide(rows, size, out=np.zeros_like(rows), where=size > 0))
    return np.asarray(units[0] @ units[1].T)
