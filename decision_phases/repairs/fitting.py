"""Fitting several maps of one cut, running the model as rarely as possible."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from decision_phases.interventions import Affine, Bottleneck, Intervention
from decision_phases.interventions.builders import single
from decision_phases.repairs.contract import Fitter, Job, MapRepair, Task
from decision_phases.repairs.kept import keep, kept
from decision_phases.repairs.places import Place
from decision_phases.repairs.result import FittedRepair, PlaceFit
from decision_phases.repairs.stream import Chunk, stream
from decision_phases.repairs.walk import Walk, can_walk


@dataclass
class _Progress:
    """What is fitted of one repair so far.

    Attributes:
        repair: The repair.
        task: What is asked.
        places: Where its maps are.
        done: Number of a place → its map there, and how well it fits.
        seconds: How long that took.
    """

    repair: MapRepair
    task: Task
    places: Sequence[Place]
    done: dict[int, tuple[Intervention, PlaceFit]] = field(default_factory=dict)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        for at in range(len(self.places)):
            found = kept(self.folder(at))
            if found is not None:
                self.done[at] = found[:2]
                self.seconds += found[2]
            elif self.task.sequential:  # what comes behind depends on it
                break

    def variant(self, at: int) -> Intervention:
        """The model in which what enters a place is read."""
        before = range(at) if self.task.sequential else ()
        repaired = (self.places[i].cut + self.done[i][0] for i in before)
        return sum(repaired, start=self.task.base) + self.places[at].without

    def name(self, at: int) -> str:
        """By which a place's files are called: others than those of a map that is fitted to anything else."""
        place = self.places[at]
        key = self.task.key(self.variant(at).key, str(place), self.repair)
        return f"{self.repair.name}-{at}-{place.site}-{place.layer}-{key}"

    def folder(self, at: int) -> Path | None:
        """Where a map is kept."""
        return None if self.task.checkpoint is None else self.task.checkpoint / self.name(at)

    def begin(self, at: int) -> _Open:
        """Begin with a place; in the order of the places, if one depends on those before."""
        task, variant = self.task, self.variant(at)
        job = Job(
            task.model.d_model,
            task.source.tokens,
            double=task.model.dtype == torch.float64,
            seed=task.seed,
            progress=task.progress,
            checkpoint=task.file(self.name(at)),
            key=task.key(variant.key, str(self.places[at])),
        )
        return _Open(self, at, variant, self.repair.begin(job))

    def value(self, at: int) -> Affine | Bottleneck:
        """The map of a place."""
        (edit,) = self.done[at][0].edits
        assert isinstance(edit.value, Affine | Bottleneck)
        return edit.value

    def finish(self) -> FittedRepair:
        """The repair, once all its maps are there."""
        every = [self.done[at] for at in range(len(self.places))]
        parameters = len(every) * self.repair.n_parameters(self.task.model.d_model)
        return FittedRepair(
            tuple(edit for mapping, _ in every for edit in mapping.edits),
            self.task.fit(
                self.repair.name,
                self.repair,
                parameters_trained=parameters,
                parameters_added=parameters,
                seconds=self.seconds,
                places=tuple(fit for _, fit in every),
            ),
        )


@dataclass
class _Open:
    """One repair being fitted at one place."""

    of: _Progress
    at: int
    variant: Intervention
    fitter: Fitter
    seconds: float = 0.0

    @property
    def place(self) -> Place:
        return self.of.places[self.at]

    def take(self, chunk: Chunk) -> None:
        start = time.perf_counter()
        x = chunk.rows[self.variant][self.place.site, self.place.layer]
        y = chunk.rows[Intervention()][self.place.target]
        with torch.no_grad():
            self.fitter.take(x, y.to(x.device))
        self.seconds += time.perf_counter() - start

    def finish(self) -> None:
        start, place, folder = time.perf_counter(), self.place, self.of.folder(self.at)
        fitted = self.fitter.finish()
        fit = PlaceFit(
            place.site,
            place.layer,
            str(place),
            fitted.before.total,
            fitted.after.total,
            fitted.before.relative,
            fitted.after.relative,
        )
        mapping = single("map", place.site, place.layer, None, "all", fitted.value, label=self.of.repair.name)
        self.of.done[self.at] = mapping, fit
        self.seconds += time.perf_counter() - start
        self.of.seconds += self.seconds
        keep(folder, mapping, fit, self.seconds)


def fit_maps(task: Task, places: Sequence[Place], repairs: Sequence[MapRepair]) -> tuple[FittedRepair, ...]:
    """Fit maps that make up for one cut.

    What enters a map is read in the intact model, or with `sequential` in the model as cut and repaired before it; what
    should leave it always in the intact model. Repairs that need the same runs share them, and from one place to the
    next only the blocks between run, where that can be (see `walk.can_walk`). With a checkpoint every map is kept as
    soon as it is fitted.

    Args:
        task: What is asked.
        places: Where its maps are.
        repairs: The repairs, which have passed their checks.

    Returns:
        The fitted repairs, in the order given.

    Raises:
        InputError: If the tokens do not determine a map.
    """
    every = [_Progress(repair, task, places) for repair in repairs]
    left = [of for of in every if len(of.done) < len(places)]
    numbers = range(len(places))
    rounds = [[at] for at in numbers] if task.sequential else [list(numbers)]
    walk = None
    if left and can_walk(task, places, len(left)):
        walk = Walk(task.model, task.source.data.sequences, progress=task.progress)
    for number, group in enumerate(rounds, 1):
        what = f"fitting {number} of {len(rounds)}" if len(rounds) > 1 else "fitting"
        jobs = [of.begin(at) for of in left for at in group if at not in of.done]
        if walk is not None:
            (at,) = group
            maps = [of.value(at - 1) for of in left] if at else []
            read = walk.to(places[at], [of.variant(at) for of in left], maps, what=what)
        elif jobs:
            read = stream(
                task.model, task.source.data.sequences, _reads(jobs), progress=task.progress, what=what
            )
        else:
            continue
        for chunk in read:
            for job in jobs:
                job.take(chunk)
            _share(jobs, chunk.seconds)
        for job in jobs:
            job.finish()
    return tuple(of.finish() for of in every)


def _reads(jobs: Iterable[_Open]) -> Mapping[Intervention, Sequence[tuple[str, int]]]:
    """Intervention → where to read under it; the intact model first."""
    wanted: dict[Intervention, list[tuple[str, int]]] = {Intervention(): []}
    for job in jobs:
        wanted[Intervention()].append(job.place.target)
        wanted.setdefault(job.variant, []).append((job.place.site, job.place.layer))
    return wanted


def _share(jobs: Iterable[_Open], seconds: Mapping[Intervention, float]) -> None:
    """Count to every repair the runs that it would have needed by itself, in equal parts to its places."""
    by_repair: dict[int, list[_Open]] = {}
    for job in jobs:
        by_repair.setdefault(id(job.of), []).append(job)
    for own in by_repair.values():
        spent = sum(seconds[variant] for variant in {Intervention(), *(job.variant for job in own)})
        for job in own:
            job.seconds += spent / len(own)
