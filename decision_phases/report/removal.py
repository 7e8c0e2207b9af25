"""What removing blocks did, in sentences made from the numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

from decision_phases.plots import Curve
from decision_phases.report.curves import curves, paths, unit
from decision_phases.report.folder import RunFolder


def tell_pruning(run: RunFolder) -> str:
    """Return what removing blocks did to the accuracy.

    Args:
        run: A run folder.

    Returns:
        Sentences; that nothing was removed, if so.

    Example:
        >>> from pathlib import Path
        >>> tell_pruning(RunFolder(Path("."), {}, {}, None, {}, complete=True))
        'In this run no blocks were removed.'
    """
    found = curves(run.pruning)
    if not found:
        return _not_measured(run, "no blocks were removed")
    most, noun = max(int(curve.removed[-1]) for curve in found), unit(run.pruning)
    full = [_reached(curve) for curve in found if curve.removed[-1] == most]
    short = [
        f"{_name(curve)} ends after {_count(int(curve.removed[-1]), noun)}, at {curve.accuracy[-1]:.0%}"
        for curve in found
        if curve.removed[-1] < most
    ]
    start = "" if found[0].removed[0] else f"The intact model answers {found[0].accuracy[0]:.0%} correctly. "
    what = "A phase ran out of blocks" if noun == "block" else "There were no more to remove"
    ends = f" {what}: {'; '.join(short)}." if short else ""
    return f"{start}After {_count(most, noun)} it answers {', '.join(full)}.{ends}{_phases_compared(found)}"


def _name(curve: Curve) -> str:
    return curve.name.replace("_", " ")


def _count(count: int, noun: str = "block") -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _reached(curve: Curve) -> str:
    last = curve.accuracy[-1]
    if curve.draws == 1:
        return f"{last:.0%} ({_name(curve)})"
    drawn = f"{_name(curve)}, {curve.draws} draws from {curve.low[-1]:.0%} to {curve.high[-1]:.0%}"
    return f"{last:.0%} on average ({drawn})"


def _phases_compared(found: Sequence[Curve]) -> str:
    """The two phase strategies at the largest number of blocks that both reach."""
    by_name = {curve.name: curve for curve in found}
    silent, decisive = by_name.get("within_silent"), by_name.get("within_decisive")
    if silent is None or decisive is None:
        return ""
    count = min(int(silent.removed[-1]), int(decisive.removed[-1]))
    if not count:
        return ""
    first, second = (f"{c.accuracy[c.removed.tolist().index(count)]:.0%}" for c in (silent, decisive))
    most = max(int(curve.removed[-1]) for curve in found)
    spent = [
        c.name.removeprefix("within_").title() for c in (silent, decisive) if count == c.removed[-1] < most
    ]
    no_choice = f"; the {' and the '.join(spent)} Phase had no others to choose from" if spent else ""
    return (
        f" With {_count(count)} chosen from the Silent Phase alone it answers {first}, from the Decisive Phase alone "
        f"{second}{no_choice}."
    )


def tell_boundary(run: RunFolder) -> str:
    """Return where the phase strategies saw the boundary, if not where the page shows it.

    Args:
        run: A run folder.

    Returns:
        A sentence, or nothing.

    Example:
        >>> from pathlib import Path
        >>> tell_boundary(RunFolder(Path("."), {"transition": {"layer": 3}}, {}, None, {}, complete=True))
        ''
    """
    searched, shown = run.summary.get("search_transition") or {}, run.summary["transition"]["layer"]
    layer = searched.get("layer")
    if not any(name.startswith("within_") for name in run.pruning) or layer is None or layer == shown:
        return ""
    other = "no transition" if shown is None else f"layer {shown}"
    return (
        f"The strategies within a phase use the boundary that the search questions show, layer {layer}; the evaluation "
        f"questions show {other}."
    )


def tell_comparison(run: RunFolder) -> str:
    """Return which strategies keep more accuracy than random cuts, and which keep less.

    Args:
        run: A run folder.

    Returns:
        Sentences, or nothing where strategies were not compared.

    Example:
        >>> from pathlib import Path
        >>> tell_comparison(RunFolder(Path("."), {}, {}, None, {}, complete=True))
        ''
    """
    compared = [row for row in run.comparison.get("strategies", ()) if row["difference"] is not None]
    if not compared:
        return ""
    told = [row for row in compared if row["p_holm"] < 0.05]
    groups = {
        "more": [row["strategy"].replace("_", " ") for row in told if row["difference"] > 0],
        "less": [row["strategy"].replace("_", " ") for row in told if row["difference"] < 0],
    }
    kept = [
        f"{' and '.join(names)} {'keep' if len(names) > 1 else 'keeps'} {how}"
        for how, names in groups.items()
        if names
    ]
    rest = len(compared) - len(told)
    least = max(row["minimum_detectable"] for row in compared)
    unsure = (
        f" {rest} of {len(compared)} cannot be told from random cuts; a difference of "
        f"{least:.2f} would have been found in most cases."
        if rest
        else ""
    )
    if not kept:
        return unsure.strip()
    return f"Compared with random cuts of the same kind, {'; '.join(kept)} accuracy.{unsure}"


def _not_measured(run: RunFolder, what: str) -> str:
    return f"In this run {what}." if run.complete else f"Not measured: when the run stopped, {what}."


def tell_movement(run: RunFolder) -> str:
    """Return what happened to the transition along the first order of removal that is no random draw.

    Args:
        run: A run folder.

    Returns:
        A sentence.

    Example:
        >>> from pathlib import Path
        >>> tell_movement(RunFolder(Path("."), {}, {}, None, {}, complete=True))
        'In this run there is no removal order to follow.'
    """
    followed = next((path for path in paths(run.pruning) if path.seed is None and len(path.rows) > 1), None)
    if followed is None:
        return _not_measured(run, "there is no removal order to follow")
    before, after = followed.rows[0].get("transition"), followed.rows[-1].get("transition")
    count = len(followed.rows[-1].get("cut") or ())
    blocks = f"the strategy “{followed.label}” took {_count(count, unit(run.pruning))}"
    if before is None and after is None:
        return f"There was no transition before {blocks}, and none after."
    if after is None:
        return f"As {blocks}, {_vanished(followed.rows)}."
    if before is None:
        return f"As {blocks}, a transition appeared, at layer {after}."
    if before == after:
        between = sorted({row.get("transition") or -1 for row in followed.rows} - {before})
        seen = ["none" if layer < 0 else str(layer) for layer in between]
        moved = f"; steps between had {', '.join(seen)}" if seen else ""
        return f"As {blocks}, the transition ended where it began, at layer {before}{moved}."
    return f"As {blocks}, the transition moved from layer {before} to {after}, counted in the intact model."


def _vanished(rows: Sequence[Mapping[str, Any]]) -> str:
    """From which step on the transition is missing for good, and whether the model still knows something."""
    present = max(i for i, row in enumerate(rows) if row.get("transition") is not None)
    where = f"intact at layer {rows[0]['transition']}, missing from step {rows[present + 1]['step']}"
    if rows[-1].get("outcome") == "not located":
        return (
            f"the transition was lost: {where}. In the end the mean margin is no longer above zero at the last layer, "
            "though the decision still tells right from wrong better than chance"
        )
    return f"the transition vanished: {where}"
