"""`attribute`: which parts of a model the margin of its decision is the sum of."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from decision_phases.circuits.contributions import ContributionObserver, Contributions
from decision_phases.engine import Store, evaluate
from decision_phases.engine.lower import check_variant
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import as_model
from decision_phases.models.logit_parts import ADDED, head_factors
from decision_phases.readout.ask import Questions, ask
from decision_phases.readout.observe import FinalObserver
from decision_phases.stats import Interval, bootstrap_ci
from decision_phases.tasks import EncodedQuestions

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Attribution:
    """What every part adds to the logit margin: the logit of the right option minus that of its rival.

    The rival of a question is the wrong option that the intact model likes best in the end, whatever the intervention
    and the layer. The scale of the final norm is held at what it is in each run, so that the margin is a sum; the
    margin is that of logits as they leave the unembedding, before a soft cap or a scale.

    Attributes:
        contributions: Parts of the logits of all options.
        rival: Index of each question's rival.
        encoded: The questions as they were put.
        under: The intervention that the model ran under.
        model: Name of the model.
        layer: The layer that is read out; None for what the model says in the end.
        seed: Of intervals.
    """

    contributions: Contributions = field(repr=False)
    rival: Int[np.ndarray, " question"]
    encoded: EncodedQuestions
    under: Intervention
    model: str
    layer: int | None = None
    seed: int = 0

    def _margin(self, logits: Float[np.ndarray, "question ... option"]) -> Float[np.ndarray, "question ..."]:
        """Right option minus rival."""
        rows = np.arange(len(self.rival))
        return np.asarray(logits[rows, ..., self.encoded.gold] - logits[rows, ..., self.rival])

    @cached_property
    def margin(self) -> Float[np.ndarray, " question"]:
        """The logit margin itself."""
        return self._margin(self.contributions.logits)

    @cached_property
    def embedding(self) -> Float[np.ndarray, " question"]:
        """What enters block 0, positions included where a family adds them."""
        return self._margin(self.contributions.embedding)

    @cached_property
    def attention(self) -> Float[np.ndarray, "question layer"]:
        """The attention of every layer, heads and bias together."""
        return self._margin(self.contributions.attention)

    @cached_property
    def heads(self) -> Float[np.ndarray, "question layer head"]:
        """Every head, through its part of the output projection."""
        return self._margin(self.contributions.heads)

    @cached_property
    def attention_bias(self) -> Float[np.ndarray, "question layer"]:
        """What the attention adds that is of no head: the bias of its output projection; NaN without heads."""
        return self._margin(self.contributions.attention_bias)

    @cached_property
    def mlp(self) -> Float[np.ndarray, "question layer"]:
        """The MLP of every layer, with its bias."""
        return self._margin(self.contributions.mlp)

    @cached_property
    def intervention(self) -> Float[np.ndarray, "question layer"]:
        """What edits add at a layer, maps in place of removed blocks before it included; 0 where there are none."""
        return self._margin(self.contributions.intervention)

    @cached_property
    def norm_bias(self) -> Float[np.ndarray, " question"]:
        """The bias of the final norm."""
        return self._margin(self.contributions.norm_bias)

    @cached_property
    def unembedding_bias(self) -> Float[np.ndarray, " question"]:
        """The bias of the unembedding."""
        return self._margin(self.contributions.unembedding_bias)

    @property
    def n_layers(self) -> int:
        """Layers of the intact model."""
        return int(self.contributions.mlp.shape[1])

    @property
    def by_head(self) -> bool:
        """Whether attention is taken apart into heads."""
        return int(self.contributions.heads.shape[2]) > 0

    @property
    def survivors(self) -> tuple[int, ...]:
        """Layers that add something: not removed, and not after the one that is read out."""
        last = self.n_layers - 1 if self.layer is None else self.layer
        return tuple(k for k in range(last + 1) if k not in self.under.removed_blocks)

    @cached_property
    def parts(self) -> tuple[tuple[str, int, int], ...]:
        """Every part: its name, its layer and its head, −1 where it has none."""
        found = [("embedding", -1, -1)]
        for layer in self.survivors:
            if self.by_head:
                found += [("head", layer, head) for head in range(self.contributions.heads.shape[2])]
                found.append(("attention_bias", layer, -1))
            else:
                found.append(("attention", layer, -1))
            found.append(("mlp", layer, -1))
        found += [("intervention", layer, -1) for layer in sorted(self._edited)]
        return (*found, ("norm_bias", -1, -1), ("unembedding_bias", -1, -1))

    @property
    def _edited(self) -> set[int]:
        return set(np.flatnonzero(np.nanmax(np.abs(self.contributions.intervention), axis=(0, 2))).tolist())

    @cached_property
    def values(self) -> Float[np.ndarray, "question part"]:
        """What every part adds, in the order of `parts`."""
        columns = []
        for name, layer, head in self.parts:
            if name == "head":
                columns.append(self.heads[:, layer, head])
            else:
                whole: np.ndarray = getattr(self, name)
                columns.append(whole if layer < 0 else whole[:, layer])
        return np.stack(columns, axis=1)

    @property
    def rounding(self) -> Float[np.ndarray, " question"]:
        """What is left of the margin when all parts are taken off."""
        return np.asarray(self.margin - self.values.sum(axis=1))

    def interval(self, category: str | None = None) -> Interval:
        """The mean of every part over questions with its bootstrap interval, in the order of `parts`.

        Args:
            category: Only questions of this category.

        Returns:
            Estimate and ends.

        Raises:
            InputError: If there is no such category, or it has fewer than two questions.
        """
        return bootstrap_ci(self.values[self._rows(category)], seed=self.seed)

    def _rows(self, category: str | None) -> list[int]:
        if category is not None:
            self.encoded.questions.filter(category)  # refuses what is not there
        return [i for i, q in enumerate(self.encoded.questions) if category in (None, q.category)]

    def to_pandas(self, *, by_category: bool = False) -> pd.DataFrame:
        """One row a part (and category), largest mean first within a category.

        Args:
            by_category: A row for each category instead of all questions together.

        Returns:
            Columns category ("" for all), part, layer, head (−1 where there is none), mean, low, high, questions.

        Raises:
            InputError: If a category has fewer than two questions.
        """
        tables = []
        for category in self.encoded.questions.categories if by_category else (None,):
            found = self.interval(category)
            table = pd.DataFrame(self.parts, columns=["part", "layer", "head"])
            table.insert(0, "category", category or "")
            table["mean"], table["low"], table["high"] = found.estimate, found.low, found.high
            table["questions"] = len(self._rows(category))
            tables.append(table.sort_values("mean", ascending=False, kind="stable"))
        return pd.concat(tables, ignore_index=True)

    def plot(self) -> Figure:
        """Draw what attention and MLP of every layer add, and below it what every head adds.

        Returns:
            A matplotlib figure, which Jupyter shows by itself.
        """
        from decision_phases.plots import LinePanel, line_panels

        gone = np.setdiff1d(np.arange(self.n_layers), self.survivors)
        lines = {}
        for name, values in (("attention", self.attention), ("mlp", self.mlp)):
            found = bootstrap_ci(values, seed=self.seed)
            for end in (found.estimate, found.low, found.high):
                end[gone] = np.nan
            lines[name] = found
        heads = self.heads.mean(axis=0) if self.by_head else None
        if heads is not None:
            heads[gone] = np.nan
        return line_panels(
            [LinePanel("adds to the logit margin", lines, 0.0)],
            n_layers=self.n_layers,
            heads=heads,
            title=f"What the margin of {self.margin.mean():+.2f} is the sum of",
        )

    def __str__(self) -> str:
        """The margin, and the parts that add most to it."""
        where = f", under {self.under}" if self.under else ""
        at = "in the end" if self.layer is None else f"read out at layer {self.layer}"
        mean = self.values.mean(axis=0)
        most = np.argsort(-np.abs(mean), kind="stable")[:5]
        named = ", ".join(f"{_spelled(*self.parts[i])} {mean[i]:+.2f}" for i in most)
        return (
            f"Attribution of the logit margin of {self.model} on {len(self.rival)} questions "
            f"({self.encoded.questions.name}, {self.encoded.scoring}){where}: {self.margin.mean():+.2f} {at}; most by "
            f"{named}"
        )

    __repr__ = __str__


def _spelled(part: str, layer: int, head: int) -> str:
    name = part.replace("_", " ")
    return name + (f" {layer}.{head}" if head >= 0 else f" {layer}" if layer >= 0 else "")


def attribute(
    model: object,
    questions: Questions,
    *,
    under: Intervention | None = None,
    layer: int | None = None,
    heads: bool = True,
    seed: int = 0,
    store: Store = None,
    progress: bool = False,
    **settings: Any,
) -> Attribution:
    """Attribute the logit margin of a decision to the embedding, heads, MLPs and biases that it is the sum of.

    This is direct attribution: what a part adds to the residual stream at the answer, as the final norm (its scale
    held) and the unembedding read it. What a part does by way of later parts is theirs.

    Args:
        model: What `load` gives or takes.
        questions: A name, a file, questions, or encoded questions; letter or first_token scoring.
        under: An intervention; none by default.
        layer: Attribute what the logit lens reads at this layer; by default what the model says in the end.
        heads: Whether attention is taken apart into heads.
        seed: Of intervals.
        store: A store or its folder, where results are kept and found again.
        progress: Show a bar.
        **settings: Of `tasks.encode_questions`: scoring, shots, template, symbols, show_options, seed.

    Returns:
        The parts: `.heads` [question, layer, head], `.mlp` [question, layer], …, which add up to `.margin` [question].

    Raises:
        InputError: Before anything runs, if something does not fit; where a family's attention and MLP do not add up
            to its stream, or heads not to attention, it names the site.

    Source: direct logit attribution, Elhage et al., A Mathematical Framework for Transformer Circuits (2021).

    Example:
        >>> from decision_phases.tasks import questions
        >>> found = attribute("tiny-gpt2", questions("facts", limit=20))
        >>> found.heads.shape, bool(abs(found.rounding).max() < 1e-4 * abs(found.values).max())
        ((20, 6, 4), True)
    """
    access = as_model(model)
    encoded = ask(access, questions, **settings)
    variant = under or Intervention()
    check_variant(access, variant, encoded.sequences, len(encoded))
    if layer is not None:
        access.check_layer(layer)
    if len(encoded) < 2:
        msg = f"{len(encoded)} question given; an interval over questions needs at least two"
        raise InputError(msg)
    for site in (*ADDED, *(("head_out",) if heads else ())):
        access.hook_point(0, site)
    look = ContributionObserver(layer=layer)
    look.start(access, encoded, variant)  # refuses before the heads are looked at
    look = ContributionObserver(head_factors(access, heads=heads), layer)
    (run,) = evaluate(access, encoded, [variant], [look], store=store, progress=progress)
    found: Contributions = run["contributions"]
    if variant or layer is not None:
        (intact,) = evaluate(access, encoded, [Intervention()], [FinalObserver()], store=store)
        logits: np.ndarray = intact["final"].scores
    else:
        logits = found.logits
    return Attribution(found, best_wrong(logits, encoded.gold), encoded, variant, access.name, layer, seed)


def best_wrong(
    scores: Float[np.ndarray, "question option"], gold: Int[np.ndarray, " question"]
) -> Int[np.ndarray, " question"]:
    """Return the index of the best option that is not the right one; ties go to the lowest.

    Args:
        scores: Option scores, NaN where a question has fewer.
        gold: Index of the right option.

    Returns:
        An index for each question.

    Example:
        >>> best_wrong(np.array([[3.0, 1.0, 2.0]]), np.array([0])).tolist()
        [2]
    """
    wrong = np.where(np.isnan(scores), -np.inf, scores)
    wrong[np.arange(len(gold)), gold] = -np.inf
    return np.asarray(wrong.argmax(axis=1))
