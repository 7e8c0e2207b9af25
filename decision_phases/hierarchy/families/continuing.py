"""Free continuation: how long a text stays that of the intact model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from decision_phases.engine import Generation, evaluate, generate
from decision_phases.engine.generating import check_generation
from decision_phases.hierarchy.families.contract import Measured, Task, TaskFamily
from decision_phases.hierarchy.repetition import repeated_ngrams, shared_prefix
from decision_phases.hierarchy.steps import step_losses
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.readout.divergence import EndingObserver
from decision_phases.tasks import OpenPrompts, TextSet, encode_prompts, read_passages


@dataclass(frozen=True)
class Continuation(TaskFamily):
    """The likeliest continuation of the beginnings of texts, compared with what the intact model writes.

    The score is the share of tokens before the first that differs: 1 for the intact model by definition. Beside it
    stand the repetition of the text and its loss under the intact model, which say whether it is still sound; a text
    that goes round in circles has a low loss, so neither says it alone.

    Attributes:
        name: Under which results are found.
        prompts: As for `generate`; the bundled passages by default.
        prompt_tokens: Tokens taken of each text.
        steps: Tokens to write.
    """

    name: str = "continuation"
    prompts: object = None
    prompt_tokens: int = 12
    steps: int = 32
    what: str = "share of the continuation before it differs from the intact model's"
    floor: str = "measured: the intact model's continuations of the other prompts"

    def prepare(self, model: ModelAccess, *, limit: int | None, seed: int) -> Task:
        """Encode the prompts."""
        given = self.prompts
        if given is None:
            given = TextSet("passages", read_passages("passages").passages, source="bundled")
        prompts = encode_prompts(
            given, model.tokenizer, prompt_tokens=self.prompt_tokens, limit=limit, seed=seed,
            context_length=model.context_length,
        )  # fmt: skip
        return _Continuing(model, prompts, self.steps)


class _Continuing(Task):
    def __init__(self, model: ModelAccess, prompts: OpenPrompts, steps: int) -> None:
        super().__init__(model)
        self.prompts, self.steps, self.key = prompts, steps, f"continuation {steps} {prompts.key}"
        check_generation(model, prompts, Intervention(), steps=steps, temperature=None)

    def check(self, under: Intervention) -> None:
        check_generation(self.model, self.prompts, under, steps=self.steps, temperature=None)

    @cached_property
    def intact(self) -> Generation:
        """What the intact model writes."""
        return generate(self.model, self.prompts, steps=self.steps)

    def measure(self, under: Intervention) -> Measured:
        written = generate(self.model, self.prompts, steps=self.steps, under=under) if under else self.intact
        same = shared_prefix(self.intact.tokens, written.tokens) / self.steps
        (run,) = evaluate(self.model, written.sequences(), [Intervention()], [EndingObserver()])
        losses = step_losses(self.model, np.stack(run["endings"].rows), written.tokens)
        inside = np.arange(self.steps) < written.lengths[:, None]
        repeated = [repeated_ngrams(written.written(i)) for i in range(len(self.prompts))]
        extra = {
            "repetition": np.array(repeated),
            "log_perplexity": np.where(inside, losses, 0.0).sum(axis=1) / written.lengths,
        }
        return Measured(same, self._floor, extra)

    @cached_property
    def _floor(self) -> Float[np.ndarray, " item"]:
        tokens, n = self.intact.tokens, len(self.prompts)
        if n == 1:
            return np.zeros(1)
        pairs = np.array([shared_prefix(tokens, np.roll(tokens, shift, axis=0)) for shift in range(1, n)])
        return np.asarray(pairs.mean(axis=0) / self.steps)
