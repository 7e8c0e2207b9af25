"""The interventions that write what was measured in another run: a mean, a patch, a resampled activation."""

from typing import Any, SupportsIndex

from decision_phases.interventions.arrays import Array
from decision_phases.interventions.builders import single, zero
from decision_phases.interventions.captured import Captured
from decision_phases.interventions.edit import whole_number
from decision_phases.interventions.intervention import Intervention
from decision_phases.interventions.per_question import PerQuestion


def mean(
    site: str,
    layer: SupportsIndex,
    values: Any,
    *,
    head: SupportsIndex | None = None,
    positions: str | None = None,
) -> Intervention:
    """Return the replacement of an activation by its mean over named data.

    Args:
        site: The site.
        layer: The 0-based layer.
        values: The mean itself, `[d]`, or a `Captured`, whose mean over questions and positions is taken.
        head: The 0-based head, at `head_out` and only there.
        positions: Where to write; by default where a capture was made, and `"all"` for an array.

    Returns:
        The intervention.

    Raises:
        InputError: If a name is unknown, the head does not go with the site, or the mean is not one vector.

    Example:
        >>> mean("mlp_out", 3, [0.5, 0.25])
        <Intervention: set mlp_out of layer 3>
    """
    at = positions or (values.positions if isinstance(values, Captured) else "all")
    if isinstance(values, Captured):
        single(
            "set", site, layer, head, at, 0.0
        )  # refuses a wrong site or head before looking into the capture
        values = values.mean(site, layer, None if head is None else whole_number(head, "head"))
    return single("set", site, layer, head, at, Array.of(values, "the mean", ndim=1), label="mean")


def patch(
    site: str,
    layer: SupportsIndex,
    source: Any,
    *,
    head: SupportsIndex | None = None,
    positions: str | None = None,
) -> Intervention:
    """Return the replacement of an activation by each question's own value from another run.

    Args:
        site: The site.
        layer: The 0-based layer.
        source: A `Captured`; or `[question, d]`; or a list of one `[position, d]` for each question.
            Question i of the inputs is given the values of question i of the source.
        head: The 0-based head, at `head_out` and only there.
        positions: Where to write; by default where a capture was made, and `"answer"` for arrays.

    Returns:
        The intervention, which fits inputs of as many questions only.

    Raises:
        InputError: If a name is unknown, the head does not go with the site, or the source has another shape.

    Example:
        >>> source = Captured.from_arrays({("resid_post", 12): [[1.0, 2.0], [3.0, 4.0]]})
        >>> patch("resid_post", layer=12, source=source)
        <Intervention: set resid_post of layer 12 at answer>
    """
    return _from_source("set", site, layer, source, head, positions, label="patch")


def resample(
    site: str,
    layer: SupportsIndex,
    source: Any,
    *,
    head: SupportsIndex | None = None,
    positions: str | None = None,
    seed: SupportsIndex = 0,
) -> Intervention:
    """Return the replacement of an activation by that of another question, drawn at random.

    The draw depends on the seed and the question only, see `resample_index`: edits of one seed take their
    values from the same question.

    Args:
        site: The site.
        layer: The 0-based layer.
        source: A `Captured` of one vector for each question, or `[question, d]`: the questions to draw from.
        head: The 0-based head, at `head_out` and only there.
        positions: Where to write; by default where a capture was made, and `"answer"` for an array.
        seed: The seed.

    Returns:
        The intervention.

    Raises:
        InputError: If a name is unknown, or the source has not at least two questions of one vector each.

    Example:
        >>> resample("mlp_out", 3, [[1.0, 2.0], [3.0, 4.0]])
        <Intervention: resample mlp_out of layer 3 at answer>
    """
    return _from_source("resample", site, layer, source, head, positions, seed=seed, label="resample")


def _from_source(
    op: str,
    site: str,
    layer: SupportsIndex,
    source: Any,
    head: SupportsIndex | None,
    positions: str | None,
    seed: SupportsIndex | None = None,
    label: str = "",
) -> Intervention:
    at = positions or (source.positions if isinstance(source, Captured) else "answer")
    if isinstance(source, Captured):
        zero(
            site, layer, head=head, positions=at
        )  # refuses a wrong site or head before looking into the capture
        rows = source.rows(site, layer, None if head is None else whole_number(head, "head"))
    else:
        rows = PerQuestion.from_arrays(source, "the source")
    return single(op, site, layer, head, at, rows, seed, label)
