"""The text of this experiment, made from its numbers."""

from __future__ import annotations

from typing import Any

from common import interval, made_by, table

COMMAND = "uv run python experiments/noise/run.py"


def tell(r: dict[str, Any]) -> str:
    """Write README.md.

    Args:
        r: What is in results.json.

    Returns:
        Markdown; every number in it comes from `r`.
    """
    parts = [
        f"# Noise by layer on {r['model']}",
        f"Is the decision more sensitive to noise before the transition than after it? {made_by(r, COMMAND)}",
        "Gaussian noise is added to the residual stream behind one layer, its variance a share of each token's variance "
        f"over its channels, at the answer position or at all; loss of mean margin on {r['questions']['n_evaluation']} "
        f"questions of `{r['questions']['name']}`, where the intact model has {r['intact']['margin']:+.3f} (accuracy "
        f"{r['intact']['accuracy']:.3f}, chance {r['chance']:.2f}). The transition was located on "
        f"{r['questions']['n_search']} others: {r['verdict']}",
        "![loss of margin under noise behind each layer](figure.png)",
        _extremes(r),
        "## Silent Phase against Decisive Phase",
        *_phases(r),
        "Noise at all positions also changes what later blocks fetch from the question, and the later the noise comes the "
        "fewer blocks are left to fetch it: at the answer position alone the comparison is nearer to one of the decision "
        "by itself.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _extremes(r: dict[str, Any]) -> str:
    said = []
    for place in dict.fromkeys(row["positions"] for row in r["rows"]):
        most = max(row["variance"] for row in r["rows"])
        own = [row for row in r["rows"] if (row["positions"], row["variance"]) == (place, most)]
        worst, least = max(own, key=lambda row: row["estimate"]), min(own, key=lambda row: row["estimate"])
        where = "the answer position" if place == "answer" else "all positions"
        said.append(
            f"At {where}, variance {most:g}: most is lost behind layer {worst['layer']}, {interval(worst, 3)}, least "
            f"behind layer {least['layer']}, {interval(least, 3)}."
        )
    return " ".join(said)


def _phases(r: dict[str, Any]) -> list[str]:
    if not r["comparisons"]:
        return ["Not testable: there are no two phases to compare on the search questions."]
    rows: list[list[object]] = [
        [c["excluded"], c["positions"], f"{c['silent_variance']:g} / {c['decisive_variance']:g}",
         f"{c['silent']:+.3f}", f"{c['decisive']:+.3f}", interval(c, 3), f"{c['p']:.3f}"]
        for c in r["comparisons"]
    ]  # fmt: skip
    same = [c for c in r["comparisons"] if c["silent_variance"] == c["decisive_variance"]]
    more, less = sum(c["low"] > 0 for c in same), sum(c["high"] < 0 for c in same)
    detectable = max(c["detectable"] for c in same)
    return [
        "Loss of margin, mean over the layers of a phase, at variances silent / decisive; differences with 95% intervals "
        "over questions, p by sign flips, not adjusted. `edges` leaves out layers "
        f"{', '.join(map(str, r['excluded_at_edges']))}.",
        table(["excluded", "positions", "variances", "silent", "decisive", "silent − decisive", "p"], rows),
        f"At equal variance noise costs more in the Silent Phase in {more} of {len(same)} comparisons, less in {less} "
        f"(intervals that leave out 0); a difference of {detectable:.3f} would have been found in every one of them with "
        "power 0.8. The published claim is that the Silent Phase already degrades at variance "
        f"{r['settings']['PUBLISHED'][0]:g} while the Decisive Phase holds at {r['settings']['PUBLISHED'][1]:g}.",
    ]
