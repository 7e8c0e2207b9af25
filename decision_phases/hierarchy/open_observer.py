"""The margin of one token over its best rival in the whole vocabulary, at every layer, while the model runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from decision_phases.engine import Batch, Collector, Inputs, Observer, Reads
from decision_phases.engine.observers import ReadRows
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.readout.loss import targets_of
from decision_phases.store import Packed

_PART = 8192  # tokens of the vocabulary unembedded at once


@dataclass(frozen=True, eq=False)
class OpenScores:
    """Logits of a token and of its best rival, read off every layer; the row after the last is the embedding's.

    Attributes:
        own: Logit of the token; NaN where the layer is removed.
        rival: Largest logit of all other tokens.
        log_normaliser: Log of the sum of exponentiated logits over the vocabulary.
    """

    own: Float[np.ndarray, "sequence step row"]
    rival: Float[np.ndarray, "sequence step row"]
    log_normaliser: Float[np.ndarray, "sequence step row"]


@dataclass(frozen=True)
class OpenObserver(Observer[OpenScores]):
    """Logit lens on the target of every position read, against the whole vocabulary.

    Attributes:
        name: Under which the result is found.
    """

    name: str = "open"

    @property
    def reads(self) -> Reads:
        """The residual leaving every block, wherever something is predicted."""
        return Reads()

    @property
    def key(self) -> str:
        """The settings."""
        return "open"

    def start(self, model: ModelAccess, inputs: Inputs, variant: Intervention) -> Collector[OpenScores]:
        """Begin with one variant."""
        if len({len(s.targets) for s in inputs.sequences}) != 1 or not inputs.sequences[0].targets:
            msg = "an open decision is read where a token is predicted; give sequences with as many targets each"
            raise InputError(msg)
        return _Reading(model, inputs)

    def pack(self, result: OpenScores) -> Packed:
        """All logits."""
        return Packed(
            arrays={"own": result.own, "rival": result.rival, "log_normaliser": result.log_normaliser}
        )

    def unpack(self, packed: Packed, model: ModelAccess, inputs: Inputs, variant: Intervention) -> OpenScores:
        """Put a result together again."""
        return OpenScores(*(packed.arrays[name] for name in ("own", "rival", "log_normaliser")))


class _Reading(Collector[OpenScores]):
    def __init__(self, model: ModelAccess, inputs: Inputs) -> None:
        self.model = model
        shape = (3, len(inputs.sequences), len(inputs.sequences[0].targets), model.n_layers + 1)
        self.values = np.full(shape, np.nan)

    def take(self, batch: Batch, rows: ReadRows) -> None:
        targets = targets_of(batch)
        for (_, layer), resid in rows.items():
            found = torch.stack(own_and_rival(self.model, resid, targets)).cpu().numpy()
            # The embedding is layer −1, which is where its row stands.
            self.values[..., layer][:, list(batch.indices)] = found.reshape(3, len(batch.indices), -1)

    def finish(self) -> OpenScores:
        return OpenScores(*self.values)


def own_and_rival(
    model: ModelAccess, resid: Float[Tensor, "cell d_model"], targets: Int[Tensor, " cell"]
) -> tuple[Float[Tensor, " cell"], Float[Tensor, " cell"], Float[Tensor, " cell"]]:
    """Logit of a token, the largest of all others, and the normaliser, a part of the vocabulary at a time.

    Args:
        model: The model.
        resid: Residuals of any layer.
        targets: A token for each.

    Returns:
        The three, in float64.
    """
    normed, targets = model.final_norm(resid), targets.to(resid.device)
    own = torch.full(targets.shape, -torch.inf, dtype=torch.float64, device=resid.device)
    rival, total = own.clone(), own.clone()
    for start in range(0, model.d_vocab, _PART):
        logits = model.unembed(normed, slice(start, start + _PART)).double()
        total = torch.logaddexp(total, logits.logsumexp(-1))
        cells = ((targets >= start) & (targets < start + logits.shape[-1])).nonzero()[:, 0]
        columns = targets[cells] - start
        own[cells] = logits[cells, columns]
        logits[cells, columns] = -torch.inf
        rival = torch.maximum(rival, logits.amax(-1))
    return own, rival, total
