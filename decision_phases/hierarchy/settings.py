"""What is measured of two residuals, as values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from decision_phases.errors import InputError, unknown_name
from decision_phases.hierarchy.distances import PROBABILITY_MEASURES, VECTOR_MEASURES, check_temperature

NORMS = {
    "final": "z = W norm(h): what the model does to its last residual",
    "none": "z = W h, without the final norm: what the published code of arXiv 2603.24652 does",
}
SPACES = {
    "h": "the residual stream as it leaves the block",
    "h_normed": "the same behind the final norm",
    "z": "logits",
    "z_centred": "logits less their mean",
    "p": "probabilities, softmax(z / T)",
}
LOGIT_SPACES = ("z", "z_centred", "p")
#: Measured, but no distance: what is kept beside the distances to read them by.
NO_DISTANCE = ("parallel", "dense_mass")


@dataclass(frozen=True, order=True)
class Column:
    """One number that is measured in every cell.

    Attributes:
        tokens: "all" for the whole vocabulary (and for h), else "top_10", "options" or "random": probabilities are then
            renormalised among these tokens.
        space: A name in `SPACES`.
        measure: A name in `VECTOR_MEASURES` or, in p, in `PROBABILITY_MEASURES`; "dense_mass" is the probability that
            the dense model gives to these tokens together.
    """

    tokens: str
    space: str
    measure: str

    def __str__(self) -> str:
        """Space, tokens and measure."""
        among = "" if self.tokens == "all" else f" among {self.tokens}"
        return f"{self.measure} in {self.space}{among}"


@dataclass(frozen=True)
class SpaceSettings:
    """What decides the numbers, beside model, inputs and intervention.

    Attributes:
        groups: For every cell (a position that is read), the question or text that it belongs to.
        options: For every cell, the token of each option; empty where there are no options.
        temperature: T of the softmax.
        norm: A name in `NORMS`.
        top: Sizes of the sets of most probable tokens of the dense model.
        random_sets: Random sets of tokens beside the options of each cell.
        partners: Other prompts that each prompt is compared with.
        seed: Of the random sets and the partners.
    """

    groups: tuple[int, ...] = field(repr=False)
    options: tuple[tuple[int, ...], ...] = field(default=(), repr=False)
    temperature: float = 1.0
    norm: str = "final"
    top: tuple[int, ...] = (10,)
    random_sets: int = 16
    partners: int = 4
    seed: int = 0

    def check(self, d_vocab: int) -> None:
        """Refuse settings that cannot be measured.

        Args:
            d_vocab: Size of the vocabulary.

        Raises:
            InputError: If a number is out of range, or the norm is not known.
        """
        check_temperature(self.temperature)
        check_norm(self.norm)
        if len(set(self.top)) != len(self.top) or any(not 2 <= k <= d_vocab for k in self.top):
            msg = f"top={self.top}: sets of most probable tokens have 2..{d_vocab} of them, each size given once"
            raise InputError(msg)
        if self.random_sets < 1 or self.partners < 1:
            msg = f"random_sets={self.random_sets}, partners={self.partners} given; at least 1 of each is needed"
            raise InputError(msg)
        sizes = [len(own) for own in self.options]
        if sizes and (min(sizes) < 2 or 8 * max(sizes) > d_vocab):
            msg = (
                f"{min(sizes)} to {max(sizes)} options were given; at least 2 are needed, and at most {d_vocab // 8} "
                f"in a vocabulary of {d_vocab}, so that random tokens of like rank can be drawn beside them"
            )
            raise InputError(msg)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Everything that is measured, in order."""
        found = [Column("all", space, name) for space in ("h", "h_normed") for name in VECTOR_MEASURES]
        found += _logit_columns("all")
        for k in self.top:
            found += [*_logit_columns(f"top_{k}"), Column(f"top_{k}", "p", "dense_mass")]
        for tokens in ("options", "random") if self.options else ():
            found += [*_logit_columns(tokens), Column(tokens, "p", "dense_mass")]
        return tuple(found)


def check_norm(norm: str) -> None:
    """Refuse what is no name in `NORMS`.

    Args:
        norm: A name.

    Raises:
        InputError: With the near names.
    """
    if norm not in NORMS:
        raise unknown_name("norm", norm, NORMS)


def _logit_columns(tokens: str) -> list[Column]:
    vectors = [Column(tokens, space, name) for space in ("z", "z_centred") for name in VECTOR_MEASURES]
    return [*vectors, *(Column(tokens, "p", name) for name in PROBABILITY_MEASURES)]


def find_column(
    columns: Sequence[Column], space: str, measure: str = "cosine", tokens: str = "all"
) -> Column:
    """Find a column by name.

    Args:
        columns: Those that there are.
        space: A name in `SPACES`.
        measure: What is measured there.
        tokens: Among which tokens.

    Returns:
        The column.

    Raises:
        InputError: If there is none, with the near names.

    Example:
        >>> find_column(SpaceSettings((0,)).columns, "p", "theorem_3")
        Column(tokens='all', space='p', measure='theorem_3')
    """
    wanted = Column(tokens, space, measure)
    if wanted in columns:
        return wanted
    for kind, given, known in (
        ("set of tokens", tokens, [c.tokens for c in columns]),
        ("space", space, [c.space for c in columns if c.tokens == tokens]),
        ("measure", measure, [c.measure for c in columns if c.tokens == tokens and c.space == space]),
    ):
        if given not in known:
            raise unknown_name(kind, given, set(known))
    raise AssertionError(wanted)
