"""An intervention: edits that are applied together, as a value that composes."""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from decision_phases.errors import InputError, unknown_name
from decision_phases.interventions import serialise
from decision_phases.interventions.arrays import Key
from decision_phases.interventions.compatibility import check_composition, check_model, left_by
from decision_phases.interventions.edit import PARTS, Edit
from decision_phases.interventions.layer_sets import format_layers
from decision_phases.interventions.per_question import PerQuestion

_MANY = 4  # edits of one label at heads are written out


@dataclass(frozen=True, repr=False)
class Intervention:
    """Hold the edits that are applied to a model for the duration of one `with` block.

    Interventions compose with `+`, are equal if their edits are, and can be dictionary keys. The edits are
    kept in the order of computation, and edits at one place (layer, site, head) in the order in which they
    were given: the order of removals does not matter, that of two edits of one activation does.
    `Intervention()` is the empty one, false and without effect in a sum.

    Attributes:
        edits: The edits.

    Raises:
        InputError: If two edits cannot go together; the message names both.

    Example:
        >>> from decision_phases.interventions import skip
        >>> cut = skip(5, 8) + skip(20, part="mlp")
        >>> cut, cut == skip(20, part="mlp") + skip(8, 5), bool(Intervention())
        (<Intervention: skip {5, 8} + skip mlp {20}>, True, False)
    """

    edits: tuple[Edit, ...] = ()

    def __post_init__(self) -> None:
        edits = tuple(sorted(self.edits, key=lambda edit: edit.place))
        check_composition(edits)
        object.__setattr__(self, "edits", edits)

    def __add__(self, other: "Intervention") -> "Intervention":
        if not isinstance(other, Intervention):
            return NotImplemented
        return Intervention(self.edits + other.edits)

    def __radd__(self, other: int) -> "Intervention":
        # `sum` starts from 0.
        return self if other == 0 else NotImplemented

    def removing(self, cut: "Intervention") -> "Intervention":
        """Return the intervention with parts removed on top: what it does within them or at their ends goes with them.

        Args:
            cut: What is removed.

        Returns:
            The intervention; a map at `resid_pre` of a removed block stays and takes the place of the block.

        Raises:
            InputError: If something is removed that was removed already.

        Example:
            >>> from decision_phases.interventions import scale, skip
            >>> (scale("mlp_out", 3, 0.5) + scale("mlp_out", 4, 0.5)).removing(skip(3))
            <Intervention: skip {3} + scale mlp_out of layer 4>
        """
        return Intervention((*left_by(self.edits, cut.edits), *cut.edits))

    def __bool__(self) -> bool:
        return bool(self.edits)

    def __len__(self) -> int:
        return len(self.edits)

    def __iter__(self) -> Iterator[Edit]:
        return iter(self.edits)

    def __str__(self) -> str:
        if not self.edits:
            return "intact"
        cuts = [
            f"skip {'' if part == 'block' else part + ' '}{format_layers(layers)}"
            for part, layers in ((part, self.removed(part)) for part in PARTS)
            if layers
        ]
        # Weights of one making, such as those of a sparse model, are one thing, however many blocks they are in; so are
        # many edits of one making at heads.
        labels = Counter(edit.label for edit in self.edits if edit.label and edit.head is not None)
        many = {label for label, count in labels.items() if count > _MANY}
        made: dict[str, list[int]] = {}
        rest = []
        for edit in self.edits:
            if edit.label and (edit.op == "weights" or (edit.head is not None and edit.label in many)):
                made.setdefault(edit.label, []).append(edit.layer)
            elif edit.op != "skip":
                rest.append(str(edit))
        cuts += [f"{label} {format_layers(layers)}" for label, layers in made.items()]
        return " + ".join(cuts + rest)

    def __repr__(self) -> str:
        return f"<Intervention: {self}>"

    def removed(self, part: str) -> tuple[int, ...]:
        """Return the layers from which a part is removed by itself.

        Args:
            part: `"block"`, `"attention"` or `"mlp"`; a removed block counts under `"block"` only.

        Returns:
            The layers, ascending.

        Raises:
            InputError: If the part is unknown.

        Example:
            >>> from decision_phases.interventions import skip
            >>> (skip(3, part="attention") + skip(4)).removed("attention")
            (3,)
        """
        if part not in PARTS:
            raise unknown_name("part", part, PARTS)
        return tuple(edit.layer for edit in self.edits if edit.op == "skip" and edit.site == part)

    @property
    def removed_blocks(self) -> tuple[int, ...]:
        """The layers whose whole block is removed, ascending, also where a map takes the block's place.

        Example:
            >>> from decision_phases.interventions import skip
            >>> skip(8, 5).removed_blocks
            (5, 8)
        """
        return self.removed("block")

    @property
    def is_cut(self) -> bool:
        """Whether there is nothing but removals; true of the empty intervention.

        Example:
            >>> from decision_phases.interventions import skip, zero
            >>> skip(3).is_cut, zero("mlp_out", 3).is_cut
            (True, False)
        """
        return all(edit.op == "skip" for edit in self.edits)

    @property
    def earliest_layer(self) -> int | None:
        """The first layer with an edit, at whatever site; None if there is none.

        Example:
            >>> from decision_phases.interventions import skip
            >>> skip(8, 5).earliest_layer
            5
        """
        return self.edits[0].layer if self.edits else None

    @property
    def needs_positions(self) -> bool:
        """Whether some edit acts at positions that must be resolved in each sequence.

        Example:
            >>> from decision_phases.interventions import zero
            >>> zero("mlp_out", 3, positions="answer").needs_positions
            True
        """
        return any(edit.positions != "all" for edit in self.edits)

    @property
    def per_question(self) -> bool:
        """Whether some edit writes what differs by question; noise does.

        Example:
            >>> from decision_phases.interventions import noise
            >>> noise(3, variance=0.02).per_question
            True
        """
        return any(edit.per_question for edit in self.edits)

    @property
    def n_questions(self) -> int | None:
        """The number of questions that the inputs must have; None if any will do.

        Example:
            >>> from decision_phases.interventions import patch
            >>> patch("resid_post", 3, np.zeros((7, 4))).n_questions
            7
        """
        return next((edit.n_questions for edit in self.edits if edit.n_questions is not None), None)

    @cached_property
    def key(self) -> str:
        """Identify everything that affects computation: 16 hexadecimal digits of a SHA-256.

        Example:
            >>> Intervention().key == Intervention(()).key
            True
        """
        text = repr(tuple((edit.layer, edit.key) for edit in self.edits))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def at(self, layer: int) -> tuple[Edit, ...]:
        """Return the edits of one layer, in the order in which they are applied.

        Args:
            layer: The 0-based layer.

        Returns:
            The edits; none is `()`.

        Example:
            >>> from decision_phases.interventions import skip
            >>> [str(edit) for edit in skip(5, 8).at(8)]
            ['skip block of layer 8']
        """
        return tuple(edit for edit in self.edits if edit.layer == layer)

    def layer_key(self, layer: int) -> Key:
        """Return what identifies all that happens within one block.

        Two interventions of equal keys at one layer compute the same in it from the same input and questions.

        Args:
            layer: The 0-based layer.

        Returns:
            A hashable key, `()` if nothing happens; arrays are in it by content hash, labels are not.

        Example:
            >>> from decision_phases.interventions import skip
            >>> skip(5, 8).layer_key(8) == skip(5, 3).layer_key(5), skip(5).layer_key(6)
            (True, ())
        """
        return tuple(edit.key for edit in self.at(layer))

    def validate(
        self,
        *,
        n_layers: int,
        n_heads: int | None = None,
        d_model: int | None = None,
        d_head: int | None = None,
        sites: Collection[str] | None = None,
    ) -> None:
        """Refuse a model that cannot take the edits.

        Args:
            n_layers: The number of blocks.
            n_heads: The number of heads; None leaves heads unchecked.
            d_model: The width of the residual stream; None leaves widths there unchecked.
            d_head: The width of what one head puts out; None leaves it unchecked.
            sites: The activations that can be edited (`ACTIVATIONS`); None leaves them unchecked.

        Raises:
            InputError: If a layer or head is out of range, a width differs, or a site is missing.

        Example:
            >>> from decision_phases.interventions import skip
            >>> skip(5).validate(n_layers=30)
        """
        check_model(
            self.edits, n_layers=n_layers, n_heads=n_heads, d_model=d_model, d_head=d_head, sites=sites
        )

    def check_questions(self, n_questions: int) -> None:
        """Refuse inputs of another number of questions than the values were made for.

        Args:
            n_questions: The number of questions of the inputs.

        Raises:
            InputError: If it differs; the message names both shapes.

        Example:
            >>> from decision_phases.interventions import patch
            >>> patch("resid_post", 3, np.zeros((7, 4))).check_questions(7)
        """
        for edit in self.edits:
            if isinstance(edit.value, PerQuestion) and edit.n_questions not in (None, n_questions):
                raise InputError(
                    f"'{edit}' holds values for {edit.value.description}, but the inputs are {n_questions} "
                    "questions; capture the source on as many questions, in the same order."
                )

    def to_json(self) -> str:
        """Return the intervention as JSON, arrays by their content hash.

        Returns:
            The text; `arrays` holds what it refers to.

        Example:
            >>> from decision_phases.interventions import skip
            >>> Intervention.from_json(skip(5, 8).to_json()) == skip(8, 5)
            True
        """
        return serialise.edits_to_json(self.edits)

    @classmethod
    def from_json(
        cls, text: str, arrays: Mapping[str, Shaped[np.ndarray, "..."]] | None = None
    ) -> "Intervention":
        """Return the intervention that `to_json` wrote.

        Args:
            text: The JSON.
            arrays: The arrays that it refers to, by content hash.

        Returns:
            The intervention, equal to the one written.

        Raises:
            InputError: If the text is no such JSON, has an unknown key, or an array is missing or changed.

        Example:
            >>> Intervention.from_json(Intervention().to_json())
            <Intervention: intact>
        """
        return cls(serialise.edits_from_json(text, arrays or {}))

    def arrays(self) -> dict[str, Shaped[np.ndarray, "..."]]:
        """Return every array that the edits hold, by content hash.

        Returns:
            The arrays, each once.

        Example:
            >>> from decision_phases.interventions import patch
            >>> [array.shape for array in patch("resid_post", 3, np.zeros((7, 4))).arrays().values()]
            [(7, 4)]
        """
        return serialise.arrays_of(self.edits)

    def save(self, folder: str | Path) -> None:
        """Write `intervention.json` and, if there are arrays, `arrays.safetensors`.

        Args:
            folder: Where to write; made if it is not there.

        Raises:
            InputError: If an intervention is there already.

        Example:
            >>> import tempfile
            >>> from decision_phases.interventions import skip
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     skip(5).save(folder)
            ...     Intervention.load(folder)
            <Intervention: skip {5}>
        """
        serialise.save_edits(self.edits, Path(folder))

    @classmethod
    def load(cls, folder: str | Path) -> "Intervention":
        """Return the intervention that `save` wrote.

        Args:
            folder: Where it was written.

        Returns:
            The intervention, equal to the one saved.

        Raises:
            InputError: If a file is missing, is malformed, or was changed.

        Example:
            >>> Intervention.load("/nowhere")
            Traceback (most recent call last):
            ...
            decision_phases.errors.InputError: there is no /nowhere/intervention.json; ...
        """
        return cls(serialise.load_edits(Path(folder)))


def check_intervention(what: str, given: object) -> None:
    """Refuse what is no intervention, such as a list of layers.

    Args:
        what: The argument that it was given as.
        given: What was given.

    Raises:
        InputError: Saying how one is made.

    Example:
        >>> check_intervention("cut", Intervention())
    """
    if not isinstance(given, Intervention):
        msg = f"{what}={given!r:.80} is no intervention; give one such as dp.skip(5, 6)"
        raise InputError(msg)
