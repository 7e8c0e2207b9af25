"""`onsets`: when the content of an answer is decided, when its symbol is bound, when the letter can be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from decision_phases.engine import evaluate
from decision_phases.engine.capture import CaptureObserver
from decision_phases.errors import InputError
from decision_phases.interventions import Captured, Intervention
from decision_phases.lenses.onset_result import STAGES, Onset, Onsets
from decision_phases.lenses.probes import Fold, balanced_accuracy, make_folds, predicted
from decision_phases.models import ModelAccess, as_model
from decision_phases.readout import DecisionObserver, Decisions
from decision_phases.stats import bootstrap_ci, resample_weights
from decision_phases.tasks import EncodedQuestions, Question, QuestionSet, encode_questions
from decision_phases.tasks import questions as read_questions
from decision_phases.tasks.prompts import find_symbols

_CONFIDENCE = 0.95


@dataclass(frozen=True, eq=False)
class Presented:
    """What was put to the model and what it did.

    Attributes:
        at_answer: States at the answer position.
        at_options: States at the last token of the last option.
        chosen: Place of the option chosen in the end.
        symbol: Number of the symbol chosen in the end.
        seen: Number of the symbol that the lens reads at each layer.
        correct: Whether the choice is right.
        question: Number of the question.
        word: Its right answer.
        template: Name of the template.
        layers: The surviving layers.
    """

    at_answer: Float[np.ndarray, "layer prompt d"]
    at_options: Float[np.ndarray, "layer prompt d"]
    chosen: Int[np.ndarray, " prompt"]
    symbol: Int[np.ndarray, " prompt"]
    seen: Int[np.ndarray, "prompt layer"]
    correct: Bool[np.ndarray, " prompt"]
    question: Int[np.ndarray, " prompt"]
    word: tuple[str, ...]
    template: tuple[str, ...]
    layers: Int[np.ndarray, " layer"]


def onsets(
    model: object,
    questions: str | Path | QuestionSet | Iterable[Question],
    *,
    under: Intervention | None = None,
    templates: Sequence[str] = ("question_answer", "q_a"),
    symbols: str | Sequence[str] = "letters",
    n_folds: int = 5,
    controls: int = 5,
    penalty: float = 1.0,
    n_boot: int = 500,
    seed: int = 0,
    progress: bool = False,
) -> Onsets:
    """Find three depths of one decision: content decided, symbol bound, letter readable.

    Every question is put in letter scoring with the symbols in every cyclic order, its options in an order drawn anew
    each time, so that the place of an option says nothing about its symbol. Logistic probes then read, at every layer,
    the place of the option that the model chooses in the end (its content), and its symbol; the logit lens reads the
    letter. Probes are fitted and tried on different answer words and templates; the same with shuffled decisions is the
    control. An onset is the first of two layers in a row that reach half of the way from the control to the best layer.

    Args:
        model: What `load` gives or takes.
        questions: A name, a file, or questions; those with the most frequent number of options are used.
        under: An intervention; none by default.
        templates: Names of prompt templates.
        symbols: See `tasks.prompts.find_symbols`.
        n_folds: Parts that the answer words are dealt into.
        controls: Shuffles of the decisions.
        penalty: Ridge of the probes.
        n_boot: Resamples of the answer words.
        seed: Of everything random.
        progress: Show a bar.

    Returns:
        The depths with their curves; "not testable" where the model does not answer in letters above chance.

    Raises:
        InputError: If the questions cannot be put so, before anything runs.

    Source: When models decide and when they bind (arXiv 2601.03914); the orders, folds and onset are ours.

    Example:
        >>> onsets("tiny-llama", read_questions("facts").limit(20), templates=["q_a"]).testable
        False
    """
    access = as_model(model)
    if controls < 1 or n_boot < 2 or not penalty > 0:
        msg = f"controls={controls}, n_boot={n_boot}, penalty={penalty} given; at least 1, 2 and above 0 are needed"
        raise InputError(msg)
    every = read_questions(questions)
    count = Counter(len(item.options) for item in every).most_common(1)[0][0]
    kept = replace(every, items=tuple(item for item in every if len(item.options) == count))
    variant = under or Intervention()
    put = _encode(access, kept, templates, symbols, seed)
    make_folds(
        [item.gold for item in kept], ["one"] * len(kept), n_folds=n_folds, seed=seed
    )  # refuses too few
    seen = _present(access, put, variant, count, progress=progress)
    right = np.bincount(seen.question, seen.correct) / np.bincount(seen.question)
    accuracy = bootstrap_ci(right, n_boot=n_boot, seed=seed)
    reason = _reason(seen, float(accuracy.low), 1 / count, count, n_folds)
    curves: tuple[Onset, ...] = ()
    if not reason:
        folds = make_folds(seen.word, seen.template, n_folds=n_folds, seed=seed)
        curves = tuple(_onset(stage, seen, folds, controls, penalty, n_boot, seed) for stage in STAGES)
    return Onsets(
        curves=curves,
        reason=reason,
        accuracy=(float(accuracy.estimate), float(accuracy.low), float(accuracy.high)),
        chance=1 / count,
        model=access.name,
        questions=kept.name,
        n_questions=len(kept),
        n_prompts=len(seen.word),
        dropped=len(every) - len(kept),
        n_layers=access.n_layers,
        under=variant,
        seed=seed,
    )


def _encode(
    model: ModelAccess, kept: QuestionSet, templates: Sequence[str], symbols: str | Sequence[str], seed: int
) -> list[tuple[int, str, EncodedQuestions]]:
    """The questions in every cyclic order of the symbols and every template: the shift, the template, the prompts."""
    if not templates or len(set(templates)) < len(templates):
        msg = f"templates {list(templates)} given; give at least one, each once"
        raise InputError(msg)
    count = len(kept[0].options)
    names = find_symbols(symbols, count)
    found = []
    for number, (template, shift) in enumerate((t, s) for t in templates for s in range(count)):
        steps = np.random.default_rng([seed, 3, number]).integers(count, size=len(kept))
        turned = replace(kept, items=tuple(q.rotated(int(n)) for q, n in zip(kept, steps, strict=True)))
        encoded = encode_questions(
            turned,
            model.tokenizer,
            scoring="letter",
            template=template,
            symbols=[*names[shift:], *names[:shift]],
            context_length=model.context_length,
        )
        found.append((shift, template, encoded))
    return found


def _present(
    model: ModelAccess,
    put: Sequence[tuple[int, str, EncodedQuestions]],
    under: Intervention,
    count: int,
    *,
    progress: bool,
) -> Presented:
    """Put every prompt and keep what the probes are to read."""
    layers = tuple(k for k in range(model.n_layers) if k not in under.removed_blocks)
    if not layers:
        msg = "every layer is removed; there is no depth in which a decision could form"
        raise InputError(msg)
    looks = (
        DecisionObserver(),
        CaptureObserver(("resid_post",), layers, "answer", name="answer"),
        CaptureObserver(("resid_post",), layers, f"option:{count - 1}", name="options"),
    )
    answer, options, chosen, symbol, seen, correct = [], [], [], [], [], []
    for shift, _, encoded in put:
        (run,) = evaluate(model, encoded, [under], looks, progress=progress)
        decisions: Decisions = run["decisions"]
        answer.append(_states(run["answer"], layers))
        options.append(_states(run["options"], layers))
        chosen.append(decisions.final.choice)
        symbol.append((decisions.final.choice + shift) % count)
        seen.append((decisions.choice[:, list(layers)] + shift) % count)
        correct.append(decisions.final.correct)
    n = len(put[0][2])
    return Presented(
        at_answer=np.concatenate(answer, axis=1),
        at_options=np.concatenate(options, axis=1),
        chosen=np.concatenate(chosen),
        symbol=np.concatenate(symbol),
        seen=np.concatenate(seen),
        correct=np.concatenate(correct),
        question=np.tile(np.arange(n), len(put)),
        word=tuple(item.gold for _, _, encoded in put for item in encoded.questions),
        template=tuple(template for _, template, encoded in put for _ in range(len(encoded))),
        layers=np.array(layers),
    )


def _states(captured: Captured, layers: Sequence[int]) -> Float[np.ndarray, "layer prompt d"]:
    """The last token of what was captured, of every prompt at every layer."""
    rows = [captured.at("resid_post", layer) for layer in layers]
    return np.stack([r if isinstance(r, np.ndarray) else np.stack([part[-1] for part in r]) for r in rows])


def _reason(seen: Presented, low: float, chance: float, count: int, n_folds: int) -> str:
    """Why the depths cannot be told, or ""."""
    if low <= chance:
        return (
            f"its letters are not right above chance ({chance:.2f}): the interval of its accuracy begins at {low:.2f}, "
            "so there is no decision to be found earlier in another form"
        )
    for what, labels in (("place", seen.chosen), ("symbol", seen.symbol)):
        least = int(np.bincount(labels, minlength=count).min())
        if least < 2 * n_folds:
            return (
                f"it chooses one {what} in {least} of {len(labels)} prompts only, too few to fit a probe in {n_folds} "
                "folds"
            )
    return ""


def _onset(
    stage: str,
    seen: Presented,
    folds: Sequence[Fold],
    controls: int,
    penalty: float,
    n_boot: int,
    seed: int,
) -> Onset:
    labels = seen.chosen if stage.startswith("content") else seen.symbol
    states = seen.at_options if stage == "content_at_options" else seen.at_answer

    every = np.stack([labels, *(_shuffled(labels, seen.template, seed, i) for i in range(controls))])
    if stage == "letter":
        read = np.broadcast_to(seen.seen.T[:, None], (len(seen.layers), *every.shape))
    else:
        read = np.stack(
            [predicted(rows.astype(np.float64), every, folds, penalty=penalty) for rows in states]
        )
    hits = np.moveaxis(read == every, 0, -1)  # [labelling, prompt, layer]
    names, groups = np.unique(seen.word, return_inverse=True)
    once = np.ones((1, len(names)))
    curve, *shuffled = (
        balanced_accuracy(own, given, groups, once)[0] for own, given in zip(hits, every, strict=True)
    )
    control, ceiling = np.mean(shuffled, axis=0), float(np.max(shuffled))
    weights = resample_weights(len(names), n_boot, seed=seed) * len(names)
    resampled = balanced_accuracy(hits[0], labels, groups, weights)
    tails = [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2]
    low, high = np.quantile(resampled, tails, axis=0)
    clear = float(low[int(np.argmax(curve))]) > ceiling
    place = first_halfway(curve, control) if clear else None
    places = [p for p in (first_halfway(one, control) for one in resampled) if p is not None]
    ci = None
    if place is not None and places:
        ends = np.quantile(seen.layers[places], tails, method="inverted_cdf")
        ci = (int(ends[0]), int(ends[1]))
    return Onset(
        stage=stage,
        accuracy=curve,
        low=low,
        high=high,
        control=control,
        ceiling=ceiling,
        layers=seen.layers,
        layer=None if place is None else int(seen.layers[place]),
        ci=ci,
        share=len(places) / len(resampled),
    )


def first_halfway(curve: Float[np.ndarray, " layer"], control: Float[np.ndarray, " layer"]) -> int | None:
    """Return the first of two layers in a row at which a curve is half of the way from its control to its best.

    Args:
        curve: The curve.
        control: Where it would be without anything to read.

    Returns:
        A place along the curve, that of its best where no two in a row are so high; None if the curve is nowhere above
        its control.

    Example:
        >>> first_halfway(np.array([0.2, 0.7, 0.2, 0.7, 0.8]), np.full(5, 0.25))
        3
    """
    best = int(np.argmax(curve - control))
    if curve[best] <= control[best]:
        return None
    above = curve - control >= (curve[best] - control[best]) / 2
    stays = above & np.append(above[1:], True)
    return int(np.argmax(stays)) if stays.any() else best


def _shuffled(
    labels: Int[np.ndarray, " prompt"], templates: Sequence[str], seed: int, number: int
) -> Int[np.ndarray, " prompt"]:
    """The decisions in another order, within each template."""
    rng = np.random.default_rng([seed, 4, number])
    other, kinds = labels.copy(), np.array(templates)
    for kind in dict.fromkeys(templates):
        own = np.flatnonzero(kinds == kind)
        other[own] = labels[rng.permutation(own)]
    return other
