"""The text of this experiment, made from its numbers."""

from __future__ import annotations

from typing import Any


def tell(r: dict[str, Any]) -> str:
    """Write README.md.

    Args:
        r: What is in results.json.

    Returns:
        Markdown; every number in it comes from `r`.
    """
    o = r["overall"]
    parts = [
        f"# The transition on {r['model']}",
        "Does the answer appear at one depth, and is pruning after it cheaper than before it? Made by "
        "`uv run python experiments/transition/run.py`; every number below is from `results.json`, written by the same "
        f"run (seed {r['seed']}, weights {r['weights']}, fingerprint `{r['fingerprint']}`, "
        f"{r['questions']['n']} questions of `{r['questions']['name']}`, "
        + ", ".join(f"{k} {v}" for k, v in r["versions"].items())
        + f"; {r['seconds']} s).",
        "![margin by layer, and accuracy after cuts of each phase](figure.png)",
        "## Is there a transition?",
        f"{o['verdict']} Accuracy is {o['final_accuracy']:.3f} at the last layer (chance {r['chance']:.2f}). "
        f"Detectors: {o['agreement']}",
        _categories(r),
        _controls(r),
        _letters(r),
        "## Is the Decisive Phase cheaper to prune?",
        *_cuts(r),
        "## What the lens says already",
        f"Removing every block after layer l leaves exactly the readout of the logit lens at l: over {r['equality']['n']} "
        f"questions at layers {', '.join(map(str, r['equality']['layers']))}, the largest difference in an option's "
        f"logit is {r['equality']['largest_difference']:.1e}. So a high lens margin at l and a harmless removal of all "
        "blocks after l are one observation, not two. Only cuts that leave later blocks in place test more than the lens.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _categories(r: dict[str, Any]) -> str:
    rows = r["categories"]
    found = [c for c in rows if c["outcome"] == "transition"]
    counts = ", ".join(
        f"{outcome} {sum(c['outcome'] == outcome for c in rows)}"
        for outcome in ("transition", "not located", "no transition")
    )
    lines = [f"By category, {len(found)} of {len(rows)} have a transition of their own ({counts})"]
    if found:
        layers = sorted(c["transition"] for c in found)
        lines.append(f", between layers {int(layers[0])} and {int(layers[-1])}")
    table = [
        "| category | questions | accuracy | margin | transition | 95% interval |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for c in rows:
        where = c["outcome"] if c["transition"] is None else str(int(c["transition"]))
        interval = "" if c["ci_low"] is None else f"{int(c['ci_low'])} to {int(c['ci_high'])}"
        table.append(
            f"| {c['category']} | {c['questions']} | {c['accuracy']:.2f} | {c['margin']:+.2f} | {where} | {interval} |"
        )
    small = min(c["questions"] for c in rows)
    return "".join(lines) + f". With {small} questions each, single rows are rough.\n\n" + "\n".join(table)


def _controls(r: dict[str, Any]) -> str:
    shuffled, twins = r["controls"]["shuffled_labels"], r["controls"]["random_models"]
    random = sum(t["outcome"] == "transition" for t in twins)
    return (
        f"Controls: with gold labels redrawn within each question the same method finds a transition in "
        f"{shuffled['transitions']} of {shuffled['n']} shuffles; in models of the same shape with random weights, in "
        f"{random} of {len(twins)}."
    )


def _letters(r: dict[str, Any]) -> str:
    letters = r["letters"]
    share = ", ".join(f"{name} {v:.2f}" for name, v in zip("ABCD", letters["letter_share"], strict=False))
    return (
        f"Asked for a letter instead, with the options shown ({letters['n']} questions, each in four cyclic orders), the "
        f"model answers {letters['accuracy']:.3f} right; its letters at the last layer: {share}."
    )


def _cuts(r: dict[str, Any]) -> list[str]:
    if not r["cuts"]:
        return [f"Not testable: {'; '.join(r['not_testable'].values())}"]
    bounds = "; ".join(
        f"{method}: layer {b['transition']['layer']}, interval {b['transition']['ci_low']} to "
        f"{b['transition']['ci_high']}"
        for method, b in r["boundaries"].items()
        if b["transition"]["layer"] is not None
    )
    intro = (
        f"The boundary was set on {r['n_search']} questions, by two detectors ({bounds}); accuracy after random cuts was "
        f"measured on {r['n_evaluation']} others, where the intact model has {r['intact_accuracy']:.3f}. Means over "
        "cuts, 95% intervals over questions, p adjusted by Holm over all comparisons (those with cuts anywhere "
        "included); `edges` leaves out blocks 0 to 2 and the transition block."
    )
    table = ["| boundary | exclude | shape | blocks | silent | decisive | anywhere | decisive − silent | p (Holm) |",
             "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    cells = {(c["boundary"], c["exclude"], c["shape"], c["size"], c["region"]): c for c in r["cuts"]}
    pairs = [c for c in r["comparisons"] if c["comparison"] == "decisive - silent"]
    for c in pairs:
        at = (c["boundary"], c["exclude"], c["shape"], c["size"])
        shown = [
            f"{cell['accuracy']:.2f} [{cell['low']:.2f}, {cell['high']:.2f}]"
            for cell in (cells[(*at, region)] for region in ("silent", "decisive", "anywhere"))
        ]
        table.append(
            f"| {' | '.join(map(str, at))} | {' | '.join(shown)} | "
            f"{c['difference']:+.2f} [{c['low']:+.2f}, {c['high']:+.2f}] | {c['p_holm']:.3f} |"
        )
    missing = [f"{k}: {v.removeprefix('not testable: ')}" for k, v in r["not_testable"].items()]
    return [
        intro,
        "\n".join(table),
        *(_verdict(method, [c for c in pairs if c["boundary"] == method]) for method in r["boundaries"]),
        "The boundary itself is uncertain, and the two detectors differ; every comparison is conditional on one of them.",
        ("Not testable: " + "; ".join(missing) + ".") if missing else "",
    ]


def _verdict(method: str, pairs: list[dict[str, Any]]) -> str:
    """What the comparisons at one boundary say together."""
    if not pairs:
        return ""
    better = sum(c["low"] > 0 and c["p_holm"] < 0.05 for c in pairs)
    worse = sum(c["high"] < 0 and c["p_holm"] < 0.05 for c in pairs)
    detectable = max(c["detectable"] for c in pairs)
    claim = "The paper's claim, that the Decisive Phase is cheaper to prune,"
    if better == len(pairs):
        says = "holds here."
    elif better > 0 and worse == 0:
        says = "holds here in part."
    elif worse > 0 and better == 0:
        says = "does not hold here: where the two differ, it is the reverse."
    elif better > 0:
        says = "depends here on how it is asked."
    else:
        says = (
            f"finds no support here; a difference of {detectable:.2f} would have been found in every one of them with "
            "power 0.8, before adjustment."
        )
    return (
        f"With the boundary of `{method}`: of {len(pairs)} comparisons at equal size, pruning the Decisive Phase keeps "
        f"more accuracy than pruning the Silent Phase in {better}, less in {worse}, and cannot be told apart in "
        f"{len(pairs) - better - worse}. {claim} {says}"
    )
