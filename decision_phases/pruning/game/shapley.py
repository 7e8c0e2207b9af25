"""`shapley`: what each block, part or group of a model is worth, as a player of a cooperative game."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from decision_phases.engine.stored import Store
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import as_model
from decision_phases.pruning.criteria.data import Texts, question_data, text_data
from decision_phases.pruning.game.estimate import Setup, estimate
from decision_phases.pruning.game.model_game import ModelGame
from decision_phases.pruning.game.objectives import Measure, Objective
from decision_phases.pruning.game.result import ShapleyValues
from decision_phases.pruning.game.units import Units, UnitsLike, find_units
from decision_phases.readout import ask
from decision_phases.readout.ask import Questions
from decision_phases.tasks import check_settings


def shapley(
    model: object,
    questions: Questions | None = None,
    *,
    units: UnitsLike | Units = "block",
    method: str = "permutation",
    surrogate: str = "linear",
    sampler: str | None = None,
    n_masks: int = 400,
    objective: str | Measure | Objective = "margin",
    index: str = "shapley",
    antithetic: bool | None = None,
    kept: Sequence[int] | None = None,
    defects: Sequence[str] = (),
    over: str | None = None,
    n_boot: int | None = None,
    confidence: float = 0.95,
    texts: Texts | None = None,
    window: int = 128,
    limit: int | None = 64,
    under: Intervention | None = None,
    seed: int = 0,
    store: Store = None,
    progress: bool = False,
    **settings: Any,
) -> ShapleyValues:
    """Share out what a model achieves on questions, or on texts, among its units.

    Units are players; a mask keeps some of them, and its value is what the model then achieves. A unit's Shapley value
    is what it adds, averaged over all ways of building the model up.

    The published code is `method="surrogate", sampler="published", surrogate="published", index="published",
    n_masks=8000, objective="perplexity_ratio"`, each of which can be had by itself; `defects` adds its mistakes.

    Args:
        model: What `load` gives or takes.
        questions: A name, a file or questions; or else texts.
        units: "block", "attention", "mlp" or "part" (attention and MLP apart) for every layer; layers, each a unit; or
            groups by name: `{"early": (1, 2), "late MLP": dp.skip(8, 9, part="mlp")}`.
        method: "exact" (at most 12 units), "permutation", "kernel" (KernelSHAP) or "surrogate".
        surrogate: "linear", "ridge", "pairwise", "network", "published" or "trees", for the surrogate method; ridge and
            trees need scikit-learn (`decision-phases[surrogates]`).
        sampler: "stratified", "uniform", "kernel", "permutation" or "published"; the method's own by default.
        n_masks: Most masks to draw; each costs one run of the model on all questions, less what masks share.
        objective: "margin", "accuracy", "log_probability", "perplexity_ratio", or a function of the final decisions and
            gold options that gives a number a question. On texts "log_probability" (the negative cross-entropy of the
            next token) or "perplexity_ratio" (as in the paper).
        index: "shapley", "banzhaf", or "published", an average near the numbers of kept units that pruning ends with.
        antithetic: Draw masks with their complements, and orders with their reverses; wherever it is possible and
            helps by default.
        kept: Numbers of kept units that the stratified sampler draws, and that the published index averages over.
        defects: "misaligned" and "discarded": what the published code does to its training pairs.
        over: What intervals resample, "masks" or "questions"; masks by default, questions where all masks are run.
        n_boot: Number of resamples.
        confidence: Nominal coverage of the intervals.
        texts: What `dp.texts` takes, instead of questions.
        window: Tokens in a window of the texts.
        limit: Use at most this many windows of the texts; None for all.
        under: An intervention that holds in every mask; what it does within a unit, or at its ends, goes with the unit.
        seed: Of everything random.
        store: Where results are kept and looked for: a folder.
        progress: Show a bar.
        **settings: Of `tasks.encode_questions`.

    Returns:
        The values: `.to_pandas()`, `.plot()`, `.order()`, `.cut(4)`; and what pairs of units add together, for the
            exact method and for surrogates that are no line: `.pairs.to_pandas()`.

    Raises:
        InputError: If something does not fit, before anything runs: among others more than 12 units for the exact
            method, or too few masks for the surrogate.
        MissingPackageError: If the surrogate needs scikit-learn and it is not installed.

    Source: arXiv 2602.07804 (pruning as a cooperative game); Shapley (1953).

    Example:
        >>> from decision_phases.tasks import questions as some
        >>> found = shapley("tiny-gpt2", some("facts", limit=8), units=[1, 2, 3], method="exact")
        >>> found.n_masks, abs(found.gap) < 1e-9
        (8, True)
    """
    access = as_model(model)
    if (questions is None) == (texts is None):
        msg = "give either questions or texts=: a game is played on one of them"
        raise InputError(msg)
    check_settings(settings, asked=questions is not None)
    players = find_units(units, access.n_layers)
    setup = Setup(
        method=method,
        index=index,
        n_masks=n_masks,
        sampler=sampler,
        antithetic=antithetic,
        kept=None if kept is None else tuple(kept),
        surrogate=surrogate,
        defects=tuple(defects),
        over=over,
        n_boot=n_boot,
        confidence=confidence,
        seed=seed,
    )
    if questions is not None:
        data = question_data(ask(access, questions, **settings))
    else:
        assert texts is not None
        data = text_data(access, texts, window=window, limit=limit, seed=seed)
    game = ModelGame(access, data, players, objective=objective, under=under, store=store, progress=progress)
    return play(game, setup)


def play(game: ModelGame, setup: Setup) -> ShapleyValues:
    """Estimate the values of the units of a game, and put them together with all that must be known about them.

    Args:
        game: The game.
        setup: How to estimate.

    Returns:
        The values.

    Raises:
        InputError: If something does not fit.
    """
    found = estimate(game, len(game.units), setup)
    return ShapleyValues(
        units=game.units,
        values=found.values,
        low=found.low,
        high=found.high,
        method=setup.method,
        index=setup.index,
        objective=game.objective.name,
        sampler=found.sampler,
        over=found.over,
        confidence=setup.confidence,
        intact=found.full,
        empty=found.empty,
        n_masks=game.n_masks,
        forward_passes=game.n_masks * len(game.sequences),
        n_questions=game.data.n_groups,
        kind=game.data.kind,
        seed=setup.seed,
        surrogate=found.surrogate,
        interactions=found.interactions,
        interactions_low=found.interactions_low,
        interactions_high=found.interactions_high,
    )
