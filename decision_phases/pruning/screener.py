"""Searches that look at all candidates in low precision, and at the good ones in the model's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch

from decision_phases.engine import Store, evaluate
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess, twin
from decision_phases.pruning.screening import Errors, Screening, check_precision, choose
from decision_phases.readout.decisions import Final
from decision_phases.readout.observe import FinalObserver
from decision_phases.tasks import EncodedQuestions


class Screener:
    """A model's twin in low precision, and what it has said.

    Searches on the same model share one: what the twin said of a cut is kept. That saves time only where low precision
    is computed faster (accelerators, processors with AMX); elsewhere it costs some.

    Args:
        model: The model, loaded from Hugging Face weights.
        precision: A name in `screening.PRECISIONS`.
        at_random: How many candidates of a step are confirmed at random.
        risk: Accepted chance of another choice, a step.
        seed: Of the draws.

    Raises:
        InputError: If the precision is not known or no lower than the model's own, or no second model can be made.
    """

    def __init__(
        self, model: ModelAccess, precision: str, *, at_random: int = 4, risk: float = 0.01, seed: int = 0
    ) -> None:
        check_precision(precision)
        if model.dtype.itemsize <= getattr(torch, precision).itemsize:
            msg = (
                f"{model.name} is in {str(model.dtype).removeprefix('torch.')}, so screening in {precision} would save "
                "nothing; leave screen out, or load the model in float32"
            )
            raise InputError(msg)
        if not model.capabilities.fresh:
            model.fresh_hf()  # says why there can be no twin
        self.model, self.precision, self.at_random, self.risk, self.seed = (
            model, precision, at_random, risk, seed,
        )  # fmt: skip
        self.rough: dict[tuple[str, Intervention], Final] = {}

    @cached_property
    def twin(self) -> ModelAccess:
        """The model in low precision, loaded when it is first asked."""
        return twin(self.model, self.precision)

    def say(
        self, encoded: EncodedQuestions, variants: Sequence[Intervention], store: Store = None
    ) -> list[Final]:
        """What the twin decides.

        Args:
            encoded: The questions.
            variants: The cuts.
            store: Where the engine keeps and finds results.

        Returns:
            Final decisions, one a cut.
        """
        todo = [variant for variant in variants if (encoded.key, variant) not in self.rough]
        if todo:
            for run in evaluate(self.twin, encoded, todo, [FinalObserver()], store=store):
                self.rough[encoded.key, run.variant] = run["final"]
        return [self.rough[encoded.key, variant] for variant in variants]


class ScreenedSearch:
    """The steps of one search.

    Args:
        screener: The twin.
        encoded: The search questions.
        objective: Name of the objective.
        measure: The objective.
        store: Where the engine keeps and finds results.
    """

    def __init__(
        self,
        screener: Screener,
        encoded: EncodedQuestions,
        objective: str,
        measure: Callable[[Final], float],
        store: Store = None,
    ) -> None:
        self.screener, self.encoded, self.measure, self.store = screener, encoded, measure, store
        # One question more or less; a margin is as fine as the model's own numbers.
        own = float(torch.finfo(screener.model.dtype).eps)
        self.resolution = 1 / len(encoded) if objective == "accuracy" else own
        self.errors: list[Errors] = []

    def step(
        self,
        layers: Sequence[int],
        variants: Sequence[Intervention],
        known: Callable[[Intervention], Final | None],
        confirm: Callable[[Sequence[Intervention]], None],
    ) -> tuple[int, dict[int, float], Screening]:
        """Choose one of the candidates.

        Args:
            layers: The candidates, ascending.
            variants: The cut that each would make.
            known: What is known of a cut in the model's own precision.
            confirm: Makes it known.

        Returns:
            The layer chosen, layer → objective (of those not confirmed, the low-precision one less its bias), and how
            it was found.
        """

        def exact(places: Sequence[int]) -> np.ndarray:
            confirm([variants[i] for i in places])
            return self._known([variants[i] for i in places], known)

        before = self._known(variants, known)
        rough = before
        if np.isnan(before).any():
            said = self.screener.say(self.encoded, variants, self.store)
            rough = np.array([self.measure(final) for final in said])
        found = choose(
            rough,
            exact,
            known=before,
            before=self.errors,
            resolution=self.resolution,
            at_random=self.screener.at_random,
            risk=self.screener.risk,
            seed=[self.screener.seed, len(self.errors)],
        )
        if rough is not before:
            self.errors.append(found.errors)
        screening = Screening(
            self.screener.precision,
            len(layers),
            tuple(layer for layer, there in zip(layers, found.confirmed, strict=True) if there),
            found.band.bias,
            found.half_width,
            found.chance,
        )
        values = dict(zip(layers, found.estimate.tolist(), strict=True))
        return layers[found.best], values, screening

    def _known(
        self, variants: Sequence[Intervention], known: Callable[[Intervention], Final | None]
    ) -> np.ndarray:
        finals = [known(variant) for variant in variants]
        return np.array([np.nan if final is None else self.measure(final) for final in finals])
