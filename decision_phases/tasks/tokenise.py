"""Texts to token ids under the tokenizer's own rules, many at a time and each text once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from decision_phases.errors import InputError


@runtime_checkable
class Tokenizer(Protocol):
    """What is used of a Hugging Face tokenizer."""

    @property
    def is_fast(self) -> bool:
        """Whether the tokenizer can say which characters a token covers."""

    @property
    def bos_token_id(self) -> int | None:
        """Id of the token that begins a text, if there is one."""

    @property
    def eos_token_id(self) -> int | None:
        """Id of the token that ends a text, if there is one."""

    def convert_ids_to_tokens(self, ids: int) -> Any:
        """Return the token of an id, as the vocabulary writes it."""

    def __call__(self, text: list[str], **options: Any) -> Any:
        """Return `input_ids` and, on request, `offset_mapping` of each text."""


@dataclass(frozen=True)
class Tokens:
    """The tokens of one text.

    Attributes:
        ids: Token ids, with whatever the tokenizer puts around a text.
        offsets: Half-open character range of each token, or None for a tokenizer that does not know.
    """

    ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...] | None = None

    def span(self, start: int, stop: int) -> tuple[int, int] | None:
        """Return the half-open range of tokens that touch the characters, or None if it is not known.

        Example:
            >>> Tokens((1, 5, 6), ((0, 0), (0, 2), (2, 6))).span(3, 6)
            (2, 3)
        """
        if self.offsets is None:
            return None
        begins, ends = np.array(self.offsets).reshape(-1, 2).T
        touching = np.flatnonzero((ends > begins) & (begins < stop) & (ends > start))
        return (int(touching[0]), int(touching[-1]) + 1) if touching.size else None


def tokenise(
    texts: Sequence[str], tokenizer: Tokenizer, *, offsets: bool = False, special: bool = True
) -> Mapping[str, Tokens]:
    """Return the tokens of every different text.

    Args:
        texts: The texts; repeated ones cost nothing.
        tokenizer: A Hugging Face tokenizer.
        offsets: Whether character ranges are wanted (given only by fast tokenizers).
        special: Whether the tokenizer puts its special tokens (BOS) around a text.
    """
    distinct = list(dict.fromkeys(texts))
    wanted = offsets and tokenizer.is_fast
    encoded = tokenizer(
        distinct,
        add_special_tokens=special,
        return_attention_mask=False,
        return_offsets_mapping=wanted,
        verbose=False,
    )
    ranges = encoded["offset_mapping"] if wanted else [None] * len(distinct)
    return {
        text: Tokens(tuple(ids), None if where is None else tuple((int(a), int(b)) for a, b in where))
        for text, ids, where in zip(distinct, encoded["input_ids"], ranges, strict=True)
    }


def pieces_of(ids: Iterable[int], tokenizer: Tokenizer) -> dict[int, str | None]:
    """What a vocabulary writes for each of some ids.

    Args:
        ids: Token ids; repeated ones cost nothing.
        tokenizer: A Hugging Face tokenizer.

    Returns:
        The token of every id, ascending; None where the vocabulary has none.

    Example:
        >>> from decision_phases.models import tiny_tokenizer
        >>> pieces_of([0, 10**6], tiny_tokenizer())
        {0: '<s>', 1000000: None}
    """
    return {token: _piece(token, tokenizer) for token in sorted(set(ids))}


def check_pieces(pieces: Mapping[int, str | None], tokenizer: Tokenizer | None, what: str) -> None:
    """Refuse what another vocabulary encoded: its ids would mean other texts here.

    Vocabularies may differ elsewhere, in added tokens for instance; what counts are the ids in use.

    Args:
        pieces: The token of every id in use, where they were encoded; empty where that is not known.
        tokenizer: The tokenizer of the model that is to run them; None where it has none to compare with.
        what: Names them in the message.

    Raises:
        InputError: If an id stands for something else, with an example.
    """
    if tokenizer is None:
        return
    other = [token for token, piece in pieces.items() if _piece(token, tokenizer) != piece]
    if other:
        here = _piece(other[0], tokenizer)
        msg = (
            f"{what} were encoded with another vocabulary: {len(other)} of their {len(pieces)} token ids mean "
            f"something else to this model (id {other[0]} is {pieces[other[0]]!r} there and "
            f"{'nothing' if here is None else repr(here)} here); encode them for this model"
        )
        raise InputError(msg)


def _piece(token: int, tokenizer: Tokenizer) -> str | None:
    try:
        piece = tokenizer.convert_ids_to_tokens(token)
    except (IndexError, KeyError):  # what tokenizers without a table in Rust raise beyond their vocabulary
        return None
    return None if piece is None else str(piece)


def continuation(
    prompt: Tokens, joint: Tokens, *, where: str, text: str, reply: str, eos: int | None
) -> tuple[int, ...]:
    """Return the tokens that the reply adds to the prompt when both are tokenised together.

    Args:
        prompt: Tokens of the prompt.
        joint: Tokens of prompt and reply together.
        where: Names the question in messages.
        text: The prompt's text, for messages.
        reply: The reply's text, with its leading space, for messages.
        eos: The token that ends a text, which some tokenizers append and which must not be there.

    Raises:
        InputError: If the prompt ends in a space, so that there would be two; if its tokens are not the
            beginning of the joint ones; or if nothing is added.
    """
    if text.endswith((" ", "\t")):
        raise InputError(
            f"{where}: the prompt ends in a space, and {reply!r} brings its own; leave out the prompt's."
        )
    size = len(prompt.ids)
    if joint.ids[:size] == prompt.ids and len(joint.ids) > size:
        return joint.ids[size:]
    problem = f"{where}: the tokens of the prompt are not the beginning of the tokens of prompt + {reply!r}"
    if prompt.ids and prompt.ids[-1] == eos:
        raise InputError(
            f"{problem}, because the tokenizer ends every text with its end token; "
            "load it with add_eos_token=False."
        )
    raise InputError(
        f"{problem}; end the prompt at a place where this tokenizer splits, a colon for instance."
    )
