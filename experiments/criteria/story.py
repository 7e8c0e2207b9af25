"""The text of this experiment, made from its numbers."""

from __future__ import annotations

from typing import Any

from common import interval, made_by, table

COMMAND = "uv run python experiments/criteria/run.py"
_SHOWN = 3  # sizes whose accuracy the table shows
_COLUMNS = (
    ("all", "margin"),
    ("not protected", "margin"),
    ("inner", "margin"),
    ("not protected", "accuracy"),
)


def tell(r: dict[str, Any]) -> str:
    """Write README.md.

    Args:
        r: What is in results.json.

    Returns:
        Markdown; every number in it comes from `r`.
    """
    parts = [
        f"# What criteria foretell on {r['model']}",
        f"Which criterion predicts what the removal of blocks costs? {made_by(r, COMMAND)}",
        f"Criteria were scored on {r['questions']['n_search']} questions of `{r['questions']['name']}` (those marked "
        f"*texts* on {r['texts']['windows']} windows of {r['texts']['window']} tokens of `{r['texts']['name']}`); what "
        f"removals cost was measured on {r['questions']['n_evaluation']} other questions, where the intact model has "
        f"accuracy {r['intact']['accuracy']:.3f} and margin {r['intact']['margin']:+.3f} (chance {r['chance']:.2f}).",
        "![rank correlation with the damage, and accuracy after cuts](figure.png)",
        "## Single removals",
        *_single(r),
        "## Random cuts",
        *_random(r),
        "## Cuts that criteria choose",
        *_cuts(r),
        "## Does perplexity choose other blocks than decisions do?",
        *_perplexity(r),
        _refused(r),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _single(r: dict[str, Any]) -> list[str]:
    rows = r["correlations"]["rows"]
    by = {(c["criterion"], c["set"], c["damage"]): c for c in rows}
    ceilings = {(c["set"], c["damage"]): c["ceiling"] for c in r["correlations"]["ceilings"]}
    names = sorted(
        {c["criterion"] for c in rows},
        key=lambda name: -(_value(by, name, "not protected", "margin") or -2.0),
    )
    cells: list[list[object]] = []
    for name in names:
        own = by.get((name, "not protected", "margin"))
        shifted = "–" if own is None or own["shift_p"] is None else f"{own['shift_p']:.2f}"
        cells.append(
            [name, *(interval(by[name, *c]) if (name, *c) in by else "–" for c in _COLUMNS), shifted]
        )
    cells.append(["*ceiling*", *(_number(ceilings[c]) for c in _COLUMNS), ""])
    inner = ", ".join(map(str, r["sets"]["inner"]))
    header = ["criterion", "all layers", "not protected", "inner", "not protected: accuracy", "shift p"]
    said = [
        "Spearman's rank correlation over layers between a criterion's scores and the loss of mean margin (last column: "
        "of accuracy) when each block is removed by itself; 95% bootstrap intervals over evaluation questions, the scores "
        "held fixed. *Not protected* leaves out the first and the last block, *inner* keeps layers "
        f"{inner}. The ceiling is the root of the damage's own reliability, from halves of the questions. *Shift p* is "
        "the share of shifts of the scores along the layers that do as well: layers are no independent points, and with "
        f"{len(r['sets']['not protected'])} of them it cannot be below {1 / len(r['sets']['not protected']):.3f}; it is "
        "not adjusted for the number of criteria.",
        table(header, cells),
    ]
    best = next((n for n in names if _value(by, n, "not protected", "margin") is not None), None)
    if best is not None:
        own = by[best, "not protected", "margin"]
        said.append(
            f"The highest of these {len(names)} among layers that are not protected is that of {best}, {interval(own)} "
            "(the best of many is partly luck), where "
            f"nothing can be expected above {_number(ceilings['not protected', 'margin'])}."
        )
    compared = [
        f"{d['one']} − {d['other']} {interval(d)}"
        for d in r["correlations"]["differences"]
        if (d["set"], d["damage"]) == ("not protected", "margin")
    ]
    if compared:
        said.append(
            "Differences of correlations (not protected, margin) on the same resamples of questions: "
            + "; ".join(compared)
            + "."
        )
        said.append(_own(r))
    return said


def _own(r: dict[str, Any]) -> str:
    """How the criteria of this package fare beside others, in words."""
    told = []
    for d in r["correlations"]["differences"]:
        if (d["set"], d["damage"]) != ("not protected", "margin") or not d["one"].startswith("trajectory"):
            continue
        verdict = "cannot be told apart from" if d["low"] <= 0 <= d["high"] else "foretells less than"
        told.append(f"{d['one']} {'foretells more than' if d['low'] > 0 else verdict} {d['other']}")
    return f"Of the two criteria that are this package's own: {'; '.join(told)}." if told else ""


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _value(by: dict[Any, Any], name: str, group: str, what: str) -> float | None:
    found = by.get((name, group, what))
    return None if found is None else found["estimate"]


def _random(r: dict[str, Any]) -> list[str]:
    rows = sorted(r["random_cuts"], key=lambda c: -(c["estimate"] if c["estimate"] is not None else -2.0))
    sizes = ", ".join(r["random"])
    draws = len(next(iter(r["random"].values())))
    return [
        f"The first blocks of {draws} random orders, {sizes} of them: within one size, how well does the sum of a "
        "criterion's scores order these cuts by the margin they cost (mean over sizes, 95% intervals over draws)? And "
        "how well does the sum over all sizes order the draws by how early their accuracy collapses, to a quarter of "
        "what it is above chance?",
        table(
            ["criterion", "cost within a size", "early collapse"],
            [[c["criterion"], interval(c), "–" if c["collapse"] is None else f"{c['collapse']:+.2f}"] for c in rows],
        ),
    ]  # fmt: skip


def _cuts(r: dict[str, Any]) -> list[str]:
    sizes = sorted({c["blocks"] for c in r["cuts"]})
    draws = len(next(iter(r["random"].values())))
    shown = [k for k in (3, 6, 10) if k in sizes] or sizes[:_SHOWN]
    names = list(dict.fromkeys(c["criterion"] for c in r["cuts"]))
    by = {(c["criterion"], c["blocks"]): c for c in r["cuts"]}
    names.sort(key=lambda name: -sum(by[name, k]["margin"] for k in sizes))
    rows: list[list[object]] = []
    for name in names:
        line: list[object] = [name]
        for k in shown:
            one = by[name, k]
            line += [f"{one['accuracy']:.2f}", f"{one['luck_p']:.2f}"]
        at = by[name, sizes[0]]["collapse"]
        rows.append([*line, f"> {sizes[-1]}" if at is None else at])
    header = ["criterion", *(what for k in shown for what in (f"{k} blocks", "p")), "collapse"]
    return [
        "The blocks that each criterion scores lowest, removed at once (first and last protected): accuracy on the "
        "evaluation questions, and p, the chance that a random cut of that size keeps as much margin (with "
        f"{draws} random cuts of each size, at least {1 / (draws + 1):.2f}). *Collapse* is the "
        f"smallest of {', '.join(map(str, sizes))} blocks after which at most a quarter of the accuracy above chance is "
        "left. *Measured damage* ranks by the single removals on the evaluation questions themselves: it is no method, "
        "but what one-shot ranking could reach at best if damages added up.",
        table(header, rows),
    ]


def _perplexity(r: dict[str, Any]) -> list[str]:
    said = [
        "Both rank the same blocks, decisions by the loss of margin on the evaluation questions, perplexity by the rise "
        "of the loss on texts that scored nothing. 95% bootstrap intervals over questions and texts."
    ]
    for row in r["perplexity"]:
        if row["estimate"] is None or row["ceiling"] is None:
            said.append(f"Not testable on layers *{row['set']}*: one of the two does not vary.")
            continue
        said.append(
            f"Layers *{row['set']}*: rank correlation {interval(row)} (shift p {row['shift_p']:.2f}); if they "
            f"ranked alike, {row['ceiling']:.2f} could be expected (reliability of the loss of margin "
            f"{row['reliability_margin']:.2f}, of the loss on texts {row['reliability_loss']:.2f})."
        )
    free = next(row for row in r["perplexity"] if row["set"] == "not protected")
    header = ["blocks", "in both", "halves of the questions", "halves of the texts", "blindly"]
    names = ("shared", "questions", "texts", "blindly")
    rows = [[o["blocks"], *("–" if o[n] is None else f"{o[n]:.2f}" for n in names)] for o in free["overlaps"]]
    if rows:
        said += [
            "Share of the blocks with the least damage that both would remove (not protected), beside what each shares "
            "with itself between halves, and what blocks taken blindly share:",
            table(header, rows),
        ]
    return said


def _refused(r: dict[str, Any]) -> str:
    if not r["refused"]:
        return ""
    return (
        "Not there, because refused: "
        + "; ".join(f"{name}: {why}" for name, why in r["refused"].items())
        + "."
    )
