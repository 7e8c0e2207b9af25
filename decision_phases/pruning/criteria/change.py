"""What a unit does to the residual stream, reduced to three dot products while the model runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from decision_phases.engine import Batch, Collector, Inputs, Observer, Reads, evaluate
from decision_phases.engine.observers import ReadRows
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.pruning.criteria.contract import Request
from decision_phases.pruning.criteria.data import Positions
from decision_phases.pruning.criteria.units import Unit
from decision_phases.store import Packed

#: Tokens in a batch: every layer's stream at every position is held until the batch is through.
_MAX_TOKENS = 1024


@dataclass(frozen=True, eq=False)
class Change:
    """The stream before a unit, x, and what the unit adds, δ, at some positions: all that lengths and angles need.

    From δ and not from the stream behind it, so that small changes lose no digits and none at all is exactly zero.

    Attributes:
        before: x·x.
        across: x·δ.
        added: δ·δ.
    """

    before: Float[np.ndarray, "*cells"]
    across: Float[np.ndarray, "*cells"]
    added: Float[np.ndarray, "*cells"]

    @classmethod
    def between(cls, x: Float[Tensor, "*cells d_model"], y: Float[Tensor, "*cells d_model"]) -> Change:
        """Reduce the stream before and behind a unit.

        Args:
            x: Before.
            y: Behind.

        Returns:
            The dot products, in float64.

        Example:
            >>> import torch
            >>> change = Change.between(torch.tensor([3.0, 4.0]), torch.tensor([3.0, 5.0]))
            >>> change.before.item(), change.across.item(), change.added.item()
            (25.0, 4.0, 1.0)
        """
        wide = x.double()
        delta = y.double() - wide
        dots = ((wide * wide).sum(-1), (wide * delta).sum(-1), (delta * delta).sum(-1))
        return cls(*(dot.cpu().numpy() for dot in dots))

    @property
    def behind(self) -> Float[np.ndarray, "*cells"]:
        """y·y of the stream behind the unit."""
        return np.asarray(np.maximum(self.before + 2 * self.across + self.added, 0.0))

    def cosine_distance(self) -> Float[np.ndarray, "*cells"]:
        """1 − cos(x, y), from 0 to 2; NaN where a stream is zero.

        (‖δ‖² − (‖y‖ − ‖x‖)²) / (2 ‖x‖ ‖y‖), which is the same without its cancellation.

        Example:
            >>> import torch
            >>> one, other = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])
            >>> Change.between(one, other).cosine_distance().round(12).item()
            0.292893218813
        """
        x, y = np.sqrt(self.before), np.sqrt(self.behind)
        with np.errstate(invalid="ignore", divide="ignore"):
            longer = (2 * self.across + self.added) / (x + y)
            return np.asarray(np.maximum(self.added - longer**2, 0.0) / (2 * x * y))


class ChangeObserver(Observer[Change]):
    """Reduces what units do to the stream; nothing else is kept of it.

    A unit is a block, or several: the stream is read before the first and behind the last. Or it is an attention or
    an MLP: what it adds is read where it is added, so a sandwich norm or a multiplier behind it counts.

    Args:
        units: The units.
        sequential: Whether an MLP sees what attention adds, as `Capabilities.resid_mid` says.
    """

    name = "change"

    def __init__(self, units: tuple[Unit, ...], *, sequential: bool) -> None:
        self.units, self.sequential = units, sequential

    @property
    def reads(self) -> Reads:
        """The streams around the units, at the positions that the sequences name."""
        parts = {unit.part for unit in self.units}
        sites = ["resid_pre", "resid_post"] if "block" in parts else ["resid_pre"]
        if "attention" in parts or ("mlp" in parts and self.sequential):
            sites.append("attn_out")
        if "mlp" in parts:
            sites.append("mlp_out")
        ends = {layer for unit in self.units for layer in (unit.layers[0], unit.layers[-1])}
        return Reads(tuple(sites), tuple(sorted(ends)), "read")

    @property
    def key(self) -> str:
        """The settings."""
        return f"change {[str(unit) for unit in self.units]}"

    def start(self, model: ModelAccess, inputs: Inputs, variant: Intervention) -> Collector[Change]:
        """Begin with one variant."""
        return _Reducing(self, inputs)

    def pack(self, result: Change) -> Packed:
        """The dot products."""
        return Packed(arrays={"before": result.before, "across": result.across, "added": result.added})

    def unpack(self, packed: Packed, model: ModelAccess, inputs: Inputs, variant: Intervention) -> Change:
        """Put a result together again."""
        return Change(*(packed.arrays[name] for name in ("before", "across", "added")))

    def around(self, unit: Unit, rows: ReadRows) -> tuple[Tensor, Tensor]:
        """The stream before and behind a unit.

        Args:
            unit: The unit.
            rows: What was read.

        Returns:
            Two tensors `[cell, d_model]`.
        """
        before = rows["resid_pre", unit.layers[0]]
        if unit.part == "block":
            return before, rows["resid_post", unit.layers[-1]]
        if unit.part == "attention":
            return before, before + rows["attn_out", unit.layer]
        if self.sequential:
            before = before + rows["attn_out", unit.layer]
        return before, before + rows["mlp_out", unit.layer]


class _Reducing(Collector[Change]):
    def __init__(self, observer: ChangeObserver, inputs: Inputs) -> None:
        self.observer = observer
        sizes = [len(s.read) for s in inputs.sequences]
        self.ends = np.cumsum(sizes)
        self.dots = np.full((3, len(observer.units), int(self.ends[-1])), np.nan)

    def take(self, batch: Batch, rows: ReadRows) -> None:
        cells = np.concatenate(
            [
                np.arange(self.ends[i] - len(s.read), self.ends[i])
                for i, s in zip(batch.indices, batch.sequences, strict=True)
            ]
        )
        for place, unit in enumerate(self.observer.units):
            change = Change.between(*self.observer.around(unit, rows))
            for dot, values in zip(self.dots, (change.before, change.across, change.added), strict=True):
                dot[place, cells] = values

    def finish(self) -> Change:
        return Change(*self.dots)


def changes(request: Request, positions: Positions) -> tuple[Change, Int[np.ndarray, " cell"]]:
    """What every unit does to the stream, measured once however many criteria ask.

    Args:
        request: What is asked.
        positions: Where.

    Returns:
        The change `[unit, cell]`, and the question, text or window of each cell.
    """

    def measure() -> tuple[Change, Int[np.ndarray, " cell"]]:
        sequences = request.measured.reading(positions)
        look = ChangeObserver(request.units, sequential=request.model.capabilities.resid_mid)
        (run,) = evaluate(
            request.model, sequences, [request.under], [look],
            store=request.store, max_tokens=_MAX_TOKENS, progress=request.progress,
        )  # fmt: skip
        groups = np.repeat(request.measured.groups, [len(s.read) for s in sequences])
        return run["change"], groups

    return request.once(("change", positions), measure)
