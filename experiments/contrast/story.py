"""The text of this experiment, made from its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from common import made_by


def tell(r: dict[str, Any]) -> str:
    """Write README.md.

    Args:
        r: What is in results.json.

    Returns:
        Markdown; every number in it comes from `r`.
    """
    s = r["settings"]
    criteria = ", ".join(f"{part} by {name.replace('_', ' ')}" for part, name in s["CRITERIA"].items())
    parts = [
        f"# Choosing, retrieving and writing on {r['model']}",
        "Do multiple choice and retrieval survive pruning that generation does not (arXiv 2603.24652)? "
        + made_by(r, "uv run python experiments/contrast/run.py")
        + f" At most {s['LIMIT']} items a family; questions and sums with {s['SHOTS']} solved ones in front.",
        "![what is left of every family against the number of parts removed](figure.png)",
        f"Parts are removed in an order set on the texts `{r['texts']['name']}` ({criteria}), on which nothing is scored. "
        "Scores are normalised: 0 is the floor, 1 the intact model; 95% intervals are over items, and conditional on the "
        "order.",
        _families(r),
        "## What is left",
        _table(r),
        "## Where does each family break?",
        _breaks(r),
        "## Is choosing hurt less than writing?",
        _differences(r),
        _every_block(r),
        "" if r["sparsity_available"] else "Weight sparsity was not run: this version has no `dp.sparsify`.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _families(r: dict[str, Any]) -> str:
    lines = [
        "| family | score | intact | floor | how the floor is known |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, family in r["families"].items():
        (intact,) = (row for row in r["scores"] if row["family"] == name and row["variant"] == "intact")
        lines.append(
            f"| {name} | {family['what']} | {spelled(intact['score'], intact['low'], intact['high'])} | "
            f"{spelled(intact['floor'])} | {family['floor']} |"
        )
    out = [f"Not testable: {name}: {why}." for name, why in r["left_out"].items()]
    return "\n".join(lines) + "".join(f"\n\n{line}" for line in out)


def _kept(r: dict[str, Any]) -> list[str]:
    return [name for name in r["families"] if name not in r["left_out"]]


def _table(r: dict[str, Any]) -> str:
    kept = _kept(r)
    if not kept:
        return "Not testable: no family is above its floor on the intact model."
    lines = [f"| variant | {' | '.join(kept)} |", f"| --- |{' --- |' * len(kept)}"]
    for variant in dict.fromkeys(row["variant"] for row in r["scores"] if row["variant"] != "intact"):
        cells = {row["family"]: row for row in r["scores"] if row["variant"] == variant}
        shown = [
            spelled(cells[name]["normalised"], cells[name]["normalised_low"], cells[name]["normalised_high"])
            for name in kept
        ]
        lines.append(f"| {variant} | {' | '.join(shown)} |")
    return "\n".join(lines)


def _breaks(r: dict[str, Any]) -> str:
    kept, criteria = _kept(r), r["settings"]["CRITERIA"]
    if not kept:
        return ""
    lines = [
        "The least number of parts removed with which less than half is left, in the order of the criterion: by the "
        "estimate, and in brackets by the upper end of its interval.",
        f"| parts | {' | '.join(kept)} |\n| --- |{' --- |' * len(kept)}",
    ]
    for part, criterion in criteria.items():
        cells = []
        for name in kept:
            rows = [
                row
                for row in r["scores"]
                if (row["family"], row["part"], row["kind"]) == (name, part, criterion)
            ]
            ends = [
                min((row["size"] for row in rows if row[end] is not None and row[end] < 0.5), default=None)
                for end in ("normalised", "normalised_high")
            ]
            largest = max(row["size"] for row in rows)
            first, sure = (f"> {largest}" if end is None else str(end) for end in ends)
            cells.append(f"{first} [{sure}]")
        lines[1] += f"\n| {part} | {' | '.join(cells)} |"
    return "\n\n".join(lines)


def _differences(r: dict[str, Any]) -> str:
    rows = [row for row in r["differences"] if row["p_holm"] is not None and not _is_random(row)]
    if not rows:
        return "Not testable: no pair of families has a scale."
    lines = [
        "What is left of the first minus what is left of the second, over all cuts by a criterion; p by Holm over all "
        "comparisons, random cuts included.",
        "| first | second | cuts | first keeps more (p < 0.05) | second keeps more (p < 0.05) | mean difference |\n"
        "| --- | --- | --- | --- | --- | --- |",
    ]
    table = []
    for first, second in dict.fromkeys((row["first"], row["second"]) for row in rows):
        mine = [row for row in rows if (row["first"], row["second"]) == (first, second)]
        more = sum(row["difference"] > 0 and row["p_holm"] < 0.05 for row in mine)
        less = sum(row["difference"] < 0 and row["p_holm"] < 0.05 for row in mine)
        mean = sum(row["difference"] for row in mine) / len(mine)
        table.append(f"| {first} | {second} | {len(mine)} | {more} | {less} | {mean:+.2f} |")
    return f"{lines[0]}\n\n" + "\n".join([lines[1], *table]) + f"\n\n{_verdict(rows)}"


def _is_random(row: dict[str, Any]) -> bool:
    return " random " in row["variant"]


def _verdict(rows: Sequence[dict[str, Any]]) -> str:
    more = sum(row["difference"] > 0 and row["p_holm"] < 0.05 for row in rows)
    less = sum(row["difference"] < 0 and row["p_holm"] < 0.05 for row in rows)
    claim = "That choosing and retrieving keep more than writing does"
    if more and not less:
        says = f"holds in {more} of {len(rows)} comparisons and is reversed in none."
    elif less and not more:
        says = f"does not hold here: it is reversed in {less} of {len(rows)} comparisons."
    elif more and less:
        says = f"depends on what is compared: it holds in {more} of {len(rows)} comparisons and is reversed in {less}."
    else:
        says = f"can neither be told nor excluded: none of {len(rows)} comparisons is told from chance."
    return f"{claim} {says}"


def _every_block(r: dict[str, Any]) -> str:
    rows = [row for row in r["scores"] if row["kind"] == "every block" and row["family"] in _kept(r)]
    if not rows:
        return ""
    shown = ", ".join(
        f"{row['family']} {spelled(row['normalised'], row['normalised_low'], row['normalised_high'])}"
        for row in rows
    )
    return (
        f"With every block removed, embeddings alone are left: {shown}. What a family keeps there is no achievement of the "
        "model's depth."
    )


def spelled(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """A number with its interval, for a table."""
    if value is None:
        return "–"
    return f"{value:.2f}" if low is None or high is None else f"{value:.2f} [{low:.2f}, {high:.2f}]"
