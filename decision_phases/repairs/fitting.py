"""Fitting several maps of one cut, running the model as rarely as possible."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from decision_phases.interventions import Affine, Bottleneck, Intervention
from decision_phases.interventions.builders import single
from decision_phases.repairs.contract import Fitter, Job, MapRepair, Task
from decision_phases.repairs.places import Place
from decision_phases.repairs.result import FittedRepair, PlaceFit
from decision_phases.repairs.stream import Chunk, stream
from decision_phases.repairs.walk import Walk, can_walk


@dataclass
class _Progress:
    """What is fitted of one repair so far."""

    repair: MapRepair
    maps: Intervention = field(default_factory=Intervention)
    under: Intervention = field(default_factory=Intervention)
    places: list[PlaceFit] = field(default_factory=list)
    seconds: float = 0.0


@dataclass
class _Open:
    """One repair being fitted at one place."""

    of: _Progress
    place: Place
    variant: Intervention
    fitter: Fitter

    def take(self, chunk: Chunk) -> None:
        start = time.perf_counter()
        x = chunk.rows[self.variant][self.place.site, self.place.layer]
        y = chunk.rows[Intervention()][self.place.target]
        with torch.no_grad():
            self.fitter.take(x, y.to(x.device))
        self.of.seconds += time.perf_counter() - start

    def finish(self) -> Affine | Bottleneck:
        start = time.perf_counter()
        fitted = self.fitter.finish()
        self.of.places.append(
            PlaceFit(
                self.place.site,
                self.place.layer,
                str(self.place),
                fitted.before.total,
                fitted.after.total,
                fitted.before.relative,
                fitted.after.relative,
            )
        )
        mapping = single(
            "map", self.place.site, self.place.layer, None, "all", fitted.value, label=self.of.repair.name
        )
        self.of.maps += mapping
        self.of.under += self.place.cut + mapping
        self.of.seconds += time.perf_counter() - start
        return fitted.value


def fit_maps(task: Task, places: Sequence[Place], repairs: Sequence[MapRepair]) -> tuple[FittedRepair, ...]:
    """Fit maps that make up for one cut.

    What enters a map is read in the intact model, or with `sequential` in the model as cut and repaired before it; what
    should leave it always in the intact model. Repairs that need the same runs share them, and from one place to the
    next only the blocks between run, where that can be (see `walk.can_walk`).

    Args:
        task: What is asked.
        places: Where its maps are.
        repairs: The repairs, which have passed their checks.

    Returns:
        The fitted repairs, in the order given.

    Raises:
        InputError: If the tokens do not determine a map.
    """
    model, sequential = task.model, task.sequential
    all_of_them = [_Progress(repair, under=task.base) for repair in repairs]
    numbered = list(enumerate(places))
    rounds = [[one] for one in numbered] if sequential else [numbered]
    walk = None
    if can_walk(task, places, len(repairs)):
        walk = Walk(model, task.source.data.sequences, len(repairs), progress=task.progress)
    for number, group in enumerate(rounds, 1):
        jobs = []
        for of in all_of_them:
            for at, place in group:  # two places can have one site and layer
                variant = (of.under if sequential else task.base) + place.without
                job = Job(
                    model.d_model,
                    task.source.tokens,
                    double=model.dtype == torch.float64,
                    seed=task.seed,
                    progress=task.progress,
                    checkpoint=task.file(f"{of.repair.name}-{at}-{place.site}-{place.layer}"),
                    key=task.key(variant.key, str(place)),
                )
                jobs.append(_Open(of, place, variant, of.repair.begin(job)))
        what = f"fitting {number} of {len(rounds)}" if len(rounds) > 1 else "fitting"
        if walk is not None:
            read = walk.to(group[0][1], [job.variant for job in jobs], what=what)
        else:
            read = stream(model, task.source.data.sequences, _reads(jobs), progress=task.progress, what=what)
        for chunk in read:
            for job_ in jobs:
                job_.take(chunk)
            _share(jobs, chunk.seconds)
        for turn, job_ in enumerate(jobs):
            value = job_.finish()
            if walk is not None:
                walk.fitted(turn, value)
    return tuple(
        FittedRepair(
            of.maps.edits,
            task.fit(
                of.repair.name,
                of.repair,
                parameters_trained=len(of.places) * of.repair.n_parameters(model.d_model),
                parameters_added=len(of.places) * of.repair.n_parameters(model.d_model),
                seconds=of.seconds,
                places=tuple(of.places),
            ),
        )
        for of in all_of_them
    )


def _reads(jobs: Iterable[_Open]) -> Mapping[Intervention, Sequence[tuple[str, int]]]:
    """Intervention → where to read under it; the intact model first."""
    wanted: dict[Intervention, list[tuple[str, int]]] = {Intervention(): []}
    for job in jobs:
        wanted[Intervention()].append(job.place.target)
        wanted.setdefault(job.variant, []).append((job.place.site, job.place.layer))
    return wanted


def _share(jobs: Iterable[_Open], seconds: Mapping[Intervention, float]) -> None:
    """Count to every repair the runs that it would have needed by itself."""
    needed: dict[int, tuple[_Progress, set[Intervention]]] = {}
    for job in jobs:
        needed.setdefault(id(job.of), (job.of, {Intervention()}))[1].add(job.variant)
    for of, variants in needed.values():
        of.seconds += sum(seconds[variant] for variant in variants)
