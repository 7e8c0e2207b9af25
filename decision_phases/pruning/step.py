"""One cut of a strategy, and everything that was measured of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from decision_phases.interventions import Intervention
from decision_phases.pruning.criteria.units import Cut, Part, Unit, removal
from decision_phases.pruning.screening import Screening
from decision_phases.stats import bootstrap_ci, wilson_interval

_COLUMNS = (
    "strategy", "step", "removed", "cut", "seed", "margin", "margin_low", "margin_high", "accuracy", "accuracy_low",
    "accuracy_high", "transition", "transition_low", "transition_high", "outcome", "cka", "cka_null_high",
    "decision_similarity", "decision_agreement", "search_value", "margin_by_layer", "accuracy_by_layer", "parts",
    "under", "parameters", "latency_ms", "peak_mib",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Step:
    """One cut, measured on the evaluation questions.

    Attributes:
        strategy: Name of the strategy that chose it.
        step: Number of units removed; 0 is the intact model.
        removed: The layer of the unit removed at this step; None at step 0, and where cuts do not grow one by one.
        cut: The layers of all units removed so far, in the order of removal.
        seed: Number of the random draw; None for strategies that do not draw.
        margin: Mean final decision margin.
        accuracy: Final accuracy.
        margin_by_layer: Mean margin at every layer, NaN where removed.
        accuracy_by_layer: Accuracy at every layer, NaN where removed.
        transition: Transition layer of the pruned model, None if there is none.
        transition_ci: Its interval.
        outcome: "transition", "no transition" or "not located"; "not read" where only the end was, and then what is by
            layer is NaN.
        cka: Debiased linear CKA of the last residual with the intact model's, with a row-shuffled null.
        decision_similarity: 1 − JSD / log 2 of the final option probabilities with the intact model's, mean.
        decision_agreement: Share of questions with the same final choice as the intact model.
        search_value: The objective on the search questions, for searches.
        correct: Whether each evaluation question is answered right.
        margins: Final margin of each evaluation question.
        option_frequency: Identity → Option Frequency at every layer, where the questions define it.
        screening: How the search screened its candidates, if it did.
        parts: What of each layer of the cut is removed: "block", "attention" or "mlp"; whole blocks by default.
        parameters: Number of parameters removed.
        metrics: Other objectives, measured on what did not choose.
        metrics_ci: Their 95% bootstrap intervals, over questions or documents.
        latency_ms: Median time of a forward pass, if it was measured.
        peak_mib: Weights left and the most that a pass holds besides, if that was measured.
    """

    strategy: str
    step: int
    removed: int | None
    cut: tuple[int, ...]
    seed: int | None
    margin: float
    accuracy: float
    margin_by_layer: Float[np.ndarray, " layer"] = field(repr=False)
    accuracy_by_layer: Float[np.ndarray, " layer"] = field(repr=False)
    transition: int | None
    transition_ci: tuple[int, int] | None
    outcome: str
    cka: Mapping[str, float]
    decision_similarity: float
    decision_agreement: float
    search_value: float | None
    correct: Bool[np.ndarray, " question"] = field(repr=False)
    margins: Float[np.ndarray, " question"] = field(repr=False)
    option_frequency: Mapping[str, list[float | None]] | None = field(default=None, repr=False)
    screening: Screening | None = field(default=None, repr=False)
    parts: tuple[Part, ...] = ()
    parameters: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    metrics_ci: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    latency_ms: float | None = None
    peak_mib: float | None = None

    def __post_init__(self) -> None:
        if not self.parts:
            object.__setattr__(self, "parts", ("block",) * len(self.cut))

    @property
    def units(self) -> Cut:
        """What is removed, in the order of removal."""
        return tuple(Unit((layer,), part) for layer, part in zip(self.cut, self.parts, strict=True))

    @property
    def under(self) -> Intervention:
        """The cut as an intervention."""
        return removal(self.units)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, null for NaN and "inf" for an infinite metric; the questions one by one are left out.

        Returns:
            What a report needs.
        """
        interval = wilson_interval(int(self.correct.sum()), len(self.correct))
        return {
            "strategy": self.strategy,
            "step": self.step,
            "removed": self.removed,
            "cut": list(self.cut),
            "parts": list(self.parts),
            "under": str(self.under),
            "parameters": self.parameters,
            "seed": self.seed,
            "margin": self.margin,
            "accuracy": self.accuracy,
            "accuracy_ci": [float(interval.low), float(interval.high)],
            "transition": self.transition,
            "transition_ci": None if self.transition_ci is None else list(self.transition_ci),
            "outcome": self.outcome,
            "cka": {k: None if np.isnan(v) else v for k, v in self.cka.items()},
            "decision_similarity": self.decision_similarity,
            "decision_agreement": self.decision_agreement,
            "search_value": self.search_value,
            "margin_by_layer": [None if np.isnan(v) else float(v) for v in self.margin_by_layer],
            "accuracy_by_layer": [None if np.isnan(v) else float(v) for v in self.accuracy_by_layer],
            "option_frequency": None if self.option_frequency is None else dict(self.option_frequency),
            "screening": None if self.screening is None else asdict(self.screening),
            "metrics": {name: _plain(value) for name, value in self.metrics.items()},
            "metrics_ci": {name: [_plain(end) for end in ends] for name, ends in self.metrics_ci.items()},
            "latency_ms": self.latency_ms,
            "peak_mib": self.peak_mib,
        }

    def to_record(self) -> dict[str, Any]:
        """Everything, as JSON values, for `from_record`.

        Returns:
            `to_dict` and the questions one by one.
        """
        return {**self.to_dict(), "correct": self.correct.tolist(), "margins": self.margins.tolist()}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Step:
        """Read back what `to_record` gave.

        Args:
            record: Its values.

        Returns:
            The step, equal in every number.
        """
        given = dict(record)
        given.pop("accuracy_ci")
        given.pop("under")
        interval = given.pop("transition_ci")
        screening = given.pop("screening", None)

        def array(name: str) -> Float[np.ndarray, " layer"]:
            return np.array([np.nan if v is None else v for v in given.pop(name)], dtype=np.float64)

        return cls(
            margin_by_layer=array("margin_by_layer"),
            accuracy_by_layer=array("accuracy_by_layer"),
            screening=screening and Screening(**{**screening, "confirmed": tuple(screening["confirmed"])}),
            transition_ci=None if interval is None else (interval[0], interval[1]),
            cut=tuple(given.pop("cut")),
            parts=tuple(given.pop("parts")),
            metrics={k: _number(v) for k, v in given.pop("metrics").items()},
            metrics_ci={k: (_number(v[0]), _number(v[1])) for k, v in given.pop("metrics_ci", {}).items()},
            cka={k: np.nan if v is None else v for k, v in given.pop("cka").items()},
            correct=np.array(given.pop("correct"), dtype=bool),
            margins=np.array(given.pop("margins"), dtype=np.float64),
            **given,
        )


def step_table(steps: Sequence[Step]) -> pd.DataFrame:
    """Steps as a table, one row each.

    Args:
        steps: The steps.

    Returns:
        Columns strategy, step, removed, cut, seed, margin, margin_low, margin_high, accuracy, accuracy_low,
        accuracy_high, transition, transition_low, transition_high (intervals over questions), outcome, cka (debiased),
        cka_null_high, decision_similarity, decision_agreement, search_value, margin_by_layer, accuracy_by_layer, parts,
        under, parameters (removed), latency_ms, peak_mib; and for each other metric one of its name, with _low and
        _high.
    """
    rows = []
    for step in steps:
        row = step.to_dict()
        low, high = row.pop("accuracy_ci")
        first, last = row.pop("transition_ci") or (None, None)
        cka, metrics, ends = row.pop("cka"), row.pop("metrics"), row.pop("metrics_ci")
        sides = {
            f"{name}_{side}": end
            for name, both in ends.items()
            for side, end in zip(("low", "high"), both, strict=True)
        }
        for name in ("option_frequency", "screening"):
            row.pop(name)
        margin = bootstrap_ci(step.margins) if len(step.margins) > 1 else None
        rows.append(
            {
                **row,
                "accuracy_low": low,
                "accuracy_high": high,
                "margin_low": None if margin is None else float(margin.low),
                "margin_high": None if margin is None else float(margin.high),
                "transition_low": first,
                "transition_high": last,
                "cka": cka.get("debiased"),
                "cka_null_high": cka.get("null_high"),
                **metrics,
                **{name: end for name, end in sides.items() if name not in _COLUMNS},
            }
        )
    others = dict.fromkeys(
        column
        for step in steps
        for name in step.metrics
        for column in (name, f"{name}_low", f"{name}_high")
        if column not in _COLUMNS
    )
    table = pd.DataFrame(rows, columns=[*_COLUMNS, *others])
    measured = dict.fromkeys(["margin_low", "margin_high", "latency_ms", "peak_mib", *others], "float64")
    whole = ("step", "removed", "seed", "transition", "transition_low", "transition_high")
    return table.astype({**dict.fromkeys(whole, "Int64"), **measured})


def _number(value: float | str | None) -> float:
    return np.nan if value is None else float(value)


def _plain(value: float) -> float | str | None:
    if np.isnan(value):
        return None
    return value if np.isfinite(value) else str(float(value))
