"""From pairs of residuals to numbers, a few cells of the whole vocabulary at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from decision_phases.hierarchy.distances import centred, probability_distances, vector_distances
from decision_phases.hierarchy.settings import Column, SpaceSettings
from decision_phases.hierarchy.token_sets import by_size
from decision_phases.models import ModelAccess

#: Logits of a whole vocabulary that are held at once: 64 MB of each model in double precision.
HELD_LOGITS = 8_000_000
#: Logits that go through the formulas at once: about a dozen arrays of them should stay in a processor's cache.
WORKING_LOGITS = 100_000
_SLICE = 8192  # columns of the unembedding that are widened at once


class Meter:
    """Measures how far residuals of one model are from those of another, cell by cell.

    Args:
        model: The model.
        settings: What to measure.
        held: Logits held at once, of as many cells as that gives, at least one.
    """

    def __init__(self, model: ModelAccess, settings: SpaceSettings, *, held: int = HELD_LOGITS) -> None:
        self.model, self.settings = model, settings
        self.columns = settings.columns
        self._place = {column: i for i, column in enumerate(self.columns)}
        self._cells = max(1, held // model.d_vocab)

    def measure(
        self,
        dense: Float[Tensor, "cell d_model"],
        pruned: Float[Tensor, "cell d_model"],
        options: Int[np.ndarray, "cell option"] | None = None,
        random: Int[np.ndarray, "cell set option"] | None = None,
    ) -> Float[np.ndarray, "cell column"]:
        """Measure every column in every cell.

        Args:
            dense: Residuals of the dense model.
            pruned: Residuals of the pruned model at the same cells.
            options: Tokens of the options of each cell, −1 where there are fewer.
            random: Random sets of as many tokens.

        Returns:
            One row a cell, columns in the order of `columns`; not finite where logits are not.
        """
        out = np.full((len(dense), len(self.columns)), np.nan)
        for part, first, second in self._blocks(dense, pruned):
            own = out[part]
            self._vectors(own, "h", dense[part], pruned[part])
            self._vectors(own, "h_normed", *(self.model.final_norm(x[part]) for x in (dense, pruned)))
            self._logits(own, "all", first, second)
            total = (first / self.settings.temperature).logsumexp(-1)
            for k in self.settings.top:
                best = first.topk(k, dim=-1).indices
                self._subspace(own, f"top_{k}", first, second, best[:, None], total)
            if options is not None and random is not None:
                for rows, size in by_size(options[part]):
                    at = torch.from_numpy(rows).to(first.device)
                    a, b = first[at], second[at]
                    for name, ids in (("options", options[part][:, None]), ("random", random[part])):
                        chosen = torch.from_numpy(ids[rows][..., :size]).to(first.device)
                        found = np.empty((len(rows), len(self.columns)))
                        self._subspace(found, name, a, b, chosen, total[at])
                        mine = np.array([i for column, i in self._place.items() if column.tokens == name])
                        own[np.ix_(rows, mine)] = found[:, mine]
        return out

    def logits(self, resid: Float[Tensor, "cell d_model"]) -> Float[Tensor, "cell vocab"]:
        """The logits that residuals lead to, a part of the vocabulary at a time.

        Args:
            resid: Residuals of any layer.

        Returns:
            Logits in float64, for a few cells.
        """
        model = self.model
        source = model.final_norm(resid) if self.settings.norm == "final" else resid
        out = torch.empty(len(resid), model.d_vocab, dtype=torch.float64, device=resid.device)
        for start in range(0, model.d_vocab, _SLICE):
            part = slice(start, start + _SLICE)
            out[:, part] = model.unembed(source, part)
        return out

    def blocks(self, n_cells: int) -> Iterator[slice]:
        """Cells whose logits may be held together.

        Args:
            n_cells: Number of all cells.

        Yields:
            Slices that hold every cell once.
        """
        for start in range(0, n_cells, self._cells):
            yield slice(start, start + self._cells)

    def _blocks(self, dense: Tensor, pruned: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        for part in self.blocks(len(dense)):
            yield part, self.logits(dense[part]), self.logits(pruned[part])

    def _vectors(self, out: Float[np.ndarray, "cell column"], space: str, a: Tensor, b: Tensor) -> None:
        self._put(out, "all", space, vector_distances(a, b))

    def _logits(self, out: Float[np.ndarray, "cell column"], tokens: str, a: Tensor, b: Tensor) -> None:
        """Logits over many tokens, `[cell, token]`: so few cells at once that they stay in cache."""
        step = max(1, WORKING_LOGITS // a.shape[-1])
        for start in range(0, len(a), step):
            part = slice(start, start + step)
            for space, found in self._in_spaces(a[part], b[part]).items():
                self._put(out[part], tokens, space, found)

    def _subspace(
        self,
        out: Float[np.ndarray, "cell column"],
        tokens: str,
        a: Float[Tensor, "cell vocab"],
        b: Float[Tensor, "cell vocab"],
        ids: Int[Tensor, "cell set token"],
        total: Float[Tensor, " cell"],
    ) -> None:
        """Logits of a few tokens, probabilities renormalised among them; the mean over sets of equal size.

        `total` is the log of the dense model's normaliser over the whole vocabulary.
        """
        flat = ids.flatten(1)
        first, second = (x.gather(-1, flat).view(ids.shape) for x in (a, b))
        for space, found in self._in_spaces(first, second).items():
            self._put(out, tokens, space, {name: values.mean(-1) for name, values in found.items()})
        mass = (first / self.settings.temperature - total[:, None, None]).exp().sum(-1)
        self._put(out, tokens, "p", {"dense_mass": mass.mean(-1).cpu().numpy()})

    def _in_spaces(self, a: Tensor, b: Tensor) -> dict[str, dict[str, np.ndarray]]:
        return {
            "z": vector_distances(a, b),
            "z_centred": vector_distances(centred(a), centred(b)),
            "p": probability_distances(a, b, temperature=self.settings.temperature),
        }

    def _put(
        self,
        out: Float[np.ndarray, "cell column"],
        tokens: str,
        space: str,
        found: Mapping[str, Float[np.ndarray, " cell"]],
    ) -> None:
        for name, values in found.items():
            out[:, self._place[Column(tokens, space, name)]] = values
