"""The text of this benchmark, made from its numbers."""

from __future__ import annotations

from typing import Any


def tell(r: dict[str, Any]) -> str:
    """Write README.md.

    Args:
        r: What is in results.json.

    Returns:
        Markdown; every number in it comes from `r`.
    """
    made = "quick run" if r["quick"] else "full run"
    lines = [
        "# The engine against running every variant by itself",
        f"`uv run python experiments/benchmarks/engine.py`, {made}: {r['model']} ({r['n_params'] / 1e6:.0f} million "
        f"parameters), {r['n_questions']} questions, {r['repetitions']} interleaved repetitions, {r['threads']} threads, "
        f"{r['device']}; " + ", ".join(f"{k} {v}" for k, v in r["versions"].items()) + f"; {r['seconds']} s.",
        "`transformers` deletes layers from the ModuleList and runs padded batches sorted by length with full logits; "
        "`transformer_lens` puts what entered a block in place of what leaves it. Both are timed on sampled variants and "
        "scaled. The ratio is median over median, in brackets the worst and the best pairing of repetitions. The floor is "
        "the time that the unavoidable operations (every distinct beginning of a cut once, on every distinct position "
        "once; of the last block only what is read) would take at the rate at which this machine multiplied the matrices "
        "of a block with that many rows in the same run. Before timing, margins are compared: the largest difference "
        "stands in the last column.",
        "| workload | shots | variants | against | ratio | engine, s | floor | saved by depth | peak, MiB | difference |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        + "\n".join(
            f"| {x['workload']} | {x['shots']} | {x['variants']} | {x['baseline']} | **{x['ratio']:.2f}** "
            f"[{x['ratio_low']:.2f}, {x['ratio_high']:.2f}] | {x['seconds']:.2f} | {x['floor_share']:.0%} | "
            f"{x['saved_by_depth']:.0%} | {x['peak_mib']:.0f} | {x['max_margin_difference']:.0e} |"
            for x in r["rows"]
        ),
        "In bfloat16 and float16 margins agree only to the rounding of the format: sums are taken in another order, "
        "through up to dozens of blocks. There the tolerance is wide, and a difference above it stops the run.",
    ]
    return "\n\n".join(lines) + "\n"
