"""Results as a few lines of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns; the first is flush left, the others right.

    Args:
        head: Names of the columns.
        rows: As many cells a row; a row may end early.

    Returns:
        The text.

    Example:
        >>> print(table(["strategy", "0", "1"], [["margin", "0.9", "0.85"], ["deepest", "0.9"]]))
        strategy    0     1
        margin    0.9  0.85
        deepest   0.9
    """
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines if i < len(line)) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=False))
        ).rstrip()
        for line in lines
    )


def result(summary: Mapping[str, Any]) -> str:
    """What was read: transition, phases, accuracy.

    Args:
        summary: The content of `summary.json`.

    Returns:
        A few lines.
    """
    asked, final = summary["questions"], summary["final"]
    others = "" if asked["split"] is None else f"; {asked['n_search']} others chose what to remove"
    under = "" if summary["under"] == "intact" else f", under {summary['under']}"
    last = summary["survivors"][-1]
    low, high = summary["accuracy_ci"][last]
    lines = [
        f"{summary['model']['name']}{under}: {summary['n_questions']} questions of {asked['name']}, "
        f"{summary['scoring']} scoring{others}.",
        f"Accuracy {final['accuracy']:.3f} (95% interval {low:.3f} to {high:.3f}, chance {summary['chance']:.2f}), "
        f"margin {final['margin']:+.3f}.",
        str(summary["transition"]["verdict"]),
    ]
    if summary["phases"] is not None:
        silent, decisive = (span(summary["phases"][name]) for name in ("silent", "decisive"))
        lines.append(f"Silent Phase {silent}, Decisive Phase {decisive}.")
    lines.append(f"Detectors: {summary['transition']['agreement']}")
    return "\n".join(lines)


def layers(summary: Mapping[str, Any]) -> str:
    """Margin and accuracy at every layer, with its phase.

    Args:
        summary: The content of `summary.json`.

    Returns:
        A table, one row a layer; a removed layer says so.
    """
    phases = summary["phases"] or {}
    of = {layer: name for name, members in phases.items() for layer in members}
    rows = [
        ["embedding", f"{summary['embed']['margin']:+.3f}", "", f"{summary['embed']['accuracy']:.3f}", "", ""]
    ]
    for layer in summary["layers"]:
        if layer not in summary["survivors"]:
            rows.append([str(layer), "removed"])
            continue
        ends = [summary[name][layer] for name in ("margin_ci", "accuracy_ci")]
        rows.append(
            [
                str(layer),
                f"{summary['margin'][layer]:+.3f}",
                f"{ends[0][0]:+.3f} to {ends[0][1]:+.3f}",
                f"{summary['accuracy'][layer]:.3f}",
                f"{ends[1][0]:.3f} to {ends[1][1]:.3f}",
                of.get(layer, ""),
            ]
        )
    return table(["layer", "margin", "95% interval", "accuracy", "95% interval", "phase"], rows)


def pruning(summary: Mapping[str, Any]) -> str:
    """Accuracy of every strategy against the number of blocks, attentions or MLPs removed.

    Args:
        summary: The content of `summary.json`.

    Returns:
        A table, and why other strategies could not be run.
    """
    rows: list[list[str]] = []
    most = 0
    for name, steps in summary["pruning"].items():
        by_step: dict[int, list[float]] = {}
        for step in steps:
            by_step.setdefault(step["step"], []).append(step["accuracy"])
        draws = max(len(values) for values in by_step.values())
        label = f"{name} (mean of {draws})" if draws > 1 else name
        rows.append([label, *(f"{sum(values) / len(values):.3f}" for _, values in sorted(by_step.items()))])
        most = max(most, *by_step)
    parts = {part for steps in summary["pruning"].values() for step in steps for part in step["parts"]}
    noun = "blocks" if parts <= {"block"} else "units"
    lines = [table([f"accuracy, {noun} removed", *map(str, range(most + 1))], rows)] if rows else []
    reasons: dict[str, list[str]] = {}
    for name, why in summary["not_applicable"].items():
        reasons.setdefault(why, []).append(name)
    lines += [f"{', '.join(names)}: not applicable; {why}" for why, names in reasons.items()]
    return "\n".join(lines)


def comparison(content: Mapping[str, Any]) -> str:
    """How long accuracy lasts by every strategy, and how that compares with random cuts.

    Args:
        content: The content of `comparison.json`.

    Returns:
        A table, one row a strategy, and what its columns are.
    """
    rows = [
        [
            row["strategy"],
            str(row["last_step"]),
            _number(row["area"]),
            _interval(row["area_low"], row["area_high"]),
            *("–" if row[name] is None else str(row[name]) for name in ("last_above_chance", "half")),
            _number(row["difference"], signed=True),
            _interval(row["low"], row["high"], signed=True),
            _number(row["p_holm"]),
            _number(row["p_luck"]),
            *([_number(row["area_split_sd"])] if content["splits"] > 1 else []),
        ]
        for row in content["strategies"]
    ]
    heads = [
        "strategy",
        "removed",
        "area",
        "95% interval",
        "above chance",
        "half lost",
        "over random",
        "95% interval",
        "p",
        "p of luck",
    ]
    spread = ["sd over splits"] if content["splits"] > 1 else []
    return (
        f"{table([*heads, *spread], rows)}\n"
        f"Area under accuracy by {content['unit']}s removed, 1 if nothing is lost and 0 at chance; the last number of "
        f"{content['unit']}s\nabove chance; accuracy over that of random cuts, mean over the curve; p by Holm over the "
        "strategies. The p of luck\nis the chance that a random cut as large as the last one has at least its mean "
        f"margin, by {_drawn(content['strategies'])}.{_against(content)}"
    )


def _drawn(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many random cuts stand behind the p of luck."""
    counts = sorted({row["draws"] for row in rows if row["draws"] is not None})
    return f"{' or '.join(map(str, counts)) or 'no'} draws" if counts != [1] else "1 draw"


def _against(content: Mapping[str, Any]) -> str:
    """Every other strategy against the first."""
    if not content["against"]:
        return ""
    rows = [
        [
            row["strategy"],
            str(row["step"]),
            _number(row["difference"], signed=True),
            _interval(row["low"], row["high"], signed=True),
            _number(row["p_holm"]),
            f"{row['minimum_detectable']:.3f}",
        ]
        for row in content["against"]
    ]
    heads = ["strategy", "up to", f"over {content['reference']}", "95% interval", "p", "detectable"]
    return (
        f"\n\n{table(heads, rows)}\n"
        "Accuracy over that of the first strategy, mean over the curve, on the same questions; p by Holm over these."
    )


def _number(value: float | None, *, signed: bool = False) -> str:
    return "–" if value is None else f"{value:{'+' if signed else ''}.3f}"


def _interval(low: float | None, high: float | None, *, signed: bool = False) -> str:
    return (
        "–"
        if low is None or high is None
        else f"{_number(low, signed=signed)} to {_number(high, signed=signed)}"
    )


def span(members: Sequence[int]) -> str:
    """Ascending layers, as first..last where nothing is missing between.

    Args:
        members: The layers.

    Returns:
        The text.

    Example:
        >>> span([0, 1, 2]), span([5]), span([0, 2]), span([])
        ('0..2', '5', '0, 2', 'empty')
    """
    if not members:
        return "empty"
    first, last = members[0], members[-1]
    if len(members) > 1 and list(members) == list(range(first, last + 1)):
        return f"{first}..{last}"
    return ", ".join(map(str, members))
