"""How far results are from a reference, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import pandas as pd

from decision_phases.interventions import Intervention


@dataclass(frozen=True)
class Deviation:
    """How far option scores, margins and choices are from their reference.

    Attributes:
        score_max: Largest deviation of an option's score (a logit, or a log-probability in cloze scorings).
        score_rms: Root mean square of it over questions and options.
        margin_max: Largest deviation of a question's decision margin.
        margin_rms: Root mean square of it over questions.
        changed: Questions that choose another option.
    """

    score_max: float
    score_rms: float
    margin_max: float
    margin_rms: float
    changed: int


@dataclass(frozen=True)
class Precision:
    """What number format and shortcuts cost: the engine's results against float64, layer by layer.

    Attributes:
        model: Name of the model.
        dtype: Number format that it computes in.
        device: Where it computes.
        questions: Name of the questions.
        n_questions: Their number.
        scoring: How options were scored.
        under: The intervention that both ran under.
        layers: Surviving layer → deviation of what is read there.
        final: Deviation of the final decision.
        reference: What it is compared with, in words.
    """

    model: str
    dtype: str
    device: str
    questions: str
    n_questions: int
    scoring: str
    under: Intervention
    layers: Mapping[int, Deviation] = field(repr=False)
    final: Deviation
    reference: str

    def to_pandas(self) -> pd.DataFrame:
        """One row a surviving layer.

        Returns:
            Columns layer, score_max, score_rms, margin_max, margin_rms, changed.
        """
        rows = [{"layer": layer, **asdict(deviation)} for layer, deviation in self.layers.items()]
        return pd.DataFrame(rows, columns=["layer", *Deviation.__dataclass_fields__])

    def __str__(self) -> str:
        """What deviates, in the end and where most."""
        where = f", under {self.under}" if self.under else ""
        lines = [
            f"Precision of {self.model} in {self.dtype} on {self.device}, {self.n_questions} questions "
            f"({self.questions}, {self.scoring}){where}; against {self.reference}",
            f"  in the end: {_words(self.final)}",
        ]
        if self.layers:
            worst = max(self.layers, key=lambda layer: self.layers[layer].score_max)
            lines.append(f"  most at layer {worst}: {_words(self.layers[worst])}")
        return "\n".join(lines)

    __repr__ = __str__


def _words(deviation: Deviation) -> str:
    return (
        f"scores within {deviation.score_max:.2g} (rms {deviation.score_rms:.2g}), margins within "
        f"{deviation.margin_max:.2g} (rms {deviation.margin_rms:.2g}), {deviation.changed} choices changed"
    )
