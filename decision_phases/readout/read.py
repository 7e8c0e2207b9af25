"""`read`: put questions to a model and read its decision at every layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from decision_phases.engine import Store, evaluate
from decision_phases.errors import InputError, unknown_name
from decision_phases.interventions import Intervention, skip
from decision_phases.models import ModelAccess, as_model
from decision_phases.readout.ask import Questions, ask
from decision_phases.readout.decisions import Decisions
from decision_phases.readout.lens import Lens
from decision_phases.readout.observe import DecisionObserver, FinalObserver, Space
from decision_phases.tasks import EncodedQuestions

LENSES = {
    "logit": "the final norm and the unembedding, applied to the residual of the layer",
    "last_blocks": "the same after the last m blocks: what the model says with the blocks between removed",
    "tuned": "the same after an affine map fitted for each layer; give what dp.tuned_lens fitted",
}


def read(
    model: object,
    questions: Questions,
    *,
    under: Intervention | None = None,
    lens: str | Lens = "logit",
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
        lens: A name in `LENSES`, or a lens that was fitted (`dp.tuned_lens`).
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
    if not isinstance(lens, Lens):
        _check_name(lens)
    if space not in ("options", "vocabulary"):
        raise unknown_name("space", space, ("options", "vocabulary"))
    variant = under or Intervention()
    if lens == "last_blocks":
        if space != "options":
            msg = "the last-blocks lens reads probabilities among the options; use space='options'"
            raise InputError(msg)
        return _through_last_blocks(access, encoded, variant, last, store=store, progress=progress)
    look = DecisionObserver(space, lens=lens if isinstance(lens, Lens) else None)
    (run,) = evaluate(access, encoded, [variant], [look], store=store, progress=progress)
    decisions: Decisions = run["decisions"]
    return decisions


def _check_name(lens: str) -> None:
    if lens not in LENSES:
        raise unknown_name("lens", lens, LENSES)
    if lens == "tuned":
        msg = (
            "a tuned lens is fitted to texts first: give lens=dp.tuned_lens(model, texts=...), or one that was saved, "
            "lens=dp.TunedLens.load(file)"
        )
        raise InputError(msg)


def _through_last_blocks(
    model: ModelAccess,
    encoded: EncodedQuestions,
    under: Intervention,
    last: int,
    *,
    store: Store,
    progress: bool,
) -> Decisions:
    """Every layer's residual, run through the last m surviving blocks."""
    cuts = last_blocks_cuts(model, under, last)
    runs = evaluate(model, encoded, list(cuts.values()), [FinalObserver()], store=store, progress=progress)
    finals = {layer: run["final"].scores for layer, run in zip(cuts, runs, strict=True)}
    return last_blocks_decisions(model, encoded, under, last, finals)


def last_blocks_cuts(model: ModelAccess, under: Intervention, last: int) -> dict[int, Intervention]:
    """The variants whose ends are what the last-blocks lens reads at each layer.

    Running a layer's residual through the last m surviving blocks is what the model says with all blocks between
    removed, so it is computed as just that: HyperLens (arXiv 2605.05741) and removal are one.

    Args:
        model: The model.
        under: The intervention that it runs under.
        last: How many of the last surviving blocks.

    Returns:
        For the embedding (−1) and every surviving layer, the intervention with the blocks between removed.

    Raises:
        InputError: If so many blocks do not survive.
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
    return cuts


def last_blocks_decisions(
    model: ModelAccess,
    encoded: EncodedQuestions,
    under: Intervention,
    last: int,
    finals: Mapping[int, np.ndarray],
) -> Decisions:
    """Put the ends of these variants together as decisions.

    Args:
        model: The model.
        encoded: The questions.
        under: The intervention.
        last: How many of the last surviving blocks.
        finals: Option scores of the end of each variant of `last_blocks_cuts`, by layer.

    Returns:
        The decisions through the last-blocks lens.
    """
    scores = np.full((len(encoded), model.n_layers + 1, int(encoded.n_options.max())), np.nan)
    for layer, final in finals.items():
        scores[:, layer] = final  # the embedding's row, −1, is the last
    return Decisions(
        scores=scores[:, :-1],
        embed=scores[:, -1],
        encoded=encoded,
        under=under,
        model=model.name,
        lens=f"last_blocks:{last}",
    )
