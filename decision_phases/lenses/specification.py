"""`specification_curve`: the transition under every defensible choice of lens, detector and normalisation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float

from decision_phases.engine import Batch, Collector, Inputs, Observer, Reads, Store, evaluate
from decision_phases.engine.observers import ReadRows
from decision_phases.errors import InputError, check_confidence
from decision_phases.interventions import Intervention
from decision_phases.lenses.specifications import Specification, SpecificationCurve
from decision_phases.models import ModelAccess, as_model
from decision_phases.readout import DecisionObserver, Decisions, Lens, ask, metrics
from decision_phases.readout.ask import Questions
from decision_phases.readout.observe import FinalObserver
from decision_phases.readout.phases import DETECTORS, LEVEL, Detector, detect, has_risen, locate, rises_of
from decision_phases.readout.read import last_blocks_cuts, last_blocks_decisions
from decision_phases.stats import resample_weights
from decision_phases.store import Packed

Curve = Float[np.ndarray, "question layer"]

#: What a detector looks at, by name: curves that are above zero where the readout favours an option.
NORMALISATIONS: Mapping[str, Callable[[Decisions], Curve]] = MappingProxyType(
    {
        "margin": lambda d: d.margin,
        "excess_margin": lambda d: d.excess_margin,
        "logit_margin": lambda d: d.logit_margin,
        "soft_margin": lambda d: metrics.soft_margin(d.scores, d.gold),
        "self_margin": lambda d: d.self_margin,
    }
)
CHOICE = "choice"  # what the detector of commitment looks at: whether the choice no longer changes


def specification_curve(
    model: object,
    questions: Questions,
    *,
    under: Intervention | None = None,
    tuned: Lens | None = None,
    last: int = 2,
    confidence: float = 0.95,
    n_boot: int = 2000,
    n_perm: int = 2000,
    seed: int = 0,
    store: Store = None,
    progress: bool = False,
    **settings: Any,
) -> SpecificationCurve:
    """Locate the transition under every combination of lens, detector and normalisation, from one run of the model.

    Every detector of `phases/` is put on every normalisation of the margin; the commitment detector has one of its own,
    the choice. Whether there is a transition is asked as `find_phases` asks: the final decision must be told from
    shuffled labels, and the curve in question must rise by more than two standard errors.

    Args:
        model: What `load` gives or takes.
        questions: A name, a file, questions, or encoded questions.
        under: An intervention; none by default.
        tuned: A lens that was fitted (`dp.tuned_lens`), besides the logit lens and the last blocks.
        last: How many of the last surviving blocks the last-blocks lens runs through; 0 leaves it out.
        confidence: Nominal coverage of the intervals.
        n_boot: Resamples of the questions, the same for every specification.
        n_perm: Shuffles of the gold labels.
        seed: Of both.
        store: A store or its folder, where results are kept and found again.
        progress: Show a bar.
        **settings: Of `tasks.encode_questions`.

    Returns:
        All estimates, with `.to_pandas()` and `.plot()`.

    Raises:
        InputError: If questions, model, lens, intervention and confidence do not fit, before anything runs.

    Source: Simonsohn, Simmons and Nelson, Specification curve analysis (Nature Human Behaviour, 2020).

    Example:
        >>> curve = specification_curve("tiny-gpt2", "facts", n_boot=50, n_perm=50)
        >>> len(curve), curve.share_found
        (32, 0.0)
    """
    check_confidence(confidence)
    access = as_model(model)
    encoded = ask(access, questions, **settings)
    variant = under or Intervention()
    if set(variant.removed_blocks) >= set(range(access.n_layers)):
        msg = "every layer is removed; there is no depth in which a decision could form"
        raise InputError(msg)
    cuts = last_blocks_cuts(access, variant, last) if last else {}
    look = _ThroughLenses(variant, (None, tuned) if tuned is not None else (None,))
    run, *ends = evaluate(
        access, encoded, [variant, *cuts.values()], [look, FinalObserver()], store=store, progress=progress
    )
    readouts: list[Decisions] = list(run["lenses"])
    if cuts:
        finals = {layer: end["final"].scores for layer, end in zip(cuts, ends, strict=True)}
        readouts.append(last_blocks_decisions(access, encoded, variant, last, finals))
    found = [
        one
        for decisions in readouts
        for one in specifications_of(
            decisions, confidence=confidence, n_boot=n_boot, n_perm=n_perm, seed=seed
        )
    ]
    return SpecificationCurve(
        specifications=tuple(found),
        model=access.name,
        questions=encoded.questions.name,
        n_questions=len(encoded),
        scoring=encoded.scoring,
        under=variant,
        n_layers=access.n_layers,
        confidence=confidence,
        seed=seed,
    )


def specifications_of(
    decisions: Decisions, *, confidence: float = 0.95, n_boot: int = 2000, n_perm: int = 2000, seed: int = 0
) -> list[Specification]:
    """Every detector on every normalisation of one readout.

    Args:
        decisions: Through one lens.
        confidence: Nominal coverage of the intervals.
        n_boot: Resamples of the questions.
        n_perm: Shuffles of the gold labels.
        seed: Of both.

    Returns:
        One specification for each.
    """
    layers = np.array(decisions.survivors)
    informed = locate(decisions.scores, decisions.gold, n_boot=1, n_perm=n_perm, seed=seed).p_value < LEVEL
    weights = resample_weights(decisions.n_questions, n_boot, seed=seed)
    curves = {name: of(decisions)[:, layers] for name, of in NORMALISATIONS.items()}
    committed = (decisions.commitment_layer[:, None] <= layers).astype(np.float64)
    found = []
    for name, detector in _rules().items():
        own = {CHOICE: committed} if detector.curve == "committed" else curves
        for normalisation, curve in own.items():
            # A choice is committed at the end by construction: its evidence is that of the margin.
            gate = curves["excess_margin"] if normalisation == CHOICE else curve
            risen = has_risen(rises_of(gate))[2]
            looking = replace(detector, curve=normalisation)
            detection = detect(name, looking, curve, layers, weights, confidence)
            found.append(
                Specification(decisions.lens, name, normalisation, detection, informed=informed, risen=risen)
            )
    return found


def _rules() -> dict[str, Detector]:
    """Every rule once, by the first name that it has among the detectors."""
    names: dict[Any, str] = {}
    for name, detector in DETECTORS.items():
        names.setdefault(detector.find, name)
    return {name: DETECTORS[name] for name in names.values()}


@dataclass(frozen=True)
class _ThroughLenses(Observer["tuple[Decisions, ...]"]):
    """One variant through several lenses; of all others nothing, so that one run serves them and the last blocks."""

    whole: Intervention
    lenses: tuple[Lens | None, ...]
    name: str = "lenses"

    @property
    def looks(self) -> tuple[DecisionObserver, ...]:
        return tuple(DecisionObserver(lens=lens) for lens in self.lenses)

    @property
    def reads(self) -> Reads:
        return Reads()

    @property
    def key(self) -> str:
        return f"lenses {self.whole.key} {[look.key for look in self.looks]}"

    def start(
        self, model: ModelAccess, inputs: Inputs, variant: Intervention
    ) -> Collector[tuple[Decisions, ...]]:
        looks = self.looks if variant == self.whole else ()
        return _Several([look.start(model, inputs, variant) for look in looks])

    def pack(self, result: tuple[Decisions, ...]) -> Packed:
        parts = [look.pack(one) for look, one in zip(self.looks, result, strict=False)]
        return Packed(
            arrays={
                f"{i} {name}": array for i, part in enumerate(parts) for name, array in part.arrays.items()
            }
        )

    def unpack(
        self, packed: Packed, model: ModelAccess, inputs: Inputs, variant: Intervention
    ) -> tuple[Decisions, ...]:
        parts: dict[int, dict[str, np.ndarray]] = {}
        for name, array in packed.arrays.items():
            number, own = name.split(" ", 1)
            parts.setdefault(int(number), {})[own] = array
        return tuple(
            self.looks[i].unpack(Packed(arrays=part), model, inputs, variant) for i, part in parts.items()
        )


class _Several(Collector["tuple[Decisions, ...]"]):
    def __init__(self, parts: list[Collector[Decisions]]) -> None:
        self.parts = parts

    def take(self, batch: Batch, rows: ReadRows) -> None:
        for part in self.parts:
            part.take(batch, rows)

    def finish(self) -> tuple[Decisions, ...]:
        return tuple(part.finish() for part in self.parts)
