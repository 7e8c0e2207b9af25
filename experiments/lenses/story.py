"""The text of this experiment, made from its numbers."""

from __future__ import annotations

from typing import Any

from common import made_by, table

COMMAND = "uv run python experiments/lenses/run.py"


def tell(r: dict[str, Any]) -> str:
    """Write README.md.

    Args:
        r: What is in results.json.

    Returns:
        Markdown; every number in it comes from `r`.
    """
    parts = [
        f"# One transition, many analyses, on {r['model']}",
        "How much of the transition depends on the lens, the detector and the normalisation, and does a lens that was "
        f"fitted come closer to the model? {made_by(r, COMMAND)}",
        "![the decision through three lenses, and the divergence of each layer](figure.png)",
        "## The tuned lens",
        _lens(r),
        "## The transition through each lens",
        _phases(r),
        "## All specifications",
        _curve(r),
        "![the specification curve](curve.png)",
        "Specifications share model and questions: their agreement says how much the finding depends on choices, not "
        "how probable it is.",
    ]
    return "\n\n".join(parts) + "\n"


def _lens(r: dict[str, Any]) -> str:
    fit, rows = r["lens"]["fit"], r["divergence"]["rows"]
    inner = rows[:-1]
    means = {name: sum(row[name] for row in inner) / len(inner) for name in ("logit", "tuned")}
    closer = [row["layer"] for row in inner if row["gain_low"] > 0]
    further = [row["layer"] for row in inner if row["gain_high"] < 0]
    return (
        f"Fitted to {fit['tokens']} tokens of `{fit['texts']}` ({fit['steps']} steps of training after least squares), "
        f"measured on {r['divergence']['windows']} windows that fitted nothing. The next token of a layer before the last "
        f"is on average {means['logit']:.2f} nats from the model's through the logit lens and {means['tuned']:.2f} "
        f"through the tuned lens. The tuned lens is closer at {len(closer)} of these {len(inner)} layers and further at "
        f"{len(further)} (95% intervals over windows that leave out 0)."
    )


def _phases(r: dict[str, Any]) -> str:
    rows: list[list[object]] = [
        [
            name.replace("_", " "),
            "–" if found["transition"] is None else found["transition"],
            "–" if found["interval"] is None else f"{found['interval'][0]} to {found['interval'][1]}",
            found["verdict"],
        ]
        for name, found in r["phases"].items()
    ]
    return table(["lens", "transition", "95% interval", "verdict"], rows)


def _curve(r: dict[str, Any]) -> str:
    c = r["curve"]
    if c["range"] is None:
        return f"None of {c['n']} specifications finds a transition on {r['questions']['n']} questions."
    rows: list[list[object]] = [
        [row["choice"], row["value"], row["specifications"], f"{row['found']:.0%}"]
        + ["–" if row[name] is None else int(row[name]) for name in ("earliest", "median", "latest")]
        for row in c["by_choice"]
    ]
    return (
        f"Of {c['n']} specifications, {c['share_found']:.0%} find a transition on {r['questions']['n']} questions, "
        f"between layers {c['range'][0]} and {c['range'][1]} of {r['n_layers']}; the median is {c['median']}, the middle "
        f"half {c['middle_half'][0]} to {c['middle_half'][1]}.\n\n"
        + table(["choice", "value", "specifications", "found", "earliest", "median", "latest"], rows)
    )
