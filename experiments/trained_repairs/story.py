"""The text of this experiment, made from its numbers."""

from __future__ import annotations

from typing import Any

from common import interval, made_by, table

_NAMES = {
    "accuracy": "accuracy",
    "margin": "margin",
    "log_perplexity": "log perplexity (its fall)",
    "on_the_way": "distance from the intact model's margins, layer by layer (its fall)",
}


def tell(r: dict[str, Any]) -> str:
    """Write README.md.

    Args:
        r: What is in results.json.

    Returns:
        Markdown; every number in it comes from `r`.
    """
    q, s = r["questions"], r["settings"]
    adapted = sorted(
        {layer for name in r["fits"] for layer in r["fits"][name]["adapted"] if name.startswith("lora")}
    )
    order, collapse = r["order"], r["order"]["collapse"]
    parts = [
        f"# Trained repairs of a cut of {r['model']}",
        "What does training the blocks around a cut give back, or a map in its place, and does it matter whether the intact "
        "model's answer is distilled or also its way there? "
        + made_by(r, "uv run python experiments/trained_repairs/run.py"),
        f"The cut is `{r['cut']}`: the first {len(order['blocks'])} blocks that a greedy search by {s['BY']} removes on "
        f"{order['n_search']} questions of `{q['name']}`. On {order['n_located']} others accuracy is then "
        f"{order['accuracy']:.3f}: "
        + ("it collapses there" if collapse is not None else "it does not collapse before")
        + f". {q['n_evaluation']} further ones measure (chance {q['chance']:.2f}), and {r['texts']['tokens']} tokens of the half of "
        f"`{s['TEXTS']}` that fits nothing.",
        f"`{r['linear']}` is the best of {len(s['LINEAR'])} linear repairs on the questions that chose. The others are "
        f"low-rank adapters (rank {s['LORA']['rank']}) on the blocks {', '.join(map(str, adapted))}, trained for "
        f"{s['LORA']['steps']} steps on the same windows in the same order: `lora` on the text itself, `lora_distil` on the "
        "intact model's predictions, `lora_trajectory` on these and on its stream at every surviving layer, `lora_lens` on these "
        "and on what the logit lens says at every surviving layer. `patch_distil` trains "
        "the maps of `linear_patch` alone, as many steps, on the intact model's predictions. Each was trained "
        f"{len(s['SEEDS'])} times{_multiplying(s)}; values are means over these, question by question. Intervals (95%) are over questions or "
        "texts, and conditional on the cut and on these trainings.",
        "![what comes back, and the margins on the way through the layers](figure.png)",
        _pooled(r),
        "## What is more than something else",
        _differences(r),
        "## Training by training",
        _transitions(r),
        _each(r),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _multiplying(s: dict[str, Any]) -> str:
    formats = {s[kind].get("autocast") for kind in ("LORA", "PATCH")} - {None}
    return (
        f", matrices multiplied in {', '.join(sorted(formats))} (everything else in float32)"
        if formats
        else ""
    )


def _pooled(r: dict[str, Any]) -> str:
    rows = [
        [row["method"], f"{row['accuracy']:.3f}", f"{row['margin']:+.3f}", f"{row['perplexity']:.4g}",
         f"{row['off_the_way']:.3f}", *(_share(row, measure) for measure in ("accuracy", "margin", "log_perplexity"))]
        for row in r["pooled"]
    ]  # fmt: skip
    header = ["model", "accuracy", "margin", "perplexity", "off the way", "lost accuracy back", "lost margin back",
              "lost log perplexity back"]  # fmt: skip
    note = (
        "*Off the way*: mean distance of the margin from the intact model's, over surviving layers. A share is not testable "
        "(–) where the cut may cost nothing."
    )
    return f"{table(header, rows)}\n\n{note}"


def _share(row: dict[str, Any], measure: str) -> str:
    name = f"recovered_{measure}"
    if row["method"] in ("intact", "nothing") or row[name] is None:
        return "–"
    return f"{row[name]:.2f} [{row[f'{name}_low']:.2f}, {row[f'{name}_high']:.2f}]"


def _differences(r: dict[str, Any]) -> str:
    rows = [
        [_NAMES[row["measure"]], row["first"], row["second"], interval(row, 3), f"{row['p_holm']:.3f}",
         f"{row['minimum_detectable']:.3f}"]
        for row in r["differences"]
    ]  # fmt: skip
    header = ["measure", "first", "second", "first − second", "p (Holm)", "detectable"]
    told = [
        _verdict(
            name, [row for row in r["differences"] if (row["first"], row["second"]) == (name, "lora_distil")]
        )
        for name in ("lora_trajectory", "lora_lens")
    ]
    return "\n\n".join([table(header, rows), *(one for one in told if one)])


def _verdict(name: str, rows: list[dict[str, Any]]) -> str:
    said = []
    for row in rows:
        what = _NAMES[row["measure"]]
        if row["p_holm"] >= 0.05:
            says = f"no difference is told from chance; {row['minimum_detectable']:.3f} would have been, four times in five"
        else:
            says = f"distilling the way {'helps' if row['estimate'] > 0 else 'hurts'}: {interval(row, 3)}"
        said.append(f"- {what}: {says}.")
    return (
        f"`{name}` beside distillation of the answer alone, at equal steps:\n\n" + "\n".join(said)
        if said
        else ""
    )


def _transitions(r: dict[str, Any]) -> str:
    """Whether the transition comes back, and where."""
    intact, nothing, *repaired = r["repairs"]
    if intact["transition"] is None:
        return "The intact model has no transition on these questions, so none can come back."
    left = (
        "there is none" if nothing["transition"] is None else f"it is at layer {int(nothing['transition'])}"
    )
    back = [
        f"`{row['method']}` (layer {int(row['transition'])})"
        for row in repaired
        if row["transition"] is not None
    ]
    return (
        f"The transition of the intact model is at layer {int(intact['transition'])}; after the cut {left}. Of "
        f"{len(repaired)} repairs {len(back)} have one: {', '.join(back) or 'none'}."
    )


def _each(r: dict[str, Any]) -> str:
    rows: list[list[object]] = []
    for row in r["repairs"]:
        fit = r["fits"].get(row["method"])
        where = "–" if row["transition"] is None else int(row["transition"])
        told: list[object] = ["–"] * 4
        if fit is not None:
            told = [
                fit["tokens"],
                fit["parameters_trained"],
                fit["parameters_added"],
                f"{fit['seconds']:.0f}",
            ]
        rows.append(
            [row["method"], f"{row['accuracy']:.3f}", f"{row['margin']:+.3f}",
             "infinite" if row["perplexity"] is None else f"{row['perplexity']:.4g}", where, *told, _ends(r, row["method"])]
        )  # fmt: skip
    header = [
        "model",
        "accuracy",
        "margin",
        "perplexity",
        "transition",
        "tokens",
        "parameters trained",
        "added",
        "seconds",
        "loss",
    ]
    return table(header, rows)


def _ends(r: dict[str, Any], method: str) -> str:
    losses = [row["loss"] for row in r["losses"] if row["method"] == method]
    return f"{losses[0]:.3g} → {losses[-1]:.3g}" if losses else "–"
