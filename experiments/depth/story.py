"""The text of this experiment, made from its numbers."""

from __future__ import annotations

from typing import Any

from common import interval, table


def tell(r: dict[str, Any]) -> str:
    """Write README.md.

    Args:
        r: What is in results.json.

    Returns:
        Markdown; every number in it comes from `r`.
    """
    pairs = r["pairs"]
    names = list(r["correlations"])
    rows: list[list[object]] = []
    for pair in pairs:
        where = "none" if pair["transition"] is None else f"{pair['transition']} of {pair['n_layers']}"
        line: list[object] = [pair["model"], pair["task"], f"{pair['accuracy']:.2f}", where]
        for name in names:
            own = pair["pruned"].get(name)
            kept = "–" if own is None or own["kept"] is None else f"{own['kept']:.2f}"
            at = "–" if own is None else f"> {pair['up_to']}" if own["collapse"] is None else own["collapse"]
            line.append(f"{kept}, {at}")
        rows.append(line)
    models = ", ".join(
        f"{pair['model']} ({pair['weights']}, fingerprint `{pair['fingerprint']}`, seed {pair['seed']}, "
        f"{pair['n_search']} + {pair['n_evaluation']} questions)"
        for pair in pairs
    )
    parts = [
        "# Transition depth and prunability",
        "Is a model that decides late less prunable? Each pair of a model and a task is measured by `uv run python "
        "experiments/depth/run.py --model NAME`, which adds it to `pairs/`; every number below is from there.",
        f"Pairs: {models}.",
        "![transition against what is kept, and accuracy as blocks go](figure.png)",
        "The transition is located on one part of the questions, the rest measure. For each way of removing blocks: the "
        "accuracy above chance that is kept, as a share of the intact model's, mean over all numbers of blocks up to the "
        "budget; and the number of blocks after which at most a quarter of it is left.",
        table(["model", "task", "accuracy", "transition", *names], rows),
        *(_correlation(name, c, r["least_pairs"]) for name, c in r["correlations"].items()),
    ]
    return "\n\n".join(parts) + "\n"


def _correlation(name: str, c: dict[str, Any], least: int) -> str:
    if "spearman" not in c:
        return (
            f"*{name}*: {c['n']} pair{'s' if c['n'] != 1 else ''} with a transition and accuracy above chance; "
            f"{least} are needed, so no correlation is given."
        )
    return (
        f"*{name}*: over {c['n']} pairs the rank correlation of the transition's depth with what is kept is "
        f"{interval(c['spearman'])} (p = {c['p']:.3f} by permutation), the linear one {interval(c['pearson'])}; 95% "
        "intervals over pairs, which are not independent where they share a model."
    )
