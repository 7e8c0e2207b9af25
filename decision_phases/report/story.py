"""The sentences of the report, made from its numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from decision_phases.report.curves import curves, paths
from decision_phases.report.folder import RunFolder

_SHAPED = ("margin", "accuracy")


@dataclass(frozen=True)
class Story:
    """The sentences of one report.

    Attributes:
        headline: The result in one sentence.
        lead: What it means.
        frequency: What Option Frequency shows, or why it is undefined.
        pruning: What removing blocks did.
        movement: What happened to the transition.
        missing: What an interrupted run lacks; empty if it is complete.
        conditional: What the numbers are conditional on.

    Example:
        >>> Story("a", "b", "c", "d", "e", (), ("f",)).headline
        'a'
    """

    headline: str
    lead: str
    frequency: str
    pruning: str
    movement: str
    missing: tuple[str, ...]
    conditional: tuple[str, ...]


def tell(run: RunFolder) -> Story:
    """Return the sentences of a run.

    Args:
        run: A run folder, complete or not.

    Returns:
        Sentences that hold for these numbers only; where something was not measured they say so.

    Example:
        >>> from pathlib import Path
        >>> summary = {"model": {"name": "m"}, "questions": {"name": "q"}, "chance": 0.25, "n_layers": 2,
        ...     "transition": {"layer": 1, "ci_low": 1, "ci_high": 1}, "margin": [-0.2, 0.5],
        ...     "accuracy": [0.2, 0.9], "n_questions": 10}
        >>> tell(RunFolder(Path("."), summary, {}, None, {}, complete=False)).headline
        'm decides at layer 1, with a 95% interval of 1–1.'
    """
    found = run.summary["transition"]["layer"] is not None
    return Story(
        headline=_headline(run) if found else _no_headline(run),
        lead=_lead(run) if found else _no_lead(run),
        frequency=_frequency(run),
        pruning=_pruning(run),
        movement=_movement(run),
        missing=_missing(run),
        conditional=_conditional(run),
    )


def signed(value: float | int | None, digits: int = 2) -> str:
    """Return a margin as text: always with its sign, and a minus that is one.

    Args:
        value: The margin, or None.
        digits: Decimals.

    Returns:
        The text; a dash for None.

    Example:
        >>> signed(-0.345), signed(0.5), signed(None)
        ('−0.34', '+0.50', '–')
    """
    return "–" if value is None else f"{value:+.{digits}f}".replace("-", "−")


def span(layers: Sequence[int]) -> str:
    """Return a run of layers as text.

    Args:
        layers: Their indices, ascending.

    Returns:
        First and last, or the only one, or a dash.

    Example:
        >>> span([0, 1, 2]), span([4]), span([])
        ('0–2', '4', '–')
    """
    if not layers:
        return "–"
    return str(layers[0]) if len(layers) == 1 else f"{layers[0]}–{layers[-1]}"


def confidence(run: RunFolder) -> str:
    """Return the confidence of the run's intervals, 95 % unless the summary says otherwise.

    Args:
        run: A run folder.

    Returns:
        A percentage.

    Example:
        >>> from pathlib import Path
        >>> confidence(RunFolder(Path("."), {"confidence": 0.9}, {}, None, {}, complete=True))
        '90%'
    """
    return f"{100 * run.summary.get('confidence', 0.95):g}%"


def _headline(run: RunFolder) -> str:
    transition, name = run.summary["transition"], run.summary["model"]["name"]
    text = f"{name} decides at layer {transition['layer']}"
    if transition.get("ci_low") is None or transition.get("ci_high") is None:
        return f"{text}."
    return f"{text}, with a {confidence(run)} interval of {transition['ci_low']:g}–{transition['ci_high']:g}."


def _no_headline(run: RunFolder) -> str:
    return f"No transition found in {run.summary['model']['name']} on {run.summary['questions']['name']}."


def _lead(run: RunFolder) -> str:
    summary, layer = run.summary, run.summary["transition"]["layer"]
    before = [m for m in summary["margin"][:layer] if m is not None]
    after = [m for m in summary["margin"][layer:] if m is not None]
    if not before or not after:
        return f"No layer lies before it, so there is no Silent Phase. {_ending(run)}"
    behind = ": on average a wrong option is ahead" if max(before) < 0 else ""
    ahead = ": the right option is ahead" if min(after) > 0 else ""
    return (
        f"The model has {summary['n_layers']} layers, numbered from 0. Read out before layer {layer}, the "
        f"mean margin between the right option and its best competitor lies between {signed(min(before))} "
        f"and {signed(max(before))}{behind}. From layer {layer} on it lies between {signed(min(after))} and "
        f"{signed(max(after))}{ahead}. {_ending(run)}"
    )


def _no_lead(run: RunFolder) -> str:
    p_value = run.summary["transition"].get("p_value")
    if p_value is not None and p_value >= 0.05:
        why = f"Its margins cannot be told from those with shuffled right answers (p = {p_value:.2g})."
    else:
        why = "The margin does not rise through the layers by more than its own uncertainty."
    return (
        f"{why} So the layers are not split into a Silent and a Decisive Phase, and strategies that would "
        f"remove blocks from one of them do not apply. {_ending(run)}"
    )


def _ending(run: RunFolder) -> str:
    summary = run.summary
    last = {name: next((v for v in reversed(summary[name]) if v is not None), None) for name in _SHAPED}
    if last["margin"] is None or last["accuracy"] is None:
        return ""
    return (
        f"The last layer ends at a margin of {signed(last['margin'])} and answers {last['accuracy']:.0%} of "
        f"{summary['n_questions']} questions correctly, where guessing would get {summary['chance']:.0%}."
    )


def _frequency(run: RunFolder) -> str:
    frequency = run.summary.get("option_frequency")
    if frequency is None:
        reason = run.summary.get("option_frequency_reason") or "it was not measured"
        return f"Option Frequency is undefined for these questions: {reason}."
    best = max(
        (
            (share, layer, name)
            for layer, row in enumerate(frequency["values"])
            for share, name in _named(row, frequency)
        ),
        default=None,
    )
    if best is None:
        return "No layer was read out."
    share, layer, name = best
    return (
        f"How often each option would be chosen if the model answered from that layer. The most one-sided "
        f"is layer {layer}, which would answer “{name}” to {share:.0%} of the questions."
    )


def _named(
    row: Sequence[float | int | None] | None, frequency: dict[str, Any]
) -> list[tuple[float | int, str]]:
    pairs = zip(row or (), frequency["options"], strict=False)
    return [(share, name) for share, name in pairs if share is not None]


def _pruning(run: RunFolder) -> str:
    found = curves(run.pruning)
    if not found:
        return _not_measured(run, "no blocks were removed")
    parts = []
    for curve in found:
        name, last = curve.name.replace("_", " "), curve.accuracy[-1]
        if curve.draws > 1:
            drawn = f"{name}, {curve.draws} draws from {curve.low[-1]:.0%} to {curve.high[-1]:.0%}"
            parts.append(f"{last:.0%} on average ({drawn})")
        else:
            parts.append(f"{last:.0%} ({name})")
    most = max(int(curve.removed[-1]) for curve in found)
    same = all(int(curve.removed[-1]) == most for curve in found)
    reach = f"After {most} block{'s' * (most != 1)}" if same else "At the end of each curve"
    start = "" if found[0].removed[0] else f"The intact model answers {found[0].accuracy[0]:.0%} correctly. "
    return f"{start}{reach} it answers {', '.join(parts)}."


def _not_measured(run: RunFolder, what: str) -> str:
    return f"In this run {what}." if run.complete else f"Not measured: when the run stopped, {what}."


def _movement(run: RunFolder) -> str:
    followed = next((path for path in paths(run.pruning) if path.seed is None and len(path.rows) > 1), None)
    if followed is None:
        return _not_measured(run, "there is no removal order to follow")
    before, after = followed.rows[0].get("transition"), followed.rows[-1].get("transition")
    count = len(followed.rows[-1].get("cut") or ())
    blocks = f"the strategy “{followed.label}” took {count} block{'s' * (count != 1)}"
    if before is None and after is None:
        return f"There was no transition before {blocks}, and none after."
    if after is None:
        gone = next(row["step"] for row in followed.rows if row.get("transition") is None)
        return f"As {blocks}, the transition vanished: intact at layer {before}, missing from step {gone}."
    if before is None:
        return f"As {blocks}, a transition appeared, at layer {after}."
    if before == after:
        return f"As {blocks}, the transition ended where it began, at layer {before}."
    return f"As {blocks}, the transition moved from layer {before} to {after}, counted in the intact model."


def _missing(run: RunFolder) -> tuple[str, ...]:
    if run.complete:
        return ()
    parts = {
        "decisions for each question": run.decisions is None,
        "pruning": not run.pruning,
        "the record of versions and arguments": not run.manifest,
    }
    return tuple(name for name, lacking in parts.items() if lacking) or ("the end of the run",)


def _conditional(run: RunFolder) -> tuple[str, ...]:
    asked = run.summary["questions"]
    if asked.get("split") is None or not asked.get("n_search"):
        apart = "The same questions chose what to remove and measured it, so those accuracies are optimistic."
    else:
        apart = (
            f"{asked['n_search']} search questions chose which blocks to remove, and "
            f"{asked['n_evaluation']} others measured what that did."
        )
    return (
        apart,
        f"Intervals are {confidence(run)} over questions like these, for this model, wording and scoring.",
        "Along a removal order they are conditional on it: they do not say how another order would do.",
        "Margins of other scorings are another quantity and must not be compared with these.",
    )
