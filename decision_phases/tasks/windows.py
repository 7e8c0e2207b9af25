"""Texts to token sequences for perplexity, by a sliding window."""

import numpy as np

from decision_phases.errors import InputError
from decision_phases.tasks.sequences import TokenSequence
from decision_phases.tasks.textset import TextSet
from decision_phases.tasks.tokenise import Tokenizer, tokenise


def encode_texts(
    textset: TextSet,
    tokenizer: Tokenizer | None,
    *,
    window: int = 512,
    stride: int | None = None,
    bos: bool | None = None,
    context_length: int | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> list[TokenSequence]:
    """Return the windows of a text set, in which every token is predicted at most once.

    Each text is tokenised whole and cut into windows that begin every `stride` tokens; a window predicts
    only tokens that no window before it held, so the overlap is context. A token without a token before it
    is not predicted: the first of a text, and the first of a window if windows do not overlap, unless a BOS
    token stands in front. The documents of a running text are joined by a blank line and are one text.
    (Hugging Face transformers, "Perplexity of fixed-length models".)

    Args:
        textset: The texts.
        tokenizer: A Hugging Face tokenizer.
        window: Tokens in a window, BOS included.
        stride: New tokens per window; by default as many as fit, so that windows do not overlap.
        bos: Whether a BOS token begins every window. By default if the tokenizer begins a text with one.
            Unlike the usual recipe, which has it only at the beginning of a text, every window then is a
            text as the model knows it.
        context_length: Longest sequence that the model takes.
        limit: Keep at most this many windows, drawn without replacement, in their order.
        seed: Seed of that draw.

    Returns:
        Sequences; `owner` is the index of the document (0 for a running text).

    Raises:
        InputError: If there is no tokenizer, the window does not fit the context or holds no two tokens,
            the stride does not fit the window, BOS is asked for and there is none, the limit is below 1, or
            nothing is left to predict.

    Example:
        >>> from tokenizers import Tokenizer, models, pre_tokenizers
        >>> from transformers import PreTrainedTokenizerFast
        >>> words = Tokenizer(models.WordLevel({"a": 0, "b": 1, "?": 2}, "?"))
        >>> words.pre_tokenizer = pre_tokenizers.Whitespace()
        >>> tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="?")
        >>> for s in encode_texts(TextSet("t", ("a b b a b",)), tokenizer, window=4, stride=2):
        ...     print(s.tokens, s.read, s.targets)
        (0, 1, 1, 0) (0, 1, 2) (1, 1, 0)
        (1, 0, 1) (1,) (1,)
    """
    if tokenizer is None:
        raise InputError("the model has no tokenizer, so texts cannot be put to it; give a tokenizer.")
    head = window_head(tokenizer, bos=bos)
    size = window - len(head)
    step = size if stride is None else stride
    _check(window, size, step, context_length, limit)
    documents = ("\n\n".join(textset.documents),) if textset.running else textset.documents
    table = tokenise(documents, tokenizer, special=False)
    sequences = [
        sequence
        for owner, document in enumerate(documents)
        for sequence in _windows(table[document].ids, head, size, step, owner)
    ]
    if not sequences:
        raise InputError(
            f"text set {textset.name!r} has no token to predict; give a text of at least two tokens."
        )
    if limit is not None and limit < len(sequences):
        drawn = np.random.default_rng(seed).choice(len(sequences), size=limit, replace=False)
        sequences = [sequences[i] for i in sorted(drawn)]
    return sequences


def window_head(tokenizer: Tokenizer, *, bos: bool | None) -> tuple[int, ...]:
    """Return what stands in front of every window: the BOS token or nothing.

    Args:
        tokenizer: A Hugging Face tokenizer.
        bos: As in `encode_texts`.

    Raises:
        InputError: If BOS is asked for and there is none.
    """
    token = tokenizer.bos_token_id
    if bos is None:
        begins = tokenise(["a"], tokenizer)["a"].ids[:1]
        return begins if begins == (token,) else ()
    if bos and token is None:
        raise InputError("bos=True, but the tokenizer has no BOS token; use bos=False.")
    return (token,) if bos and token is not None else ()


def _check(window: int, size: int, step: int, context_length: int | None, limit: int | None) -> None:
    if context_length is not None and window > context_length:
        raise InputError(
            f"window is {window} tokens, the model takes {context_length}; use a smaller window."
        )
    if window < 2:
        raise InputError(f"window is {window} tokens; at least 2 are needed to predict one.")
    if not 1 <= step <= size:
        raise InputError(f"stride is {step}; expected 1 to {size}, the tokens of a window without BOS.")
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}; at least one window is needed.")


def _windows(
    ids: tuple[int, ...], head: tuple[int, ...], size: int, step: int, owner: int
) -> list[TokenSequence]:
    """The windows of one text."""
    found, done = [], 0
    for begin in range(0, len(ids), step):
        end = min(begin + size, len(ids))
        tokens = head + ids[begin:end]
        first = max(len(head) + done - begin, 1)
        if first < len(tokens):
            read = tuple(range(first - 1, len(tokens) - 1))
            found.append(TokenSequence(tokens, read, tokens[first:], owner))
        done = end
        if end == len(ids):
            break
    return found
