"""How far every layer's guess of the next token is from the model's own, through the logit lens and through another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from decision_phases.engine import texts as read_texts
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.pruning.criteria.data import text_data
from decision_phases.readout import Lens
from decision_phases.readout.divergence import divergences
from decision_phases.repairs.stream import stream
from decision_phases.stats import Interval, bootstrap_ci
from decision_phases.tasks import TextSet, TokenSequence

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class LensDivergence:
    """KL(model ‖ layer) of the next token over the whole vocabulary, a window of text at a time.

    Attributes:
        logit: Through the logit lens, mean over the tokens of each window, in nats.
        tuned: Through the lens.
        lens: Name of the lens.
        texts: Name of the texts.
        model: Name of the model.
        seed: Of the resampling.
    """

    logit: Float[np.ndarray, "window layer"] = field(repr=False)
    tuned: Float[np.ndarray, "window layer"] = field(repr=False)
    lens: str
    texts: str
    model: str
    seed: int = 0

    def interval(self, of: str = "tuned") -> Interval:
        """Mean over windows with a bootstrap interval, by layer.

        Args:
            of: "logit" or "tuned"; "gain" for how much less the lens leaves.

        Returns:
            Estimate and ends, one a layer.
        """
        values = {"logit": self.logit, "tuned": self.tuned, "gain": self.logit - self.tuned}
        return bootstrap_ci(values[of], seed=self.seed)

    def to_pandas(self) -> pd.DataFrame:
        """One row a layer.

        Returns:
            Columns layer, logit, tuned, gain, gain_low, gain_high.
        """
        gain = self.interval("gain")
        return pd.DataFrame(
            {
                "layer": np.arange(self.logit.shape[1]),
                "logit": self.logit.mean(axis=0),
                "tuned": self.tuned.mean(axis=0),
                "gain": gain.estimate,
                "gain_low": gain.low,
                "gain_high": gain.high,
            }
        )

    def plot(self) -> Figure:
        """Draw both by layer.

        Returns:
            A matplotlib figure.
        """
        from decision_phases.plots import divergence_by_layer

        curves = {name: self.interval(name) for name in ("logit", "tuned")}
        return divergence_by_layer(
            {f"{name} lens": np.asarray(curve.estimate) for name, curve in curves.items()},
            {f"{name} lens": np.stack([curve.low, curve.high], axis=1) for name, curve in curves.items()},
        )

    def __str__(self) -> str:
        """A line."""
        return (
            f"Next token by layer against {self.model}, {len(self.logit)} windows of {self.texts}: mean KL "
            f"{self.logit.mean():.3f} nats through the logit lens, {self.tuned.mean():.3f} through {self.lens}"
        )

    __repr__ = __str__


def measure(
    model: ModelAccess,
    lens: Lens,
    texts: str | Path | TextSet | Iterable[str],
    *,
    window: int,
    limit: int | None,
    seed: int,
    progress: bool,
    fitted_to: str,
) -> LensDivergence:
    """Measure the divergence of every layer on texts that the lens was not fitted to.

    Args:
        model: The model.
        lens: The lens.
        texts: What `dp.texts` takes; of a whole set the evaluation half is used.
        window: Tokens in a window.
        limit: Use at most this many windows.
        seed: Of that draw.
        progress: Show a bar.
        fitted_to: Hash of the texts that the lens was fitted to.

    Returns:
        The divergences.

    Raises:
        InputError: If these are the texts that it was fitted to.
    """
    given = read_texts(texts, model=model)
    chosen = given if given.half else given.evaluation
    if chosen.content_hash == fitted_to:
        msg = f"the lens was fitted to these texts ({chosen.name}); measure it on others"
        raise InputError(msg)
    data = text_data(model, chosen, window=window, limit=limit, seed=seed)
    found = np.full((2, len(data.sequences), model.n_layers), np.nan)
    places = [("resid_post", layer) for layer in range(model.n_layers)]
    done = 0
    wanted = {Intervention(): places}
    for chunk in stream(model, data.sequences, wanted, progress=progress, what="measuring the lens"):
        rows = chunk.rows[Intervention()]
        end = rows[places[-1]]
        sizes = _sizes(data.sequences[done:], len(end))
        with torch.no_grad():
            for place in places:
                for which, resid in enumerate((rows[place], lens.translated(place[1], rows[place]))):
                    kl = divergences(model, end, resid).cpu().numpy()
                    starts = np.cumsum([0, *sizes[:-1]])
                    means = np.add.reduceat(kl, starts) / sizes
                    found[which, done : done + len(sizes), place[1]] = means
        done += len(sizes)
    return LensDivergence(found[0], found[1], lens.name, chosen.name, model.name, seed)


def _sizes(sequences: Sequence[TokenSequence], tokens: int) -> list[int]:
    """Lengths of the first sequences that hold so many tokens together."""
    ends = np.cumsum([len(s) for s in sequences])
    return [len(s) for s in sequences[: int(np.searchsorted(ends, tokens)) + 1]]
