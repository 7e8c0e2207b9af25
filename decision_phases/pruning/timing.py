"""How long a forward pass takes and how much memory it needs once something is removed, measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import ReferenceType, ref

import numpy as np
import torch
from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode

from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.models.parts import part_parameters

_MIB = 2**20


@dataclass(frozen=True)
class Timing:
    """How forward passes are timed.

    Attributes:
        batch: Sequences in a pass.
        tokens: Tokens in a sequence.
        repeats: Passes of every cut, of which the median is taken.

    Raises:
        InputError: If one of them is below 1.
    """

    batch: int = 1
    tokens: int = 128
    repeats: int = 5

    def __post_init__(self) -> None:
        if min(self.batch, self.tokens, self.repeats) < 1:
            msg = f"{self} given; at least one sequence, one token and one pass are needed"
            raise InputError(msg)

    def __str__(self) -> str:
        """The shape and the number of passes."""
        return f"{self.batch} × {self.tokens} tokens, median of {self.repeats} passes"


def find_timing(given: str | Timing | None) -> Timing | None:
    """Return the timing that is meant.

    Args:
        given: A timing; or its shape as "1x128", sequences and tokens; or None for none.

    Returns:
        The timing.

    Raises:
        InputError: If it is none of these.

    Example:
        >>> find_timing("2x64")
        Timing(batch=2, tokens=64, repeats=5)
    """
    if given is None or isinstance(given, Timing):
        return given
    sizes = given.split("x")
    if len(sizes) != 2 or not all(size.strip().isdecimal() for size in sizes):
        msg = f"timing={given!r} is no shape; give sequences and tokens such as '1x128', or a Timing"
        raise InputError(msg)
    return Timing(int(sizes[0]), int(sizes[1]))


@dataclass(frozen=True)
class Cost:
    """What one forward pass costs.

    Attributes:
        latency_ms: Median time of the passes, in milliseconds.
        peak_mib: Weights that are left, and the most that a pass holds besides them at a time, in MiB.
    """

    latency_ms: float
    peak_mib: float


def measure_costs(
    model: ModelAccess, cuts: Sequence[Intervention], timing: Timing, *, seed: int = 0
) -> list[Cost | None]:
    """Time forward passes of a model without what each cut removes, which is really not computed.

    A pass runs from the residual that enters the first block to the logits at the last position; embedding and masks,
    which no cut changes, are made beforehand. The cuts take turns, one pass each, so that a machine that slows down
    slows all of them down. Times are those of this machine at this moment and are no part of what is reproducible.

    Args:
        model: The model.
        cuts: The cuts; the empty intervention is the intact model.
        timing: The shape and the number of passes.
        seed: Of the tokens.

    Returns:
        One cost a cut; None where a family cannot leave out an attention or an MLP without computing it.

    Raises:
        InputError: If the sequences are longer than the model's context.
    """
    check_timing(model, timing)
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(model.d_vocab, (timing.batch, timing.tokens), generator=generator).to(model.device)
    weights = _bytes(model.unique_parameters())
    with torch.no_grad():
        entry = model.enter(tokens)

        def passing(cut: Intervention) -> Callable[[], Tensor]:
            def run() -> Tensor:
                resid = entry.resid
                for layer in range(model.n_layers):
                    parts = [edit.site for edit in cut.at(layer)]
                    if "block" in parts:
                        continue
                    with model.leaving_out(layer, parts):
                        resid = model.run_block(layer, resid, entry, plain=model.runs_plain)
                return model.readout(resid[:, -1])

            return run

        runs = [passing(cut) if _can_leave_out(model, cut) else None for cut in cuts]
        peaks = [
            None if run is None else _peak_bytes(model.device, run) for run in runs
        ]  # and a first pass each
        times = np.full((timing.repeats, len(cuts)), np.nan)
        for turn in times:
            for place, run in enumerate(runs):
                if run is not None:
                    turn[place] = _seconds(model.device, run)
    return [
        None
        if peak is None
        else Cost(1000 * float(middle), (weights - _removed_bytes(model, cut) + peak) / _MIB)
        for peak, middle, cut in zip(peaks, np.median(times, axis=0), cuts, strict=True)
    ]


def check_timing(model: ModelAccess, timing: Timing) -> None:
    """Refuse a shape that the model cannot run.

    Args:
        model: The model.
        timing: The shape.

    Raises:
        InputError: If the sequences are longer than the model's context.
    """
    if model.context_length is not None and timing.tokens > model.context_length:
        msg = f"passes of {timing.tokens} tokens cannot be timed: {model.name} takes {model.context_length}"
        raise InputError(msg)


def _can_leave_out(model: ModelAccess, cut: Intervention) -> bool:
    parts = {edit.site for edit in cut.edits} - {"block"}
    return not parts or (model.runs_plain and parts <= model.skips)


def _removed_bytes(model: ModelAccess, cut: Intervention) -> int:
    return sum(_bytes(part_parameters(model, edit.layer, edit.site).values()) for edit in cut.edits)


def _bytes(parameters: Iterable[Tensor]) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in parameters)


def _seconds(device: torch.device, run: Callable[[], Tensor]) -> float:
    _wait(device)
    began = time.perf_counter()
    run()
    _wait(device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak_bytes(device: torch.device, run: Callable[[], Tensor]) -> int:
    """The most that a pass holds at a time, besides what there was before it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return int(torch.cuda.max_memory_allocated(device) - before)
    held = _Held()
    with held:
        run()
    return held.peak


class _Held(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up what operations allocate, for as long as something refers to it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive: list[tuple[ReferenceType[UntypedStorage], int]] = []
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = {_place(x) for x in (*args, *(kwargs or {}).values()) if isinstance(x, Tensor)}
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, Tensor) and _place(tensor) not in given:  # views allocate nothing
                storage = tensor.untyped_storage()
                self.alive.append((ref(storage), storage.nbytes()))
                given.add(_place(tensor))
        self.alive = [kept for kept in self.alive if kept[0]() is not None]
        self.peak = max(self.peak, sum(size for _, size in self.alive))
        return out


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
