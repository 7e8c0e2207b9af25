"""What becomes of a model under the cuts of a strategy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from decision_phases.engine import evaluate
from decision_phases.engine.observers import AnyObserver
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.pruning.criteria.units import Cut, removal
from decision_phases.pruning.objectives import Valuer, find_objective
from decision_phases.pruning.orders import Chosen
from decision_phases.pruning.setting import Setting
from decision_phases.pruning.step import Step
from decision_phases.pruning.timing import Cost, measure_costs
from decision_phases.readout import DecisionObserver, Decisions, StateObserver, find_phases
from decision_phases.readout.decisions import Final
from decision_phases.readout.observe import FinalObserver
from decision_phases.readout.similarity import alignment, decision_similarity


def measure(setting: Setting, name: str, chosen: Chosen, *, progress: bool) -> tuple[Step, ...]:
    """Measure what a strategy chose on the evaluation questions.

    Args:
        setting: What all strategies share.
        name: Name of the strategy.
        chosen: The cuts.
        progress: Show a bar.

    Returns:
        One row a draw and step, step 0 included.
    """
    rows = [(seed, cut) for seed, cuts in chosen.cuts.items() for cut in cuts]
    variants = [removal(cut) for _, cut in rows]
    look: AnyObserver = DecisionObserver() if setting.every_layer else FinalObserver()
    runs = evaluate(
        setting.model,
        setting.evaluation,
        variants,
        [look, StateObserver()],
        store=setting.store,
        progress=progress,
    )
    row = _describer(setting, nested=chosen.nested)
    steps = [row(name, seed, (), setting.intact, setting.states, None) for seed in chosen.cuts]
    for (seed, cut), run in zip(rows, runs, strict=True):
        step = row(name, seed, cut, run[look.name], run["states"], chosen.values.get(cut))
        steps.append(replace(step, screening=chosen.screenings.get(cut)))
        setting.measuring.tell(setting.evaluation, FinalObserver(), run.variant, _end(run[look.name]))
    ordered = sorted(steps, key=lambda step: (-1 if step.seed is None else step.seed, step.step))
    return _with_more(setting, ordered, progress=progress)


def _with_more(setting: Setting, steps: Sequence[Step], *, progress: bool) -> tuple[Step, ...]:
    """The same steps with what else was asked for."""
    cuts = [step.under for step in steps]
    setting.measuring.tell(setting.evaluation, FinalObserver(), Intervention(), setting.intact.final)
    valuers = {name: Valuer(find_objective(name), setting.measuring) for name in setting.evaluate}
    metrics = {name: valuer(cuts, progress=progress).tolist() for name, valuer in valuers.items()}
    ends = {name: valuer.intervals(cuts, seed=setting.seed).tolist() for name, valuer in valuers.items()}
    costs: Sequence[Cost | None] = [None] * len(steps)
    if setting.timing is not None:
        costs = measure_costs(setting.model, cuts, setting.timing, seed=setting.seed)
    return tuple(
        replace(
            step,
            metrics={name: values[place] for name, values in metrics.items()},
            metrics_ci={name: (pairs[place][0], pairs[place][1]) for name, pairs in ends.items()},
            latency_ms=None if cost is None else cost.latency_ms,
            peak_mib=None if cost is None else cost.peak_mib,
        )
        for place, (step, cost) in enumerate(zip(steps, costs, strict=True))
    )


def _describer(setting: Setting, *, nested: bool) -> Callable[..., Step]:
    intact = setting.intact.final.scores[:, None]

    def describe(
        name: str,
        seed: int | None,
        cut: Cut,
        found: Decisions | Final,
        states: np.ndarray,
        value: float | None,
    ) -> Step:
        end = _end(found)
        similar = decision_similarity(end.scores[:, None], intact)
        return Step(
            strategy=name,
            step=len(cut),
            removed=cut[-1].layer if cut and nested else None,
            cut=tuple(unit.layer for unit in cut),
            parts=tuple(unit.part for unit in cut),
            parameters=setting.n_parameters(cut),
            seed=seed,
            margin=float(end.margin.mean()),
            accuracy=end.accuracy,
            cka=_cka(states, setting.states, setting.seed),
            decision_similarity=float(similar.divergence[0, 0]),
            decision_agreement=float(similar.agreement[0, 0]),
            search_value=value,
            correct=end.correct,
            margins=end.margin,
            **_by_layer(setting, found),
        )

    return describe


def _end(found: Decisions | Final) -> Final:
    return found.final if isinstance(found, Decisions) else found


def _by_layer(setting: Setting, found: Decisions | Final) -> dict[str, Any]:
    """What is read on the way; nothing where only the end was."""
    if not isinstance(found, Decisions):
        unread = np.full(setting.model.n_layers, np.nan)
        return {
            "margin_by_layer": unread,
            "accuracy_by_layer": unread,
            "transition": None,
            "transition_ci": None,
            "outcome": "not read",
        }
    phases = find_phases(found, seed=setting.seed, n_boot=500, n_perm=1000)
    shared = found.encoded.shared_identities() is not None
    return {
        "margin_by_layer": found.margin.mean(axis=0),
        "accuracy_by_layer": found.accuracy,
        "transition": phases.transition,
        "transition_ci": phases.ci,
        "outcome": phases.outcome,
        "option_frequency": _frequency(found) if shared else None,
    }


def _cka(states: np.ndarray, intact: np.ndarray, seed: int) -> dict[str, float]:
    """Alignment of the last residuals; empty where it is undefined, as with few questions or states all alike."""
    try:
        found = alignment(states, intact, n_shuffles=100, seed=seed)
    except InputError:
        return {}
    return {
        "debiased": found.debiased,
        "biased": found.biased,
        "null_mean": found.null_mean,
        "null_high": found.null_high,
        "p_value": found.p_value,
    }


def _frequency(decisions: Decisions) -> dict[str, list[float | None]]:
    table = decisions.option_frequency().drop(index="gold")
    return {
        str(name): [None if np.isnan(value) else float(value) for value in column]
        for name, column in table.items()
    }
