"""Searches that look at all candidates in low precision, and at the good ones in the model's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float

from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess, twin
from decision_phases.pruning.ground import Known
from decision_phases.pruning.objectives import Valuer
from decision_phases.pruning.screening import Errors, Screening, check_precision, choose


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
        self.rough: Known = {}

    @cached_property
    def twin(self) -> ModelAccess:
        """The model in low precision, loaded when it is first asked."""
        return twin(self.model, self.precision)

    def rather(self, valuer: Valuer) -> Valuer:
        """The same objective on the same ground, by the twin.

        Args:
            valuer: The objective, on what it is measured on.

        Returns:
            The twin's values; what "intact" means is still the model itself.
        """
        ground = valuer.ground
        return replace(valuer, ground=replace(ground, model=self.twin, known=self.rough, reference=ground))


class ScreenedSearch:
    """The steps of one search.

    Args:
        screener: The twin.
        valuer: The objective, on what it is measured on.
        sign: 1 where more is better, −1 where less is.
    """

    def __init__(self, screener: Screener, valuer: Valuer, *, sign: float = 1.0) -> None:
        self.screener, self.valuer, self.sign = screener, valuer, sign
        # One question more or less; other values are as fine as the model's own numbers.
        self.resolution = valuer.objective.resolution(valuer.ground)
        self.errors: list[Errors] = []

    def step(
        self, layers: Sequence[int], variants: Sequence[Intervention]
    ) -> tuple[Float[np.ndarray, " candidate"], Screening]:
        """Weigh the candidates of one step, the best of them in the model's own precision.

        Args:
            layers: Where each candidate goes on removing; for the record.
            variants: The cut that each would make.

        Returns:
            What each is worth (of those not confirmed, the low-precision value less its bias), of which the last
            highest is confirmed, and how it was found.
        """

        def exact(places: Sequence[int]) -> np.ndarray:
            return self.sign * self.valuer([variants[i] for i in places])

        before = self.sign * self.valuer.known(variants)
        rough = before
        if np.isnan(before).any():
            rough = self.sign * self.screener.rather(self.valuer)(variants)
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
        return found.estimate, screening
