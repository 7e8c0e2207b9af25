"""Option Frequency of a run: of all questions where they share their options, else of the categories that do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import entropy

from decision_phases.plots import CategoryFrequency
from decision_phases.report.curves import number
from decision_phases.report.folder import RunFolder

MOST = 12
"""Most categories that are drawn."""


@dataclass(frozen=True, eq=False)
class FrequencyMean:
    """Option Frequency of several categories as two numbers a layer, each a mean over the categories.

    Attributes:
        entropy: Entropy over its largest value: 0 if one option is always chosen, 1 if all are chosen alike.
        distance: Total variation distance from the frequency of the right answers: 0 if equal, 1 if disjoint.
        gold_entropy: The same entropy of the right answers.
    """

    entropy: Float[np.ndarray, " layer"]
    distance: Float[np.ndarray, " layer"]
    gold_entropy: float


def category_frequencies(run: RunFolder) -> tuple[CategoryFrequency, ...]:
    """Return Option Frequency of every category that shares one closed set of options.

    Args:
        run: A run folder.

    Returns:
        The categories, those with most questions first; none if all questions share one set already.

    Example:
        >>> from pathlib import Path
        >>> category_frequencies(RunFolder(Path("."), {}, {}, None, {}, complete=False))
        ()
    """
    given: Mapping[str, Any] = run.summary.get("option_frequency_by_category") or {}
    sizes = _sizes(run)
    found = [
        CategoryFrequency(
            name,
            sizes.get(name, 0),
            tuple(entry["options"]),
            np.array([_row(row, len(entry["options"])) for row in entry["values"]], dtype=np.float64),
            np.array([number(share) for share in entry["gold"]], dtype=np.float64),
        )
        for name, entry in given.items()
    ]
    return tuple(sorted(found, key=lambda category: (-category.n_questions, category.name)))


def mean_frequency(categories: Sequence[CategoryFrequency]) -> FrequencyMean:
    """Return the two numbers a layer that sum the categories up.

    Args:
        categories: At least one.

    Returns:
        Means over the categories, each counting alike.

    Example:
        >>> shares = np.array([[1.0, 0.0], [0.5, 0.5]])
        >>> found = mean_frequency([CategoryFrequency("seas", 4, ("a", "b"), shares, np.array([0.5, 0.5]))])
        >>> found.entropy.tolist(), found.distance.tolist(), found.gold_entropy
        ([0.0, 1.0], [0.5, 0.0], 1.0)
    """
    distances = [np.abs(c.values - c.gold).sum(axis=1) / 2 for c in categories]
    return FrequencyMean(
        np.mean([_evenness(c.values) for c in categories], axis=0),
        np.mean(distances, axis=0),
        float(np.mean([_evenness(c.gold[None])[0] for c in categories])),
    )


def tell_frequency(run: RunFolder) -> str:
    """Return what Option Frequency shows, in sentences made from its numbers.

    Args:
        run: A run folder.

    Returns:
        Sentences, or why it is undefined.

    Example:
        >>> from pathlib import Path
        >>> tell_frequency(RunFolder(Path("."), {}, {}, None, {}, complete=False))
        'Option Frequency is undefined for these questions: it was not measured.'
    """
    frequency = run.summary.get("option_frequency")
    if frequency is not None:
        return _tell_all(frequency)
    categories = category_frequencies(run)
    if not categories:
        reason = run.summary.get("option_frequency_reason") or "it was not measured"
        return f"Option Frequency is undefined for these questions: {reason}."
    return f"{_tell_what(categories)} {_tell_means(run, mean_frequency(categories))}"


def _tell_all(frequency: Mapping[str, Any]) -> str:
    shares = [
        (share, -layer, name)
        for layer, row in enumerate(frequency["values"])
        for share, name in zip(row or (), frequency["options"], strict=False)
        if share is not None
    ]
    if not shares:
        return "No layer was read out."
    share, layer, name = max(shares)
    return (
        f"How often each option would be chosen if the model answered from that layer. The most one-sided "
        f"is layer {-layer}, which would answer “{name}” to {share:.0%} of the questions."
    )


def _tell_what(categories: Sequence[CategoryFrequency]) -> str:
    sizes = sorted({category.n_questions for category in categories})
    each = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    counted = f", with {each} question{'s' * (sizes[-1] != 1)} each," if sizes[0] else ""
    one = len(categories) == 1
    return (
        f"How often each option would be chosen if the model answered from that layer. The questions as a whole do "
        f"not share one set of options, but {'one category does' if one else f'{len(categories)} categories do'}"
        f"{counted} so it is counted within {'it' if one else 'each of them'}."
    )


def _tell_means(run: RunFolder, mean: FrequencyMean) -> str:
    layers = np.flatnonzero(~np.isnan(mean.entropy))
    if not layers.size:
        return "No layer was read out."
    last = layers[-1]
    end = (
        f"The last layer has an entropy of {mean.entropy[last]:.2f}, where the right answers have "
        f"{mean.gold_entropy:.2f}, and a distance of {mean.distance[last]:.2f}."
    )
    silent = [layer for layer in (run.summary.get("phases") or {}).get("silent", []) if layer in layers]
    if not silent:
        low, high = np.nanmin(mean.entropy), np.nanmax(mean.entropy)
        return f"Mean entropy lies between {low:.2f} and {high:.2f}. {end}"
    before = mean.entropy[silent]
    return (
        f"In the Silent Phase the mean entropy of the choices is {before.mean():.2f}, at most {before.max():.2f}"
        f"{_one_sided(before.mean())}; their distance from the frequency of the right answers is "
        f"{mean.distance[silent].mean():.2f} on average. {end}"
    )


def _one_sided(value: float | np.floating[Any]) -> str:
    return ": mostly one and the same option, whatever the question" if value < 0.25 else ""


def _evenness(frequency: Float[np.ndarray, "layer option"]) -> Float[np.ndarray, " layer"]:
    return np.asarray(entropy(frequency, axis=1) / np.log(frequency.shape[1]))


def _row(row: Sequence[float | int | None] | None, n_options: int) -> list[float]:
    return [float("nan")] * n_options if row is None else [number(share) for share in row]


def _sizes(run: RunFolder) -> dict[str, int]:
    if run.decisions is None:
        return {}
    counts = run.decisions.groupby("category")["question_id"].nunique()
    return {str(name): int(count) for name, count in counts.items()}
