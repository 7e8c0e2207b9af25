"""The text of this experiment, made from its numbers."""

from __future__ import annotations

from typing import Any

from common import made_by, table

COMMAND = "uv run python experiments/circuits/run.py"


def tell(r: dict[str, Any]) -> str:
    """Write README.md.

    Args:
        r: What is in results.json.

    Returns:
        Markdown; every number in it comes from `r`.
    """
    pairs = r["pairs"]
    dropped = "; ".join(f"{count}: {reason}" for reason, count in pairs["dropped"].items())
    parts = [
        f"# Circuits of the decision in {r['model']}",
        "Which parts make the decision, from which layer on does the answer position carry it, and which of the intact "
        f"model's activations bring it back after pruning? {made_by(r, COMMAND)}",
        f"{pairs['n']} pairs of questions of one category ({pairs['categories']} categories), aligned token by token, with "
        f"different right answers, both of which the model gives. In no pair, of {pairs['n_questions']} questions: {dropped}. "
        f"The transition was located on {r['n_search']} other questions: {r['phases']['verdict']}",
        "![recovery by layer, single heads, and the answer under interchange](figure.png)",
        "## What the margin is the sum of",
        *_attribution(r["attribution"]),
        *_categories(r["categories_apart"]),
        "## What patches bring back",
        *_sweeps(r),
        "## From where on the answer follows the residual",
        *_transitions(r),
        "## What brings a pruned model's decision back",
        *_restorations(r),
        "## Is it the same circuit after pruning?",
        *_circuits(r),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _attribution(a: dict[str, Any]) -> list[str]:
    rows: list[list[object]] = [
        [row["part"].replace("_", " "), _place(row), _ends(row["mean"], row["low"], row["high"])]
        for row in a["largest"]
    ]
    return [
        f"Direct attribution on {a['n']} questions: the logit margin of the right option over its rival is {a['margin']:+.2f}, "
        f"of which the embedding adds {a['embedding']:+.2f}, all attention {a['attention']:+.2f} and all MLPs "
        f"{a['mlp']:+.2f}; parts add up to it to within {a['rounding']:.0e}. The largest parts, means with 95% intervals "
        "over questions:",
        table(["part", "layer", "mean"], rows),
    ]


def _categories(found: list[dict[str, Any]]) -> list[str]:
    if not found:
        return []
    rows: list[list[object]] = [
        [row["category"], row["n"], f"{row['margin']:+.2f}", f"{row['part'].replace('_', ' ')} {_place(row)}",
         _ends(row["mean"], row["low"], row["high"]), _number(row["elsewhere"]), _number(row["correlation"])]
        for row in found
    ]  # fmt: skip
    return [
        "By category: the part that adds most there, what it adds in all other categories, and the rank correlation of all "
        "parts with those other categories. Few questions each; the largest of many parts is larger than it would be on "
        "other questions.",
        table(
            ["category", "questions", "margin", "largest part", "adds", "elsewhere", "rank correlation"], rows
        ),
    ]


def _circuits(r: dict[str, Any]) -> list[str]:
    lines = [
        "Heads and MLPs, in the order of what attribution patching on the pairs foretells, until they keep "
        f"{r['settings']['TARGET']:.0%} of the margin with all others held at their mean. Questions that are in no pair and "
        "that both models answer right, one half to find the circuit and the other to report. *Shared* is out of the "
        "parts that both models have; the null moves parts within bands of layers. Faithfulness under mean ablation, with "
        "95% intervals over questions.",
    ]
    rows: list[list[object]] = []
    for name, c in r["circuits"].items():
        if "why" in c:
            lines.append(f"{name}: not testable, {c['why']}.")
            continue
        kept = {(row["circuit"], row["on"]): row for row in c["kept"]}
        cells = [
            _ends(*(kept[key][f"faithfulness{end}"] for end in ("", "_low", "_high")))
            for key in (
                ("intact", "intact"),
                ("pruned", "pruned"),
                ("intact", "pruned"),
                ("pruned", "intact"),
            )
        ]
        rows.append(
            [f"{name} ({c['cut']})", c["n"], f"{c['sizes'][0]} and {c['sizes'][1]}", f"{c['shared']} of {c['components']}",
             f"{c['jaccard']:.2f} ({c['expected']:.2f}, p = {c['p_value']:.2g})", *cells]
        )  # fmt: skip
    if rows:
        head = ["cut", "questions", "parts, intact and pruned", "shared", "Jaccard (expected)", "intact on intact",
                "pruned on pruned", "intact on pruned", "pruned on intact"]  # fmt: skip
        lines.insert(1, table(head, rows))
    return lines


def _sweeps(r: dict[str, Any]) -> list[str]:
    best: list[list[object]] = [
        [row["direction"], row["site"], row["position"], _place(row), _ends(row["recovery"], row["low"], row["high"]),
         _number(row["foretold"])]
        for row in r["best"]
    ]  # fmt: skip
    agreement: list[list[object]] = [
        [row["direction"], row["site"], row["position"], row["places"], _number(row["pearson"]), _number(row["spearman"])]
        for row in r["agreement"]
    ]  # fmt: skip
    return [
        "Recovery is (patched − corrupted) / (clean − corrupted) of the mean margin of the clean answer over the corrupted "
        "one: 1 is the clean run, 0 the corrupted one. *denoise* puts clean activations into the corrupted run and asks "
        "what is enough, *noise* the other way round and asks what is needed. The place of each site where most is "
        "carried, with 95% intervals over pairs; the best of many places is better than it would be on other pairs.",
        table(["direction", "site", "position", "layer", "recovery", "foretold by gradients"], best),
        "How well gradients foretell the sweep, over all places of a site:",
        table(["direction", "site", "position", "places", "Pearson", "Spearman"], agreement),
    ]


def _transitions(r: dict[str, Any]) -> list[str]:
    rows: list[list[object]] = []
    for name, t in r["transitions"].items():
        rows.append(
            [name if name == "intact" else f"{name} ({t['cut']})", _layer(t["transition"], t["interval"]),
             f"{t['share']:.2f}", _layer(t["lens"], t["lens_interval"]) if t["lens"] is not None else t["lens_outcome"]]
        )  # fmt: skip
    intact = r["transitions"]["intact"]
    said = "In the intact model one of the two transitions is missing, so they cannot be compared."
    if intact["transition"] is not None and intact["lens"] is not None:
        lead = intact["lens"] - intact["transition"]
        said = (
            f"In the intact model the answer follows the residual {abs(lead)} layers {'before' if lead > 0 else 'after'} "
            "the logit lens sees the decision."
            if lead
            else "In the intact model the answer follows the residual from the layer on where the lens sees the decision."
        )
    return [
        "Each prompt of a pair is run with the residual that the other has at the answer position behind one layer. The "
        "causal transition is the first layer from which p(the other's answer) − p(its own) stays positive in the mean, "
        "with its 95% interval over pairs and the share of resamples that have one; beside it what the logit lens finds "
        "on the same prompts, which were chosen as right in the end.",
        table(["model", "causal transition", "share", "lens transition"], rows),
        said,
    ]


def _restorations(r: dict[str, Any]) -> list[str]:
    lines = [
        "The pruned model is run with the intact model's activation at the answer position in one place: of the same prompt, "
        "and of the other prompt of the pair. *Beyond a wrong prompt* is the difference of the two, as a share of the margin "
        "that the cut takes, at the best layer of each site; random cuts have as many blocks. Places of which it is known "
        "beforehand that they bring back nothing or all (ahead of the first removal, behind the last block) are left out.",
    ]
    for name, found in r["restorations"].items():
        cuts: list[list[object]] = [
            [cut, c["removed"], _ends(c["estimate"], c["low"], c["high"]), f"{c['accuracy']:.2f}",
             "–" if c["check"] is None else f"{c['check']:.0e}"]
            for cut, c in found["cuts"].items()
        ]  # fmt: skip
        best: list[list[object]] = [
            [row["cut"], row["site"], row["layer"], _number(row["recovered"]), f"{row['gain']:+.2f}",
             f"{row['wrong_gain']:+.2f}", _ends(row["specific"], row["specific_low"], row["specific_high"])]
            for row in found["best"]
        ]  # fmt: skip
        lines += [
            f"### {name[0].upper()}{name[1:]}",
            f"The intact margin is {found['dense']:+.2f}. *Check* is how far whole residuals behind the last removal are from "
            "restoring it.",
            table(["cut", "removed", "margin lost", "accuracy", "check"], cuts),
            table(
                [
                    "cut",
                    "site",
                    "layer",
                    "brought back",
                    "gain",
                    "gain, wrong prompt",
                    "beyond a wrong prompt",
                ],
                best,
            )
            if best
            else "",
            *(
                f"*{cut}* loses nothing that is told from nothing, so there is nothing to bring back."
                for cut, c in found["cuts"].items()
                if c["low"] <= 0
            ),
        ]
    if any("half" in name for name in r["restorations"]):
        lines.append(
            "There are no two phases on the search questions, so the two halves of the model stand in for them, and nothing "
            "is said of phases."
        )
    return [line for line in lines if line]


def _place(row: dict[str, Any]) -> str:
    if row["layer"] < 0:
        return "–"
    return f"{row['layer']}" + (f", head {row['head']}" if row["head"] >= 0 else "")


def _layer(layer: int | None, ends: list[int] | None) -> str:
    if layer is None:
        return "none"
    return f"{layer}" + (f" [{ends[0]}, {ends[1]}]" if ends else "")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"


def _ends(value: float | None, low: float | None, high: float | None) -> str:
    return _number(value) + ("" if value is None or low is None else f" [{low:+.2f}, {high:+.2f}]")
