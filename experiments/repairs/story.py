"""The text of this experiment, made from its numbers."""

from __future__ import annotations

from typing import Any

from common import made_by

COMMAND = "uv run python experiments/repairs/run.py"

_ENDS = ("intact", "nothing")


def tell(r: dict[str, Any]) -> str:
    """Write README.md.

    Args:
        r: What is in results.json.

    Returns:
        Markdown; every number in it comes from `r`.
    """
    parts = [
        f"# Repairs of cuts of {r['model']}",
        f"What do maps in place of removed blocks, fitted on text without labels, give back? {made_by(r, COMMAND)}",
        f"Cuts were chosen on {r['n_search']} questions of `{r['questions']['name']}` and measured on {r['n_evaluation']} "
        f"others; maps were fitted to one half of `{r['texts']}`, perplexity is that of the other.",
        "![accuracy and perplexity by repair and size of the cut](figure.png)",
        "## Cuts around the collapse",
        *_criteria(r),
        "## How does recovery fall with the share removed?",
        *_by_share(r),
        "## Does the transition come back?",
        _transitions(r),
        "## Fitted one after the other, or each on the intact model?",
        _orders(r),
        "## Is a cut in the Silent Phase harder to repair?",
        *_phases(r),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _criteria(r: dict[str, Any]) -> list[str]:
    texts = []
    for cut in r["cuts"]:
        rows = _rows_of(r, cut)
        where = (
            "no collapse was found"
            if cut["collapse"] is None
            else f"the collapse is at {cut['collapse']} blocks"
        )
        table = [
            "| repair | accuracy | gain (95%) | p (Holm) | margin | perplexity | lost accuracy back | lost log perplexity "
            "back | parameters trained | added | seconds |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        for row in rows:
            gain = (
                ("", "")
                if row["method"] in _ENDS
                else (
                    f"{row['accuracy_gain']:+.2f} [{row['accuracy_gain_low']:+.2f}, {row['accuracy_gain_high']:+.2f}]",
                    f"{row['accuracy_gain_p']:.3f}",
                )
            )
            back = [_share(row, measure) for measure in ("accuracy", "log_perplexity")]
            perplexity = "infinite" if row["perplexity"] is None else f"{row['perplexity']:.4g}"
            table.append(
                f"| {row['method']} | {row['accuracy']:.3f} | {gain[0]} | {gain[1]} | {row['margin']:+.3f} | {perplexity} "
                f"| {back[0]} | {back[1]} | {row['parameters_trained']} "
                f"| {row['parameters_added']} | {row['seconds']:.0f} |"
            )
        layers = ", ".join(map(str, cut["layers"]))
        texts.append(
            f"**{cut['criterion']}, {cut['size']}**: {cut['blocks']} blocks ({layers}; {where} on the questions that "
            "chose).\n\n" + "\n".join(table)
        )
    return texts


def _by_share(r: dict[str, Any]) -> list[str]:
    """Shares given back, by size of the cut."""
    lines = ["| cut | removed | repair | accuracy back | margin back | log perplexity back |",
             "| --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    told = []
    for criterion in dict.fromkeys(cut["criterion"] for cut in r["cuts"]):
        mine = [cut for cut in r["cuts"] if cut["criterion"] == criterion]
        for method in (r["main"], _best(r, criterion)):
            falls = []
            for cut in mine:
                row = _row(r, cut, method)
                removed = f"{cut['blocks']} of {r['n_layers']} blocks"
                cells = [_share(row, measure) for measure in ("accuracy", "margin", "log_perplexity")]
                lines.append(f"| {criterion}, {cut['size']} | {removed} | {method} | {' | '.join(cells)} |")
                falls.append(row["recovered_log_perplexity"])
            known = [value for value in falls if value is not None]
            if len(known) > 1 and method == r["main"]:
                way = "falls" if known == sorted(known, reverse=True) else "does not fall steadily"
                told.append(
                    f"By {criterion}, what {method} gives back of the log perplexity {way} with the share removed: "
                    + ", ".join(f"{value:.2f}" for value in known)
                )
            if r["main"] == _best(r, criterion):
                break
    note = (
        "The repair named beforehand, and the one with the lowest perplexity on the largest cut, chosen after the fact. A "
        "share is not testable where the cut may cost nothing."
    )
    return [note, "\n".join(lines), "; ".join(told) + "." if told else ""]


def _best(r: dict[str, Any], criterion: str) -> str:
    cut = [cut for cut in r["cuts"] if cut["criterion"] == criterion][-1]
    rows = [row for row in _rows_of(r, cut) if row["method"] not in _ENDS and row["perplexity"] is not None]
    return str(min(rows, key=lambda row: row["perplexity"])["method"]) if rows else str(r["main"])


def _row(r: dict[str, Any], cut: dict[str, Any], method: str) -> dict[str, Any]:
    return next(row for row in _rows_of(r, cut) if row["method"] == method)


def _rows_of(r: dict[str, Any], cut: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in _rows(r) if (row["chosen_by"], row["size"]) == (cut["criterion"], cut["size"])]


def _transitions(r: dict[str, Any]) -> str:
    intact = r["boundary"]["transition"]["layer"]
    old = f"layer {intact}" if intact is not None else "nowhere to be found"
    lines = [
        f"On the questions that chose, the intact model's transition is {'at ' if intact is not None else ''}{old}. On the "
        "others, layers in the intact model's numbering:",
        "",
        "| cut | blocks | " + " | ".join(["intact", "nothing", *r["methods"]]) + " |",
        "| --- | --- | " + " | ".join("---" for _ in (*_ENDS, *r["methods"])) + " |",
    ]
    back = away = 0
    for cut in r["cuts"]:
        rows = {row["method"]: row for row in _rows_of(r, cut)}
        cells = [_where(rows[method]) if method in rows else "" for method in (*_ENDS, *r["methods"])]
        lines.append(f"| {cut['criterion']}, {cut['size']} | {cut['blocks']} | " + " | ".join(cells) + " |")
        if (
            rows["intact"]["transition"] is None
            or rows["intact"]["transition"] == rows["nothing"]["transition"]
        ):
            continue
        for method in r["methods"]:
            there = rows[method]["transition"]
            old = rows["intact"]["transition_low"], rows["intact"]["transition_high"]
            within = there is not None and None not in old and old[0] <= there <= old[1]
            back, away = back + within, away + (not within)
    verdict = (
        f"Where the cut moved the transition or left none, {back} of {back + away} repairs bring it back into the interval of "
        "the intact model's."
        if back + away
        else "No cut moved the transition, so there is nothing to bring back."
    )
    return "\n".join([*lines, "", verdict])


def _where(row: dict[str, Any]) -> str:
    if row["transition"] is None:
        return str(row["outcome"])
    ends = (row["transition_low"], row["transition_high"])
    return f"{int(row['transition'])}" + ("" if None in ends else f" [{int(ends[0])}, {int(ends[1])}]")


def _orders(r: dict[str, Any]) -> str:
    lines = [
        "| cut | gaps | repair | accuracy, left to right | accuracy, on the intact model | perplexity, left to right | "
        "perplexity, on the intact model |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    by_key = {(row["chosen_by"], row["size"], row["method"]): row for row in _rows(r)}
    others = [row for row in r["rows"] if row["group"] == "criterion" and not row["sequential"]]
    for row in others:
        if row["method"] in _ENDS:
            continue
        same = by_key[row["chosen_by"], row["size"], row["method"]]
        lines.append(
            f"| {row['chosen_by']}, {row['size']} | {row['gaps']} | {row['method']} | {same['accuracy']:.3f} | "
            f"{row['accuracy']:.3f} | {_number(same['perplexity'])} | {_number(row['perplexity'])} |"
        )
    return "\n".join(lines) if others else "Every cut was one run of blocks, for which the two are the same."


def _phases(r: dict[str, Any]) -> list[str]:
    if not r["phases"]:
        why = "; ".join(reason.removeprefix("not testable: ") for reason in r["not_testable"].values())
        return [f"Not testable: {why.rstrip('.') or 'no phase had enough blocks to cut'}."]
    table = [
        "| cut | repair | measure | silent | decisive | silent − decisive (95%) |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    main = []
    for row in r["phases"]:
        if row["difference"] is None:
            shown = "not testable: one of the cuts costs nothing that can be told"
        else:
            shown = f"{row['difference']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"
            main += [row] if row["method"] == r["main"] else []
        table.append(
            f"| {row['size']} | {row['method']} | {row['measure'].replace('_', ' ')} | {_number(row['silent'])} | "
            f"{_number(row['decisive'])} | {shown} |"
        )
    less = sum(row["high"] < 0 for row in main)
    more = sum(row["low"] > 0 for row in main)
    verdict = (
        f"With {r['main']}, of {len(main)} comparisons that can be made, less is given back in the Silent Phase in {less}, "
        f"more in {more}, and {len(main) - less - more} cannot be told apart."
        if main
        else "No comparison can be made: wherever one phase loses something, the other does not."
    )
    missing = "; ".join(
        f"{name}: {why.removeprefix('not testable: ')}" for name, why in r["not_testable"].items()
    )
    return [
        "Share of what random cuts of equal size cost that a repair gives back (means over cuts; the first blocks and the "
        "transition block are left out; intervals over questions or texts).",
        "\n".join(table),
        verdict,
        f"Not testable: {missing}." if missing else "",
    ]


def _rows(r: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in r["rows"] if row["group"] == "criterion" and row["sequential"]]


def _share(row: dict[str, Any], measure: str) -> str:
    if row["method"] in _ENDS:
        return ""
    value = row[f"recovered_{measure}"]
    if value is None:
        return "not testable"
    return f"{value:.2f} [{row[f'recovered_{measure}_low']:.2f}, {row[f'recovered_{measure}_high']:.2f}]"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
