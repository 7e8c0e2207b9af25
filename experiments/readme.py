"""Write the results that README.md states, from what the experiments left behind.

uv run python experiments/readme.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- results: written by experiments/readme.py -->", "<!-- end of results -->"


def main() -> None:
    """Replace what stands between the two marks."""
    path = ROOT / "README.md"
    path.write_text(with_results(path.read_text("utf-8")), encoding="utf-8")


def with_results(text: str) -> str:
    """Put the newest results into the text of README.md.

    Args:
        text: README.md.

    Returns:
        The same with its results replaced.
    """
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    found = "\n\n".join(
        [transition(results("transition"), results("contrast")), speed(results("benchmarks"))]
    )
    return f"{head}{BEGIN}\n{found}\n{END}{tail}"


def results(name: str) -> Any:
    """The results.json of an experiment."""
    return json.loads((ROOT / "experiments" / name / "results.json").read_text("utf-8"))


def transition(r: dict[str, Any], contrast: dict[str, Any]) -> str:
    """What the first experiment found, and what becomes of writing, as a table.

    Args:
        r: Its results.json.
        contrast: That of the experiment on task families.

    Returns:
        Markdown.
    """
    o, shuffled, twins = r["overall"], r["controls"]["shuffled_labels"], r["controls"]["random_models"]
    t = o["transition"]
    where = (
        f"yes: layer {t['layer']} of {o['n_layers']} (95% interval {t['ci_low']} to {t['ci_high']}); accuracy "
        f"{o['final_accuracy']:.2f} at the end, chance {r['chance']:.2f}"
        if t["layer"] is not None
        else f"no: {o['verdict']}"
    )
    found = sum(twin["outcome"] == "transition" for twin in twins)
    pairs = [c for c in r["comparisons"] if c["comparison"] == "decisive - silent"]
    better = sum(c["low"] > 0 and c["p_holm"] < 0.05 for c in pairs)
    worse = sum(c["high"] < 0 and c["p_holm"] < 0.05 for c in pairs)
    cheaper = (
        f"in {better} of {len(pairs)} comparisons at equal size (the reverse in {worse})"
        if pairs
        else "not testable"
    )
    told = [
        row
        for row in contrast["differences"]
        if row["p_holm"] is not None and " random " not in row["variant"]
    ]
    kept = [row["difference"] for row in told if row["p_holm"] < 0.05]
    rows = [
        ("the decision forms at one depth", where),
        (
            "there is none where there should be none",
            f"{shuffled['transitions']} of {shuffled['n']} with shuffled labels, {found} of {len(twins)} with random weights",
        ),
        ("pruning the Decisive Phase costs less than the Silent Phase", cheaper),
        (
            "asked for a letter, with the options shown",
            f"{r['letters']['accuracy']:.2f} right, chance {r['chance']:.2f}; its most frequent letter is "
            f"{max(r['letters']['letter_share']):.0%} of its answers",
        ),
        (
            "pruning spares choosing and retrieving, and breaks writing",
            f"in {sum(d > 0 for d in kept)} of {len(told)} comparisons of two task families under one cut (the reverse in "
            f"{sum(d < 0 for d in kept)}; [contrast](experiments/contrast/README.md))",
        ),
    ]
    table = ["| claim | here |", "| --- | --- |", *(f"| {claim} | {here} |" for claim, here in rows)]
    note = (
        f"On {r['model']} ({r['weights']}), {r['questions']['n']} questions of `{r['questions']['name']}`, seed {r['seed']}; "
        "tables, conditions and caveats in [experiments/transition](experiments/transition/README.md)."
    )
    return "\n".join(table) + "\n\n" + note


def speed(rows: list[dict[str, Any]]) -> str:
    """How much faster the engine is than transformers, in a sentence.

    Args:
        rows: results.json of the benchmark.

    Returns:
        Markdown.
    """
    mine = [row for row in rows if row["baseline"] == "transformers" and row["workload"] != "dense"]
    said = []
    for shots in dict.fromkeys(row["shots"] for row in mine):
        ratios = [row["ratio"] for row in mine if row["shots"] == shots]
        said.append(f"{min(ratios):.1f} to {max(ratios):.1f} times with {shots} solved examples in front")
    return (
        f"**Speed.** Leaving out every block once, a greedy search and random masks, on {mine[0]['threads']} threads of a "
        f"CPU in {mine[0]['dtype']}: faster than transformers with the layers deleted {', '.join(said)}, with the same "
        "numbers; conditions and the share of what the machine could do in "
        "[experiments/benchmarks](experiments/benchmarks/README.md)."
    )


if __name__ == "__main__":
    main()
