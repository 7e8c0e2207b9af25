"""How much of a decision a circuit carries, and how much is left without it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float

from decision_phases.circuits.ablation import Ablation, check_ablation, make_ablation
from decision_phases.circuits.circuit import Circuit, components_of
from decision_phases.engine import Store, evaluate
from decision_phases.engine.lower import check_variant
from decision_phases.errors import InputError, check_confidence, unknown_name
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess, as_model
from decision_phases.readout import Final, ask, metrics
from decision_phases.readout.ask import Questions
from decision_phases.readout.observe import FinalObserver
from decision_phases.stats import resample_weights
from decision_phases.tasks import EncodedQuestions

Margins = Float[np.ndarray, " question"]
_SHARES = ("faithfulness", "completeness")

#: What a decision is measured by, one number a question.
METRICS: Mapping[str, Callable[[Final, EncodedQuestions], Margins]] = MappingProxyType(
    {
        "logit_margin": lambda final, encoded: metrics.logit_margin(final.scores[:, None], encoded.gold)[
            :, 0
        ],
        "margin": lambda final, _: final.margin,
    }
)


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """What a circuit keeps of a decision, between everything ablated (0) and nothing ablated (1).

    Attributes:
        circuit: The circuit.
        kept: Margin of each question with everything else ablated.
        rest: Margin with the circuit ablated.
        empty: Margin with everything ablated.
        whole: Margin with nothing ablated.
        ablation: What takes the place of components.
        metric: What margins are.
        questions: Name of the questions.
        under: The intervention that the model ran under.
        seed: Of the resampling.
    """

    circuit: Circuit
    kept: Margins = field(repr=False)
    rest: Margins = field(repr=False)
    empty: Margins = field(repr=False)
    whole: Margins = field(repr=False)
    ablation: str
    metric: str
    questions: str
    under: Intervention
    seed: int = 0

    @property
    def faithfulness(self) -> float:
        """(kept − empty) / (whole − empty), of means over questions; may be above 1 or below 0.

        NaN where whole is not above empty: then there is no decision that components carry.
        """
        return float(self._share(np.ones((1, len(self.whole))))[0][0])

    @property
    def completeness(self) -> float:
        """1 − (rest − empty) / (whole − empty): 1 if without the circuit nothing is left; NaN as faithfulness."""
        return float(self._share(np.ones((1, len(self.whole))))[1][0])

    def interval(
        self, of: str = "faithfulness", *, confidence: float = 0.95, n_boot: int = 2000
    ) -> tuple[float, float]:
        """Bootstrap interval over questions, of the ratio of means.

        Args:
            of: "faithfulness" or "completeness".
            confidence: Nominal coverage.
            n_boot: Number of resamples.

        Returns:
            Its ends; NaN if whole is not told from empty, for a share of what may be nothing may be anything.

        Raises:
            InputError: If it is neither, or the confidence is no share.
        """
        check_confidence(confidence)
        if of not in _SHARES:
            raise unknown_name("share", of, _SHARES)
        weights = resample_weights(len(self.whole), n_boot, seed=self.seed)
        tails = [(1 - confidence) / 2, (1 + confidence) / 2]
        if not np.quantile(weights @ (self.whole - self.empty), tails[0]) > 0:
            return float("nan"), float("nan")
        low, high = np.nanquantile(self._share(weights)[_SHARES.index(of)], tails)
        return float(low), float(high)

    def _share(
        self, weights: Float[np.ndarray, "boot question"]
    ) -> tuple[Float[np.ndarray, " boot"], Float[np.ndarray, " boot"]]:
        kept, rest, empty, whole = (
            weights @ values / weights.sum(axis=1)
            for values in (self.kept, self.rest, self.empty, self.whole)
        )
        span = np.where(whole > empty, whole - empty, np.nan)
        return (kept - empty) / span, 1 - (rest - empty) / span

    def to_dict(self) -> dict[str, Any]:
        """Numbers for a table.

        Returns:
            components, faithfulness, completeness with their ends, and what they were measured on.
        """
        found: dict[str, Any] = {"components": len(self.circuit)}
        for name in _SHARES:
            low, high = self.interval(name)
            found |= {name: getattr(self, name), f"{name}_low": low, f"{name}_high": high}
        return found | {
            "whole": float(self.whole.mean()),
            "empty": float(self.empty.mean()),
            "ablation": self.ablation,
            "metric": self.metric,
            "questions": self.questions,
        }

    def __str__(self) -> str:
        """A line."""
        low, high = self.interval()
        ends = (
            "(no interval: ablation's cost is not told from none)"
            if np.isnan(low)
            else f"[{low:.2f}, {high:.2f}]"
        )
        return (
            f"{len(self.circuit)} components keep {self.faithfulness:.2f} {ends} of the {self.metric} "
            f"on {len(self.whole)} questions of {self.questions} ({self.ablation} ablation); completeness "
            f"{self.completeness:.2f}"
        )

    __repr__ = __str__


class Bench:
    """Measures circuits of one model on one set of questions under one kind of ablation, each circuit once.

    Nothing runs before the first circuit is measured.

    Args:
        model: The model.
        inputs: The questions that are run.
        reference: The questions that means are taken over.
        kind: A name in `ABLATIONS`.
        metric: A name in `METRICS`.
        under: What the model runs under.
        seed: Of the draw of other questions.
        store: Where results are kept and found again.

    Raises:
        InputError: If the kind or metric is unknown, there are no heads or MLPs to ablate, or too few questions.
    """

    def __init__(
        self,
        model: ModelAccess,
        inputs: EncodedQuestions,
        reference: EncodedQuestions,
        *,
        kind: str,
        metric: str,
        under: Intervention,
        seed: int,
        store: Store = None,
    ) -> None:
        if metric not in METRICS:
            raise unknown_name("metric", metric, METRICS)
        for given in (inputs, reference):
            if not given.option_ids:
                msg = f"{given.scoring} scoring has several sequences a question; use letter or first_token scoring"
                raise InputError(msg)
        if len(inputs) < 2:
            msg = f"{len(inputs)} question given; an interval over questions needs at least two"
            raise InputError(msg)
        check_variant(model, under, inputs.sequences, len(inputs))
        self.model, self.inputs, self.reference, self.metric = model, inputs, reference, metric
        self.kind, self.store, self.under, self.seed = kind, store, under, seed
        self.present = components_of(model, under)
        self.everything = Circuit(self.present, self.present)
        check_ablation(kind, self.everything, inputs)
        self._known: dict[Circuit, Margins] = {}

    @cached_property
    def ablation(self) -> Ablation:
        """What takes the place of components here."""
        return make_ablation(
            self.model,
            self.kind,
            self.everything,
            reference=self.reference,
            inputs=self.inputs,
            under=self.under,
            seed=self.seed,
        )

    def margins(self, circuits: Sequence[Circuit]) -> list[Margins]:
        """The margin of every question with all but each circuit ablated.

        Args:
            circuits: The circuits, of the components that are there.

        Returns:
            One array a circuit.
        """
        new = [one for one in dict.fromkeys(circuits) if one not in self._known]
        variants = [self.ablation.without(one.others) for one in new]
        runs = evaluate(self.model, self.inputs, variants, [FinalObserver()], store=self.store) if new else ()
        for one, run in zip(new, runs, strict=True):
            self._known[one] = METRICS[self.metric](run["final"], self.inputs)
        return [self._known[one] for one in circuits]

    def faithfulness(self, circuits: Iterable[Circuit]) -> list[float]:
        """Faithfulness of circuits, without what is left when they are ablated.

        Args:
            circuits: The circuits.

        Returns:
            One number each.
        """
        empty, whole, *kept = (
            float(m.mean()) for m in self.margins([self.everything.complement, self.everything, *circuits])
        )
        return [(one - empty) / (whole - empty) for one in kept]

    def measure(self, circuit: Circuit) -> Faithfulness:
        """Everything about one circuit.

        Args:
            circuit: The circuit; members that are not there are left out.

        Returns:
            Faithfulness and completeness.
        """
        own = circuit.within(self.present)
        kept, rest, empty, whole = self.margins(
            [own, own.complement, self.everything.complement, self.everything]
        )
        return Faithfulness(
            own,
            kept,
            rest,
            empty,
            whole,
            self.kind,
            self.metric,
            self.inputs.questions.name,
            self.under,
            self.seed,
        )


def circuit_faithfulness(
    model: object,
    questions: Questions,
    circuit: Circuit,
    *,
    reference: Questions | None = None,
    under: Intervention | None = None,
    ablation: str = "mean",
    metric: str = "logit_margin",
    seed: int = 0,
    store: Store = None,
    **settings: Any,
) -> Faithfulness:
    """Measure how much of a decision a circuit carries, and how much is left without it.

    Args:
        model: What `load` gives or takes.
        questions: What it is measured on.
        circuit: The circuit; members that `under` removes are left out.
        reference: Questions that means are taken over; the same by default.
        under: An intervention; none by default.
        ablation: A name in `ABLATIONS`: what takes the place of components.
        metric: "logit_margin" or "margin".
        seed: Of the draw of other questions, and of the resampling.
        store: A store or its folder, where results are kept and found again.
        **settings: Of `tasks.encode_questions`.

    Returns:
        Faithfulness and completeness with their intervals.

    Raises:
        InputError: If questions, model, circuit and ablation do not fit.

    Source: Wang et al., Interpretability in the wild (arXiv 2211.00593); Marks et al., Sparse feature circuits (arXiv
        2403.19647), where completeness is what is left, 1 minus the one here.

    Example:
        >>> from decision_phases.models import load
        >>> from decision_phases.tasks import questions
        >>> model = load("tiny-llama", quiet=True)
        >>> there = components_of(model)
        >>> found = circuit_faithfulness(model, questions("facts").limit(16, seed=1), Circuit(there, there))
        >>> found.faithfulness, found.completeness
        (1.0, 1.0)
    """
    access = as_model(model)
    encoded = ask(access, questions, **settings)
    base = encoded if reference is None else ask(access, reference, **settings)
    bench = Bench(
        access,
        encoded,
        base,
        kind=ablation,
        metric=metric,
        under=under or Intervention(),
        seed=seed,
        store=store,
    )
    return bench.measure(circuit)
