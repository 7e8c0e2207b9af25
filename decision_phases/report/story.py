"""The sentences of the report, made from its numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from decision_phases.report.curves import number, pair
from decision_phases.report.folder import RunFolder
from decision_phases.report.frequency import tell_frequency
from decision_phases.report.removal import tell_boundary, tell_comparison, tell_movement, tell_pruning

_SHAPED = ("margin", "accuracy")


@dataclass(frozen=True)
class Story:
    """The sentences of one report.

    Attributes:
        headline: The result in one sentence.
        lead: What it means.
        frequency: What Option Frequency shows, or why it is undefined.
        pruning: What removing blocks did.
        boundary: Where phase strategies saw the boundary, if not where the page shows it; else empty.
        movement: What happened to the transition.
        comparison: Which strategies do better than random cuts; empty if that was not asked.
        missing: What an interrupted run lacks; empty if it is complete.
        conditional: What the numbers are conditional on.

    Example:
        >>> Story("a", "b", "c", "d", "", "e", (), ("f",)).headline
        'a'
    """

    headline: str
    lead: str
    frequency: str
    pruning: str
    boundary: str
    movement: str
    missing: tuple[str, ...]
    conditional: tuple[str, ...]
    comparison: str = ""


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
        frequency=tell_frequency(run),
        pruning=tell_pruning(run),
        boundary=tell_boundary(run),
        movement=tell_movement(run),
        missing=_missing(run),
        conditional=_conditional(run),
        comparison=tell_comparison(run),
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
    ahead = _ahead(run, layer) if min(after) > 0 else ""
    return (
        f"The model has {summary['n_layers']} layers, numbered from 0. Read out before layer {layer}, the "
        f"mean margin between the right option and its best competitor lies between {signed(min(before))} "
        f"and {signed(max(before))}{behind}. From layer {layer} on it lies between {signed(min(after))} and "
        f"{signed(max(after))}{ahead}. {_ending(run)}"
    )


def _ahead(run: RunFolder, layer: int) -> str:
    """That the right option leads, and where its lead is within its interval."""
    lows = [pair(interval)[0] for interval in run.summary.get("margin_ci") or ()]
    unsure = [at for at in range(layer, len(lows)) if lows[at] <= 0]
    if not unsure:
        return ": the right option is ahead"
    runs = len(unsure) > 2 and unsure == list(range(unsure[0], unsure[-1] + 1))
    listed = span(unsure) if runs else ", ".join(map(str, unsure))
    where = f"layer{'s' * (len(unsure) > 1)} {listed}"
    return (
        f": the right option is ahead on average, though at {where} by less than the uncertainty of the mean"
    )


def _no_lead(run: RunFolder) -> str:
    transition = run.summary["transition"]
    p_value = transition.get("p_value")
    if p_value is not None and p_value >= 0.05:
        why = f"Its margins cannot be told from those with shuffled right answers (p = {p_value:.2g})."
    elif transition.get("outcome") == "not located":
        why = (
            "The final decision is informed, but the mean margin does not stay above zero up to the last layer, so "
            "there is no layer from which the right option leads."
        )
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
    lines = (
        _questions_apart(run) if run.pruning else "",
        _ties(run),
        f"Intervals are {confidence(run)} over questions like these, for this model, wording and scoring.",
        "Margins of other scorings are another quantity and must not be compared with these.",
    )
    return tuple(line for line in lines if line)


def _questions_apart(run: RunFolder) -> str:
    asked = run.summary["questions"]
    if asked.get("split") is None or not asked.get("n_search"):
        return "The same questions chose what to remove and measured it, so those accuracies are optimistic."
    return (
        f"{asked['n_search']} search questions chose which blocks to remove, and "
        f"{asked['n_evaluation']} others measured what that did."
    )


def _ties(run: RunFolder) -> str:
    rates = [(number(rate), -layer) for layer, rate in enumerate(run.summary.get("tie_rate") or ()) if rate]
    if not rates or max(rates)[0] < 0.01:
        return ""
    rate, layer = max(rates)
    return f"Ties go to the option listed first; there are most at layer {-layer}, in {rate:.0%} of the questions."
