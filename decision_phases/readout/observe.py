"""Reading options off residuals while the model runs: chosen columns of the unembedding, nothing more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from decision_phases.engine import Batch, Collector, Inputs, Observer, Reads
from decision_phases.engine.observers import ReadRows
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.readout.decisions import Decisions, Final, final_of
from decision_phases.readout.lens import Lens
from decision_phases.store import Packed
from decision_phases.tasks import EncodedQuestions, cloze_scores

Space = Literal["options", "vocabulary"]


@dataclass(frozen=True)
class DecisionObserver(Observer[Decisions]):
    """A lens on the options at every layer.

    Attributes:
        space: Probabilities among the options, or in the whole vocabulary (which needs its normaliser).
        name: Under which the result is found.
        lens: A lens that was fitted; None for the logit lens.
    """

    space: Space = "options"
    name: str = "decisions"
    lens: Lens | None = None

    @property
    def reads(self) -> Reads:
        """The residual leaving every block, at the positions that the sequences name."""
        return Reads()

    @property
    def key(self) -> str:
        """The settings."""
        return f"decisions {self.space}" + (f" {self.lens.name}" if self.lens is not None else "")

    def start(self, model: ModelAccess, inputs: Inputs, variant: Intervention) -> Collector[Decisions]:
        """Begin with one variant."""
        encoded = as_questions(inputs)
        if self.space == "vocabulary" and not encoded.option_ids:
            msg = (
                f"{encoded.scoring} scores are log-probabilities of whole texts, which have no vocabulary to be "
                "compared with; use space='options', or letter or first_token scoring"
            )
            raise InputError(msg)
        if self.lens is not None:
            self.lens.check(model)
        return _Reading(model, encoded, variant, self)

    def pack(self, result: Decisions) -> Packed:
        """Scores and normalisers; everything else follows from them."""
        arrays = {"scores": result.scores, "embed": result.embed}
        if result.log_normaliser is not None and result.embed_log_normaliser is not None:
            arrays |= {
                "log_normaliser": result.log_normaliser,
                "embed_log_normaliser": result.embed_log_normaliser,
            }
        return Packed(_told(result.final), arrays)

    def unpack(self, packed: Packed, model: ModelAccess, inputs: Inputs, variant: Intervention) -> Decisions:
        """Put a result together again."""
        arrays = packed.arrays
        return Decisions(
            scores=arrays["scores"],
            embed=arrays["embed"],
            encoded=as_questions(inputs),
            under=variant,
            model=model.name,
            lens=lens_name(self.lens),
            log_normaliser=arrays.get("log_normaliser"),
            embed_log_normaliser=arrays.get("embed_log_normaliser"),
        )


@dataclass(frozen=True)
class FinalObserver(Observer[Final]):
    """The final decision only: what searches need, without reading the layers on the way.

    Attributes:
        name: Under which the result is found.
    """

    name: str = "final"

    @property
    def reads(self) -> Reads:
        """The residual that the model ends with."""
        return Reads(layers="final")

    @property
    def key(self) -> str:
        """The settings."""
        return "final"

    def start(self, model: ModelAccess, inputs: Inputs, variant: Intervention) -> Collector[Final]:
        """Begin with one variant."""
        return _Ending(model, as_questions(inputs), variant)

    def pack(self, result: Final) -> Packed:
        """Scores; everything else follows from them."""
        return Packed(_told(result), {"scores": result.scores})

    def unpack(self, packed: Packed, model: ModelAccess, inputs: Inputs, variant: Intervention) -> Final:
        """Put a result together again."""
        return final_of(packed.arrays["scores"], as_questions(inputs).gold)


def lens_name(lens: Lens | None) -> str:
    """What results call a lens.

    Args:
        lens: A lens that was fitted; None for the logit lens.

    Returns:
        Its name.
    """
    return "logit" if lens is None else lens.name


def _told(final: Final) -> dict[str, float]:
    return {"accuracy": final.accuracy, "margin": float(final.margin.mean())}


def as_questions(inputs: Inputs) -> EncodedQuestions:
    """Check that inputs are questions.

    Args:
        inputs: Anything that the engine runs.

    Returns:
        The same, known to be questions.

    Raises:
        InputError: If they are not.
    """
    if not isinstance(inputs, EncodedQuestions):
        msg = f"decisions are read on questions; got {type(inputs).__name__} (encode them with dp.ask)"
        raise InputError(msg)
    return inputs


class _Scores:
    """Option scores `[question, row, option]`, filled batch by batch; rows are layers."""

    def __init__(
        self, model: ModelAccess, encoded: EncodedQuestions, n_rows: int, *, normalise: bool, where: str
    ) -> None:
        self.model, self.encoded, self.where, self.normalise = model, encoded, where, normalise
        self.first_layer = 0 if n_rows > 1 else model.n_layers - 1
        self.cloze = not encoded.option_ids
        width = int(encoded.n_options.max())
        self.values = np.full((len(encoded), n_rows, width), np.nan)
        self.sums = np.full((len(encoded.sequences), n_rows), np.nan)
        self.normaliser = np.full((len(encoded), n_rows), np.nan)

    def take(self, batch: Batch, rows: dict[int, Tensor]) -> None:
        """Read one batch; `rows` is row → residuals `[cell, d]`."""
        places = sorted(rows)
        stacked = torch.stack([rows[place].to(self.model.device) for place in places])  # [row, cell, d]
        if self.cloze:
            self._take_cloze(batch, places, stacked)
        else:
            self._take_options(batch, places, stacked)

    def _take_options(self, batch: Batch, places: list[int], resid: Tensor) -> None:
        owners = [s.owner for s in batch.sequences]
        wanted = sorted({i for owner in owners for i in self.encoded.option_ids[owner]})
        column = {token: i for i, token in enumerate(wanted)}
        ids = torch.tensor(wanted, device=resid.device)
        logits = self.model.readout(resid, ids).double().cpu().numpy()  # [row, cell, column]
        self._check(logits, places, owners)
        for cell, owner in enumerate(owners):
            mine = [column[token] for token in self.encoded.option_ids[owner]]
            self.values[owner, places, : len(mine)] = logits[:, cell][:, mine]
        if self.normalise:
            totals = self._normalisers(resid).cpu().numpy()
            self._check(totals, places, owners)
            self.normaliser[np.ix_(owners, places)] = totals.T

    def _take_cloze(self, batch: Batch, places: list[int], resid: Tensor) -> None:
        targets = torch.tensor([t for s in batch.sequences for t in s.targets], device=resid.device)
        unique, inverse = torch.unique(targets, return_inverse=True)
        logits = self.model.readout(resid, unique)  # [row, cell, token]
        picked = logits.gather(-1, inverse[None, :, None].expand(len(places), -1, 1))[..., 0]
        logprobs = (picked.double() - self._normalisers(resid)).cpu().numpy()
        lengths = [len(s.targets) for s in batch.sequences]
        self._check(logprobs, places, np.repeat([s.owner for s in batch.sequences], lengths).tolist())
        starts = np.cumsum([0, *lengths[:-1]])
        sums = np.add.reduceat(logprobs, starts, axis=1)
        self.sums[np.ix_(batch.indices, places)] = sums.T

    def _normalisers(self, resid: Tensor) -> Tensor:
        """Of every row and cell, one row (a layer) at a time: a whole vocabulary of all layers would be large."""
        return torch.stack([self.model.log_normaliser(cells).double() for cells in resid])

    def _check(self, values: np.ndarray, places: list[int], owners: list[int]) -> None:
        wrong = ~np.isfinite(values)
        if wrong.any():
            place = tuple(np.argwhere(wrong)[0])
            row, cell = place[:2]
            what = "NaN" if np.isnan(values[place]) else "Infinity"
            at = "the embedding" if places[row] < 0 else f"layer {self.first_layer + places[row]}"
            msg = (
                f"{what} in the logits at {at}, question {self.encoded.questions.label(owners[cell])} ({self.where}); "
                "try dtype='float32', or a smaller intervention"
            )
            raise InputError(msg)

    def finish(self) -> np.ndarray:
        """Scores of all questions; rows that nothing was read for are NaN."""
        return cloze_scores(self.sums, self.encoded) if self.cloze else self.values


class _Reading(Collector[Decisions]):
    def __init__(
        self, model: ModelAccess, encoded: EncodedQuestions, variant: Intervention, look: DecisionObserver
    ) -> None:
        self.model, self.encoded, self.variant, self.look = model, encoded, variant, look
        gone = set(variant.removed_blocks)
        self.end = max((layer for layer in range(model.n_layers) if layer not in gone), default=-1)
        # The embedding is the row after the last layer, which is where index −1 points to.
        self.scores = _Scores(
            model, encoded, model.n_layers + 1, normalise=look.space == "vocabulary", where=str(variant)
        )

    def take(self, batch: Batch, rows: ReadRows) -> None:
        self.scores.take(batch, {layer: self._through(layer, resid) for (_, layer), resid in rows.items()})

    def _through(self, layer: int, resid: Tensor) -> Tensor:
        """What the last layer would leave; what the model does end with is that already."""
        lens = self.look.lens
        return resid if lens is None or layer == self.end else lens.translated(layer, resid)

    def finish(self) -> Decisions:
        values, normaliser = self.scores.finish(), None
        if self.look.space == "vocabulary":
            normaliser = self.scores.normaliser
        return Decisions(
            scores=values[:, :-1],
            embed=values[:, -1],
            encoded=self.encoded,
            under=self.variant,
            model=self.model.name,
            lens=lens_name(self.look.lens),
            log_normaliser=None if normaliser is None else normaliser[:, :-1],
            embed_log_normaliser=None if normaliser is None else normaliser[:, -1],
        )


class _Ending(Collector[Final]):
    def __init__(self, model: ModelAccess, encoded: EncodedQuestions, variant: Intervention) -> None:
        self.gold = encoded.gold
        self.last = ("resid_post", model.n_layers - 1)
        self.scores = _Scores(model, encoded, 1, normalise=False, where=str(variant))

    def take(self, batch: Batch, rows: ReadRows) -> None:
        self.scores.take(batch, {0: rows[self.last]})

    def finish(self) -> Final:
        return final_of(self.scores.finish()[:, 0], self.gold)
