"""One edit: what is done, where, at which positions, with which values."""

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, SupportsIndex

from decision_phases.errors import InputError, unknown_name
from decision_phases.interventions.arrays import Array, Key
from decision_phases.interventions.per_question import PerQuestion
from decision_phases.interventions.positions import check_position
from decision_phases.interventions.values import Affine, Bottleneck, Noise, Value, Weights

OPS: Mapping[str, str] = {
    "skip": "remove the part: the residual stream passes it unchanged, and it is not computed",
    "set": "replace the activation: by one number, one vector, or the values of each question",
    "add": "add one vector, or the values of each question, to the activation",
    "scale": "multiply the activation by one number",
    "map": "replace the activation x by x @ weight + bias, or by what a bottleneck makes of it",
    "resample": "replace the activation by that of another question, drawn with a seed",
    "noise": "add Gaussian noise, seeded by question and layer",
    "weights": "replace, mask or add to named parameters of the block",
}
SITES: Mapping[str, str] = {
    "block": "a whole block",
    "attention": "the attention of a block",
    "mlp": "the MLP of a block",
    "resid_pre": "the residual stream that enters the block",
    "head_out": "what one head hands to the output projection, `attn.hook_z`",
    "attn_out": "what the attention adds to the residual stream",
    "resid_mid": "the residual stream between attention and MLP",
    "mlp_out": "what the MLP adds to the residual stream",
    "resid_post": "the residual stream that leaves the block; what layer l reads out",
}
PARTS = ("block", "attention", "mlp")
ACTIVATIONS = tuple(site for site in SITES if site not in PARTS)
_ALLOWED_SITES: Mapping[str, tuple[str, ...]] = {
    "skip": PARTS,
    "weights": ("block",),
    "map": tuple(site for site in ACTIVATIONS if site != "head_out"),
}
_ALLOWED_VALUES: Mapping[str, tuple[type, ...]] = {
    "skip": (),
    "set": (float, Array, PerQuestion),
    "add": (Array, PerQuestion),
    "scale": (float,),
    "map": (Affine, Bottleneck),
    "resample": (PerQuestion,),
    "noise": (Noise,),
    "weights": (Weights,),
}
_SEEDED = ("noise", "resample")


def whole_number(value: object, name: str) -> int:
    """Return `value` as an int of 0 or more.

    Args:
        value: An integer of any integer type; a bool is none.
        name: What it counts, for the error.

    Returns:
        The int.

    Raises:
        InputError: If it is no integer, or is negative.

    Example:
        >>> whole_number(3, "layer")
        3
    """
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise InputError(f"{name} {value!r} is not an integer.")
    number = operator.index(value)
    if number < 0:
        counted = "" if name == "seed" else f"; a {name} is counted from 0, in the intact model"
        raise InputError(f"{name} {number} is negative{counted}.")
    return number


@dataclass(frozen=True)
class Edit:
    """Say what is done at one place of the model; builders such as `skip` and `patch` make these.

    Attributes:
        op: One of `OPS`.
        site: One of `SITES`: a part for `skip`, the block for `weights`, an activation for the others.
        layer: The 0-based index of the block in the intact model.
        head: The 0-based head, at the site `head_out` and only there.
        positions: Symbolic positions, see `positions.POSITIONS`.
        value: What the op needs, see `values`.
        seed: The seed of `noise` and `resample`; None for the others.
        label: A name for reading; not part of equality, of the hash or of any key.

    Raises:
        InputError: If the fields do not fit each other.

    Example:
        >>> print(Edit("set", "attn_out", layer=5, positions="answer", value=0.0))
        set attn_out of layer 5 at answer
    """

    op: str
    site: str
    layer: int
    head: int | None = None
    positions: str = "all"
    value: Value = None
    seed: int | None = None
    label: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.op not in OPS:
            raise unknown_name("op", self.op, OPS)
        if self.site not in SITES:
            raise unknown_name("part" if self.op == "skip" else "site", self.site, self._sites())
        if self.site not in self._sites():
            raise InputError(
                f"{self.op} does not act at {self.site!r}; it acts at: {', '.join(self._sites())}."
            )
        object.__setattr__(self, "layer", whole_number(self.layer, "layer"))
        check_position(self.positions)
        if self.site in PARTS and self.positions != "all":
            raise InputError(f"'{self}' must act at all positions, not only at {self.positions!r}.")
        self._check_head()
        self._check_seed()
        self._check_value()

    def _sites(self) -> tuple[str, ...]:
        return _ALLOWED_SITES.get(self.op, ACTIVATIONS)

    def _check_head(self) -> None:
        if self.site == "head_out" and self.head is None:
            raise InputError(f"{self.op} at head_out needs a head; give head=0, say.")
        if self.site != "head_out" and self.head is not None:
            raise InputError(f"head={self.head} is given at the site {self.site!r}; only head_out has heads.")
        if self.head is not None:
            object.__setattr__(self, "head", whole_number(self.head, "head"))

    def _check_seed(self) -> None:
        if self.op in _SEEDED:
            if self.seed is None:
                raise InputError(f"'{self}' draws at random and needs a seed; give seed=0, say.")
            object.__setattr__(self, "seed", whole_number(self.seed, "seed"))
        elif self.seed is not None:
            raise InputError(f"'{self}' draws nothing at random; seed={self.seed} has no meaning for it.")

    def _check_value(self) -> None:
        # Annotated as wide as what a caller may pass, numpy's numbers included.
        value: Any = self.value
        if type(value) is not bool and isinstance(value, Real):
            value = float(value)
        allowed = _ALLOWED_VALUES[self.op]
        if type(value) not in (allowed or (type(None),)):
            expected = " or ".join(kind.__name__ for kind in allowed) or "None"
            raise InputError(f"'{self}' has a value of type {type(value).__name__}; it must be {expected}.")
        if isinstance(value, float):
            if not math.isfinite(value):
                raise InputError(f"'{self}' has the value {value}; it must be finite.")
            value += 0.0  # turns -0.0, which equals 0.0 but prints otherwise, into 0.0
        if isinstance(value, Array) and (len(value.shape) != 1 or value.data.dtype.kind != "f"):
            raise InputError(
                f"'{self}' has a value of the shape {value.shape}; it must be one vector of numbers, [d]."
            )
        if isinstance(value, PerQuestion):
            self._check_per_question(value)
        object.__setattr__(self, "value", value)

    def _check_per_question(self, value: PerQuestion) -> None:
        if len(value.rows.shape) != 2:
            raise InputError(
                f"'{self}' holds {value.rows.shape}, values of every head; choose one with head=."
            )
        if self.op == "resample" and (value.lengths is not None or value.n_questions < 2):
            raise InputError(
                f"'{self}' draws from {value.description}; it needs at least 2 questions of one vector each, "
                "captured at positions='answer'."
            )
        if self.positions == "answer" and any(length != 1 for length in value.lengths or ()):
            raise InputError(
                f"'{self}' writes at one position, but its source holds {value.description}; capture it at "
                "positions='answer', or write at the positions where it was captured."
            )

    @property
    def key(self) -> Key:
        """Identify everything that the edit does, but for its layer and its label.

        Example:
            >>> Edit("skip", "mlp", 3).key
            ('skip', 'mlp', None, 'all', None, None)
        """
        value = self.value if self.value is None or isinstance(self.value, float) else self.value.key
        return (self.op, self.site, self.head, self.positions, value, self.seed)

    @property
    def place(self) -> tuple[int, int, int]:
        """Where the edit acts, in the order of computation; the order of edits at one place matters.

        Example:
            >>> Edit("skip", "block", 3).place < Edit("scale", "resid_post", 3, value=2.0).place
            True
        """
        return (self.layer, list(SITES).index(self.site), -1 if self.head is None else self.head)

    @property
    def per_question(self) -> bool:
        """Whether what the edit writes differs by question.

        Example:
            >>> Edit("noise", "resid_post", 3, value=Noise(0.1), seed=0).per_question
            True
        """
        return isinstance(self.value, PerQuestion | Noise)

    @property
    def n_questions(self) -> int | None:
        """The number of questions that the inputs must have; None if any will do.

        Example:
            >>> Edit("skip", "block", 3).n_questions is None
            True
        """
        bound = isinstance(self.value, PerQuestion) and self.op != "resample"
        return self.value.n_questions if bound and isinstance(self.value, PerQuestion) else None

    @property
    def width(self) -> int | None:
        """The width that the activation must have; None if any will do.

        Example:
            >>> Edit("skip", "block", 3).width is None
            True
        """
        if isinstance(self.value, Array):
            return self.value.shape[0]
        return self.value.width if isinstance(self.value, PerQuestion | Affine | Bottleneck) else None

    def __str__(self) -> str:
        where = self.site if self.head is None else f"head {self.head}"
        at = "" if self.positions == "all" else f" at {self.positions}"
        named = f" ({', '.join(self.value.names)})" if isinstance(self.value, Weights) else ""
        return f"{self.op} {where} of layer {self.layer}{at}{named}"
