"""The text of this experiment, made from its numbers."""

from __future__ import annotations

from typing import Any

from common import made_by

COMMAND = "uv run python experiments/amplification/run.py"

_NAMES = {"h_normed": "h", "z_centred": "z", "p": "p"}


def tell(r: dict[str, Any]) -> str:
    """Write README.md.

    Args:
        r: What is in results.json.

    Returns:
        Markdown; every number in it comes from `r`.
    """
    parts = [
        f"# Amplification on {r['model']}",
        "The paper on representation hierarchies (arXiv 2603.24652) finds that pruning hardly turns residuals and logits, "
        "that the softmax amplifies what it does, and that multiple choice survives because options lie where the shift is "
        "small. Raw cosines of different spaces have no common unit. Here every deviation is divided by the mean distance "
        "between different prompts in the same space, and the options are compared with random tokens that the dense model "
        f"ranks alike. {made_by(r, COMMAND)}",
        f"{r['questions']['n']} questions of `{r['questions']['name']}`, {r['texts']['n']} texts of `{r['texts']['name']}` "
        f"of {r['texts']['tokens']} tokens, T = {r['temperature']:g}, {r['partners']} other prompts each, "
        f"{r['random_sets']} random sets each.",
        "![amplification by layer and at the end, options against random tokens](figure.png)",
        "## Does the softmax amplify?",
        *(_amplified(r, on) for on in ("questions", "texts")),
        _table(r),
        "## Are the options more stable than random tokens of equal rank?",
        *(_stable(r, measure) for measure in ("cosine", "kl_dense_from_pruned")),
        _options(r),
        "z is centred: the softmax does not see a common shift. Brackets are 95% intervals over questions or texts; p-values are of paired sign-flip tests, adjusted by Holm over all "
        "interventions of a table, and take the units as known. One model, one set of questions: what holds here need not "
        "hold elsewhere.",
    ]
    return "\n\n".join(parts) + "\n"


def _amplified(r: dict[str, Any], on: str) -> str:
    rows = [row for row in r["amplification"] if row["on"] == on and row["end"] == "p"]
    up = sum(row["low"] > 1 and row["p_holm"] < 0.05 for row in rows)
    down = sum(row["high"] < 1 and row["p_holm"] < 0.05 for row in rows)
    raw = sum(row["raw"] > 1 for row in rows)
    if up == len(rows):
        says = "The softmax amplifies here."
    elif up and not down:
        says = "The softmax amplifies here in part."
    elif down and not up:
        says = "The softmax does not amplify here: where it can be told, it is the reverse."
    elif up:
        says = "Whether the softmax amplifies depends here on what is removed."
    else:
        says = "There is no support here for an amplification by the softmax."
    return (
        f"On {on}, at the end: by raw cosines p deviates more than z in {raw} of {len(rows)} interventions. In units of the "
        f"distance between prompts it deviates more in {up}, less in {down}, and cannot be told apart in "
        f"{len(rows) - up - down}. {says}"
    )


def _table(r: dict[str, Any]) -> str:
    lines = [
        "| intervention | on | step | raw ratio | relative ratio | p (Holm) |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row['variant']} | {row['on']} | {_NAMES[row['start']]} to {_NAMES[row['end']]} | {row['raw']:.2f} | "
        f"{row['relative']:.2f} [{row['low']:.2f}, {row['high']:.2f}] | {row['p_holm']:.3f} |"
        for row in r["amplification"]
    ]
    return "\n".join(lines)


def _stable(r: dict[str, Any], measure: str) -> str:
    rows = [row for row in r["options"] if row["measure"] == measure]
    counts = {}
    for kind, low, high, p in (
        ("raw", "raw_low", "raw_high", "raw_p_holm"),
        ("relative", "low", "high", "p_holm"),
    ):
        counts[kind] = (
            sum(row[high] < 1 and row[p] < 0.05 for row in rows),
            sum(row[low] > 1 and row[p] < 0.05 for row in rows),
        )
    name = "1 − cos" if measure == "cosine" else "KL(dense ‖ pruned)"
    (steadier, shakier), (own_steadier, own_shakier) = counts["raw"], counts["relative"]
    n = len(rows)
    if own_steadier > n / 2 >= steadier and not own_shakier:
        says = (
            "Against how far prompts differ, the options are more stable than random tokens here; by the bare deviation "
            "they are so in few interventions, and in most it cannot be told."
        )
    elif own_steadier > n / 2 and not own_shakier:
        says = "The options are more stable than random tokens here."
    elif own_steadier > own_shakier:
        says = "The options are more stable than random tokens here in some interventions only."
    elif own_shakier > own_steadier:
        says = "The options are less stable than random tokens here where it can be told."
    else:
        says = "There is no support here for options that are more stable than random tokens."
    return (
        f"By {name} among the tokens alone: options deviate less than random tokens of like rank in {steadier} of {n} "
        f"interventions and more in {shakier}; in units of how far prompts differ among the same tokens, less in "
        f"{own_steadier} and more in {own_shakier}. {says}"
    )


def _options(r: dict[str, Any]) -> str:
    first = r["options"][0]
    lines = [
        f"The dense model gives the options {first['mass_options']:.2g} of its probability on average, the random sets "
        f"{first['mass_random']:.2g}.",
        "",
        "| intervention | measure | options | random | ratio | p (Holm) | relative ratio | p (Holm) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in r["options"]:
        name = "1 − cos" if row["measure"] == "cosine" else "KL"
        lines.append(
            f"| {row['variant']} | {name} | {row['options']:.2g} | {row['random']:.2g} | "
            f"{row['raw']:.2f} [{row['raw_low']:.2f}, {row['raw_high']:.2f}] | {row['raw_p_holm']:.3f} | "
            f"{row['relative']:.2f} [{row['low']:.2f}, {row['high']:.2f}] | {row['p_holm']:.3f} |"
        )
    return "\n".join(lines)
