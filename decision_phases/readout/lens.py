"""The contract of lenses that are fitted: a map before the final norm and the unembedding."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor

from decision_phases.models import ModelAccess


class Lens(ABC):
    """Turns what leaves a layer into what the last layer would leave; final norm and unembedding read that.

    What a model ends with is read as it is: the last block that is left needs no lens.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """Its kind and a hash of all its numbers; results and stored results carry it."""

    @abstractmethod
    def check(self, model: ModelAccess) -> None:
        """Refuse a model that the lens was not fitted on.

        Args:
            model: The model that is to be read through it.

        Raises:
            InputError: If it is another model.
        """

    @abstractmethod
    def translated(self, layer: int, resid: Float[Tensor, "cell d_model"]) -> Float[Tensor, "cell d_model"]:
        """Translate residuals.

        Args:
            layer: The layer that they leave; −1 for the embedding.
            resid: The residuals.

        Returns:
            What the last layer would leave, in the number format of `resid`.
        """
