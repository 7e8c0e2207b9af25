"""`find_circuit`: a small set of heads and MLPs that carries a decision, chosen and reported on different questions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from decision_phases.circuits.circuit import Circuit, Component
from decision_phases.circuits.faithfulness import Bench, Faithfulness
from decision_phases.engine import Store
from decision_phases.errors import InputError, unknown_name
from decision_phases.interventions import Intervention
from decision_phases.models import as_model
from decision_phases.pruning.setting import divide
from decision_phases.readout.ask import Questions
from decision_phases.tasks import EncodedQuestions

SELECTIONS = {
    "threshold": "the best-scored components, as few as keep the decision",
    "greedy": "the same, then without every component that it can do without",
}


@dataclass(frozen=True, eq=False)
class FoundCircuit:
    """A circuit, how it was found, and what it keeps of the decision, by default on questions that did not find it.

    Attributes:
        circuit: The circuit.
        search: What it keeps on the questions that found it, under the ablation that found it.
        reported: Ablation → what it keeps on the others.
        scores: The scores that it was found by.
        path: Sizes that were tried, with their faithfulness on the search questions.
        selection: How it was found.
        target: Faithfulness that was asked for.
        encoded: The questions that report.
        reference: The questions that found it, and that means are taken over.
        model: Name of the model.
    """

    circuit: Circuit
    search: Faithfulness
    reported: dict[str, Faithfulness]
    scores: Float[np.ndarray, "layer component"] = field(repr=False)
    path: tuple[tuple[int, float], ...]
    selection: str
    target: float
    encoded: EncodedQuestions
    reference: EncodedQuestions
    model: str

    @property
    def under(self) -> Intervention:
        """The intervention that the model ran under."""
        return self.search.under

    @property
    def held_out(self) -> bool:
        """Whether the questions that report did not find it."""
        return self.encoded.questions != self.reference.questions

    def to_pandas(self) -> pd.DataFrame:
        """One row for each ablation that reports, and one for the search.

        Returns:
            Columns half, components, faithfulness, completeness with their ends, whole, empty, ablation, metric,
            questions.
        """
        rows = [{"half": "search", **self.search.to_dict()}]
        half = "evaluation" if self.held_out else "search"
        rows += [{"half": half, **one.to_dict()} for one in self.reported.values()]
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        """The circuit and what it keeps."""
        told = "; ".join(map(str, self.reported.values()))
        reached = (
            "" if self.search.faithfulness >= self.target - 1e-9 else f" (target {self.target:g} not reached)"
        )
        told += "" if self.held_out else "; these questions also found it"
        return f"{self.circuit!r} of {self.model}, by {self.selection}{reached}: {told}"

    __repr__ = __str__


def find_circuit(
    model: object,
    questions: Questions,
    scores: Float[np.ndarray, "layer component"],
    *,
    under: Intervention | None = None,
    selection: str = "greedy",
    target: float = 0.9,
    ablation: str = "mean",
    report: tuple[str, ...] = ("mean", "resample"),
    metric: str = "logit_margin",
    split: float | None = 0.5,
    seed: int = 0,
    store: Store = None,
    **settings: Any,
) -> FoundCircuit:
    """Find a small set of heads and MLPs that keeps a share of the decision when everything else is ablated.

    Components are taken in the order of the absolute value of their scores, by doubling and then halving the step,
    until the target is kept; greedy search then leaves out, the least-scored first, every component without which it is
    still kept, until none is left to leave out. What comes out is minimal in that sense: no smaller set is ruled out.

    Args:
        model: What `load` gives or takes.
        questions: A name, a file or questions, not encoded yet.
        scores: How much each component matters, `[layer, component]`: the heads, then the MLP; NaN for what is not
            there. From `found = attribute(...)`: `np.column_stack([found.heads.mean(axis=0), found.mlp.mean(axis=0)])`.
            Take them from other questions than these: those that report must not have a hand in the scores.
        under: An intervention; none by default. Components that it removes are in no circuit.
        selection: A name in `SELECTIONS`.
        target: Faithfulness to keep on the search questions.
        ablation: What takes the place of components while searching, a name in `ABLATIONS`.
        report: The ablations that faithfulness and completeness are reported under.
        metric: "logit_margin" or "margin".
        split: Share of the questions that find it; None for all of them, which then also report.
        seed: Of the split and of everything random.
        store: A store or its folder, where results are kept and found again.
        **settings: Of `tasks.encode_questions`.

    Returns:
        The circuit, with its faithfulness and completeness on the other questions.

    Raises:
        InputError: Before anything runs, if scores, names or target are out of range; afterwards, if ablating
            everything costs the decision nothing.

    Example:
        >>> from decision_phases.tasks import questions
        >>> found = find_circuit("tiny-llama", questions("facts").limit(16, seed=1), np.ones((6, 5)),
        ...                      report=("mean",), selection="threshold")
        >>> found.search.faithfulness >= 0.9 or len(found.circuit) == 30
        True
    """
    access = as_model(model)
    if selection not in SELECTIONS:
        raise unknown_name("selection", selection, SELECTIONS)
    shape, scores = (access.n_layers, access.n_heads + 1), np.asarray(scores, dtype=np.float64)
    if scores.shape != shape:
        msg = f"scores are {scores.shape}; {access.name} has {shape} [layer, component]: the heads first, the MLP last"
        raise InputError(msg)
    if not 0 < target <= 1 or not report:
        msg = (
            f"target={target}, report={report} given; a target above 0 and up to 1 and an ablation are needed"
        )
        raise InputError(msg)
    search, evaluation = divide(access, questions, split, seed=seed, **settings)
    shared: dict[str, Any] = {
        "metric": metric,
        "under": under or Intervention(),
        "seed": seed,
        "store": store,
    }
    bench = Bench(access, search, search, kind=ablation, **shared)
    reports = {kind: Bench(access, evaluation, search, kind=kind, **shared) for kind in report}
    if np.isnan(scores[bench.present]).any():
        msg = f"{int(np.isnan(scores[bench.present]).sum())} components that are there have no score; score all of them"
        raise InputError(msg)
    _check_span(bench)
    order = _ordered(bench, scores)
    size, path = _fewest(bench, order, target)
    chosen = order[:size]
    if selection == "greedy":
        chosen = _pruned(bench, chosen, target)
        path += [(len(chosen), bench.faithfulness([Circuit.of(chosen, bench.present)])[0])]
    circuit = Circuit.of(chosen, bench.present)
    return FoundCircuit(
        circuit=circuit,
        search=bench.measure(circuit),
        reported={kind: one.measure(circuit) for kind, one in reports.items()},
        scores=scores,
        path=tuple(path),
        selection=selection,
        target=target,
        encoded=evaluation,
        reference=search,
        model=access.name,
    )


def _check_span(bench: Bench) -> None:
    empty, whole = (m.mean() for m in bench.margins([bench.everything.complement, bench.everything]))
    if whole - empty <= 1e-9:
        msg = (
            f"with everything ablated the mean {bench.metric} is {empty:.3g}, with nothing ablated {whole:.3g}: there "
            "is no decision that components carry. Ask questions that the model answers"
        )
        raise InputError(msg)


def _ordered(bench: Bench, scores: Float[np.ndarray, "layer component"]) -> list[Component]:
    """All components, the best-scored first; ties go to the earlier."""
    members = bench.everything.components
    value = [abs(float(scores[one.layer, -1 if one.head is None else one.head])) for one in members]
    return [members[i] for i in np.argsort(-np.array(value), kind="stable")]


def _fewest(bench: Bench, order: list[Component], target: float) -> tuple[int, list[tuple[int, float]]]:
    """How many of the best-scored components keep the target: the first power of two that does, then by halving."""
    tried: dict[int, float] = {}

    def keeps(size: int) -> bool:
        if size not in tried:
            tried[size] = bench.faithfulness([Circuit.of(order[:size], bench.present)])[0]
        return tried[size] >= target - 1e-9

    high = 1
    while high < len(order) and not keeps(high):
        high = min(2 * high, len(order))
    keeps(high)
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if keeps(middle) else (middle, high)
    return high, sorted(tried.items())


def _pruned(bench: Bench, chosen: list[Component], target: float) -> list[Component]:
    """Leave out what the target can do without, the least-scored first, until nothing can go."""
    kept, going = list(chosen), True
    while going:
        going = False
        for one in reversed(kept.copy()):
            rest = [other for other in kept if other != one]
            if bench.faithfulness([Circuit.of(rest, bench.present)])[0] >= target - 1e-9:
                kept, going = rest, True
    return kept
