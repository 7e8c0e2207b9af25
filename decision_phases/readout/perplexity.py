"""`perplexity`: how well a model predicts texts, with the window, the stride and the BOS rule in the open."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from decision_phases.engine import Store, evaluate
from decision_phases.engine import texts as read_texts
from decision_phases.errors import InputError, check_confidence
from decision_phases.interventions import Intervention
from decision_phases.models import as_model
from decision_phases.readout.loss import Losses, LossObserver
from decision_phases.stats import resample_weights
from decision_phases.tasks import TextSet, encode_texts
from decision_phases.tasks.windows import window_head


@dataclass(frozen=True, eq=False)
class Perplexity:
    """Perplexity of a model on texts; comparable only at equal tokenizer, window, stride and BOS rule.

    Attributes:
        nll: Sum of −log p over the predicted tokens of each document, in nats; a running text is one document.
        tokens: Number of predicted tokens of each document.
        window: Tokens in a window, BOS included.
        stride: New tokens a window.
        bos: Whether a BOS token begins every window.
        texts: Name of the texts.
        under: The intervention that the model ran under.
        model: Name of the model.
    """

    nll: Float[np.ndarray, " document"] = field(repr=False)
    tokens: Int[np.ndarray, " document"] = field(repr=False)
    window: int
    stride: int
    bos: bool
    texts: str
    under: Intervention
    model: str

    @property
    def log_value(self) -> float:
        """Nats a token, over all tokens; finite where the perplexity itself overflows."""
        return float(self.nll.sum() / self.tokens.sum())

    @property
    def value(self) -> float:
        """The perplexity, exp of the mean over all tokens; infinite where a float cannot hold it."""
        with np.errstate(over="ignore"):
            return float(np.exp(self.log_value))

    @property
    def n_tokens(self) -> int:
        """Number of predicted tokens."""
        return int(self.tokens.sum())

    def interval(self, *, confidence: float = 0.95, n_boot: int = 2000, seed: int = 0) -> tuple[float, float]:
        """Bootstrap interval of the perplexity over documents.

        Args:
            confidence: Nominal coverage.
            n_boot: Number of resamples.
            seed: Of the resamples.

        Returns:
            Its ends.

        Raises:
            InputError: With fewer than two documents, or if the confidence is no share.

        Example:
            >>> low, high = perplexity("tiny-gpt2", ["Is water wet?", "Yes."], window=8).interval(confidence=0.9)
            >>> low < high
            True
        """
        check_confidence(confidence)
        if len(self.nll) < 2:
            msg = "there is one text only; an interval over documents needs at least two"
            raise InputError(msg)
        drawn = resample_weights(len(self.nll), n_boot, seed=seed)
        logs = (drawn @ self.nll) / (drawn @ self.tokens)
        low, high = np.exp(np.quantile(logs, [(1 - confidence) / 2, (1 + confidence) / 2]))
        return float(low), float(high)

    def __float__(self) -> float:
        """The perplexity."""
        return self.value

    def __str__(self) -> str:
        """The number and all that it depends on."""
        where = f", under {self.under}" if self.under else ""
        start = "with" if self.bos else "without"
        return (
            f"Perplexity of {self.model} on {self.texts}{where}: {self.value:.4g} ({self.log_value:.4f} nats a token, "
            f"{self.n_tokens} tokens of {len(self.nll)} documents; window {self.window}, stride {self.stride}, "
            f"{start} BOS)"
        )

    __repr__ = __str__


def perplexity(
    model: object,
    texts: str | Path | TextSet | Iterable[str],
    *,
    window: int = 512,
    stride: int | None = None,
    bos: bool | None = None,
    under: Intervention | None = None,
    limit: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Perplexity:
    """Measure the perplexity of a model on texts, by a sliding window.

    Each window predicts only tokens that no window before it held; what they share is context. Without a BOS token the
    first token of a text, and of every window if windows do not overlap, has nothing before it and is not predicted.

    Args:
        model: What `load` gives or takes.
        texts: What `dp.texts` takes: "pydoc", a file, texts, a text set; "self" for texts that the model writes.
        window: Tokens in a window, BOS included.
        stride: New tokens a window; by default as many as fit, so that windows do not overlap.
        bos: Whether a BOS token begins every window; by default if the tokenizer begins a text with one.
        under: An intervention; none by default.
        limit: Use at most this many windows, drawn without replacement.
        seed: Of that draw.
        progress: Show a bar.

    Returns:
        The perplexity, with sums and counts by document.

    Raises:
        InputError: If texts, window and model do not fit, or the loss of some document is not finite.

    Source: Hugging Face transformers, "Perplexity of fixed-length models"; here every predicted token counts equally.

    Example:
        >>> found = perplexity("tiny-gpt2", ["Is water wet? Yes.", "Is fire cold? No."], window=8, stride=4)
        >>> found.n_tokens, found.window, found.stride, found.bos
        (10, 8, 4, False)
    """
    (found,) = perplexities(
        model, texts, [under or Intervention()],
        window=window, stride=stride, bos=bos, limit=limit, seed=seed, progress=progress,
    )  # fmt: skip
    return found


def perplexities(
    model: object,
    texts: str | Path | TextSet | Iterable[str],
    variants: Sequence[Intervention],
    *,
    window: int = 512,
    stride: int | None = None,
    bos: bool | None = None,
    limit: int | None = None,
    seed: int = 0,
    store: Store = None,
    progress: bool = False,
) -> tuple[Perplexity, ...]:
    """Measure the perplexity of a model under several interventions on the same windows, which share what they can.

    Args:
        model: What `load` gives or takes.
        texts: As for `perplexity`.
        variants: The interventions; `Intervention()` is the intact model.
        window: Tokens in a window, BOS included.
        stride: New tokens a window.
        bos: Whether a BOS token begins every window.
        limit: Use at most this many windows, drawn without replacement.
        seed: Of that draw.
        store: Where results are kept and found again.
        progress: Show a bar.

    Returns:
        One perplexity a variant, in the order given.

    Raises:
        InputError: As for `perplexity`.

    Example:
        >>> from decision_phases.interventions import skip
        >>> both = perplexities("tiny-gpt2", ["Is water wet? Yes."], [Intervention(), skip(3)], window=8)
        >>> [str(found.under) for found in both]
        ['intact', 'skip {3}']
    """
    access = as_model(model)
    textset = read_texts(texts, model=access)
    sequences = encode_texts(
        textset, access.tokenizer, window=window, stride=stride, bos=bos,
        context_length=access.context_length, limit=limit, seed=seed,
    )  # fmt: skip
    assert access.tokenizer is not None  # or the line above had refused
    head = window_head(access.tokenizer, bos=bos)
    size = window - len(head) if stride is None else stride
    kept, places = np.unique([s.owner for s in sequences], return_inverse=True)
    found = []
    for run in evaluate(access, sequences, variants, [LossObserver()], store=store, progress=progress):
        losses: Losses = run["loss"]
        nll, tokens = np.bincount(places, losses.nll), np.bincount(places, losses.tokens).astype(np.int64)
        if not np.isfinite(nll).all():
            first = int(kept[~np.isfinite(nll)][0])
            msg = (
                f"the loss of text {first} is not finite ({run.variant}); try dtype='float32', or a smaller "
                "intervention"
            )
            raise InputError(msg)
        found.append(
            Perplexity(
                nll,
                tokens,
                window,
                size,
                bool(head),
                texts=textset.name,
                under=run.variant,
                model=access.name,
            )
        )
    return tuple(found)
