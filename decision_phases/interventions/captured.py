"""Activations that were captured on questions, as a source for patching and for means."""

import hashlib
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Float

from decision_phases.errors import InputError, unknown_name
from decision_phases.interventions.captured_files import read_values, write_values
from decision_phases.interventions.edit import ACTIVATIONS, whole_number
from decision_phases.interventions.layer_sets import format_layers
from decision_phases.interventions.per_question import PerQuestion
from decision_phases.interventions.positions import check_position


@dataclass(frozen=True, repr=False)
class Captured:
    """Hold activations by site and layer, for every question of one set.

    Attributes:
        values: `(site, layer)` to the values of each question; those of `head_out` hold every head,
            `[row, head, d_head]`, the others `[row, d_model]`. All have the same questions, and the same
            number of positions in each.
        positions: The symbolic positions at which they were captured.
        question_key: The key of the questions, to tell captures apart; "" if it is not known.

    Raises:
        InputError: If there are no values, a site or position is unknown, or the shapes do not agree.

    Example:
        >>> captured = Captured.from_arrays({("resid_post", 12): np.ones((3, 8))}, positions="answer")
        >>> captured, captured.at("resid_post", 12).shape
        (<Captured: 3 questions at answer, resid_post of layers {12}>, (3, 8))
    """

    values: Mapping[tuple[str, int], PerQuestion]
    positions: str = "answer"
    question_key: str = ""

    def __post_init__(self) -> None:
        check_position(self.positions)
        if not self.values:
            raise InputError("nothing is captured; give the values of at least one site and layer.")
        ordered: dict[tuple[str, int], PerQuestion] = {}
        for site, layer in sorted(self.values):
            if site not in ACTIVATIONS:
                raise unknown_name("site", site, ACTIVATIONS)
            ordered[site, whole_number(layer, "layer")] = self.values[site, layer]
        object.__setattr__(self, "values", MappingProxyType(ordered))
        first = next(iter(ordered))
        for place, value in ordered.items():
            self._check_shape(place, value)
            if (value.n_questions, value.lengths) != (self.n_questions, self.lengths):
                raise InputError(
                    f"{_name(place)} holds {value.description}, but {_name(first)} holds "
                    f"{ordered[first].description}; all must have the same questions and positions."
                )

    def _check_shape(self, place: tuple[str, int], value: PerQuestion) -> None:
        expected = "[row, head, d_head]" if place[0] == "head_out" else "[row, d_model]"
        if len(value.rows.shape) != expected.count(",") + 1:
            raise InputError(f"{_name(place)} has the shape {value.rows.shape}; it must be {expected}.")

    @classmethod
    def from_arrays(
        cls, values: Mapping[tuple[str, int], Any], positions: str = "answer", question_key: str = ""
    ) -> "Captured":
        """Return a capture from arrays.

        Args:
            values: `(site, layer)` to `[question, d]` (one vector each, as at `"answer"`), or to a list of
                one `[position, d]` for each question; at `head_out` with heads before the last dimension.
            positions: The symbolic positions at which they were captured.
            question_key: The key of the questions.

        Returns:
            The capture, which copies the arrays.

        Raises:
            InputError: If the shapes do not agree, or values are not finite.

        Example:
            >>> ragged = [np.ones((5, 8)), np.ones((7, 8))]
            >>> Captured.from_arrays({("mlp_out", 2): ragged}, positions="all").lengths
            (5, 7)
        """
        rows = {place: PerQuestion.from_arrays(value, _name(place)) for place, value in values.items()}
        return cls(rows, positions, question_key)

    @property
    def n_questions(self) -> int:
        """The number of questions.

        Example:
            >>> Captured.from_arrays({("mlp_out", 2): np.ones((3, 8))}).n_questions
            3
        """
        return next(iter(self.values.values())).n_questions

    @property
    def lengths(self) -> tuple[int, ...] | None:
        """The number of positions of each question; None if there is one vector for each.

        Example:
            >>> Captured.from_arrays({("mlp_out", 2): np.ones((3, 8))}).lengths is None
            True
        """
        return next(iter(self.values.values())).lengths

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites, sorted.

        Example:
            >>> Captured.from_arrays({("mlp_out", 2): np.ones((3, 8))}).sites
            ('mlp_out',)
        """
        return tuple(sorted({site for site, _ in self.values}))

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers, ascending.

        Example:
            >>> Captured.from_arrays({("mlp_out", 2): np.ones((3, 8))}).layers
            (2,)
        """
        return tuple(sorted({layer for _, layer in self.values}))

    @cached_property
    def key(self) -> str:
        """Identify the content: 16 hexadecimal digits of a SHA-256.

        Example:
            >>> a, b = (Captured.from_arrays({("mlp_out", 2): np.full((1, 1), x)}) for x in (1.0, 2.0))
            >>> a.key == b.key
            False
        """
        items = tuple((place, value.key) for place, value in self.values.items())
        text = repr((items, self.positions, self.question_key))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        sites = ", ".join(self.sites)
        return (
            f"<Captured: {self.n_questions} questions at {self.positions}, {sites} of layers "
            f"{format_layers(self.layers)}>"
        )

    def __reduce__(self) -> tuple[Callable[..., "Captured"], tuple[Any, ...]]:
        # A read-only view of a dictionary cannot be copied to another process; the dictionary can.
        return Captured, (dict(self.values), self.positions, self.question_key)

    def rows(self, site: str, layer: SupportsIndex, head: int | None = None) -> PerQuestion:
        """Return the values of each question at one place.

        Args:
            site: The site.
            layer: The 0-based layer.
            head: One head of `head_out`; None takes all.

        Returns:
            The values.

        Raises:
            InputError: If this place was not captured, or the head is not there.

        Example:
            >>> Captured.from_arrays({("mlp_out", 2): np.ones((3, 8))}).rows("mlp_out", 2).width
            8
        """
        if site not in ACTIVATIONS:
            raise unknown_name("site", site, ACTIVATIONS)
        place = (site, whole_number(layer, "layer"))
        if place not in self.values:
            raise InputError(
                f"{_name(place)} was not captured; there are {', '.join(map(_name, self.values))}."
            )
        return self.values[place] if head is None else self.values[place].head(head)

    def at(
        self, site: str, layer: SupportsIndex, head: int | None = None
    ) -> Float[np.ndarray, "question ..."] | tuple[Float[np.ndarray, "position ..."], ...]:
        """Return the activations at one place as arrays.

        Args:
            site: The site.
            layer: The 0-based layer.
            head: One head of `head_out`; None takes all.

        Returns:
            `[question, d]` if there is one vector for each question, else one `[position, d]` for each.

        Raises:
            InputError: If this place was not captured, or the head is not there.

        Example:
            >>> Captured.from_arrays({("mlp_out", 2): np.ones((3, 8))}).at("mlp_out", 2).shape
            (3, 8)
        """
        rows = self.rows(site, layer, head)
        if rows.lengths is None:
            return rows.rows.data
        return tuple(rows.of(question) for question in range(rows.n_questions))

    def mean(self, site: str, layer: SupportsIndex, head: int | None = None) -> Float[np.ndarray, "..."]:
        """Return the mean over all questions and positions, each position of each question counted once.

        Args:
            site: The site.
            layer: The 0-based layer.
            head: One head of `head_out`; None takes all.

        Returns:
            `[d]`, or `[head, d_head]` of all heads; summed in float64, in the type of the values.

        Raises:
            InputError: If this place was not captured, or the head is not there.

        Example:
            >>> Captured.from_arrays({("mlp_out", 2): np.array([[1.0], [3.0]])}).mean("mlp_out", 2).tolist()
            [2.0]
        """
        rows = self.rows(site, layer, head).rows.data
        mean: Float[np.ndarray, ...] = rows.mean(axis=0, dtype=np.float64).astype(rows.dtype)
        return mean

    def reordered(self, order: Iterable[SupportsIndex]) -> "Captured":
        """Return the capture with question `i` given the values of question `order[i]`.

        This makes the control in which every question is patched from the wrong prompt.

        Args:
            order: The index of the question to take, for each question.

        Returns:
            The capture of as many questions as the order has; its `question_key` says that it was reordered.

        Raises:
            InputError: If the order is empty or names a question that is not there.

        Example:
            >>> captured = Captured.from_arrays({("mlp_out", 2): np.array([[1.0], [3.0]])})
            >>> captured.reordered([1, 0]).at("mlp_out", 2).tolist()
            [[3.0], [1.0]]
        """
        taken = tuple(operator.index(question) for question in order)
        values = {place: value.reordered(taken) for place, value in self.values.items()}
        digest = hashlib.sha256(repr(taken).encode()).hexdigest()[:8]
        return Captured(values, self.positions, f"{self.question_key}/reordered-{digest}")

    def save(self, path: str | Path) -> None:
        """Write the capture to one safetensors file.

        Args:
            path: The file.

        Raises:
            InputError: If the file exists.

        Example:
            >>> import tempfile
            >>> captured = Captured.from_arrays({("mlp_out", 2): np.ones((3, 8))})
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     captured.save(Path(folder, "captured.safetensors"))
            ...     Captured.load(Path(folder, "captured.safetensors")) == captured
            True
        """
        about = {"positions": self.positions, "question_key": self.question_key, "key": self.key}
        write_values(Path(path), self.values, about)

    @classmethod
    def load(cls, path: str | Path) -> "Captured":
        """Return the capture that `save` wrote.

        Args:
            path: The file.

        Returns:
            The capture, equal to the one saved.

        Raises:
            InputError: If there is no such file, it is no capture, or its content was changed.

        Example:
            >>> Captured.load("/nowhere")
            Traceback (most recent call last):
            decision_phases.errors.InputError: there is no file /nowhere; give one that Captured.save wrote.
        """
        values, about = read_values(Path(path))
        captured = cls(values, about["positions"], about["question_key"])
        if captured.key != about["key"]:
            raise InputError(f"{path} has another content than its key says; it was changed.")
        return captured


def _name(place: tuple[str, int]) -> str:
    return f"{place[0]}.{place[1]}"
