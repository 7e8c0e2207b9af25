"""`steering`: directions of the decision, fitted on some questions, added at a layer on others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float

from decision_phases.engine import Store, evaluate
from decision_phases.engine.capture import CaptureObserver
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.interventions.builders import single
from decision_phases.interventions.layer_sets import listed_layers
from decision_phases.interventions.per_question import PerQuestion
from decision_phases.models import as_model
from decision_phases.pruning.setting import divide
from decision_phases.readout import DecisionObserver, Decisions, find_phases
from decision_phases.readout.ask import Questions
from decision_phases.readout.observe import FinalObserver
from decision_phases.studies.steered import Steering
from decision_phases.tasks import EncodedQuestions, QuestionSet

#: A set of options and the name of one of them.
Side: TypeAlias = tuple[str, str]
_LEAST = 2  # questions on either side of a difference of means


def steering(
    model: object,
    questions: Questions,
    *,
    layers: Sequence[int] | None = None,
    strengths: Sequence[float] = (-2.0, -1.0, 1.0, 2.0),
    under: Intervention | None = None,
    split: float = 0.5,
    controls: int = 3,
    seed: int = 0,
    store: Store = None,
    progress: bool = False,
    **settings: Any,
) -> Steering:
    """Add the direction of the right option at one layer, at the answer position, and see what becomes of the margin.

    The direction of an option is the mean state of the search questions for which it is right, minus that of the
    others; it takes options that keep their identity: the symbols in letter scoring, else the texts of a category that
    shares one closed set. At strength 1 one such difference is added. Margins are measured on the other questions,
    steered towards their right option, beside random directions of the same length.

    Args:
        model: What `load` gives or takes.
        questions: A name, a file or questions, not encoded yet.
        layers: Where to add, each by itself; every surviving layer by default.
        strengths: How often to add it; below zero steers away.
        under: An intervention to steer under; none by default.
        split: Share of the questions that directions and the transition are found on.
        controls: Random directions for each option and layer.
        seed: Of the split, the random directions and the resampling.
        store: A store or its folder, where results are kept and found again.
        progress: Show a bar.
        **settings: Of `tasks.encode_questions`.

    Returns:
        Margins by layer and strength, with `.to_pandas()` and `.plot()`.

    Raises:
        InputError: Before anything runs, if a layer or strength is out of range, or the questions have no options that
            keep their identity.

    Source: difference of means: Marks and Tegmark, The geometry of truth (arXiv 2310.06824).

    Example:
        >>> found = steering("tiny-llama", "facts", layers=[2], strengths=[1.0], scoring="letter", controls=1)
        >>> found.margin.shape[:2], found.control.shape[:3]
        ((1, 1), (1, 1, 1))
    """
    access = as_model(model)
    variant = under or Intervention()
    kept = tuple(k for k in range(access.n_layers) if k not in variant.removed_blocks)
    chosen = kept if layers is None else listed_layers(layers)
    _check(chosen, kept, strengths, controls)
    search, evaluation = divide(access, questions, split, seed=seed, **settings)
    every = search.questions + evaluation.questions
    fitted, asked = sides(search, every), sides(evaluation, every)
    (run,) = evaluate(
        access,
        search,
        [variant],
        [DecisionObserver(), CaptureObserver(("resid_post",), chosen, "answer")],
        progress=progress,
    )
    decisions: Decisions = run["decisions"]
    phases = find_phases(decisions, seed=seed)
    usable = {side for side in asked if side is not None and _enough(side, fitted)}
    rows = np.array([i for i, side in enumerate(asked) if side in usable], dtype=np.int64)
    if not len(rows):
        msg = (
            f"no option of the evaluation questions is right for {_LEAST} of the {len(fitted)} search questions and "
            "wrong for as many of its set, so there is no difference of means; give more questions"
        )
        raise InputError(msg)
    variants: list[Intervention] = [variant]
    for layer in chosen:
        own = directions(run["capture"].at("resid_post", layer), fitted, usable)
        for draw in range(controls + 1):
            vectors = own if not draw else _random(own, [seed, 5, layer, draw])
            added = np.stack(
                [vectors[side] if side in usable else np.zeros(access.d_model) for side in asked]
            )
            variants += [variant + _steer(layer, float(strength) * added) for strength in strengths]
    runs = evaluate(access, evaluation, variants, [FinalObserver()], store=store, progress=progress)
    intact, *rest = [r["final"].margin[rows] for r in runs]
    shaped = np.stack(rest).reshape(len(chosen), controls + 1, len(strengths), len(rows))
    return Steering(
        margin=shaped[:, 0],
        control=np.moveaxis(shaped[:, 1:], 1, 0),
        intact=intact,
        layers=tuple(chosen),
        strengths=tuple(map(float, strengths)),
        phases=phases,
        model=access.name,
        questions=evaluation.questions.name,
        n_search=len(search),
        left_out=len(asked) - len(rows),
        n_layers=access.n_layers,
        under=variant,
        seed=seed,
    )


def sides(encoded: EncodedQuestions, every: QuestionSet) -> list[Side | None]:
    """What the right option of each question is across questions.

    Args:
        encoded: The questions.
        every: All questions, those in other parts of a split included, among which options must keep their identity.

    Returns:
        For each question the set that its options belong to ("" in letter scoring and where all questions share one
        closed set, else the category) and the name of the right one; None where options keep no identity.

    Raises:
        InputError: If that is so for all of them, or the scoring has several sequences a question.

    Example:
        >>> from decision_phases.models import load
        >>> from decision_phases.readout import ask
        >>> encoded = ask(load("tiny-gpt2", quiet=True), "facts", scoring="letter")
        >>> sides(encoded, encoded.questions)[0]
        ('', 'B')
    """
    if not encoded.option_ids:
        msg = f"{encoded.scoring} scoring has several sequences a question; use letter or first_token scoring"
        raise InputError(msg)
    whole = encoded.scoring == "letter" or every.closed_options() is not None
    closed = {c for c in every.categories if whole or every.closed_options(c) is not None}
    if not closed:
        msg = (
            f"the questions share no closed set of options, so under {encoded.scoring} scoring an option has no "
            "direction of its own; use scoring='letter', or questions with a closed set in each category"
        )
        raise InputError(msg)
    return [
        ("" if whole else item.category, names[item.answer]) if item.category in closed else None
        for item, names in zip(encoded.questions, encoded.identities, strict=True)
    ]


def directions(
    states: Float[np.ndarray, "question d"], given: Sequence[Side | None], wanted: Collection[Side]
) -> dict[Side, Float[np.ndarray, " d"]]:
    """The difference of means of each option: where it is right, minus where another of its set is.

    Args:
        states: State of each question.
        given: The right option of each question.
        wanted: Options.

    Returns:
        Option → direction.

    Example:
        >>> right = [("", "A"), ("", "B"), ("", "A")]
        >>> directions(np.array([[1.0], [0.0], [3.0]]), right, [("", "A")])
        {('', 'A'): array([2.])}
    """
    found = {}
    for side in wanted:
        own = np.array([other == side for other in given])
        rest = np.array([other is not None and other[0] == side[0] and other != side for other in given])
        found[side] = states[own].mean(axis=0, dtype=np.float64) - states[rest].mean(axis=0, dtype=np.float64)
    return found


def _enough(side: Side, fitted: Sequence[Side | None]) -> bool:
    own = sum(other == side for other in fitted)
    rest = sum(other is not None and other[0] == side[0] and other != side for other in fitted)
    return min(own, rest) >= _LEAST


def _random(own: Mapping[Side, Float[np.ndarray, " d"]], seed: Sequence[int]) -> dict[Side, np.ndarray]:
    """A random direction of the same length for each option."""
    rng = np.random.default_rng(seed)
    found = {}
    for side in sorted(own):
        drawn = rng.normal(size=own[side].shape)
        found[side] = drawn * (np.linalg.norm(own[side]) / np.linalg.norm(drawn))
    return found


def _steer(layer: int, added: Float[np.ndarray, "question d"]) -> Intervention:
    """`steer` with a vector for each question."""
    rows = PerQuestion.from_arrays(added.astype(np.float32), "the steering directions")
    return single("add", "resid_post", layer, None, "answer", rows, label="steer")


def _check(chosen: Sequence[int], kept: Sequence[int], strengths: Sequence[float], controls: int) -> None:
    missing = sorted(set(chosen) - set(kept))
    if not chosen or missing or len(set(chosen)) < len(chosen):
        what = f"layer {missing[0]} is not there" if missing else f"layers {list(chosen)} given"
        msg = f"{what}; give layers that the intervention leaves ({len(kept)} do), each once"
        raise InputError(msg)
    if (
        not strengths
        or not all(np.isfinite(s) and s for s in strengths)
        or len(set(strengths)) < len(strengths)
    ):
        msg = (
            f"strengths {list(strengths)} given; give finite ones other than 0 (the intact margin), each once"
        )
        raise InputError(msg)
    if controls < 1:
        msg = f"controls={controls} given; at least one random direction is needed to compare with"
        raise InputError(msg)
