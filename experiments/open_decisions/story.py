"""The text of this experiment, made from its numbers."""

from __future__ import annotations

from typing import Any

from common import interval, made_by, table


def tell(r: dict[str, Any]) -> str:
    """Write README.md.

    Args:
        r: What is in results.json.

    Returns:
        Markdown; every number in it comes from `r`.
    """
    parts = [
        f"# Open decisions and drift on {r['model']}",
        "Where does the next token form when no options are given, and does the deviation of a pruned model compound while "
        "it writes? " + made_by(r, "uv run python experiments/open_decisions/run.py"),
        "![margins by layer, commitment by step, deviation by step](figure.png)",
        ""
        if r["cached"]
        else "This family offers no key-value cache; every text was run anew for every token.",
        "## Open and among options",
        _where(r),
        "## Under pruning",
        _under(r),
        "## Does deviation compound?",
        _growth(r),
        _texts(r),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _layer(phases: dict[str, Any]) -> str:
    t = phases["transition"]
    return phases["outcome"] if t["layer"] is None else f"{t['layer']} [{t['ci_low']}, {t['ci_high']}]"


def _where(r: dict[str, Any]) -> str:
    q, d = r["questions"], r["commitment_difference"]
    rows = [[name, _layer(found), found["agreement"]] for name, found in r["phases"].items()]
    told = (
        "told from zero"
        if d["p_value"] < 0.05
        else f"not told from zero; a difference of {d['detectable']:.1f} layers would have been found"
    )
    return "\n\n".join(
        [
            f"{q['n']} questions of `{q['name']}`, one prompt each with {r['settings']['SHOTS']} solved ones in front, read twice: among the four options, and against the "
            "whole vocabulary. The token that the model would say is the option that it chooses for "
            f"{r['own_is_choice']:.0%} of the questions, and the right one for {r['own_is_gold']:.0%} (among the options "
            f"{r['accuracy']:.0%} are right). A margin for the own choice ends above zero by construction, so only its "
            "layer says something.",
            table(["read", "transition [95% interval]", "detectors"], rows),
            f"Question by question, the open decision is final {interval(d, 1)} layers after the choice among the options "
            f"(p = {d['p_value']:.3f}, {told}).",
            "Mean commitment layer by step: "
            + ", ".join(f"{row['step']}: {row['estimate']:.1f}" for row in r["commitment"])
            + ".",
        ]
    )


def _under(r: dict[str, Any]) -> str:
    rows = []
    for name, found in r["under"].items():
        where = "none" if found["transition"] is None else f"{found['transition']} {found['ci']}"
        rows.append([name, r["variants"][name], f"{found['kept'][0]:.2f}", f"{found['kept'][-1]:.2f}", where])
    header = ["removed", "what", "first token kept", "last token kept", "transition of the first token"]
    return (
        "The intact model's own tokens, read in the pruned model on the intact model's text: for what share the pruned model "
        "would say the same.\n\n" + table(header, rows)
    )


def _growth(r: dict[str, Any]) -> str:
    rows = [
        [g["variant"], g["mode"], g["measure"], interval({"estimate": g["difference"], **{k: g[k] for k in ("low", "high")}}, 3),
         f"{g['p_holm']:.3f}"]
        for g in r["growth"]
        if g["measure"] in ("h", "kl_dense_from_pruned")
    ]  # fmt: skip
    intro = (
        "The mean deviation over the last quarter of the steps minus that over the first quarter, paired by prompt; p by Holm "
        "over all comparisons (z and p are in `results.json`). Teacher forced: both models read the intact model's text. Changed "
        "text: both read the pruned model's. Free: each reads its own. Paths: the intact model on both texts, which is what "
        "the texts alone do."
    )
    return "\n\n".join(
        [intro, table(["removed", "mode", "measure", "growth", "p (Holm)"], rows), _verdict(r["growth"])]
    )


def _verdict(growth: list[dict[str, Any]]) -> str:
    counts = {}
    for mode in dict.fromkeys(g["mode"] for g in growth):
        mine = [g for g in growth if g["mode"] == mode and g["measure"] == "kl_dense_from_pruned"]
        up = sum(g["difference"] > 0 and g["p_holm"] < 0.05 for g in mine)
        down = sum(g["difference"] < 0 and g["p_holm"] < 0.05 for g in mine)
        counts[mode] = (up, down, len(mine))
    says = "; ".join(
        f"{mode.replace('_', ' ')}: grows under {up} of {n} cuts, shrinks under {down}"
        for mode, (up, down, n) in counts.items()
    )
    forced, free, same = (counts[mode][0] for mode in ("teacher_forced", "free", "changed_text"))
    if free and not forced:
        meaning = "Deviation compounds only running free"
    elif free > forced:
        meaning = "Deviation compounds more often running free than teacher forced"
    elif free or forced:
        meaning = "Deviation does not compound more often running free than teacher forced"
    else:
        meaning = "That deviation compounds is told from chance neither running free nor teacher forced"
    meaning += (
        f"; on the pruned model's own text, where the context is the same for both, it does under {same} of "
        f"{counts['changed_text'][2]} cuts."
    )
    return f"KL over steps: {says}. {meaning}"


def _texts(r: dict[str, Any]) -> str:
    by = {(t["variant"], t["run"], t["what"]): t for t in r["texts"]}
    names = list(r["variants"])
    whats = ("shared prefix", "perplexity", "repetition", "distinct-2")

    def cell(name: str, run: str, what: str) -> str:
        t = by.get((name, run, what))
        return "–" if t is None else f"{t['value']:.2f} [{t['low']:.2f}, {t['high']:.2f}]"

    rows = [["none", *(cell(names[0], "intact", what) for what in whats)]]
    rows += [[name, *(cell(name, "changed", what) for what in whats)] for name in names]
    return (
        f"The texts, {r['settings']['STEPS']} tokens each; perplexity is under the intact model.\n\n"
        + table(["removed", *whats], rows)
    )
