"""The largest cut whose loss of accuracy is certified on questions that did not choose it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool
from scipy import stats

from decision_phases.engine import Store
from decision_phases.errors import InputError, check_confidence
from decision_phases.interventions import Intervention
from decision_phases.models import as_model
from decision_phases.pruning.budget import Budget
from decision_phases.pruning.checks import check_request, one_name, parts_of
from decision_phases.pruning.criteria.data import Texts
from decision_phases.pruning.prune import halves, prune_one
from decision_phases.pruning.setting import divide, make_setting
from decision_phases.pruning.strategies import find_strategy
from decision_phases.readout.ask import Questions

_OUTSIDE = 1e-6  # chance that the rate of changed answers lies outside the interval over which the worst case is sought
_NEVER = 1e-13  # chance of outcomes that are left out of a sum
_GRID = 100
MOST_CONFIDENCE = 0.9999


def drop_p_value(lost: int, won: int, n: int, max_drop: float) -> float:
    """Test that accuracy drops by `max_drop` or more, from paired answers.

    Under a drop of exactly `max_drop` the numbers of answers lost and won are trinomial with one unknown left, the rate
    of changed answers. The p-value is the largest probability, over a confidence interval of that rate, of an outcome
    that speaks as much against the drop, plus the probability that the interval misses (an exact unconditional test;
    Berger and Boos, JASA 1994). Outcomes are ordered by the smaller of two p-values: the binomial one of the answers
    lost, which is sharpest where few answers change, and that of the score of the net loss (Tango, Statistics in
    Medicine 1998), which is where many do. It is valid for any number of questions, up to the fineness of a grid.

    Args:
        lost: Questions that only the intact model answers rightly.
        won: Questions that only the cut model answers rightly.
        n: Number of questions.
        max_drop: The drop of accuracy that must be ruled out.

    Returns:
        The p-value.

    Example:
        >>> round(drop_p_value(0, 0, 150, 0.02), 4), round(drop_p_value(9, 1, 300, 0.02), 2)
        (0.0483, 0.77)
    """
    changed = lost + won
    low = 0.0 if changed == 0 else float(stats.beta.ppf(_OUTSIDE / 2, changed, n - changed + 1))
    high = 1.0 if changed == n else float(stats.beta.ppf(1 - _OUTSIDE / 2, changed + 1, n - changed))
    rates = np.linspace(max(low, max_drop), max(high, max_drop), _GRID)
    shares = (rates + max_drop) / 2, (rates - max_drop) / 2  # of answers lost, and of answers won
    most_lost, most_won = (
        max(seen, int(stats.binom.ppf(1 - _NEVER, n, share[-1])))
        for seen, share in zip((lost, won), shares, strict=True)
    )
    losses, wins = np.arange(most_lost + 1)[:, None], np.arange(most_won + 1)
    order = _against(losses, wins, n, max_drop)
    as_much = (order <= order[lost, won] * (1 + 1e-9)) & (losses + wins <= n)
    # The rate is nuisance alone: lost is binomial, and won is binomial among the rest.
    tails = [
        float(
            (
                stats.binom.pmf(losses, n, p)
                * np.where(as_much, stats.binom.pmf(wins, n - np.minimum(losses, n), q / (1 - p)), 0.0)
            ).sum()
        )
        for p, q in zip(*shares, strict=True)
    ]
    return float(min(1.0, max(tails) + _OUTSIDE))


def _against(losses: Any, wins: Any, n: int, max_drop: float) -> Any:
    """How much each outcome speaks against a drop, small for much: never less with fewer losses or more wins.

    That makes the drop of exactly `max_drop` the worst of all that are as large or larger.
    """
    # The likeliest share of answers won, if the drop is just that large.
    first = (2 * n - losses + wins) * max_drop - losses - wins
    won = (np.sqrt(first**2 + 8 * n * wins * max_drop * (1 - max_drop)) - first) / (4 * n)
    spread = np.sqrt(n * (2 * won + max_drop * (1 - max_drop)))
    net = stats.norm.cdf((losses - wins - n * max_drop) / spread)
    order = np.minimum(net, stats.binom.cdf(losses, n, max_drop))
    order = np.minimum.accumulate(order[::-1], axis=0)[::-1]
    return np.minimum.accumulate(order, axis=1)


def questions_needed(max_drop: float, confidence: float) -> int:
    """Least number of questions that certify a cut which changes no answer.

    Args:
        max_drop: The drop of accuracy that must be ruled out.
        confidence: With which confidence.

    Returns:
        The number.

    Raises:
        InputError: If the confidence is no share.

    Example:
        >>> questions_needed(0.02, 0.95)
        149
    """
    check_confidence(confidence)
    n = int(
        np.ceil(np.log(1 - confidence) / np.log1p(-max_drop))
    )  # (1 − max_drop)ⁿ is the chance of no loss at all
    while drop_p_value(0, 0, n, max_drop) > 1 - confidence:
        n += max(1, n // 500)
    return n


@dataclass(frozen=True, eq=False)
class SafeCut:
    """How far one can prune with a guarantee.

    Attributes:
        cut: The largest certified cut; empty if none is.
        layers: The layers it removes, in the order of the search.
        max_drop: The loss of accuracy that is ruled out.
        confidence: With this confidence, over everything that was tested.
        strategy: What chose the order.
        n_search: Questions that chose.
        n_evaluation: Questions that tested.
        intact_accuracy: On the testing questions.
        chance: Accuracy of guessing.
        table: One row a step, up to the first that fails: step, removed, accuracy, lost, won, p_value, certified.
    """

    cut: Intervention
    layers: tuple[int, ...]
    max_drop: float
    confidence: float
    strategy: str
    n_search: int
    n_evaluation: int
    intact_accuracy: float
    chance: float
    table: pd.DataFrame

    @property
    def found(self) -> bool:
        """Whether any cut is certified."""
        return bool(self.layers)

    def to_pandas(self) -> pd.DataFrame:
        """One row a step, up to the first that fails.

        Returns:
            Columns step, removed, accuracy, lost, won, p_value, certified.
        """
        return self.table.copy()

    def __str__(self) -> str:
        """A sentence."""
        how = (
            f"{self.confidence:.0%} confidence, {self.n_evaluation} questions that chose nothing, order by "
            f"{self.strategy}; intact accuracy {self.intact_accuracy:.3f}, chance {self.chance:.2f}"
        )
        if not self.found:
            return f"No cut is certified to lose less than {self.max_drop:.3f} of accuracy ({how})."
        blocks = len(self.cut.removed_blocks) == len(self.layers)
        what = (
            f"{len(self.layers)} blocks {sorted(self.layers)}"
            if blocks
            else f"{len(self.layers)} units ({self.cut})"
        )
        return f"Removing {what} is certified to lose less than {self.max_drop:.3f} of accuracy ({how})."

    __repr__ = __str__


def certify(
    intact: Bool[np.ndarray, " question"],
    after: Bool[np.ndarray, "step question"],
    *,
    max_drop: float,
    confidence: float,
) -> list[tuple[int, int, float]]:
    """Test one cut after the other, until the first that cannot be certified.

    Testing in an order that was fixed beforehand and stopping at the first failure keeps the chance of any wrong
    certificate below 1 − confidence, however many cuts are tried (fixed-sequence testing, as in Learn then Test,
    arXiv 2110.01052, §3).

    Args:
        intact: Which questions the intact model answers rightly.
        after: The same after each step.
        max_drop: The drop of accuracy that must be ruled out.
        confidence: Of all certificates together.

    Returns:
        (lost, won, p-value) of each step tested; all but possibly the last are certified.

    Raises:
        InputError: If the confidence is no share.
    """
    check_confidence(confidence)
    found = []
    for row in after:
        lost, won = int((intact & ~row).sum()), int((~intact & row).sum())
        found.append((lost, won, drop_p_value(lost, won, len(intact), max_drop)))
        if found[-1][2] > 1 - confidence:
            break
    return found


def safe_cut(
    model: object,
    questions: Questions,
    *,
    max_drop: float = 0.02,
    confidence: float = 0.95,
    by: str = "margin",
    up_to: int | str | Budget = 6,
    protect: Collection[int] | None = None,
    split: float | None = 0.4,
    texts: Texts | None = None,
    window: int = 128,
    limit: int | None = 64,
    seed: int = 0,
    store: Store = None,
    progress: bool = False,
    **settings: Any,
) -> SafeCut:
    """Find the largest cut whose loss of accuracy is certified, or that none is.

    The order of removal is chosen on one part of the questions and tested on the other. The certificate is for
    questions like these, drawn independently, under the same scoring; it says nothing about other tasks.

    Args:
        model: What `load` gives or takes.
        questions: A name, a file or questions.
        max_drop: The loss of accuracy that must be ruled out.
        confidence: With which confidence.
        by: A strategy with one order: "margin", "accuracy", "deepest", …; without texts, what needs no right answers
            ("sleb") goes by the questions that choose, and wherever tokens are to be predicted by those of the right
            answers.
        up_to: Most units to remove, or a share of the parameters such as "30%".
        protect: Layers never removed; the first and the last by default.
        split: Share of the questions that choose; the others test. None, all for both, is refused.
        texts: What criteria and objectives that need no labels are measured on, as in `prune`; the half that chooses.
        window: Tokens in a window of the texts.
        limit: At most this many windows choose; None for all.
        seed: Of split and search.
        store: A store or its folder, where every evaluated cut is kept and found again.
        progress: Show bars.
        **settings: Of `tasks.encode_questions`.

    Returns:
        The certified cut, with every test that was made.

    Raises:
        InputError: If the numbers are out of range, `by` is not the name of one strategy, there are too few questions
            for any certificate, or all questions would choose and test.

    Example:
        >>> safe = safe_cut("tiny-gpt2", "facts", max_drop=0.2, by="deepest", up_to=2)
        >>> safe.n_evaluation, len(safe.layers) <= 2
        (192, True)
    """
    check_confidence(confidence)
    if not (1e-6 <= max_drop < 1 and confidence <= MOST_CONFIDENCE):
        msg = (
            f"max_drop={max_drop} and confidence={confidence} given; give a drop from 1e-6 to 1, such as 0.02, and a "
            f"confidence above 0 and at most {MOST_CONFIDENCE}, such as 0.95"
        )
        raise InputError(msg)
    if split is None:
        msg = "split=None would test on the questions that chose, and certify nothing; give a share, such as 0.4"
        raise InputError(msg)
    if find_strategy(one_name(by)).search == "random":
        msg = (
            f"{by!r} draws several orders, of which none can be tested alone; give a strategy with one order"
        )
        raise InputError(msg)
    access = as_model(model)
    check_request([by], model=access, texts=texts)
    search, evaluation = divide(access, questions, split, seed=seed, **settings)
    n = len(evaluation)
    if drop_p_value(0, 0, n, max_drop) > 1 - confidence:
        needed = questions_needed(max_drop, confidence)
        msg = (
            f"{n} questions cannot certify a drop below {max_drop} with confidence {confidence}, even if no answer "
            f"changes: at least {needed} are needed (or a larger max_drop, a smaller split)"
        )
        raise InputError(msg)
    choosing, _ = halves(texts, access, window=window, limit=limit, seed=seed)
    setting = make_setting(
        access,
        search,
        evaluation,
        up_to=up_to,
        protect=protect,
        seed=seed,
        texts=choosing,
        window=window,
        limit=limit,
        store=store,
        parts=parts_of([by]),
        every_layer=False,
    )
    steps = [step for step in prune_one(setting, by, progress=progress) if step.step > 0]
    obstacle = setting.obstacle(find_strategy(by))
    if obstacle:
        msg = f"the strategy {by!r} is not applicable: {obstacle}"
        raise InputError(msg)
    intact = setting.intact.final.correct
    tests = certify(
        intact, np.stack([step.correct for step in steps]), max_drop=max_drop, confidence=confidence
    )
    table = pd.DataFrame(
        [
            {
                "step": step.step,
                "removed": step.removed,
                "accuracy": step.accuracy,
                "lost": lost,
                "won": won,
                "p_value": p,
                "certified": p <= 1 - confidence,
            }
            for step, (lost, won, p) in zip(steps, tests, strict=False)
        ]
    )
    certified = steps[int(table["certified"].sum()) - 1] if table["certified"].any() else None
    return SafeCut(
        Intervention() if certified is None else certified.under,
        () if certified is None else certified.cut,
        max_drop,
        confidence,
        by,
        len(search),
        n,
        float(intact.mean()),
        evaluation.questions.chance,
        table,
    )
