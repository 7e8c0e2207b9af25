"""`read`: put questions to a model and read its decision at every layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from decision_phases.engine import Store, evaluate
from decision_phases.errors import InputError, unknown_name
from decision_phases.interventions import Intervention, skip
from decision_phases.models import ModelAccess, as_model
from decision_phases.readout.ask import Questions, ask
from decision_phases.readout.decisions import Decisions
from decision_phases.readout.observe import DecisionObserver, FinalObserver, Space
from decision_phases.tasks import EncodedQuestions

LENSES = {
    "logit": "the final norm and the unembedding, applied to the residual of the layer",
    "last_blocks": "the same after the last m blocks: what the model says with the blocks between removed",
}


def read(
    model: object,
    questions: Questions,
    *,
    under: Intervention | None = None,
    lens: str = "logit",
    last: int = 2,
    space: Space = "options",
    store: Store = None,
    progress: bool = False,
    **settings: Any,
) -> Decisions:
    """Read at every layer which option the model would choose.

    Args:
        model: What `load` gives or takes.
        questions: A name ("facts"), a file, questions, or encoded questions.
        under: An intervention; none by default.
        lens: A name in `LENSES`.
        last: For "last_blocks": how many of the last surviving blocks a layer's residual runs through.
        space: Probabilities among the options, or in the whole vocabulary. The sign of a margin is the same in both.
        store: A store or its folder, where results are kept and found again.
        progress: Show a bar.
        **settings: Of `tasks.encode_questions`: scoring, shots, template, symbols, show_options, seed.

    Returns:
        The decisions: `.margin` [question, layer], `.accuracy` [layer], `.final`.

    Raises:
        InputError: If questions, model and intervention do not fit, before anything runs.

    Example:
        >>> decisions = read("tiny-gpt2", "facts")
        >>> decisions.margin.shape
        (320, 6)
    """
    access = as_model(model)
    encoded = ask(access, questions, **settings)
    if lens not in LENSES:
        raise unknown_name("lens", lens, LENSES)
    if space not in ("options", "vocabulary"):
        raise unknown_name("space", space, ("options", "vocabulary"))
    variant = under or Intervention()
    if lens == "last_blocks":
        if space != "options":
            msg = "the last-blocks lens reads probabilities among the options; use space='options'"
            raise InputError(msg)
        return _through_last_blocks(access, encoded, variant, last, store=store, progress=progress)
    (run,) = evaluate(access, encoded, [variant], [DecisionObserver(space)], store=store, progress=progress)
    decisions: Decisions = run["decisions"]
    return decisions


def _through_last_blocks(
    model: ModelAccess,
    encoded: EncodedQuestions,
    under: Intervention,
    last: int,
    *,
    store: Store,
    progress: bool,
) -> Decisions:
    """Every layer's residual, run through the last m surviving blocks.

    That is what the model says with all blocks between removed, so it is computed as just that: HyperLens (arXiv
    2605.05741) and removal are one.
    """
    kept = tuple(k for k in range(model.n_layers) if k not in under.removed_blocks)
    if not 1 <= last < len(kept):
        msg = f"last={last} is out of range: {len(kept)} blocks survive, so it can be 1..{len(kept) - 1}"
        raise InputError(msg)
    tail = kept[-last:]
    cuts: dict[int, Intervention] = {}
    for layer in (-1, *kept):
        between = tuple(k for k in kept if layer < k < tail[0])
        rest = Intervention(tuple(edit for edit in under.edits if edit.layer not in between))
        cuts[layer] = rest + skip(*between) if between else rest
    scores = np.full((len(encoded), model.n_layers + 1, int(encoded.n_options.max())), np.nan)
    runs = evaluate(model, encoded, list(cuts.values()), [FinalObserver()], store=store, progress=progress)
    for layer, run in zip(cuts, runs, strict=True):
        scores[:, layer] = run["final"].scores  # the embedding's row, −1, is the last
    return Decisions(
        scores=scores[:, :-1],
        embed=scores[:, -1],
        encoded=encoded,
        under=under,
        model=model.name,
        lens=f"last_blocks:{last}",
    )
