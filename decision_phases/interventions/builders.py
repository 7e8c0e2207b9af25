"""The interventions by name: each function returns one, and `+` composes them."""

from collections.abc import Iterable, Mapping
from typing import Any, SupportsFloat, SupportsIndex

import numpy as np
from jaxtyping import Float

from decision_phases.errors import InputError, unknown_name
from decision_phases.interventions.arrays import Array
from decision_phases.interventions.edit import PARTS, Edit, whole_number
from decision_phases.interventions.intervention import Intervention
from decision_phases.interventions.per_question import PerQuestion
from decision_phases.interventions.values import Affine, Bottleneck, Noise, Weights


def skip(*layers: SupportsIndex | Iterable[SupportsIndex], part: str = "block") -> Intervention:
    """Return the removal of blocks, or of the attention or the MLP of blocks.

    The residual stream passes a removed part unchanged, and the part is not computed.

    Args:
        *layers: 0-based layers, or iterables of them.
        part: `"block"`, `"attention"` or `"mlp"`.

    Returns:
        The intervention.

    Raises:
        InputError: If no layer is given, one is given twice or is no integer of 0 or more, or the part is
            unknown.

    Example:
        >>> skip(5, 8) + skip(range(10, 14)) + skip(20, part="mlp")
        <Intervention: skip {5, 8, 10..13} + skip mlp {20}>
    """
    if part not in PARTS:
        raise unknown_name("part", part, PARTS)
    given: tuple[object, ...] = layers
    flat: list[object] = []
    for layer in given:
        flat.extend(layer if isinstance(layer, Iterable) else [layer])
    if not flat:
        raise InputError(
            "no layer is given; give at least one, such as skip(5); to remove nothing, use Intervention()."
        )
    return Intervention(tuple(Edit("skip", part, whole_number(layer, "layer")) for layer in flat))


def zero(
    site: str, layer: SupportsIndex, *, head: SupportsIndex | None = None, positions: str = "all"
) -> Intervention:
    """Return the replacement of an activation by zero.

    Args:
        site: The site, such as `"attn_out"`, `"mlp_out"` or `"head_out"`.
        layer: The 0-based layer.
        head: The 0-based head, at `head_out` and only there.
        positions: Where: `"all"`, `"answer"`, `"question"` or `"option:<i>"`.

    Returns:
        The intervention.

    Raises:
        InputError: If a name is unknown, or the head does not go with the site.

    Example:
        >>> zero("head_out", 3, head=1)
        <Intervention: set head 1 of layer 3>
    """
    return single("set", site, layer, head, positions, 0.0, label="zero")


def steer(
    site: str,
    layer: SupportsIndex,
    direction: Any,
    strength: SupportsFloat = 1.0,
    *,
    head: SupportsIndex | None = None,
    positions: str = "all",
) -> Intervention:
    """Return the addition of `strength · direction` to an activation.

    Args:
        site: The site.
        layer: The 0-based layer.
        direction: `[d]`, used as it is: it is not normalised.
        strength: The factor.
        head: The 0-based head, at `head_out` and only there.
        positions: Where to add.

    Returns:
        The intervention.

    Raises:
        InputError: If a name is unknown, the direction is not one vector, or the product is not finite.

    Example:
        >>> steer("resid_post", 3, [1.0, 0.0], strength=2).edits[0].value.data.tolist()
        [2.0, 0.0]
    """
    vector: Float[np.ndarray, " d"] = Array.of(direction, "the steering direction", ndim=1).data
    with np.errstate(over="ignore"):  # what overflows is refused below, by name
        scaled = vector * vector.dtype.type(float(strength))
    value = Array.of(scaled, "the steering direction times its strength")
    return single("add", site, layer, head, positions, value, label="steer")


def scale(
    site: str,
    layer: SupportsIndex,
    factor: SupportsFloat,
    *,
    head: SupportsIndex | None = None,
    positions: str = "all",
) -> Intervention:
    """Return the multiplication of an activation by one number.

    Args:
        site: The site.
        layer: The 0-based layer.
        factor: The number.
        head: The 0-based head, at `head_out` and only there.
        positions: Where to multiply.

    Returns:
        The intervention.

    Raises:
        InputError: If a name is unknown, or the factor is not finite.

    Example:
        >>> scale("attn_out", 3, 0.5)
        <Intervention: scale attn_out of layer 3>
    """
    return single("scale", site, layer, head, positions, float(factor))


def noise(
    layer: SupportsIndex,
    variance: SupportsFloat,
    relative_to: str = "token_std",
    positions: str = "all",
    seed: SupportsIndex = 0,
    site: str = "resid_post",
    *,
    head: SupportsIndex | None = None,
) -> Intervention:
    """Return the addition of Gaussian noise: `h' = h + √variance · σ · N(0, I)`.

    Args:
        layer: The 0-based layer.
        variance: The variance, not the standard deviation; 0 or more.
        relative_to: `"token_std"`: σ is the standard deviation of each token's activation over its channels;
            `"absolute"`: σ is 1.
        positions: Where to add.
        seed: The seed; the noise is determined by seed, question and place, see `noise_values`.
        site: The site.
        head: The 0-based head, at `head_out` and only there.

    Returns:
        The intervention.

    Raises:
        InputError: If a name is unknown, or the variance is negative or not finite.

    Example:
        >>> noise(layer=3, variance=0.02, relative_to="token_std", seed=0)
        <Intervention: noise resid_post of layer 3>
    """
    return single("noise", site, layer, head, positions, Noise(float(variance), relative_to), seed=seed)


def insert(layer: SupportsIndex, weight: Any, bias: Any = None) -> Intervention:
    """Return the insertion of a map before a block: what enters it becomes `x @ weight + bias`.

    Together with `skip(layer)` the map takes the place of the block.

    Args:
        layer: The 0-based layer before which, or instead of which, the map is put.
        weight: `[d, d]`, applied from the right.
        bias: `[d]`, or None for none.

    Returns:
        The intervention.

    Raises:
        InputError: If the weight is not square, or the bias does not fit it.

    Example:
        >>> skip(3) + insert(3, np.eye(8))
        <Intervention: skip {3} + map resid_pre of layer 3>
    """
    value = Affine(
        Array.of(weight, "the weight of the map", ndim=2),
        None if bias is None else Array.of(bias, "the bias of the map", ndim=1),
    )
    return single("map", "resid_pre", layer, None, "all", value, label="insert")


def weights(layer: SupportsIndex, parameters: Mapping[str, Any]) -> Intervention:
    """Return the replacement of parameters of one block.

    Args:
        layer: The 0-based layer.
        parameters: Name of the parameter within the block, as `ModelAccess.parameters` lists them
            ("mlp.down_proj.weight"), to its replacement, of the same shape: numbers replace it; booleans are a
            mask, which sets it to 0 where it is False; a LowRank is added to it.

    Returns:
        The intervention.

    Raises:
        InputError: If no parameter is given, or a replacement is no array of finite numbers or booleans.

    Example:
        >>> weights(3, {"mlp.weight": np.array([[True, False]])})
        <Intervention: weights block of layer 3 (mlp.weight)>
    """
    return single("weights", "block", layer, None, "all", Weights.from_mapping(parameters))


def single(
    op: str,
    site: str,
    layer: SupportsIndex,
    head: SupportsIndex | None,
    positions: str,
    value: float | Array | PerQuestion | Noise | Affine | Bottleneck | Weights,
    seed: SupportsIndex | None = None,
    label: str = "",
) -> Intervention:
    """Return the intervention of one edit; the arguments are those of `Edit`, of any integer type.

    Example:
        >>> single("scale", "mlp_out", 3, None, "all", 2.0)
        <Intervention: scale mlp_out of layer 3>
    """
    drawn = None if seed is None else whole_number(seed, "seed")
    edit = Edit(
        op,
        site,
        whole_number(layer, "layer"),
        None if head is None else whole_number(head, "head"),
        positions,
        value,
        drawn,
        label,
    )
    return Intervention((edit,))
