"""Measuring one workload: what is computed is the same, then how long it takes, ours and the baselines in turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from baselines import Baseline, sampled
from floor import operations, positions, rate, synchronise
from workloads import Cut, run

import decision_phases as dp
from decision_phases.models.twins import twin
from decision_phases.readout import metrics
from decision_phases.readout.observe import FinalObserver
from decision_phases.tasks import EncodedQuestions


def measured(
    model: dp.ModelAccess,
    encoded: EncodedQuestions,
    workload: str,
    baselines: Mapping[str, Baseline],
    s: SimpleNamespace,
) -> Iterator[dict[str, Any]]:
    """Measure one workload.

    Args:
        model: The model.
        encoded: The questions.
        workload: One of `settings.WORKLOADS`.
        baselines: What it is compared with, by name.
        s: The settings.

    Yields:
        One row a baseline.

    Raises:
        AssertionError: If a baseline computes something else.
    """
    dense = workload == "dense"
    run("dense", model, encoded, s)
    for baseline in baselines.values():
        baseline.scores(encoded, (), dense=dense)
    rows = len(positions(encoded)[0])
    seconds, peaks, rates = list[float](), list[float](), list[float]()
    theirs: dict[str, list[float]] = {name: [] for name in baselines}
    differences, n_timed = dict.fromkeys(baselines, 0.0), dict.fromkeys(baselines, 0)
    rounded = dict.fromkeys(baselines, 0)
    exact = cache(lambda cut: in_float64(model, encoded, cut, dense=dense))
    cuts: list[Cut] = []
    for repetition in range(s.REPETITIONS):
        with Peak(model) as peak:
            took, found = timed(model, lambda: run(workload, model, encoded, s))
        seconds.append(took)
        peaks.append(peak.mib)
        rates.append(rate(model, rows, s.RATE_SECONDS))
        cuts = list(found)
        chosen = sampled(cuts, s.SAMPLED.get(encoded.shots, min(s.SAMPLED.values())), repetition)
        for name, baseline in baselines.items():
            took = 0.0
            for cut in chosen:
                spent, scores = timed(model, lambda b=baseline, c=cut: b.scores(encoded, c, dense=dense))
                took += spent
                what = f"{workload}, {encoded.shots} shots, {name}, without {cut}"
                tolerance = s.TOLERANCE[short(model.dtype)]
                gap = largest_gap(encoded, found[cut], scores)
                if gap > tolerance[0]:
                    tolerance = (s.ROUNDING * largest_gap(encoded, exact(cut), scores), tolerance[1])
                    rounded[name] += 1
                same_choices(encoded, found[cut], scores, tolerance, what)
                differences[name] = max(differences[name], gap)
            theirs[name].append(took * sum(map(baseline.work, cuts)) / sum(map(baseline.work, chosen)))
            n_timed[name] += len(chosen)
    needed = operations(model, encoded, cuts, dense=dense)
    for name in baselines:
        ratios = [b / a for a, b in zip(seconds, theirs[name], strict=True)]
        goal = s.GOALS[workload].get(encoded.shots) if name == "transformers" else None
        yield {
            "workload": workload,
            "shots": encoded.shots,
            "baseline": name,
            "ratio": float(np.median(ratios)),
            "ratios": ratios,
            "goal": goal,
            "peak_mib": max(peaks),
            "max_margin_difference": differences[name],
            "arbitrated_by_float64": rounded[name],
            "seconds": float(np.median(seconds)),
            "baseline_seconds": float(np.median(theirs[name])),
            "operations": needed,
            "rate": max(rates),
            "questions": len(encoded),
            "tokens": sum(len(q.tokens) for q in encoded.sequences),
            "positions": rows,
            "variants": len(cuts),
            "variants_timed": n_timed[name],
        }


def timed(model: dp.ModelAccess, work: Callable[[], Any]) -> tuple[float, Any]:
    """How many seconds something takes, and what it gives."""
    synchronise(model)
    start = time.perf_counter()
    found = work()
    synchronise(model)
    return time.perf_counter() - start, found


def in_float64(model: dp.ModelAccess, encoded: EncodedQuestions, cut: Cut, *, dense: bool) -> np.ndarray:
    """Option scores of one variant without the rounding of the model's number format.

    Args:
        model: The model.
        encoded: The questions.
        cut: Removed blocks.
        dense: Whether every layer is read.

    Returns:
        Scores, `[question, option]` or `[question, layer, option]`.
    """
    wide = twin(model, "float64")
    if dense:
        return dp.read(wide, encoded).scores
    (run,) = dp.evaluate(wide, encoded, [dp.skip(*cut)], [FinalObserver()])
    return run["final"].scores


def largest_gap(encoded: EncodedQuestions, ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference in a Decision Margin.

    Args:
        encoded: The questions.
        ours: Option scores, `[question, option]` or `[question, layer, option]`.
        theirs: The same.

    Returns:
        The difference.
    """
    margins = [metrics.decision_margin(by_layer(x), encoded.gold) for x in (ours, theirs)]
    return float(np.abs(margins[0] - margins[1]).max())


def same_choices(
    encoded: EncodedQuestions,
    ours: np.ndarray,
    theirs: np.ndarray,
    tolerance: tuple[float, float],
    what: object,
) -> None:
    """Assert that two readouts are the same up to rounding.

    Args:
        encoded: The questions.
        ours: Option scores, `[question, option]` or `[question, layer, option]`.
        theirs: The same.
        tolerance: Largest difference in a margin, and in a score.
        what: What is compared, for the message.

    Raises:
        AssertionError: If margins differ by more than the tolerance, or choices where the best two options are further
            apart than it.
    """
    gap = largest_gap(encoded, ours, theirs)
    assert gap <= tolerance[0], f"{what}: margins differ by {gap:.2g}"
    best = np.sort(np.where(np.isnan(ours), -np.inf, ours), axis=-1)
    clear = best[..., -1] - best[..., -2] > tolerance[1]
    other = clear & (metrics.choices(by_layer(ours)) != metrics.choices(by_layer(theirs))).reshape(
        clear.shape
    )
    assert not other.any(), f"{what}: {other.sum()} clear choices differ"


def by_layer(scores: np.ndarray) -> np.ndarray:
    """Option scores `[question, layer, option]`, of one layer if there is none."""
    return scores if scores.ndim == 3 else scores[:, None]


def short(dtype: torch.dtype) -> str:
    """Name of a number format."""
    return str(dtype).removeprefix("torch.")


class Peak:
    """The most memory in use while a `with` block runs, in MiB: of the device, or of this process.

    Args:
        model: The model, whose device counts.
    """

    def __init__(self, model: dp.ModelAccess) -> None:
        self.model, self.mib = model, float("nan")
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        if self.model.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.model.device)
        else:
            self.mib = _resident()
            self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.model.device.type == "cuda":
            self.mib = torch.cuda.max_memory_allocated(self.model.device) / 2**20
        else:
            self.done.set()
            self.thread.join()

    def _watch(self) -> None:
        while not self.done.wait(0.02):
            self.mib = max(self.mib, _resident())


def _resident() -> float:
    """Memory of this process in MiB, NaN where the system does not say."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    lines = [x for x in status.read_text("utf-8").splitlines() if x.startswith("VmRSS:")]
    return int(lines[0].split()[1]) / 1024
