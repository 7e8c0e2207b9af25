"""`restore`: which of the intact model's activations bring a pruned model's decision back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from decision_phases.circuits.attribution import best_wrong
from decision_phases.circuits.cells import cells_left, cells_of, sources_of
from decision_phases.circuits.paired import Pairs
from decision_phases.circuits.restoration import Restoration, Restored
from decision_phases.engine import Store, capture, evaluate
from decision_phases.engine.lower import check_variant
from decision_phases.errors import InputError
from decision_phases.interventions import PARTS, Intervention, patch, skip
from decision_phases.models import ModelAccess, as_model
from decision_phases.pruning.pool import RandomPool
from decision_phases.readout.ask import Questions, ask
from decision_phases.readout.observe import FinalObserver
from decision_phases.tasks import EncodedQuestions

SITES = ("attn_out", "mlp_out", "resid_post")


def restore(
    model: object,
    questions: Questions | Pairs,
    cut: Intervention,
    *,
    sites: Sequence[str] = SITES,
    layers: Sequence[int] | None = None,
    positions: Sequence[str] = ("answer",),
    draws: int = 1,
    seed: int = 0,
    store: Store = None,
    progress: bool = False,
    **settings: Any,
) -> Restoration:
    """Run a pruned model with the intact model's activations put in at one place after the other.

    What a place brings back is told from what any activations of the intact model would bring back there, by those of
    a wrong prompt: another question with another right answer, of pairs the other of the pair. Beside the cut stand
    random cuts of the same parts. Whole residuals at all positions after the last removed part restore everything by
    construction; that is run once as a check of the machinery, and is no evidence.

    Args:
        model: What `load` gives or takes.
        questions: A name, a file, questions, encoded questions (letter or first_token scoring), or pairs, whose clean
            prompts are asked.
        cut: Removals; where they are, nothing can be put in.
        sites: Sites of `capture`; heads, "head_out", one by one and at the answer only.
        layers: Layers; by default all that a cut leaves.
        positions: Symbolic positions; others than "answer" need pairs, whose prompts are aligned.
        draws: Random cuts, of those that leave at least one of the places.
        seed: Of random cuts, wrong prompts and intervals.
        store: A store or its folder, where results are kept and found again.
        progress: Show bars.
        **settings: Of `tasks.encode_questions`.

    Returns:
        What every place brings back of the margin, from the right and from a wrong prompt.

    Raises:
        InputError: Before anything runs, if the cut is none, or something does not fit.

    Example:
        >>> from decision_phases.tasks import questions
        >>> found = restore("tiny-llama", questions("facts", limit=20), skip(2), sites=["mlp_out"], draws=0)
        >>> found.given.own.shape  # one place in each of the five layers left
        (20, 5)
    """
    if not cut or not cut.is_cut:
        msg = f"'{cut}' is no cut; give removals, such as skip(5, 8)"
        raise InputError(msg)
    if draws < 0:
        msg = f"draws={draws}; give a number of random cuts, 0 or more"
        raise InputError(msg)
    access = as_model(model)
    if isinstance(questions, Pairs):
        if settings:
            msg = f"pairs are encoded already, so {', '.join(sorted(settings))} cannot be set"
            raise InputError(msg)
        encoded, other = (ask(access, side) for side in questions.sides)
        for position in positions:
            questions.check_position(position)
    else:
        encoded, other = ask(access, questions, **settings), None
        if set(positions) != {"answer"}:
            msg = (
                f"positions {list(positions)} need prompts that are aligned; give pairs instead of questions"
            )
            raise InputError(msg)
    if not encoded.option_ids or len(encoded) < 2:
        msg = f"{len(encoded)} questions in {encoded.scoring} scoring; give two or more, in letter or first_token"
        raise InputError(msg)
    check_variant(access, cut)
    # What is asked for must be there in the cut that is asked about; random cuts are compared where they leave it.
    cells = [cells_of(access, cut, sites, layers, positions)]
    cuts, others = [cut], _random_cuts(cut, access.n_layers, seed)
    while len(cuts) <= draws:
        one = next(others)
        left = cells_left(access, one, sites, layers, positions)
        if left:
            cuts.append(one)
            cells.append(left)
    order = None if other is not None else wrong_prompts(encoded, seed)
    (intact,) = evaluate(access, encoded, [Intervention()], [FinalObserver()], store=store)
    rival = best_wrong(intact["final"].scores, encoded.gold)
    dense = _margins(intact["final"].scores, encoded.gold, rival)
    every = tuple(dict.fromkeys(cell for own in cells for cell in own))
    right = sources_of(access, encoded, Intervention(), every)
    if other is not None:
        wrong = sources_of(access, other, Intervention(), every)
    else:
        assert order is not None
        wrong = right.reordered(order)
    made = []
    for one, own in zip(cuts, cells, strict=True):
        whole = _whole_residuals(access, encoded, one)
        variants = [one, *(one + side.patch(cell) for side in (right, wrong) for cell in own), *whole]
        runs = evaluate(access, encoded, variants, [FinalObserver()], store=store, progress=progress)
        finals = [run["final"] for run in runs]
        margins = np.stack([_margins(f.scores, encoded.gold, rival) for f in finals], axis=1)
        n = len(own)
        made.append(
            Restored(
                cut=one,
                cells=own,
                pruned=margins[:, 0],
                own=margins[:, 1 : n + 1],
                wrong=margins[:, n + 1 : 2 * n + 1],
                correct=np.stack([f.correct for f in finals[: n + 1]], axis=1),
                check=float(np.abs(margins[:, -1] - dense).max()) if whole else None,
            )
        )
    return Restoration(
        made[0], tuple(made[1:]), dense, intact["final"].correct, encoded, access.name, access.n_layers, seed
    )


def wrong_prompts(encoded: EncodedQuestions, seed: int) -> list[int]:
    """Choose for every question another one that has another right answer.

    Args:
        encoded: The questions.
        seed: Of the choice.

    Returns:
        For each question, which other.

    Raises:
        InputError: If all questions have the same right answer.
    """
    rng = np.random.default_rng([seed, 4])
    gold = np.array([ids[g] for ids, g in zip(encoded.option_ids, encoded.gold, strict=True)])
    chosen = []
    for own in gold:
        others = np.flatnonzero(gold != own)
        if not len(others):
            msg = "all questions have the same right answer, so there is no wrong prompt to compare with"
            raise InputError(msg)
        chosen.append(int(rng.choice(others)))
    return chosen


def _random_cuts(cut: Intervention, n_layers: int, seed: int) -> Iterator[Intervention]:
    """Cuts of as many blocks, attentions and MLPs, each of layers drawn at random by themselves; without end."""
    for draw in count():
        made = Intervention()
        for place, part in enumerate(PARTS):
            pool = RandomPool(tuple(k for k in range(n_layers) if k not in made.removed_blocks), seed)
            size = len(cut.removed(part))
            if size:
                made += skip(pool.order(len(PARTS) * draw + place)[:size], part=part)
        yield made


def _whole_residuals(model: ModelAccess, encoded: EncodedQuestions, cut: Intervention) -> list[Intervention]:
    """The cut with the intact model's whole residual behind its last removal; none if nothing is left there."""
    last = max(edit.layer for edit in cut.edits)
    layer = last + 1 if last in cut.removed_blocks else last
    if layer >= model.n_layers:
        return []
    taken = capture(model, encoded, sites=["resid_post"], layers=[layer], positions="all")
    return [cut + patch("resid_post", layer, taken)]


def _margins(
    scores: Float[np.ndarray, "question option"],
    gold: Int[np.ndarray, " question"],
    rival: Int[np.ndarray, " question"],
) -> Float[np.ndarray, " question"]:
    rows = np.arange(len(gold))
    return np.asarray(scores[rows, gold] - scores[rows, rival])
