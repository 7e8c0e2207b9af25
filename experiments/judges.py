"""How the results of an experiment bear on a claim: one function a claim, from numbers to a verdict.

Thresholds are those of the experiments' own texts: p < 0.05 after adjustment, or an interval that leaves out zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from claims import DEPENDS, FAILS, HOLDS, NOT_RUN, OPEN, PARTLY, UNTESTABLE, Judgement, Results
from common import interval


def tally(more: int, less: int, total: int) -> str:
    """The verdict on several comparisons.

    Args:
        more: How many support the claim.
        less: How many contradict it.
        total: How many there are.

    Returns:
        A verdict.
    """
    if not total:
        return UNTESTABLE
    if more and less:
        return DEPENDS
    if more:
        return HOLDS if more == total else PARTLY
    return FAILS if less else OPEN


# -- decision transitions -----------------------------------------------------------------------------------------------


def one_transition(r: Results) -> Judgement:
    """There is one layer from which the right option leads, and none where there should be none."""
    o, shuffled, twins = r["overall"], r["controls"]["shuffled_labels"], r["controls"]["random_models"]
    t, random = o["transition"], sum(twin["outcome"] == "transition" for twin in twins)
    controls = (
        f"controls: {shuffled['transitions']} of {shuffled['n']} with shuffled labels, {random} of {len(twins)} with random "
        "weights"
    )
    if t["layer"] is None:
        return f"{o['outcome']}; {controls}", FAILS
    where = f"layer {t['layer']} of {o['n_layers']} (95% interval {t['ci_low']} to {t['ci_high']})"
    width = "" if o["width"] is None else f", 10–90 width of the rise {o['width']:.1f} layers"
    spurious = shuffled["transitions"] + random
    return f"{where}{width}; {controls}", PARTLY if spurious else HOLDS


def cheaper_decisive(r: Results) -> Judgement:
    """Pruning the Decisive Phase costs less than pruning the Silent Phase."""
    pairs = [c for c in r["comparisons"] if c["comparison"] == "decisive - silent"]
    better = sum(c["low"] > 0 and c["p_holm"] < 0.05 for c in pairs)
    worse = sum(c["high"] < 0 and c["p_holm"] < 0.05 for c in pairs)
    told = f"Decisive Phase cheaper in {better} of {len(pairs)} comparisons at equal size, dearer in {worse}"
    return told if pairs else "no two phases", tally(better, worse, len(pairs))


def noise_by_phase(r: Results) -> Judgement:
    """Noise of equal variance costs more in the Silent Phase."""
    same = [c for c in r["comparisons"] if c["silent_variance"] == c["decisive_variance"]]
    more, less = sum(c["low"] > 0 for c in same), sum(c["high"] < 0 for c in same)
    told = f"noise of equal variance costs more in the Silent Phase in {more} of {len(same)} comparisons, less in {less}"
    return told if same else "no two phases", tally(more, less, len(same))


def depth_and_prunability(r: Results) -> Judgement:
    """Models that decide late are less prunable."""
    known = {name: c for name, c in r["correlations"].items() if "spearman" in c}
    if not known:
        n = max((c["n"] for c in r["correlations"].values()), default=0)
        return f"{n} pairs of model and task; {r['least_pairs']} are needed", UNTESTABLE
    told = "; ".join(
        f"{name}: rank correlation {interval(c['spearman'])} over {c['n']} pairs" for name, c in known.items()
    )
    more = sum(c["spearman"]["high"] < 0 for c in known.values())
    less = sum(c["spearman"]["low"] > 0 for c in known.values())
    return told, tally(more, less, len(known))


def late_commitment(low: float, high: float) -> Callable[[Results], Judgement]:
    """The median question commits within a published range of depths."""

    def judge(r: Results) -> Judgement:
        n = r["overall"]["n_layers"]
        (found,) = [d for d in r["overall"]["detectors"] if d["detector"] == "commitment"]
        if found["layer"] is None:
            return "no commitment", UNTESTABLE
        at, first, last = ((found[name] + 1) / n for name in ("layer", "ci_low", "ci_high"))
        told = (
            f"the median question is committed at layer {found['layer']} of {n}, {at:.2f} of the depth (95% interval "
            f"{first:.2f} to {last:.2f})"
        )
        if low <= first and last <= high:
            return told, HOLDS
        return told, FAILS if last < low or first > high else OPEN

    return judge


def letters(r: Results) -> Judgement:
    """What asks for letters cannot be tested on a model that answers letters at chance."""
    own = r["letters"]
    told = (
        f"asked for a letter, {own['accuracy']:.2f} right (chance {r['chance']:.2f}), its most frequent letter "
        f"{max(own['letter_share']):.0%} of its answers"
    )
    return told, UNTESTABLE if min(own["accuracy_by_rotation"]) <= r["chance"] else NOT_RUN


def tuned_is_closer(r: Results) -> Judgement:
    """The tuned lens is closer to the model than the logit lens, at the layers before the last."""
    rows = r["divergence"]["rows"][:-1]
    closer, further = sum(row["gain_low"] > 0 for row in rows), sum(row["gain_high"] < 0 for row in rows)
    means = {name: sum(row[name] for row in rows) / len(rows) for name in ("logit", "tuned")}
    told = (
        f"closer at {closer} of {len(rows)} layers, further at {further}; on average {means['tuned']:.2f} nats from the "
        f"model's next token, the logit lens {means['logit']:.2f}"
    )
    return told, tally(closer, further, len(rows))


# -- criteria -----------------------------------------------------------------------------------------------------------


def foretells(*names: str, expected: bool = True) -> Callable[[Results], Judgement]:
    """Criteria order blocks by the margin that their removal costs; or, with `expected=False`, do not.

    It takes an interval without zero, and more than what shifted scores do: whatever changes smoothly along the layers
    correlates with whatever else does. That nothing can be told does not support either.
    """

    def judge(r: Results) -> Judgement:
        rows = [
            row
            for row in r["correlations"]["rows"]
            if row["criterion"] in names and (row["set"], row["damage"]) == ("not protected", "margin")
        ]
        known = [row for row in rows if row["estimate"] is not None and row["low"] is not None]
        told = "; ".join(
            f"{row['criterion']}: rank correlation with the damage {interval(row)}, shift p {row['shift_p']:.2f}"
            for row in known
        )
        up = sum(row["low"] > 0 and row["shift_p"] < 0.05 for row in known)
        down = sum(row["high"] < 0 and row["shift_p"] > 0.95 for row in known)
        for_it, against = (up, down) if expected else (down, up)
        return told or "refused, or does not vary", tally(for_it, against, len(known))

    return judge


def perplexity_disagrees(r: Results) -> Judgement:
    """Perplexity and decisions rank blocks differently."""
    row = next(row for row in r["perplexity"] if row["set"] == "not protected")
    if row["estimate"] is None or row["ceiling"] is None:
        return "one of the two does not vary", UNTESTABLE
    told = (
        f"rank correlation {interval(row)} (shift p {row['shift_p']:.2f}), where {row['ceiling']:.2f} could be expected "
        "if they ranked alike"
    )
    if row["high"] < row["ceiling"]:
        return told, HOLDS
    return told, FAILS if row["shift_p"] < 0.05 else OPEN


# -- strategies ---------------------------------------------------------------------------------------------------------


def beats_random(*names: str) -> Callable[[Results], Judgement]:
    """Strategies keep more accuracy than random cuts of the same units."""

    def judge(r: Results) -> Judgement:
        rows = [row for row in r["strategies"] if row["strategy"] in names and row["p_holm"] is not None]
        told = "; ".join(
            f"{row['strategy']}: {interval({**row, 'estimate': row['difference']})} accuracy from random cuts, mean over "
            f"sizes, p = {row['p_holm']:.3f}"
            for row in rows
        )
        up, down = (
            sum(sign * row["difference"] > 0 and row["p_holm"] < 0.05 for row in rows) for sign in (1, -1)
        )
        return told or "not run in this comparison", tally(up, down, len(rows))

    return judge


def keeps_more(first: str, *others: str) -> Callable[[Results], Judgement]:
    """The curve of one strategy stands above those of others: intervals of the areas do not overlap."""

    def judge(r: Results) -> Judgement:
        rows = {row["strategy"]: row for row in r["strategies"] if row["area"] is not None}
        there = [name for name in others if name in rows]
        if first not in rows or not there:
            return "not run in this comparison", UNTESTABLE
        told = "area under the curve: " + "; ".join(
            f"{name} {rows[name]['area']:.2f}{_ends(rows[name])}" for name in (first, *there)
        )
        if any(rows[name]["area_low"] is None for name in (first, *there)):
            return f"{told} (without intervals: the intact model is too near chance)", tally(0, 0, len(there))
        up = sum(rows[first]["area_low"] > rows[name]["area_high"] for name in there)
        down = sum(rows[first]["area_high"] < rows[name]["area_low"] for name in there)
        return told, tally(up, down, len(there))

    return judge


def _ends(row: dict[str, Any]) -> str:
    return "" if row["area_low"] is None else f" [{row['area_low']:.2f}, {row['area_high']:.2f}]"


# -- spaces -------------------------------------------------------------------------------------------------------------


def softmax_amplifies(r: Results) -> Judgement:
    """In units of each space, probabilities deviate more than logits."""
    rows = [row for row in r["amplification"] if row["end"] == "p"]
    up = sum(row["low"] > 1 and row["p_holm"] < 0.05 for row in rows)
    down = sum(row["high"] < 1 and row["p_holm"] < 0.05 for row in rows)
    raw = sum(row["raw"] > 1 for row in rows)
    told = (
        f"by raw cosines p deviates more than z in {raw} of {len(rows)} comparisons; in units of the distance between "
        f"prompts more in {up}, less in {down}"
    )
    return told, tally(up, down, len(rows))


def options_are_steady(r: Results) -> Judgement:
    """Options deviate less than random tokens of like rank."""
    rows = [row for row in r["options"] if row["measure"] == "cosine"]
    steady = sum(row["high"] < 1 and row["p_holm"] < 0.05 for row in rows)
    shaky = sum(row["low"] > 1 and row["p_holm"] < 0.05 for row in rows)
    bare = sum(row["raw_high"] < 1 and row["raw_p_holm"] < 0.05 for row in rows)
    told = (
        f"by 1 − cos, options deviate less than random tokens of like rank in {bare} of {len(rows)} comparisons; in units "
        f"of the distance between prompts in {steady}, more in {shaky}"
    )
    found = tally(steady, shaky, len(rows))
    return told, DEPENDS if found == HOLDS and bare <= len(rows) / 2 else found


def theorem(name: str, of: str) -> Callable[[Results], Judgement]:
    """A second-order estimate is close to what it estimates, in most cases of every decade."""

    def judge(r: Results) -> Judgement:
        at = min(r["temperatures"], key=lambda t: abs(t - 1))
        rows = [
            row for row in r["sizes"]
            if (row["estimate"], row["of"], row["temperature"]) == (name, of, at) and row["n"]
        ]  # fmt: skip
        total = sum(row["n"] for row in rows)
        if not total:
            return "nothing deviates", UNTESTABLE
        close = sum(row["n"] * row["close"] for row in rows) / total
        bad = sorted(row["size"] for row in rows if row["close"] < 0.5)
        told = f"within {r['close']:.0%} of the exact value in {close:.0%} of {total} cases at T = {at:g}"
        if not bad:
            return told, HOLDS
        told += f"; where the exact value is {bad[0]:.0e} or more, in fewer than half of some decade"
        return told, FAILS if len(bad) == len(rows) else PARTLY

    return judge


def choosing_outlasts_writing(r: Results) -> Judgement:
    """Choosing and retrieving keep more under a cut than writing does."""
    rows = [row for row in r["differences"] if row["p_holm"] is not None and " random " not in row["variant"]]
    more = sum(row["difference"] > 0 and row["p_holm"] < 0.05 for row in rows)
    less = sum(row["difference"] < 0 and row["p_holm"] < 0.05 for row in rows)
    out = f" (without a scale: {', '.join(r['left_out'])})" if r["left_out"] else ""
    told = f"choosing keeps more in {more} of {len(rows)} comparisons, less in {less}{out}"
    return told, tally(more, less, len(rows))


def attention_is_spare(r: Results) -> Judgement:
    """Removing attentions costs choosing less than removing as many MLPs."""
    rows = {
        (row["part"], row["size"]): row
        for row in r["scores"]
        if row["family"] == "multiple_choice" and row["kind"] not in ("random", "every block", None)
    }
    sizes = sorted({s for p, s in rows if p == "attention"} & {s for p, s in rows if p == "mlp"})
    if "multiple_choice" in r["left_out"] or not sizes:
        return r["left_out"].get("multiple_choice", "no equal sizes"), UNTESTABLE
    more = less = 0
    for size in sizes:
        a, m = rows["attention", size], rows["mlp", size]
        more += a["normalised_low"] > m["normalised_high"]
        less += a["normalised_high"] < m["normalised_low"]
    told = (
        f"attentions are cheaper than as many MLPs at {more} of {len(sizes)} sizes, dearer at {less} (intervals that do not "
        "overlap)"
    )
    return told, tally(more, less, len(sizes))


def deviation_compounds(r: Results) -> Judgement:
    """Running free, the deviation from the intact model grows from step to step, and on one and the same text too."""

    def grows(mode: str, sign: int = 1) -> int:
        rows = [g for g in r["growth"] if (g["mode"], g["measure"]) == (mode, "kl_dense_from_pruned")]
        return sum(sign * g["difference"] > 0 and g["p_holm"] < 0.05 for g in rows)

    n = len(r["variants"])
    up, down, forced, texts = grows("free"), grows("free", -1), grows("teacher_forced"), grows("paths")
    told = (
        f"KL grows running free under {up} of {n} cuts, shrinks under {down}; on one and the same text under {forced}, and "
        f"between the two texts as the intact model alone reads them under {texts}"
    )
    found = tally(up, down, n)
    return told, DEPENDS if found in (HOLDS, PARTLY) and not forced else found


# -- the game -----------------------------------------------------------------------------------------------------------


def surrogate_knows(r: Results) -> Judgement:
    """The published network knows what masks are worth that it has not seen; in part, if another one knows more."""
    most = max(q["n_masks"] for q in r["quality"])
    last = {q["surrogate"]: q for q in r["quality"] if q["n_masks"] == most}
    if "published" not in last:
        return "too few masks for it", UNTESTABLE
    own, best = last["published"], max(last.values(), key=lambda q: q["r2"])
    told = (
        f"with {most} masks its R² on others is {own['r2']:.2f}; the best of {len(last)} surrogates, {best['surrogate']}, has "
        f"{best['r2']:.2f}"
    )
    if own["r2_low"] <= 0:
        return told, FAILS
    return told, PARTLY if own["r2_high"] < best["r2_low"] else HOLDS


def order_of_shapley(r: Results) -> Judgement:
    """The average of the release and Shapley's own order blocks alike."""
    b = r["blocks"]
    if b["rank_correlation"] is None or b["again"] is None:
        return "one of the two does not vary", UNTESTABLE
    told = (
        f"rank correlation of the two over blocks {b['rank_correlation']:.2f}; of two samples of Shapley's own "
        f"{b['again']:.2f}"
    )
    return told, OPEN


# -- repairs ------------------------------------------------------------------------------------------------------------


def repair_helps(method: str) -> Callable[[Results], Judgement]:
    """A repair gives back what a cut costs, of the perplexity and of the accuracy."""

    def judge(r: Results) -> Judgement:
        rows = [row for row in _repaired(r) if row["method"] == method]
        better, worse = {}, {}
        for measure in ("log_perplexity", "accuracy"):
            told = [row for row in rows if (row[f"{measure}_gain_p"] or 1.0) < 0.05]
            better[measure] = sum(row[f"{measure}_gain"] > 0 for row in told)
            worse[measure] = len(told) - better[measure]
        says = (
            f"of {len(rows)} cuts, perplexity falls in {better['log_perplexity']} and rises in {worse['log_perplexity']}; "
            f"accuracy rises in {better['accuracy']} and falls in {worse['accuracy']}"
        )
        return says, tally(sum(better.values()), sum(worse.values()), 2 * len(rows))

    return judge


def repair_beats(first: str, second: str) -> Callable[[Results], Judgement]:
    """One repair leaves a lower perplexity, and a higher accuracy, than another."""

    def judge(r: Results) -> Judgement:
        by = {(row["chosen_by"], row["size"], row["method"]): row for row in _repaired(r)}
        pairs = [
            (row, by[*key[:2], second])
            for key, row in by.items()
            if key[2] == first and (*key[:2], second) in by
        ]
        lower = sum(_worth(a) > _worth(b) for a, b in pairs)
        higher = sum(a["accuracy"] > b["accuracy"] for a, b in pairs)
        told = (
            f"of {len(pairs)} cuts, perplexity is lower with {first} in {lower} and accuracy higher in {higher} (no test of "
            "single differences)"
        )
        both = {lower, higher}
        if not pairs:
            return told, UNTESTABLE
        return told, HOLDS if both == {len(pairs)} else FAILS if both == {0} else DEPENDS

    return judge


def _repaired(r: Results) -> list[dict[str, Any]]:
    return [row for row in r["rows"] if row["group"] == "criterion" and row["sequential"]]


def _worth(row: dict[str, Any]) -> float:
    """Minus the perplexity, which is null where it is infinite."""
    return float("-inf") if row["perplexity"] is None else -float(row["perplexity"])


def training_is_bounded(r: Results) -> Judgement:
    """Training gives back some of the lost margin, and less than all."""
    rows = [
        row for row in r["pooled"] if row["method"].startswith("lora") and row["recovered_margin"] is not None
    ]
    told = "lost margin back: " + "; ".join(
        f"{row['method']} {row['recovered_margin']:.2f} [{row['recovered_margin_low']:.2f}, "
        f"{row['recovered_margin_high']:.2f}]"
        for row in rows
    )
    part = sum(row["recovered_margin_low"] > 0 and row["recovered_margin_high"] < 1 for row in rows)
    other = sum(row["recovered_margin_high"] <= 0 or row["recovered_margin_low"] >= 1 for row in rows)
    return told if rows else "the cut costs nothing that can be told", tally(part, other, len(rows))
