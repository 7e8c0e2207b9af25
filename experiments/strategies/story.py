"""The text of this experiment, made from its numbers."""

from __future__ import annotations

from typing import Any

from common import interval, made_by, table


def tell(r: dict[str, Any]) -> str:
    """Write README.md.

    Args:
        r: What is in results.json.

    Returns:
        Markdown; every number in it comes from `r`.
    """
    q, s = r["questions"], r["settings"]
    own = "" if s["QUESTIONS"] == "facts" else f" --questions {q['name']}"
    own += "" if s["SCORING"] is None else f" --scoring {s['SCORING']}"
    last = max(row["last_step"] for row in r["strategies"])
    parts = [
        f"# Strategies on {r['model']}, `{q['name']}`",
        "How far does each way of choosing blocks get under one budget, and is that more than luck? "
        + made_by(r, f"uv run python experiments/strategies/run.py{own}"),
        f"Up to {last} of {r['n_layers']} blocks (the first and the last are kept) are chosen on {q['n_search']} questions "
        f"or on texts of `{s['TEXTS']}` and measured on {q['n_evaluation']} others, where the intact model has accuracy "
        f"{r['intact']['accuracy']:.3f} (chance {r['chance']:.2f}). Intervals (95%) are over questions and conditional on "
        "the cuts that were chosen.",
        "![accuracy as blocks go, and the area under each curve](figure.png)",
        "*Area*: under accuracy against units removed, 1 if nothing is lost and 0 at chance; strategies that end earlier, whose "
        "areas are over fewer steps and compare with nothing else, stand last"
        + (
            "; it has no interval where the intact model is not above chance in every resample of the questions"
            if any(row["area"] is not None and row["area_low"] is None for row in r["strategies"])
            else ""
        )
        + ". *Above chance*: the largest "
        "cut up to which accuracy is significantly above chance. *Collapse*: the first cut that leaves at most a quarter of "
        f"what the intact model has above chance. *From random*: mean height of the curve minus that of {s['DRAWS']} random "
        "orders of the same kind of unit on the same questions, p by Holm over the strategies. *p of luck*: the chance that a "
        "random cut as large as the last one has at least its mean margin; with so few orders it cannot be below "
        f"{1 / (s['DRAWS'] + 1):.2f}. Shaded in the figure are the intervals.",
        _strategies(r),
        _luck(r),
        _reference(r),
        _own(r),
        *(f"Not run: {name}: {why.rstrip('.')}." for name, why in r["not_applicable"].items()),
        *r["notes"],
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _strategies(r: dict[str, Any]) -> str:
    rows: list[list[object]] = []
    longest = max(row["last_step"] for row in r["strategies"])
    for row in sorted(r["strategies"], key=lambda row: in_order(row, longest)):
        area = area_of(row, 3)
        lead = {"estimate": row["difference"], "low": row["low"], "high": row["high"]}
        rows.append(
            [row["strategy"], row["last_step"], area, _or_dash(row["last_above_chance"]), _collapse(row),
             interval(lead, 3), *("–" if row[p] is None else f"{row[p]:.3f}" for p in ("p_holm", "p_luck"))]
        )  # fmt: skip
    header = [
        "strategy",
        "units removed",
        "area",
        "above chance",
        "collapse",
        "from random",
        "p (Holm)",
        "p of luck",
    ]
    return table(header, rows)


def area_of(row: dict[str, Any], digits: int) -> str:
    """The area with its interval, which it lacks where the intact model is at chance in some resample."""
    if row["area"] is None:
        return "–"
    ends = (row["area_low"], row["area_high"])
    told = "" if None in ends else f" [{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]"
    return f"{row['area']:.{digits}f}{told}"


def in_order(row: dict[str, Any], longest: int) -> tuple[bool, float]:
    """Sort key of strategies: by area; those that end earlier last, whose areas are over fewer steps."""
    return row["last_step"] < longest, -(row["area"] if row["area"] is not None else -9)


def _collapse(row: dict[str, Any]) -> str:
    """The step with its interval, an open end where that lies beyond the last step."""
    low, high = row["collapse_low"], row["collapse_high"]
    if low is None:
        return _or_dash(row["collapse"])
    return f"{_or_dash(row['collapse'])} [{int(low)}, {'…' if high is None else int(high)}]"


def _or_dash(value: float | None) -> str:
    return "–" if value is None else str(int(value))


def _luck(r: dict[str, Any]) -> str:
    tested = [row for row in r["strategies"] if row["p_holm"] is not None]
    better = [row["strategy"] for row in tested if row["p_holm"] < 0.05 and row["difference"] > 0]
    worse = [row["strategy"] for row in tested if row["p_holm"] < 0.05 and row["difference"] < 0]
    said = f"Better than random cuts (p < 0.05): {', '.join(better) or 'none'}. Worse: {', '.join(worse) or 'none'}."
    return f"{said} Not told from them: {len(tested) - len(better) - len(worse)} of {len(tested)}."


def _reference(r: dict[str, Any]) -> str:
    reference = r["settings"]["REFERENCE"]
    rows = r["against_reference"]
    above = [row["strategy"] for row in rows if row["p_holm"] < 0.05 and row["difference"] > 0]
    below = [row["strategy"] for row in rows if row["p_holm"] < 0.05 and row["difference"] < 0]
    lines: list[list[object]] = [
        [
            row["strategy"],
            interval({**row, "estimate": row["difference"]}, 3),
            f"{row['p_holm']:.3f}",
            f"{row['minimum_detectable']:.3f}",
        ]
        for row in sorted(rows, key=lambda row: -row["difference"])
    ]
    return (
        f"Mean height of every curve of blocks minus that of `{reference}`, on the same questions: above it (p < 0.05) "
        f"{', '.join(above) or 'none'}; below it {', '.join(below) or 'none'}; the others are not told from it.\n\n"
        + table(["strategy", f"minus {reference}", "p (Holm)", "least difference that would be seen"], lines)
    )


def _own(r: dict[str, Any]) -> str:
    """What the criteria that are this package's own are worth as strategies."""
    reference = r["settings"]["REFERENCE"]
    lead = {row["strategy"]: row for row in r["strategies"]}
    told = []
    for row in r["against_reference"]:
        name = row["strategy"]
        if not name.startswith("trajectory"):
            continue
        side = "above" if row["difference"] > 0 else "below"
        apart = f"is {side} `{reference}`" if row["p_holm"] < 0.05 else f"cannot be told from `{reference}`"
        others = sorted(
            (x for x in r["against_reference"] if x["difference"] > row["difference"]),
            key=lambda x: -x["difference"],
        )
        ahead = f"; ahead of it stand {', '.join(x['strategy'] for x in others)}" if others else ""
        random = lead[name]["p_holm"] < 0.05 and lead[name]["difference"] > 0
        told.append(f"`{name}` {'beats' if random else 'does not beat'} random cuts and {apart}{ahead}")
    return f"Of the strategies that go by this package's own criteria: {'. '.join(told)}." if told else ""
