"""Letting a model write on under an intervention: greedily, or sampled in a way that does not depend on the batch."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from decision_phases.engine.apply import applied
from decision_phases.engine.lower import check_variant
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess, as_model
from decision_phases.tasks import OpenPrompts, TokenSequence, encode_prompts

Rows = Sequence[tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class Generation:
    """What a model wrote after each prompt.

    Every prompt is continued by the same number of tokens, also beyond the token that ends a text, so that all steps
    can be compared; `lengths` says where each text ends.

    Attributes:
        prompts: The prompts.
        tokens: The tokens written.
        end: The tokenizer's token that ends a text; None if it has none.
        texts: What was written as text, as far as its end; empty strings without a tokenizer.
        temperature: Of the sampling; None if the likeliest token was taken.
        seed: Of the sampling.
        under: The intervention that the model ran under.
        model: Name of the model.
        cached: Whether keys and values were kept from step to step; without that, the whole text was run every time.
    """

    prompts: OpenPrompts
    tokens: Int[np.ndarray, "prompt step"]
    end: int | None
    texts: tuple[str, ...] = field(repr=False)
    temperature: float | None
    seed: int
    under: Intervention
    model: str
    cached: bool

    @property
    def steps(self) -> int:
        """Tokens written after each prompt."""
        return int(self.tokens.shape[1])

    @cached_property
    def lengths(self) -> Int[np.ndarray, " prompt"]:
        """Tokens of each text as far as the one that ends it, which is included."""
        return _lengths(self.tokens, self.end)

    def written(self, prompt: int) -> tuple[int, ...]:
        """The tokens of one text as far as its end.

        Args:
            prompt: Place of the prompt.

        Returns:
            Token ids.
        """
        return tuple(self.tokens[prompt, : self.lengths[prompt]].tolist())

    def sequences(self) -> list[TokenSequence]:
        """Prompt and text together, read wherever a token of the text is predicted.

        Returns:
            One sequence a prompt, whose targets are the tokens written; the last of them is not fed.
        """
        found = []
        for owner, (prompt, row) in enumerate(zip(self.prompts.tokens, self.tokens.tolist(), strict=True)):
            read = tuple(range(len(prompt) - 1, len(prompt) - 1 + self.steps))
            found.append(TokenSequence((*prompt, *row[:-1]), read, tuple(row), owner))
        return found

    def to_pandas(self) -> pd.DataFrame:
        """One row a prompt.

        Returns:
            Columns prompt, text, tokens (as far as the end), ended (before the last step).
        """
        return pd.DataFrame(
            {
                "prompt": list(self.prompts.labels),
                "text": list(self.texts),
                "tokens": self.lengths,
                "ended": _ended(self.tokens, self.end).any(axis=1),
            }
        )

    def __str__(self) -> str:
        """What was written how."""
        where = f", under {self.under}" if self.under else ""
        how = (
            "greedily"
            if self.temperature is None
            else f"sampled at temperature {self.temperature:g}, seed {self.seed}"
        )
        cache = "" if self.cached else "; without a key-value cache, which this family does not offer"
        return (
            f"Generation of {self.model}: {self.steps} tokens after each of {len(self.prompts)} prompts "
            f"({self.prompts.name}), {how}{where}{cache}"
        )

    __repr__ = __str__


def generate(
    model: object,
    prompts: object,
    *,
    steps: int = 32,
    under: Intervention | None = None,
    temperature: float | None = None,
    seed: int = 0,
    prompt_tokens: int = 64,
    limit: int | None = None,
    max_tokens: int = 4096,
    progress: bool = False,
    **settings: Any,
) -> Generation:
    """Let a model write on after prompts, under an intervention.

    Prompts of equal length run together, so that none is padded. Draws depend on the seed, the prompt and, for a prompt
    given several times, which time it is; so a text does not depend on what else is written with it, up to rounding.

    Args:
        model: What `load` gives or takes.
        prompts: A list of strings, put verbatim; texts, of which the first tokens are taken; or questions, asked
            without their options.
        steps: Tokens to write.
        under: An intervention; it must treat all positions and questions alike.
        temperature: Of the sampling; None takes the likeliest token.
        seed: Of the sampling and of `limit`.
        prompt_tokens: Tokens taken of each text.
        limit: Use at most this many prompts.
        max_tokens: Most tokens in a batch.
        progress: Show a bar.
        **settings: For questions: those of `tasks.encode_questions`, such as shots and template.

    Returns:
        The texts.

    Raises:
        InputError: Before anything runs, if prompts, steps, temperature, model and intervention do not fit; later, if
            logits are not finite.

    Example:
        >>> from decision_phases.interventions import skip
        >>> generate("tiny-llama", ["Which animal", "Is water"], steps=3, under=skip(0)).tokens.shape
        (2, 3)
    """
    access = as_model(model)
    asked = encode_prompts(
        prompts, access.tokenizer, prompt_tokens=prompt_tokens, limit=limit, seed=seed,
        context_length=access.context_length, **settings,
    )  # fmt: skip
    variant = under or Intervention()
    check_generation(access, asked, variant, steps=steps, temperature=temperature)
    tokens = continued(
        access, asked.tokens, variant, steps=steps, temperature=temperature, seed=seed, max_tokens=max_tokens,
        progress=progress,
    )  # fmt: skip
    return _told(access, asked, tokens, variant, temperature, seed)


def check_generation(
    model: ModelAccess, prompts: OpenPrompts, under: Intervention, *, steps: int, temperature: float | None
) -> None:
    """Refuse what cannot be generated, before anything runs.

    Args:
        model: The model.
        prompts: The prompts.
        under: The intervention.
        steps: Tokens to write.
        temperature: Of the sampling, or None.

    Raises:
        InputError: Saying what does not fit.
    """
    if steps < 1:
        msg = f"steps={steps}: at least one token must be written"
        raise InputError(msg)
    if temperature is not None and not 0 < temperature < float("inf"):
        msg = f"temperature={temperature}: it must be above 0; for the likeliest token give temperature=None"
        raise InputError(msg)
    for label, row in zip(prompts.labels, prompts.tokens, strict=True):
        if model.context_length is not None and len(row) + steps > model.context_length:
            msg = (
                f"prompt {label} has {len(row)} tokens, and {steps} are to follow, but {model.name} takes "
                f"{model.context_length}; shorten the prompt or write fewer"
            )
            raise InputError(msg)
        if not 0 <= min(row) <= max(row) < model.d_vocab:
            msg = (
                f"prompt {label} has tokens {min(row)}..{max(row)}, but the vocabulary of {model.name} is "
                f"0..{model.d_vocab - 1}; encode it with this model's own tokenizer"
            )
            raise InputError(msg)
    for edit in under.edits:
        if edit.positions != "all" or edit.per_question:
            msg = (
                f"'{edit}' depends on the question or on positions in it, which a text that is being written goes "
                "beyond; use an intervention that treats all positions alike"
            )
            raise InputError(msg)
    check_variant(model, under)


def continued(
    model: ModelAccess,
    prompts: Rows,
    under: Intervention,
    *,
    steps: int,
    temperature: float | None,
    seed: int,
    max_tokens: int = 4096,
    finished: Callable[[int, Sequence[int]], bool] | None = None,
    progress: bool = False,
) -> Int[np.ndarray, "prompt step"]:
    """Write tokens after prompts, batch by batch of prompts of one length.

    Args:
        model: The model.
        prompts: Token ids; all was checked.
        under: The intervention.
        steps: Tokens to write.
        temperature: Of the sampling; None takes the likeliest token.
        seed: Of the sampling.
        max_tokens: Most tokens in a batch.
        finished: Told the place of a prompt and the tokens written after it so far, says whether the text is complete;
            it is not asked again about that prompt, and a batch of complete texts is not continued. By default all
            steps are written.
        progress: Show a bar.

    Returns:
        Token ids; 0 at steps that were not written because all texts of the batch were complete.

    Raises:
        InputError: If logits are not finite.
    """
    draws = None if temperature is None else uniform_draws(prompts, steps, seed)
    by_length: dict[int, list[int]] = defaultdict(list)
    for place, row in enumerate(prompts):
        by_length[len(row)].append(place)
    batches = []
    for length, places in sorted(by_length.items()):
        size = max(1, max_tokens // (length + steps))
        batches += [places[i : i + size] for i in range(0, len(places), size)]
    found = np.zeros((len(prompts), steps), dtype=np.int64)
    bar = tqdm(total=len(batches) * steps, disable=not progress, unit="step", desc=str(under))
    with torch.no_grad(), applied(model, under), bar:
        for places in batches:
            tokens = torch.tensor([prompts[i] for i in places], device=model.device)
            cache: Any = None
            open_places = list(places)
            for step in range(steps):
                if not model.capabilities.cached_generation:
                    logits = model.logits(tokens, last_only=True)[:, -1]
                else:
                    logits, cache = model.step(tokens if cache is None else tokens[:, -1:], cache)
                _check_finite(logits, places, step, under)
                uniform = None if draws is None else torch.from_numpy(draws[places, step])
                new = chosen(logits, temperature, uniform)
                tokens = torch.cat([tokens, new[:, None].to(tokens.device)], dim=1)
                found[places, step] = new.cpu().numpy()
                bar.update()
                if finished is not None:
                    open_places = [i for i in open_places if not finished(i, found[i, : step + 1].tolist())]
                    if not open_places:
                        bar.update(steps - step - 1)
                        break
    return found


def chosen(
    logits: Float[Tensor, "row vocab"], temperature: float | None, uniform: Float[Tensor, " row"] | None
) -> Int[Tensor, " row"]:
    """The next token of every row: the likeliest, or where a number drawn from [0, 1) falls in the distribution.

    Args:
        logits: Of the next token.
        temperature: Of the sampling, or None.
        uniform: One number a row, for sampling.

    Returns:
        Token ids.
    """
    if temperature is None or uniform is None:
        return logits.argmax(-1)
    reached = (logits.double() / temperature).softmax(-1).cumsum(-1)
    target = uniform.to(reached.device, torch.float64)[:, None] * reached[:, -1:]
    return torch.searchsorted(reached, target, right=True)[:, 0]


def uniform_draws(prompts: Rows, steps: int, seed: int) -> Float[np.ndarray, "prompt step"]:
    """Numbers in [0, 1) that depend on seed and prompt, and on how often the same prompt came before; on nothing else.

    Args:
        prompts: Token ids.
        steps: Numbers wanted for each.
        seed: The seed.

    Returns:
        The numbers; more steps begin with those of fewer.
    """
    seen: Counter[tuple[int, ...]] = Counter()
    rows = []
    for prompt in prompts:
        text = repr((seed, prompt, seen[prompt]))
        seen[prompt] += 1
        entropy = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")
        rows.append(np.random.default_rng(entropy).random(steps))
    return np.array(rows)


def _check_finite(logits: Tensor, places: Sequence[int], step: int, under: Intervention) -> None:
    wrong = ~torch.isfinite(logits).all(-1)
    if wrong.any():
        first = places[int(wrong.nonzero()[0])]
        msg = (
            f"logits are not finite at step {step} of prompt {first} ({under}); try dtype='float32', or a smaller "
            "intervention"
        )
        raise InputError(msg)


def _told(
    model: ModelAccess,
    prompts: OpenPrompts,
    tokens: Int[np.ndarray, "prompt step"],
    under: Intervention,
    temperature: float | None,
    seed: int,
) -> Generation:
    tokenizer = model.tokenizer
    end = None if tokenizer is None else tokenizer.eos_token_id
    texts = [""] * len(prompts)
    if tokenizer is not None:
        rows = zip(tokens.tolist(), _lengths(tokens, end).tolist(), strict=True)
        texts = [tokenizer.decode(row[:size], skip_special_tokens=True) for row, size in rows]
    cached = model.capabilities.cached_generation
    return Generation(prompts, tokens, end, tuple(texts), temperature, seed, under, model.name, cached)


def _ended(tokens: Int[np.ndarray, "prompt step"], end: int | None) -> Bool[np.ndarray, "prompt step"]:
    return np.zeros(tokens.shape, dtype=bool) if end is None else tokens == end


def _lengths(tokens: Int[np.ndarray, "prompt step"], end: int | None) -> Int[np.ndarray, " prompt"]:
    """Tokens as far as the first one that ends a text, which is included."""
    ended = _ended(tokens, end)
    return np.asarray(np.where(ended.any(axis=1), ended.argmax(axis=1) + 1, tokens.shape[1]))
