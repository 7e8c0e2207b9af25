"""The text of the benchmark, made from its rows."""

from __future__ import annotations

from typing import Any

from settings import FLOOR_SHARE

WHAT = {
    "leave_one_out": "every block removed by itself",
    "greedy": "blocks removed one after the other, each time the one whose removal leaves the mean margin highest",
    "random_masks": "random masks that keep 60 to 90 % of the blocks",
    "dense": "options read after every block of the intact model",
}


def tell(rows: list[dict[str, Any]], where: dict[str, Any] | None = None) -> str:
    """Write README.md.

    Args:
        rows: What is in results.json.
        where: What is in where.json, if it is there.

    Returns:
        Markdown; every number in it comes from these.
    """
    one = rows[0]
    head = ["workload", "shots", "seconds"]
    names = list(dict.fromkeys(row["baseline"] for row in rows))
    head += [f"x {name}" for name in names] + ["goal", "share of the floor", "peak MiB", "margins within"]
    table = [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
    for workload, shots in dict.fromkeys((row["workload"], row["shots"]) for row in rows):
        mine = {row["baseline"]: row for row in rows if (row["workload"], row["shots"]) == (workload, shots)}
        any_of = next(iter(mine.values()))
        goals = [row["goal"] for row in mine.values() if row["goal"] is not None]
        cells = [workload, shots, f"{any_of['seconds']:.1f}"]
        cells += [f"{mine[name]['ratio']:.1f}" if name in mine else "" for name in names]
        cells += [
            f"{goals[0]:g}" if goals else "",
            f"{any_of['floor_share']:.0%}",
            f"{any_of['peak_mib']:.0f}",
            f"{max(row['max_margin_difference'] for row in mine.values()):.0e}",
        ]
        table.append(f"| {' | '.join(map(str, cells))} |")
    rounded = sum(row["arbitrated_by_float64"] for row in rows)
    missed = [row for row in rows if row["goal"] is not None and row["ratio"] < row["goal"]]
    largest = max(rows, key=lambda row: row["operations"])
    parts = [
        "# The engine against the same work without it",
        f"Made by `uv run python experiments/benchmarks/engine.py` on {one['model']} ({one['dtype']}, {one['device']}, "
        f"{one['threads']} threads, torch {one['torch']}); every number is from `results.json`. "
        f"{one['questions']} questions; {_tokens(rows)}.",
        "\n".join(table),
        "Workloads: " + "; ".join(f"`{name}`, {what}" for name, what in WHAT.items()) + ".",
        "`transformers` is a Hugging Face model with blocks taken out of its list, length-sorted padded batches and "
        "logits of all positions, as SLEB and ShortGPT do it (for `dense`: all hidden states at the answer through norm "
        "and unembedding); `transformer_lens` is a `TransformerBridge` whose hooks put the residual entering a block "
        "behind it. Both were timed on some of the variants, others in each repetition, and scaled. A ratio is the median "
        "of repetitions in which ours and the baselines took turns; before it counts, margins and choices of every "
        f"variant timed are shown to be the same. {_rounded(rounded, sum(row['variants_timed'] for row in rows))}",
        "The floor is the matrix products that no exact method can do without, at the rate of the products of block 0 "
        "with as many rows as there are different token positions, the fastest of the run (see `floor.py`). "
        f"On the largest workload, {largest['workload']} with {largest['shots']} shots, the engine reaches "
        f"{largest['floor_share']:.0%} of it (the goal is {FLOOR_SHARE:.0%}).",
        "" if where is None else _where(where),
        _goals(missed, len([row for row in rows if row["goal"] is not None])),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _where(w: dict[str, Any]) -> str:
    return (
        f"Where the time goes (`where.py`, {w['masks']} masks of {w['workload']} with {w['shots']} shots): "
        f"{w['products_share']:.0%} in matrix products, {w['attention_share']:.0%} in attention, the rest in norms, rotary "
        "tables, activations and copies, which the floor counts as nothing. The engine runs exactly the blocks that the "
        f"floor counts. In that run the fastest pass over the matrices of block 0 reached {w['fastest_rate'] / 1e9:.0f} "
        "billion operations a second, but passes through the matrices of all blocks in turn, which do not stay in the "
        f"caches, {w['lasting_rate'] / 1e9:.0f} in the median: of the first the engine reached {w['floor_share']:.0%}, of "
        f"the second {w['lasting_floor_share']:.0%}. The table is by the fastest pass of the whole benchmark."
    )


def _rounded(n: int, of: int) -> str:
    if not n:
        return "No margin differs by more than rounding allows."
    return (
        f"In {n} of {of} comparisons, of masks that take much of the model away, margins differ by more than the "
        "tolerance of `settings.py`; there float64 shows that the baseline's own rounding is of that size."
    )


def _tokens(rows: list[dict[str, Any]]) -> str:
    by_shots = {row["shots"]: row for row in rows}
    return "; ".join(
        f"with {shots} shots {row['tokens']} tokens, of which {row['positions']} positions differ"
        for shots, row in by_shots.items()
    )


def _goals(missed: list[dict[str, Any]], n: int) -> str:
    if not missed:
        return f"All {n} goals against `transformers` are reached."
    said = ", ".join(
        f"{m['workload']} with {m['shots']} shots ({m['ratio']:.1f} of {m['goal']:g})" for m in missed
    )
    return f"{n - len(missed)} of {n} goals against `transformers` are reached; not {said}."
