"""A fitted repair: an intervention that knows how it came about."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

import pandas as pd

from decision_phases.interventions import Intervention

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class PlaceFit:
    """How well the map of one place fits the texts that it was fitted to.

    Attributes:
        site: Site of the map.
        layer: Layer of the map, in the intact model's numbering.
        cut: The removals that it makes up for.
        error_before: What the cut misses there: Σ ‖y − x‖² / Σ ‖y‖² over all tokens. A few tokens of huge norm may be
            most of it.
        error_after: What is missed behind the map.
        relative_before: The mean over tokens of ‖y − x‖² / ‖y‖², in which all tokens count alike.
        relative_after: The same behind the map.
    """

    site: str
    layer: int
    cut: str
    error_before: float
    error_after: float
    relative_before: float
    relative_after: float


@dataclass(frozen=True)
class Fit:
    """How a repair came about.

    Attributes:
        method: Its name.
        settings: The repair with its settings.
        model: Name of the model.
        fingerprint: Hash of its weights.
        cut: The cut.
        places: One row a map; none where no map is added.
        texts: Name of the texts.
        texts_hash: Hash of the texts.
        windows: Number of windows.
        tokens: Number of tokens.
        window: Most tokens in a window.
        sequential: Whether each map was fitted on the model as repaired before it.
        seed: Of everything random.
        parameters_trained: Numbers that were fitted or trained.
        parameters_added: Numbers that the model has more for it: those of maps and constants; none where what was
            trained is merged into weights.
        seconds: How long it took, running the model included.
        losses: The loss of every step, where the model itself was trained.
        trained: Tokens that it was trained on, those that came twice counted twice.
        under: What else was done to the model meanwhile.
    """

    method: str
    settings: str
    model: str
    fingerprint: str
    cut: Intervention
    places: tuple[PlaceFit, ...]
    texts: str
    texts_hash: str
    windows: int
    tokens: int
    window: int
    sequential: bool
    seed: int
    parameters_trained: int
    parameters_added: int
    seconds: float
    losses: tuple[float, ...] = field(default=(), repr=False)
    trained: int = 0
    under: Intervention = field(default_factory=Intervention)

    @property
    def size(self) -> str:
        """How many numbers were trained and how many are added, in words."""
        return f"{self.parameters_trained} parameters trained, {self.parameters_added} added"

    def to_pandas(self) -> pd.DataFrame:
        """One row a map; of a training, one a step.

        Returns:
            Columns method, site, layer, cut, error_before, error_after, relative_before, relative_after; of a training
            method, step, loss.
        """
        if not self.places:
            steps = range(1, len(self.losses) + 1)
            return pd.DataFrame({"method": self.method, "step": steps, "loss": self.losses})
        rows = pd.DataFrame([asdict(place) for place in self.places])
        rows.insert(0, "method", self.method)
        return rows

    def to_dict(self) -> dict[str, Any]:
        """As JSON values.

        Returns:
            All fields; interventions in words.
        """
        places = [asdict(place) for place in self.places]
        told = {
            one.name: getattr(self, one.name) for one in fields(self)
        }  # no copy of the arrays that a cut may hold
        return told | {"cut": str(self.cut), "under": str(self.under), "places": places}

    def plot(self) -> Figure:
        """Draw what every map misses, before and behind it; of a training, the loss of every step.

        Returns:
            A matplotlib figure.

        Raises:
            InputError: If there was no step of training.
        """
        from decision_phases.plots import fit_errors, training_loss

        if not self.places:
            return training_loss(self.losses, title=f"{self.method} of {self.cut}")
        return fit_errors(
            [f"{place.cut}" for place in self.places],
            [place.relative_before for place in self.places],
            [place.relative_after for place in self.places],
            title=f"What {self.method} leaves of the error",
        )

    def __str__(self) -> str:
        """What was fitted, to what, and how well."""
        if not self.places:
            ends = f", loss {self.losses[0]:.3g} → {self.losses[-1]:.3g}" if self.losses else ""
            return (
                f"{self.method} of {self.cut} on {self.model}, trained on {self.trained} tokens of {self.texts} in "
                f"{self.seconds:.1f} s; {self.size}{ends}"
            )
        errors = ", ".join(
            f"{place.cut}: {place.relative_before:.3g} → {place.relative_after:.3g}" for place in self.places
        )
        return (
            f"{self.method} of {self.cut} on {self.model}, fitted to {self.tokens} tokens of {self.texts} in "
            f"{self.seconds:.1f} s; {self.size}; relative error {errors}"
        )


@dataclass(frozen=True, repr=False, eq=False)
class FittedRepair(Intervention):
    """What makes up for a cut, without the cut: `cut + repair` is the repaired model.

    Equal to another intervention if the edits are; `fit` says how it came about, and is lost in a sum.

    Attributes:
        edits: One map a place, or what is added to the weights of each block.
        fit: How it came about.
    """

    fit: Fit | None = field(default=None, compare=False)

    def __eq__(self, other: object) -> bool:
        return self.edits == other.edits if isinstance(other, Intervention) else NotImplemented

    __hash__ = Intervention.__hash__

    def __repr__(self) -> str:
        return f"<FittedRepair: {self.fit or self}>"
