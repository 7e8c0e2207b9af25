"""`read_open`: where in depth the next token is decided when no options are given."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from decision_phases.engine import Generation, Store, evaluate, generate
from decision_phases.engine.generating import check_generation
from decision_phases.errors import InputError
from decision_phases.hierarchy.drift_result import mean_interval
from decision_phases.hierarchy.open_observer import OpenObserver, OpenScores
from decision_phases.interventions import Intervention
from decision_phases.models import as_model
from decision_phases.readout.phases import Phases, locate
from decision_phases.stats import Interval
from decision_phases.tasks import encode_prompts

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class OpenDecisions:
    """At every step of the intact model's own text, and at every layer, how far its next token is ahead of all others.

    The margin is p(own token) − p(best other token), over the whole vocabulary and through the logit lens; the rival
    may be another token at every layer. It is positive exactly where the layer would say the same token. Under an
    intervention text and tokens are still those of the intact model: what is read is whether, and where, the changed
    model makes the same decision.

    Attributes:
        scores: Logits of own token, rival and normaliser; the last row is the embedding's.
        text: What the intact model wrote.
        under: The intervention that the model was read under.
        seed: Of intervals.
    """

    scores: OpenScores = field(repr=False)
    text: Generation = field(repr=False)
    under: Intervention
    seed: int = 0

    @property
    def n_layers(self) -> int:
        """Layers of the intact model."""
        return int(self.scores.own.shape[2]) - 1

    @property
    def steps(self) -> int:
        """Tokens of each text."""
        return self.text.steps

    @cached_property
    def survivors(self) -> tuple[int, ...]:
        """Layers that were not removed, ascending."""
        gone = set(self.under.removed_blocks)
        return tuple(layer for layer in range(self.n_layers) if layer not in gone)

    @cached_property
    def _margin(self) -> Float[np.ndarray, "prompt step row"]:
        s = self.scores
        return np.asarray(np.exp(s.own - s.log_normaliser) - np.exp(s.rival - s.log_normaliser))

    @property
    def margin(self) -> Float[np.ndarray, "prompt step layer"]:
        """p(own token) − p(best other token); NaN in removed layers."""
        return self._margin[:, :, :-1]

    @property
    def embed_margin(self) -> Float[np.ndarray, "prompt step"]:
        """The same, read off the embedding."""
        return self._margin[:, :, -1]

    @property
    def logit_margin(self) -> Float[np.ndarray, "prompt step layer"]:
        """Logit of the own token minus the largest other."""
        return np.asarray(self.scores.own - self.scores.rival)[:, :, :-1]

    @cached_property
    def ahead(self) -> Bool[np.ndarray, "prompt step layer"]:
        """Whether the layer would say the own token; False in removed layers."""
        return self.logit_margin > 0

    @cached_property
    def kept(self) -> Bool[np.ndarray, "prompt step"]:
        """Whether the run ends with the intact model's decision."""
        return self.ahead[:, :, self._last()]

    @cached_property
    def commitment_layer(self) -> Float[np.ndarray, "prompt step"]:
        """First surviving layer from which the own token stays ahead to the end; NaN where it is not in the end."""
        ahead = self.ahead[:, :, self.survivors] if self._last() >= 0 else self.ahead
        stays = np.flip(np.logical_and.accumulate(np.flip(ahead, axis=2), axis=2), axis=2)
        layers = np.array(self.survivors, dtype=np.float64)
        return np.where(stays.any(axis=2), layers[stays.argmax(axis=2)], np.nan)

    def _last(self) -> int:
        if not self.survivors:
            msg = "every layer is removed; there is no depth in which a decision could form"
            raise InputError(msg)
        return self.survivors[-1]

    def phases(self, step: int = 0, **settings: Any) -> Phases:
        """Find the layer where the decision at one step forms, with the detectors of multiple choice.

        What the margin ends with is positive in the intact model by construction, so its test for an informed decision
        says little there; under an intervention it asks whether the decision is still made.

        Args:
            step: Which token of the text.
            **settings: Of `find_phases`: method, seed, n_boot, n_perm.

        Returns:
            The phases; "questions" are prompts, each with two options: its own token and the best other.

        Raises:
            InputError: If there is no such step, or no layer is left.
        """
        if not 0 <= step < self.steps:
            msg = f"step={step}: the texts have steps 0..{self.steps - 1}"
            raise InputError(msg)
        self._last()
        own, rival, total = (
            values[:, step, :-1]
            for values in (self.scores.own, self.scores.rival, self.scores.log_normaliser)
        )
        gold = np.zeros(len(own), dtype=np.int64)
        settings = {"seed": self.seed, **settings}
        return locate(np.stack([own, rival], axis=-1), gold, log_normaliser=total, **settings)

    def margin_interval(self) -> Interval:
        """The mean margin over prompts at every step and layer, with its bootstrap interval."""
        return mean_interval(self.margin, self.seed)

    def to_pandas(self) -> pd.DataFrame:
        """One row for each step and surviving layer.

        Returns:
            Columns step, layer, margin, low, high (means over prompts), ahead (share of prompts for which the layer
            would say the own token), committed (share that stay with it from here on).
        """
        found = self.margin_interval()
        with np.errstate(invalid="ignore"):
            committed = self.commitment_layer[:, :, None] <= np.arange(self.n_layers)
        rows = [
            {
                "step": step,
                "layer": layer,
                "margin": float(found.estimate[step, layer]),
                "low": float(found.low[step, layer]),
                "high": float(found.high[step, layer]),
                "ahead": float(self.ahead[:, step, layer].mean()),
                "committed": float(committed[:, step, layer].mean()),
            }
            for step in range(self.steps)
            for layer in self.survivors
        ]
        return pd.DataFrame(rows)

    def plot(self) -> Figure:
        """Draw the mean margin by layer, one line for some of the steps, each with its transition.

        Returns:
            A matplotlib figure, which Jupyter shows by itself.
        """
        from decision_phases.plots import margin_by_step

        chosen = np.unique(np.linspace(0, self.steps - 1, min(4, self.steps)).round().astype(int)).tolist()
        found = self.margin_interval()
        lines = {
            f"step {step}": Interval(
                found.estimate[step], found.low[step], found.high[step], found.confidence, found.method
            )
            for step in chosen
        }
        enough = len(self.text.prompts) > 1
        return margin_by_step(
            lines, {f"step {s}": self.phases(s).transition if enough else None for s in chosen}
        )

    def __str__(self) -> str:
        """What was read, and how much of it is still decided."""
        where = f", under {self.under}" if self.under else ""
        lines = [
            f"Open decisions of {self.text.model} at {self.steps} steps after {len(self.text.prompts)} prompts "
            f"({self.text.prompts.name}), {self.n_layers} layers{where}: in the end {self.kept.mean():.3f} of the "
            "intact model's tokens are ahead of all others"
        ]
        if self.kept.any():
            lines.append(f"  committed at layer {np.nanmedian(self.commitment_layer):.0f} (median)")
        if not self.text.cached:
            lines.append("  written without a key-value cache, which this family does not offer")
        return "\n".join(lines)

    __repr__ = __str__


def read_open(
    model: object,
    prompts: object,
    *,
    steps: int = 8,
    under: Intervention | None = None,
    prompt_tokens: int = 64,
    limit: int | None = None,
    intact: Generation | None = None,
    seed: int = 0,
    store: Store = None,
    progress: bool = False,
    **settings: Any,
) -> OpenDecisions:
    """Read where in depth each next token is decided, without options.

    The intact model writes its likeliest text; then every layer of the model, under the intervention, is read wherever
    a token of that text is predicted.

    Args:
        model: What `load` gives or takes.
        prompts: As for `generate`: strings, texts, or questions asked openly.
        steps: Tokens to write; the first is what the prompt itself asks for.
        under: An intervention; none by default. It must treat all positions and questions alike.
        prompt_tokens: Tokens taken of each text.
        limit: Use at most this many prompts.
        intact: What `generate` gave for the intact model, greedily, if it is known already.
        seed: Of `limit` and of intervals.
        store: A store or its folder, where results are kept and found again.
        progress: Show bars.
        **settings: For questions: those of `tasks.encode_questions`.

    Returns:
        The margins: `.margin` [prompt, step, layer], `.phases(step)`, `.commitment_layer`.

    Raises:
        InputError: Before anything runs, if something does not fit.

    Example:
        >>> found = read_open("tiny-gpt2", ["Which animal", "Is water"], steps=3)
        >>> found.margin.shape, bool(found.kept.all())
        ((2, 3, 6), True)
    """
    access = as_model(model)
    asked = encode_prompts(
        prompts, access.tokenizer, prompt_tokens=prompt_tokens, limit=limit, seed=seed,
        context_length=access.context_length, **settings,
    )  # fmt: skip
    variant = under or Intervention()
    check_generation(access, asked, variant, steps=steps, temperature=None)
    if intact is None:
        intact = generate(access, asked, steps=steps, progress=progress)
    elif (
        intact.prompts.key != asked.key or (intact.steps, intact.temperature) != (steps, None) or intact.under
    ):
        msg = "intact= is of other prompts or steps, sampled or not intact; leave it out, or generate it with the same"
        raise InputError(msg)
    (run,) = evaluate(access, intact.sequences(), [variant], [OpenObserver()], store=store, progress=progress)
    scores: OpenScores = run["open"]
    _check_finite(scores, variant)
    return OpenDecisions(scores, intact, variant, seed)


def _check_finite(scores: OpenScores, under: Intervention) -> None:
    gone: Int[np.ndarray, " layer"] = np.array(under.removed_blocks, dtype=np.int64)
    wrong = ~np.isfinite(scores.log_normaliser)
    wrong[:, :, gone] = False
    if wrong.any():
        prompt, step, layer = np.argwhere(wrong)[0].tolist()
        msg = (
            f"logits are not finite at layer {layer}, step {step} of prompt {prompt} ({under or 'intact'}); try "
            "dtype='float32', or a smaller intervention"
        )
        raise InputError(msg)
