"""What takes the place of a component that is ablated: its mean over questions, or what it does on another question."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from decision_phases.circuits.circuit import Component
from decision_phases.engine import Batch, Collector, Inputs, Observer, Reads, evaluate
from decision_phases.engine.capture import CaptureObserver
from decision_phases.engine.observers import ReadRows
from decision_phases.errors import InputError, unknown_name
from decision_phases.interventions import Captured, Intervention, mean, patch
from decision_phases.models import ModelAccess
from decision_phases.tasks import EncodedQuestions

ABLATIONS: Mapping[str, str] = MappingProxyType(
    {
        "mean": "its mean over the questions that choose, over all positions",
        "resample": "its values on another question of as many tokens, position by position",
    }
)
_SITES = ("head_out", "mlp_out")


@dataclass(frozen=True, eq=False)
class Ablation:
    """Turns components into edits that take their information away.

    Attributes:
        under: What the model runs under all the same.
        edits: Component → the edit that ablates it.
    """

    under: Intervention
    edits: Mapping[Component, Intervention] = field(repr=False)

    def without(self, components: Iterable[Component]) -> Intervention:
        """The intervention that ablates components.

        Args:
            components: Which.

        Returns:
            It, with what the model runs under.
        """
        parts = [edit for one in components for edit in self.edits[one].edits]
        return self.under + Intervention(tuple(parts)) if parts else self.under


def make_ablation(
    model: ModelAccess,
    kind: str,
    components: Iterable[Component],
    *,
    reference: EncodedQuestions,
    inputs: EncodedQuestions,
    under: Intervention,
    seed: int,
) -> Ablation:
    """Prepare the ablation of components on some questions.

    Args:
        model: The model.
        kind: A name in `ABLATIONS`.
        components: What may be ablated.
        reference: Questions that means are taken over.
        inputs: Questions that will run; resampled values are those of others among them.
        under: What the model runs under.
        seed: Of the draw of other questions.

    Returns:
        The ablation.

    Raises:
        InputError: If the kind is unknown, or a question has no other of as many tokens.
    """
    wanted = tuple(components)
    check_ablation(kind, wanted, inputs)
    layers = tuple(sorted({one.layer for one in wanted}))
    if kind == "mean":
        (run,) = evaluate(model, reference, [under], [MeanObserver(layers)])
        means: Mapping[tuple[str, int], np.ndarray] = run["means"]
        return Ablation(under, {one: _mean(one, means) for one in wanted})
    order = others_of_equal_length(inputs, seed)
    (run,) = evaluate(model, inputs, [under], [CaptureObserver(_SITES, layers, "all")])
    source: Captured = run["capture"].reordered(order)
    return Ablation(
        under, {one: patch(one.site, one.layer, source, head=one.head, positions="all") for one in wanted}
    )


def check_ablation(kind: str, components: Iterable[Component], inputs: EncodedQuestions) -> None:
    """Refuse what `make_ablation` cannot do, before anything runs.

    Args:
        kind: A name in `ABLATIONS`.
        components: What may be ablated.
        inputs: Questions that will run.

    Raises:
        InputError: If the kind is unknown, there is nothing to ablate, or a question has no other of as many tokens.
    """
    if kind not in ABLATIONS:
        raise unknown_name("ablation", kind, ABLATIONS)
    if not tuple(components):
        msg = "there is no component left to ablate"
        raise InputError(msg)
    if kind == "resample":
        others_of_equal_length(inputs, seed=0)


def others_of_equal_length(inputs: EncodedQuestions, seed: int) -> Int[np.ndarray, " question"]:
    """For every question another of as many tokens, each question being another's once.

    Args:
        inputs: The questions.
        seed: Of the draw.

    Returns:
        Indices.

    Raises:
        InputError: If a question has none.
    """
    lengths = np.array([len(s) for s in inputs.sequences])
    order = np.arange(len(lengths))
    rng = np.random.default_rng([seed, 6])
    for length in np.unique(lengths):
        own = np.flatnonzero(lengths == length)
        if len(own) < 2:
            msg = (
                f"question {inputs.questions.label(int(own[0]))} is the only one of {length} tokens, so nothing can be "
                "resampled for it; use questions of equal length, or ablation='mean'"
            )
            raise InputError(msg)
        ring = rng.permutation(own)
        order[ring] = np.roll(ring, 1)
    return order


def _mean(one: Component, means: Mapping[tuple[str, int], np.ndarray]) -> Intervention:
    values = means[one.site, one.layer]
    own = values if one.head is None else values[one.head]
    return mean(one.site, one.layer, own, head=one.head, positions="all")


@dataclass(frozen=True)
class MeanObserver(Observer[Mapping[tuple[str, int], np.ndarray]]):
    """Means of what heads and MLPs put out, over every token of every sequence.

    Attributes:
        layers: Where.
        name: Under which the result is found.
    """

    layers: tuple[int, ...]
    name: str = "means"

    @property
    def reads(self) -> Reads:
        """Heads and MLPs at all positions."""
        return Reads(_SITES, self.layers, "all")

    @property
    def key(self) -> str:
        """The settings."""
        return f"means {self.layers}"

    def start(
        self, model: ModelAccess, inputs: Inputs, variant: Intervention
    ) -> Collector[Mapping[tuple[str, int], np.ndarray]]:
        """Begin with one variant."""
        return _Averaging()


class _Averaging(Collector[Mapping[tuple[str, int], np.ndarray]]):
    def __init__(self) -> None:
        self.sums: dict[tuple[str, int], Float[np.ndarray, ...]] = {}
        self.counts: dict[tuple[str, int], int] = {}

    def take(self, batch: Batch, rows: ReadRows) -> None:
        for place, values in rows.items():
            found: Any = values.to(torch.float64).sum(0).cpu().numpy()
            self.sums[place] = self.sums.get(place, 0.0) + found
            self.counts[place] = self.counts.get(place, 0) + len(values)

    def finish(self) -> Mapping[tuple[str, int], np.ndarray]:
        return {place: total / self.counts[place] for place, total in self.sums.items()}
