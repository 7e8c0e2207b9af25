"""The same, as it is written without this package: well, but variant by variant."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from floor import block_operations
from torch import Tensor, nn
from workloads import Cut

import decision_phases as dp
from decision_phases.tasks import EncodedQuestions


class Baseline(ABC):
    """One way to read options under cuts.

    Args:
        model: The model, from which the weights are taken.
        batch: Sequences in a batch.
    """

    def __init__(self, model: dp.ModelAccess, batch: int) -> None:
        self.model, self.batch = model, batch

    @abstractmethod
    def final(self, encoded: EncodedQuestions, cut: Cut) -> np.ndarray:
        """Option scores after the last block, with some blocks removed."""

    @abstractmethod
    def dense(self, encoded: EncodedQuestions) -> np.ndarray:
        """Option scores after every block."""

    @abstractmethod
    def work(self, cut: Cut) -> float:
        """What a cut costs, in any unit: measured variants stand for all in this proportion."""

    def scores(self, encoded: EncodedQuestions, cut: Cut, *, dense: bool) -> np.ndarray:
        """Either of the two."""
        with torch.no_grad():
            return self.dense(encoded) if dense else self.final(encoded, cut)

    def _padded(self, encoded: EncodedQuestions) -> Iterator[tuple[list[int], Tensor, Tensor, Tensor]]:
        """Questions, tokens padded on the right, attention mask, and the answer's positions, batch by batch."""
        order = sorted(range(len(encoded)), key=lambda i: len(encoded.sequences[i]))
        for first in range(0, len(order), self.batch):
            rows = order[first : first + self.batch]
            tokens = [encoded.sequences[i].tokens for i in rows]
            ids = torch.zeros(len(rows), max(map(len, tokens)), dtype=torch.long)
            mask = torch.zeros_like(ids)
            for row, own in enumerate(tokens):
                ids[row, : len(own)], mask[row, : len(own)] = torch.tensor(own), 1
            last = mask.sum(1) - 1
            yield rows, ids.to(self.model.device), mask.to(self.model.device), last.to(self.model.device)

    def _gather(
        self, encoded: EncodedQuestions, run: Callable[[Tensor, Tensor, Tensor], Tensor], *shape: int
    ) -> np.ndarray:
        """Run every batch to logits `[question, ..., vocabulary]` at the answer, and pick the options."""
        width = int(encoded.n_options.max())
        found = np.full((len(encoded), *shape, width), np.nan)
        for rows, ids, mask, last in self._padded(encoded):
            logits = run(ids, mask, last)
            for row, i in enumerate(rows):
                options = list(encoded.option_ids[i])
                found[i, ..., : len(options)] = logits[row][..., options].float().cpu().numpy()
        return found


class Transformers(Baseline):
    """A Hugging Face model with blocks taken out of its list, as SLEB and ShortGPT do it; logits of all positions."""

    def __init__(self, model: dp.ModelAccess, batch: int) -> None:
        super().__init__(model, batch)
        self.hf: Any = model.fresh_hf().to(model.device)
        self.hf.set_attn_implementation("sdpa")  # what transformers takes by default
        found = [
            (parent, name, blocks)
            for parent in self.hf.modules()
            for name, blocks in parent.named_children()
            if isinstance(blocks, nn.ModuleList) and len(blocks) == model.n_layers
        ]
        self.parent, self.name, self.blocks = found[0]
        self.every = list(self.blocks)

    def final(self, encoded: EncodedQuestions, cut: Cut) -> np.ndarray:
        """Option scores under a cut."""
        kept = [block for layer, block in enumerate(self.every) if layer not in cut]
        setattr(self.parent, self.name, nn.ModuleList(kept))
        self.hf.config.num_hidden_layers = len(kept)
        try:
            return self._gather(encoded, self._logits)
        finally:
            setattr(self.parent, self.name, self.blocks)
            self.hf.config.num_hidden_layers = len(self.every)

    def _logits(self, ids: Tensor, mask: Tensor, last: Tensor) -> Tensor:
        logits: Tensor = self.hf(input_ids=ids, attention_mask=mask, use_cache=False).logits
        return logits[torch.arange(len(ids), device=ids.device), last]

    def dense(self, encoded: EncodedQuestions) -> np.ndarray:
        """Option scores at every layer."""
        return self._gather(encoded, self._lens, len(self.every))

    def _lens(self, ids: Tensor, mask: Tensor, last: Tensor) -> Tensor:
        out = self.hf(input_ids=ids, attention_mask=mask, use_cache=False, output_hidden_states=True)
        rows = torch.arange(len(ids), device=ids.device)
        # The first hidden state is the embedding, and the last one is normed already: it is what the logits are from.
        middle = torch.stack([hidden[rows, last] for hidden in out.hidden_states[1:-1]], dim=1)
        lens = self.hf.get_output_embeddings()(self.hf.base_model.norm(middle))
        return torch.cat([lens, out.logits[rows, last][:, None]], dim=1)

    def work(self, cut: Cut) -> float:
        """See `Baseline.work`."""
        block = block_operations(self.model)
        return (len(self.every) - len(cut)) * block + 2.0 * self.model.d_model * self.model.d_vocab


class TransformerLens(Baseline):
    """A `TransformerBridge` with hooks that put the residual entering a block behind it."""

    def final(self, encoded: EncodedQuestions, cut: Cut) -> np.ndarray:
        """Option scores under a cut."""
        hooks: list[tuple[str, Callable[..., Tensor | None]]] = []
        for layer in cut:
            hooks += _bypass(layer)

        def logits(ids: Tensor, _mask: Tensor, last: Tensor) -> Tensor:
            out = self.model.tl.run_with_hooks(ids, fwd_hooks=hooks, return_type="logits", use_cache=False)
            found: Tensor = out[torch.arange(len(ids), device=ids.device), last]
            return found

        return self._gather(encoded, logits)

    def dense(self, encoded: EncodedQuestions) -> np.ndarray:
        """Option scores at every layer."""
        tl, names = self.model.tl, [f"blocks.{i}.hook_resid_post" for i in range(self.model.n_layers)]

        def lens(ids: Tensor, _mask: Tensor, last: Tensor) -> Tensor:
            _, cache = tl.run_with_cache(ids, names_filter=names, return_type="logits", use_cache=False)
            rows = torch.arange(len(ids), device=ids.device)
            found: Tensor = tl.unembed(tl.ln_final(torch.stack([cache[n][rows, last] for n in names], dim=1)))
            return found

        return self._gather(encoded, lens, self.model.n_layers)

    def work(self, cut: Cut) -> float:
        """See `Baseline.work`."""
        return 1.0  # a bypassed block is computed all the same


def _bypass(layer: int) -> list[tuple[str, Callable[..., Tensor | None]]]:
    entering: list[Tensor] = []

    def keep(x: Tensor, hook: Any) -> None:  # noqa: ARG001 - passed by name
        entering[:] = [x]

    def put_back(x: Tensor, hook: Any) -> Tensor:  # noqa: ARG001
        return entering[0]

    return [(f"blocks.{layer}.hook_resid_pre", keep), (f"blocks.{layer}.hook_resid_post", put_back)]


BASELINES: dict[str, type[Baseline]] = {"transformers": Transformers, "transformer_lens": TransformerLens}


def sampled(cuts: Sequence[Cut], n: int, repetition: int) -> list[Cut]:
    """Some cuts, evenly among all sorted by size, other ones in each repetition.

    Args:
        cuts: All cuts.
        n: How many, at most.
        repetition: Which repetition.

    Returns:
        The cuts.
    """
    ordered = sorted(cuts, key=lambda cut: (len(cut), cut))
    if len(ordered) <= n:
        return ordered
    places = (np.arange(n) * len(ordered) // n + repetition * len(ordered) // (3 * n)) % len(ordered)
    return [ordered[i] for i in dict.fromkeys(places.tolist())]
