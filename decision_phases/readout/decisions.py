"""What the model would choose at every layer, question by question."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.readout import metrics
from decision_phases.stats import Interval, bootstrap_ci, wilson_interval
from decision_phases.tasks import EncodedQuestions

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Final:
    """What the model says in the end: the readout of the last residual there is.

    Attributes:
        scores: Score of each option, NaN where a question has fewer.
        margin: p(gold) − max p(other).
        choice: Index of the chosen option.
        correct: Whether it is the right one.
    """

    scores: Float[np.ndarray, "question option"]
    margin: Float[np.ndarray, " question"]
    choice: Int[np.ndarray, " question"]
    correct: Bool[np.ndarray, " question"]

    @property
    def accuracy(self) -> float:
        """Share of right choices."""
        return float(self.correct.mean())


@dataclass(frozen=True, eq=False)
class Decisions:
    """The option scores of every question at every layer, and all that follows from them.

    Layer *l* is the readout of `resid_post` of block *l*, by the intact model's numbering. Rows of removed layers are
    NaN, and `survivors` lists the others. In letter and first-token scoring a score is the logit of the option's
    token; in cloze scorings it is the (normalised) log-probability of the option's text.

    Attributes:
        scores: Option scores, in float64.
        embed: Option scores read off the embedding, before any block.
        encoded: The questions as they were put.
        under: The intervention that the model ran under.
        model: Name of the model.
        fingerprint: Hash of its weights, "" if it was not asked for.
        lens: "logit", "last_blocks:m", or the name of a lens that was fitted, with its hash.
        log_normaliser: Log of the sum over the whole vocabulary, if margins are over the vocabulary.
        embed_log_normaliser: The same at the embedding.

    Raises:
        InputError: If shapes do not agree.
    """

    scores: Float[np.ndarray, "question layer option"]
    embed: Float[np.ndarray, "question option"]
    encoded: EncodedQuestions
    under: Intervention
    model: str
    fingerprint: str = ""
    lens: str = "logit"
    log_normaliser: Float[np.ndarray, "question layer"] | None = field(default=None, repr=False)
    embed_log_normaliser: Float[np.ndarray, " question"] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if len(self.scores) != len(self.encoded):
            msg = f"scores of {len(self.scores)} questions do not belong to {len(self.encoded)} questions"
            raise InputError(msg)
        if self.embed.shape != (self.scores.shape[0], self.scores.shape[2]):
            msg = f"scores {self.scores.shape} [question, layer, option] do not go with embed {self.embed.shape}"
            raise InputError(msg)

    # -- sizes --------------------------------------------------------------------------------------------------

    @property
    def n_questions(self) -> int:
        """Number of questions."""
        return int(self.scores.shape[0])

    @property
    def n_layers(self) -> int:
        """Number of layers of the intact model."""
        return int(self.scores.shape[1])

    @property
    def gold(self) -> Int[np.ndarray, " question"]:
        """Index of the right option of each question."""
        return self.encoded.gold

    @property
    def scoring(self) -> str:
        """How options were scored; results of different scorings cannot be compared."""
        return self.encoded.scoring

    @property
    def chance(self) -> float:
        """Accuracy of guessing, the mean of 1/K."""
        return self.encoded.questions.chance

    @cached_property
    def survivors(self) -> tuple[int, ...]:
        """Layers that were not removed, ascending."""
        gone = set(self.under.removed_blocks)
        return tuple(layer for layer in range(self.n_layers) if layer not in gone)

    # -- over questions and layers ------------------------------------------------------------------------------

    @cached_property
    def probabilities(self) -> Float[np.ndarray, "question layer option"]:
        """Probability of each option: among the options, or in the vocabulary if that was asked for."""
        return metrics.option_probabilities(self.scores, self.log_normaliser)

    @cached_property
    def margin(self) -> Float[np.ndarray, "question layer"]:
        """Decision Margin, p(gold) − max p(other) (arXiv 2605.07271, §3)."""
        return metrics.decision_margin(self.scores, self.gold, log_normaliser=self.log_normaliser)

    @cached_property
    def excess_margin(self) -> Float[np.ndarray, "question layer"]:
        """Margin minus its mean over all options as gold: 0 for a readout that knows nothing, however confident."""
        return metrics.excess_margin(self.scores, self.gold, log_normaliser=self.log_normaliser)

    @cached_property
    def logit_margin(self) -> Float[np.ndarray, "question layer"]:
        """Score of the gold option minus the best other score."""
        return metrics.logit_margin(self.scores, self.gold)

    @cached_property
    def self_margin(self) -> Float[np.ndarray, "question layer"]:
        """Margin of the option that the run itself chooses in the end: no labels needed."""
        return metrics.self_margin(self.scores, self.final.choice, log_normaliser=self.log_normaliser)

    @cached_property
    def choice(self) -> Int[np.ndarray, "question layer"]:
        """Index of the option chosen at each layer; −1 in removed layers; ties go to the lowest index."""
        return metrics.choices(self.scores)

    @cached_property
    def commitment_layer(self) -> Int[np.ndarray, " question"]:
        """First layer from which the choice is the final one and stays it."""
        return metrics.commitment_layer(self.choice)

    @cached_property
    def flips(self) -> Int[np.ndarray, " question"]:
        """How often the choice changes between successive surviving layers."""
        return metrics.flips(self.choice)

    # -- over layers --------------------------------------------------------------------------------------------

    @cached_property
    def accuracy(self) -> Float[np.ndarray, " layer"]:
        """Share of right choices at each layer."""
        return metrics.accuracy(self.choice, self.gold)

    @cached_property
    def tie_rate(self) -> Float[np.ndarray, " layer"]:
        """Share of questions with more than one best option."""
        return metrics.tie_rate(self.scores)

    def accuracy_interval(self) -> Interval:
        """Accuracy at each layer with its Wilson interval."""
        return wilson_interval(np.round(self.accuracy * self.n_questions), self.n_questions)

    def margin_interval(self, *, excess: bool = False, seed: int = 0) -> Interval:
        """Mean margin at each layer with a bootstrap interval over questions.

        Args:
            excess: Of the excess margin instead.
            seed: Of the resampling.

        Returns:
            Estimate and ends, one a layer.
        """
        return bootstrap_ci(self.excess_margin if excess else self.margin, seed=seed)

    def option_frequency(self, category: str | None = None) -> pd.DataFrame:
        """Option Frequency: how often each option is the chosen one, at every layer (arXiv 2605.07271, §3).

        Args:
            category: Only questions of this category, where it has a closed set of options and all have not.

        Returns:
            One row a layer (NaN where removed), one column an option identity; the row "gold" says how often each
            is right.

        Raises:
            InputError: If the questions do not share one closed set of options: then an option has no identity.
        """
        columns = self.encoded.identity_columns(category)
        names = self.encoded.shared_identities(category)
        assert names is not None
        rows = np.flatnonzero((columns >= 0).any(axis=1))
        frequency = metrics.option_frequency(self.choice[rows], columns[rows], len(names))
        gold = metrics.gold_frequency(self.gold[rows], columns[rows], len(names))
        table = pd.DataFrame(frequency, columns=list(names))
        table.index.name = "layer"
        table.loc["gold"] = gold
        return table

    # -- the end ------------------------------------------------------------------------------------------------

    @cached_property
    def final(self) -> Final:
        """What the model says in the end; if every block is removed, that is the readout of the embedding."""
        if self.survivors:
            scores, normaliser = self.scores[:, self.survivors[-1]], None
            if self.log_normaliser is not None:
                normaliser = self.log_normaliser[:, self.survivors[-1]]
        else:
            scores, normaliser = self.embed, self.embed_log_normaliser
        return final_of(scores, self.gold, normaliser)

    # -- out ----------------------------------------------------------------------------------------------------

    def to_pandas(self) -> pd.DataFrame:
        """One row for each question and surviving layer.

        Returns:
            Columns question_id, category, question, layer, margin, excess_margin, logit_margin, choice, choice_text,
            gold, gold_text, correct, p_gold, p_best_other, options. A question without an id has "#" and its number.

        Raises:
            InputError: If every layer is removed.
        """
        items = self.encoded.questions
        if not self.survivors:
            msg = "every layer is removed, so there is no layer to tabulate; `final` has the decision that is left"
            raise InputError(msg)
        layers = np.array(self.survivors)
        n = len(layers)
        rows = np.arange(self.n_questions).repeat(n).tolist()
        at = np.tile(layers, self.n_questions)
        gold, choice = self.gold[rows], self.choice[rows, at]
        p_gold = self.probabilities[rows, at, gold]
        margin = self.margin[rows, at]
        return pd.DataFrame(
            {
                "question_id": [items[i].id or f"#{i}" for i in rows],
                "category": [items[i].category for i in rows],
                "question": [items[i].text for i in rows],
                "layer": at,
                "margin": margin,
                "excess_margin": self.excess_margin[rows, at],
                "logit_margin": self.logit_margin[rows, at],
                "choice": choice,
                "choice_text": [items[i].options[c] for i, c in zip(rows, choice.tolist(), strict=True)],
                "gold": gold,
                "gold_text": [items[i].gold for i in rows],
                "correct": choice == gold,
                "p_gold": p_gold,
                "p_best_other": p_gold - margin,
                "options": [list(items[i].options) for i in rows],
            }
        )

    def plot(self) -> Figure:
        """Draw the mean margin and the accuracy by layer, with the phases if there are any.

        Returns:
            A matplotlib figure, which Jupyter shows by itself.
        """
        from decision_phases.plots import margin_by_layer
        from decision_phases.readout.find import find_phases

        margin, accuracy = self.margin_interval(), self.accuracy_interval()
        phases = find_phases(self)
        return margin_by_layer(
            self.margin.mean(axis=0),
            ends(margin),
            self.accuracy,
            ends(accuracy),
            chance=self.chance,
            transition=phases.transition,
            transition_ci=phases.ci,
        )

    def __str__(self) -> str:
        """A line with what matters."""
        where = f", under {self.under}" if self.under else ""
        return (
            f"Decisions of {self.model} on {self.n_questions} questions ({self.encoded.questions.name}, "
            f"{self.scoring}), {self.n_layers} layers{where}: accuracy {self.final.accuracy:.3f} "
            f"(chance {self.chance:.2f}), margin {float(self.final.margin.mean()):+.3f}"
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """A table of layers, for Jupyter."""
        import html

        if not self.survivors:
            return f"<p>{html.escape(str(self))}</p>"
        table = pd.DataFrame({"margin": self.margin.mean(axis=0), "accuracy": self.accuracy})
        table.index.name = "layer"
        return f"<p>{html.escape(str(self))}</p>{table.round(3).to_html()}"


def ends(interval: Interval) -> Float[np.ndarray, "layer 2"]:
    """Put the two ends of an interval into one array.

    Args:
        interval: Ends, one a layer.

    Returns:
        Low and high, one row a layer.
    """
    return np.stack([np.asarray(interval.low), np.asarray(interval.high)], axis=-1)


def final_of(
    scores: Float[np.ndarray, "question option"],
    gold: Int[np.ndarray, " question"],
    log_normaliser: Float[np.ndarray, " question"] | None = None,
) -> Final:
    """Reduce the last option scores to margin and choice.

    Args:
        scores: Option scores, NaN where a question has fewer options.
        gold: Index of the right option.
        log_normaliser: As in `Decisions`.

    Returns:
        The final decision.
    """
    one = scores[:, None]
    normaliser = None if log_normaliser is None else log_normaliser[:, None]
    choice = metrics.choices(one)[:, 0]
    margin = metrics.decision_margin(one, gold, log_normaliser=normaliser)[:, 0]
    return Final(scores, margin, choice, choice == gold)
