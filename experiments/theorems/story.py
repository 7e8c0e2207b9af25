"""The text of this experiment, made from its numbers."""

from __future__ import annotations

from typing import Any

from common import made_by

COMMAND = "uv run python experiments/theorems/run.py"

NAMES = {
    ("theorem_1", "cosine", "h"): "Theorem 1, 1 − cos in h",
    ("theorem_1", "cosine", "h_normed"): "Theorem 1, 1 − cos in h behind the norm",
    ("theorem_1", "cosine", "z"): "Theorem 1, 1 − cos in z",
    ("theorem_1", "cosine", "z_centred"): "Theorem 1, 1 − cos in z, centred",
    ("theorem_2", "cosine", "p"): "Theorem 2, 1 − cos in p",
    ("theorem_3", "kl_dense_from_pruned", "p"): "Theorem 3, KL(dense ‖ pruned)",
    ("theorem_3", "kl_pruned_from_dense", "p"): "Theorem 3, KL(pruned ‖ dense)",
}


def tell(r: dict[str, Any]) -> str:
    """Write README.md.

    Args:
        r: What is in results.json.

    Returns:
        Markdown; every number in it comes from `r`.
    """
    parts = [
        f"# Theorems 1 to 3 on {r['model']}",
        "How close are the second-order estimates of arXiv 2603.24652 to what they estimate, layer by layer and by "
        f"severity, and where do they fail? {made_by(r, COMMAND)}",
        f"{r['texts']['n']} texts of `{r['texts']['name']}`, {r['texts']['tokens']} tokens each, read at the last.",
        "![estimate against exact, by size, by layer and by severity](figure.png)",
        f"{len(r['variants'])} interventions: a share of what every attention or every MLP adds, taken away "
        "(local: in one layer at a time, on the dense context; accumulated: in all of them), and a few attentions, MLPs or "
        f"blocks dropped. An estimate is *close* if it is within {r['close']:.0%} of the exact value.",
        *[text for temperature in r["temperatures"] for text in _at(r, temperature)],
        "The exact values and the estimates come of the same logits, so their ratio is not touched by rounding of these. "
        "In the first tables every text counts once a layer and intervention; these are not independent, so no intervals are "
        "given there.",
    ]
    return "\n\n".join(parts) + "\n"


def _at(r: dict[str, Any], temperature: float) -> list[str]:
    sizes = [row for row in r["sizes"] if row["temperature"] == temperature]
    lines = [
        "| estimate | close up to | close below | close above | estimate / exact above |",
        "| --- | --- | --- | --- | --- |",
    ]
    for key, name in NAMES.items():
        own = sorted((row for row in sizes if _key(row) == key), key=lambda row: row["size"])
        if not own:
            continue
        limit = _limit(own)
        below = [row for row in own if row["size"] < limit]
        above = [row for row in own if row["size"] >= limit]
        lines.append(
            f"| {name} | {limit:.0e} | {_share(below)} | {_share(above)} | {_mean(above, 'median_ratio')} |"
        )
    ends = [row for row in r["deepest"] if row["temperature"] == temperature]
    dropped = [row for row in ends if row["variant"].endswith("dropped")]
    table = ["| intervention | " + " | ".join(NAMES.values()) + " |", "| --- |" + " --- |" * len(NAMES)]
    for variant in dict.fromkeys(row["variant"] for row in dropped):
        cells = {_key(row): row for row in dropped if row["variant"] == variant}
        shown = [
            "–"
            if (end := cells.get(key)) is None
            else f"{end['exact']:.2g}: {end['ratio']:.2f} [{end['low']:.2f}, {end['high']:.2f}]"
            for key in NAMES
        ]
        table.append(f"| {variant} | {' | '.join(shown)} |")
    return [
        f"## At T = {temperature:g}",
        "The exact value up to which most estimates of each decade are close, how many are close below and above it, and "
        "the ratio above (medians of the decades, weighted by number):",
        "\n".join(lines),
        "What accumulates until the last layer: the mean exact value, and the mean estimate as a share of it (95% interval "
        "over texts):",
        "\n".join(table),
    ]


def _key(row: dict[str, Any]) -> tuple[str, str, str]:
    return (row["estimate"], row["of"], row["space"])


def _limit(own: list[dict[str, Any]]) -> float:
    """The lower end of the first decade in which fewer than half of the estimates are close, or the upper end of all."""
    for row in own:
        if row["close"] < 0.5:
            return float(row["size"])
    return 10 * float(own[-1]["size"])


def _share(rows: list[dict[str, Any]]) -> str:
    total = sum(row["n"] for row in rows)
    return f"{sum(row['n'] * row['close'] for row in rows) / total:.0%} of {total}" if total else "none"


def _mean(rows: list[dict[str, Any]], name: str) -> str:
    total = sum(row["n"] for row in rows)
    return f"{sum(row['n'] * row[name] for row in rows) / total:.2f}" if total else "–"
