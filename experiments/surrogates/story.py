"""The text of this experiment, made from its numbers."""

from __future__ import annotations

from typing import Any

from common import made_by, table

COMMAND = "uv run python experiments/surrogates/run.py"


def tell(r: dict[str, Any]) -> str:
    """Write README.md.

    Args:
        r: What is in results.json.

    Returns:
        Markdown; every number in it comes from `r`.
    """
    parts = [
        f"# What masks are worth on {r['model']}, and how many it takes to know",
        made_by(r, COMMAND),
        "![quality of surrogates, and error of estimates](figure.png)",
        "## Surrogates",
        *_surrogates(r),
        "## Shapley values against all masks",
        *_estimates(r),
        "## All blocks",
        *_blocks(r),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _surrogates(r: dict[str, Any]) -> list[str]:
    rows = [
        [q["surrogate"], q["n_masks"], f"{q['r2']:.2f} [{q['r2_low']:.2f}, {q['r2_high']:.2f}]",
         _number(q["r2_within"]), _number(q["rank_correlation"]), f"{q['fit_seconds']:.2f}"]
        for q in r["quality"]
    ]  # fmt: skip
    most = max(q["n_masks"] for q in r["quality"])
    last = [q for q in r["quality"] if q["n_masks"] == most]
    best = max(last, key=lambda q: q["r2"])
    value = r["value"]
    told = [
        f"{r['n_masks']} cuts of the random pool ({r['n_different']} different), keeping "
        f"{', '.join(map(str, r['sizes']))} of the blocks that are not protected, as the published code does; value: the "
        f"mean {r['objective']} on {r['questions']['n']} questions (mean {value['mean']:+.3f}, standard deviation "
        f"{value['sd']:.3f}, of whose variance the number of kept blocks explains {_number(value['between_sizes'])}). R² "
        f"and rank correlation are on {r['settings']['N_HELD_OUT']} masks that no surrogate was fitted to, means (R²: and "
        f"range) over {r['settings']['REPEATS']} subsets of the others; *within* is the R² of what is left once the mean "
        "of each number of kept blocks is known.",
        table(["surrogate", "masks", "R²", "within", "rank correlation", "seconds to fit"], rows),
        _released(last),
        f"With {most} masks {best['surrogate']} is best, R² {best['r2']:.2f}. A mask takes {r['seconds_per_mask']:.2f} s "
        f"here ({r['questions']['n']} forward passes, less the depth that masks share), so {most} of them take "
        f"{most * r['seconds_per_mask'] / 60:.0f} minutes.",
    ]
    return [part for part in told if part]


def _released(last: list[dict[str, Any]]) -> str:
    """How the network of the released code fares, and what is different about it."""
    found = [q for q in last if q["surrogate"] == "published"]
    if not found:
        return ""
    return (
        f"*published* is the network trained as released (a sigmoid at its end, plain SGD, one batch of 300 masks a step, "
        f"meant for many times as many masks): with {found[0]['n_masks']} its R² is {found[0]['r2']:.2f}. For it, margins "
        "were put to [0, 1]."
    )


def _estimates(r: dict[str, Any]) -> list[str]:
    e = r["estimates"]
    own, other = ([row for row in e["rows"] if row["of"] == index] for index in ("shapley", "published"))
    header = [
        "estimator",
        "budget",
        "different masks",
        "forward passes",
        "seconds",
        "error",
        "rank correlation",
    ]
    far = [[*row, f"{x['error_of_shapley']:.4f}"] for row, x in zip(_rows(r, other), other, strict=True)]
    return [
        f"With {len(r['groups'])} groups of neighbouring blocks all {2 ** len(r['groups'])} masks can be run, and every "
        f"Shapley value is known exactly (standard deviation {e['spread']['shapley']:.4f} between groups; intact "
        f"{r['group_value']['intact']:+.3f}, without any block {r['group_value']['empty']:+.3f}). What estimators make of "
        f"fewer masks, means over {r['settings']['REPEATS']} seeds; the error is the root of the mean square. Seconds are "
        "those of the masks at the pace above, and of the estimator itself.",
        table(header, _rows(r, own)),
        _nearest(own),
        "The published average is another thing than the Shapley value: it looks at masks of a few kept counts only. Over "
        f"all masks it is known exactly as well; it lies {e['apart']:.4f} from the Shapley values (rank correlation "
        f"{_number(e['rank_apart'])}, standard deviation between groups {e['spread']['published']:.4f}). The same "
        "surrogates against its own exact values, and last against Shapley's:",
        table([*header, "error as Shapley value"], far),
    ]


def _rows(r: dict[str, Any], rows: list[dict[str, Any]]) -> list[list[object]]:
    return [
        [x["estimator"], x["budget"], f"{x['masks']:.0f}", f"{x['masks'] * r['questions']['n']:.0f}",
         f"{x['seconds']:.0f}", f"{x['error']:.4f}", _number(x["rank_correlation"])]
        for x in rows
    ]  # fmt: skip


def _nearest(rows: list[dict[str, Any]]) -> str:
    most = max(x["budget"] for x in rows)
    last = sorted((x for x in rows if x["budget"] == most), key=lambda x: x["error"])
    fitted = [x for x in last if "surrogate" in x["estimator"]]
    asked = [x for x in last if "surrogate" not in x["estimator"]]
    if not fitted or not asked:
        return ""
    return (
        f"At a budget of {most}, {asked[0]['estimator']} is nearest of the samplers ({asked[0]['error']:.4f}) and "
        f"{fitted[0]['estimator']} of what fits a function to masks ({fitted[0]['error']:.4f}). The first becomes exact "
        "with more masks; the second cannot, as long as the function does not hold what masks do together."
    )


def _blocks(r: dict[str, Any]) -> list[str]:
    b = r["blocks"]
    return [
        f"For all blocks that are not protected: Shapley's own values by permutation sampling ({b['masks']} masks, "
        f"{b['forward_passes']['permutation']} forward passes) and the published average of a line fitted to "
        f"{r['n_different']} masks ({b['forward_passes']['published']} forward passes) have a rank correlation of "
        f"{_number(b['rank_correlation'])}; two samples of permutations of that size, {_number(b['again'])} with each "
        "other. They average over different masks: Shapley's over every number of kept blocks, the "
        "published one over those that pruning leaves."
    ]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
