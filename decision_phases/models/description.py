"""What is said of a loaded model: what it can do, how far it is from its reference, how a batch enters it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Capabilities:
    """What a loaded model can do, measured on a short batch and never assumed from its name.

    Attributes:
        direct: Its blocks can be called one by one, with the same result as the whole model.
        resid_mid: attention and MLP are applied one after the other, so there is a residual between them.
        cached_generation: The model's own key-value cache can be used.
        fresh: An untouched Hugging Face model can be rebuilt (for LoRA, quantisation, export).
        plain: Blocks can be computed without the hooks inside them, on the same weights (see `models.plain`).
    """

    direct: bool
    resid_mid: bool
    cached_generation: bool
    fresh: bool
    plain: bool = False


@dataclass(frozen=True)
class Parity:
    """How far the loaded model is from its reference, on a short batch of tokens.

    Attributes:
        reference: What it was compared with, or "no reference".
        quantity: "logits" for raw weights, "log-probabilities" for processed ones.
        difference: Largest absolute difference; NaN where there is no reference.
        readout: Largest difference between the readout of the last residual and the model's logits.
        override: Largest difference between skipping a block and bypassing it with hooks.
        tolerance: The largest difference that would have been accepted.
    """

    reference: str
    quantity: str
    difference: float
    readout: float
    override: float
    tolerance: float

    def __str__(self) -> str:
        """One line, printed when a model is loaded."""
        against = (
            "no reference to compare with"
            if self.reference == "no reference"
            else f"{self.quantity} within {self.difference:.1e} of {self.reference}"
        )
        return (
            f"parity: {against}; readout within {self.readout:.1e} of the final logits; "
            f"skipping within {self.override:.1e} of a hook bypass (tolerance {self.tolerance:.0e})"
        )


@dataclass
class Entry:
    """What a batch of tokens looks like at the door of the first block.

    Attributes:
        tokens: Token ids, right-padded.
        resid: The residual stream entering block 0.
        calls: For every block, the arguments (masks, positions, rotary tables) that it is called with.
        cache: The key-value cache among these arguments, if other text comes before this.
    """

    tokens: Int[Tensor, "batch pos"]
    resid: Float[Tensor, "batch pos d_model"]
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = field(repr=False)
    cache: Any | None = field(default=None, repr=False)
