"""CKA: how much a unit rearranges the questions in the residual stream."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from decision_phases.engine import Batch, Collector, Inputs, Observer, Reads, evaluate
from decision_phases.engine.observers import ReadRows
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.pruning.criteria.change import ChangeObserver
from decision_phases.pruning.criteria.contract import ON_STREAM, Criterion, Needs, Request
from decision_phases.pruning.criteria.data import Positions
from decision_phases.pruning.criteria.scores import Scores
from decision_phases.readout.similarity import debiased_cka
from decision_phases.store import Packed


@dataclass(frozen=True)
class CKACriterion(Criterion):
    """1 − CKA between the streams before and behind a unit, each question's stream its mean over positions.

    At the answer position alone every question enters block 0 alike where prompts end in the same token, and CKA is
    undefined. The estimate is the debiased one: the plain one is close to 1 for any two states when questions are few.
    It is no mean over questions, so the interval is a jackknife over folds: a bootstrap would count a question drawn
    twice as two that are alike.

    Attributes:
        positions: "all" for the mean over positions, or "last" for the answer position or the last token of a window.
    """

    needs: Needs = ON_STREAM
    vanishes: bool = True
    positions: Positions = "all"

    def score(self, request: Request) -> Scores:
        """See `Criterion.score`."""
        sequences = request.measured.reading(self.positions)
        look = _Around(request)
        (run,) = evaluate(
            request.model, sequences, [request.under], [look], store=request.store, progress=request.progress
        )
        states: Float[np.ndarray, "side unit sequence d_model"] = run[look.name]
        score = np.array([_distance(request, i, x, y) for i, (x, y) in enumerate(zip(*states, strict=True))])
        groups = request.measured.groups
        rest = [~np.isin(groups, list(fold)) for fold in request.folds()]
        left_out = [[_rest(x[kept], y[kept]) for x, y in zip(*states, strict=True)] for kept in rest]
        return Scores(score, left_out=np.array(left_out) if left_out else None)


def _distance(
    request: Request, place: int, x: Float[np.ndarray, "sequence d"], y: Float[np.ndarray, "sequence d"]
) -> float:
    try:
        return 1 - debiased_cka(x, y)
    except InputError as error:
        msg = f"cka of {request.units[place]} on {request.measured.name}: {error}"
        raise InputError(msg) from error


def _rest(x: Float[np.ndarray, "sequence d"], y: Float[np.ndarray, "sequence d"]) -> float:
    try:
        return 1 - debiased_cka(x, y)
    except InputError:  # too few are left, or all alike: then there is no interval
        return np.nan


class _Around(Observer[np.ndarray]):
    """Keeps the mean over positions of the stream before and behind every unit."""

    name = "around"

    def __init__(self, request: Request) -> None:
        self.look = ChangeObserver(request.units, sequential=request.model.capabilities.resid_mid)

    @property
    def reads(self) -> Reads:
        return self.look.reads

    @property
    def key(self) -> str:
        return f"around {self.look.key}"

    def start(self, model: ModelAccess, inputs: Inputs, variant: Intervention) -> Collector[np.ndarray]:
        return _Keeping(self.look, len(inputs.sequences), model.d_model)

    def pack(self, result: np.ndarray) -> Packed:
        return Packed(arrays={"states": result})

    def unpack(self, packed: Packed, model: ModelAccess, inputs: Inputs, variant: Intervention) -> np.ndarray:
        return packed.arrays["states"]


class _Keeping(Collector[np.ndarray]):
    def __init__(self, look: ChangeObserver, n_sequences: int, width: int) -> None:
        self.look = look
        self.states = np.full((2, len(look.units), n_sequences, width), np.nan)

    def take(self, batch: Batch, rows: ReadRows) -> None:
        sizes = np.array([len(s.read) for s in batch.sequences])
        starts = np.cumsum(sizes) - sizes
        for place, unit in enumerate(self.look.units):
            for side, stream in enumerate(self.look.around(unit, rows)):
                sums = np.add.reduceat(stream.double().cpu().numpy(), starts, axis=0)
                self.states[side, place, list(batch.indices)] = sums / sizes[:, None]

    def finish(self) -> np.ndarray:
        return self.states


CKA = CKACriterion(
    "cka",
    "1 − debiased linear CKA of the streams before and behind, each question's the mean over positions",
    "Kornblith et al. 2019; Nguyen, Raghu and Kornblith 2021",
)
