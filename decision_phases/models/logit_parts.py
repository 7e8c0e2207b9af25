"""What a logit is the sum of: the final norm with its scale held, and what single heads add to the residual stream.

Nothing here depends on a family. A norm is measured: what it makes of zero is its bias, what it makes of a constant
says whether it centres, what it makes of a vector of equal sizes is its weight. Heads are told apart by running the
output projection on one of them at a time; that they add up to what the attention adds is checked beforehand.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from decision_phases.errors import InputError
from decision_phases.models.access import ModelAccess
from decision_phases.models.twins import InDouble

#: What a block adds to the stream.
ADDED = ("attn_out", "mlp_out")
_PROBE = 4096.0  # large beside what norms add to a variance, and still a number in float16
_PROBE_TOKENS = 4


@dataclass(frozen=True, eq=False)
class HeldNorm:
    """A norm with its scale held at what it is for some vectors: an affine map for each of them.

    Attributes:
        weight: What channels are multiplied with.
        bias: What is added in the end.
        centred: Whether the mean over channels is taken off first, as LayerNorm does and RMSNorm does not.
        scale: For every vector, what it is multiplied with.
        normed: What the norm made of every vector.
    """

    weight: Float[Tensor, " d"]
    bias: Float[Tensor, " d"]
    centred: bool
    scale: Float[Tensor, " row"]
    normed: Float[Tensor, "row d"]

    def of(self, parts: Float[Tensor, "row part d"]) -> Float[Tensor, "row part d"]:
        """What becomes of parts of the vectors, without the bias; it is linear, so parts add up to the whole.

        Args:
            parts: Parts of every vector.

        Returns:
            The normed parts.
        """
        inner = parts - parts.mean(-1, keepdim=True) if self.centred else parts
        return inner * self.weight * self.scale[:, None, None]

    def read_by(self, columns: Float[Tensor, "row d column"]) -> Float[Tensor, "row d column"]:
        """What reads the same off a part of a vector as columns read off the normed part.

        Args:
            columns: Directions behind the norm.

        Returns:
            Directions in front of it.
        """
        before = columns * self.weight[:, None] * self.scale[:, None, None]
        return before - before.mean(1, keepdim=True) if self.centred else before


def held_norm(norm: Callable[[Tensor], Tensor], x: Float[Tensor, "row d"]) -> HeldNorm:
    """Hold the scale of a norm at what it is for some vectors.

    Args:
        norm: LayerNorm or RMSNorm in any form, as a function of `[1, row, d]`.
        x: The vectors, in the number format that the norm takes.

    Returns:
        The norm as a map of their parts, in float64.

    Raises:
        InputError: If the norm is not such a map.

    Example:
        >>> norm = torch.nn.LayerNorm(4, dtype=torch.float64)
        >>> x = torch.tensor([[1.0, 2.0, 4.0, 8.0]], dtype=torch.float64)
        >>> held = held_norm(norm, x)
        >>> held.centred, bool(torch.allclose(held.of(x[:, None])[:, 0] + held.bias, held.normed))
        (True, True)
    """

    def run(rows: Tensor) -> Tensor:
        out: Tensor = norm(rows[None])[0]
        return out.detach().double().cpu()

    d = x.shape[-1]
    sizes = torch.full((1, d), _PROBE, dtype=x.dtype, device=x.device)
    signs = torch.ones_like(sizes)
    signs[:, 1::2] = -1
    with torch.no_grad(), InDouble() if x.dtype == torch.float64 else nullcontext():
        bias, level, probe, normed = (run(v) for v in (torch.zeros_like(sizes), sizes, sizes * signs, x))
    bias, known, vectors = bias[0], (sizes * signs).double().cpu(), x.detach().double().cpu()
    centred = bool((level - bias).abs().max() <= 1e-3 * (probe - bias).abs().max())
    if centred:
        known, vectors = known - known.mean(), vectors - vectors.mean(-1, keepdim=True)
    weight = ((probe - bias) / (known / known.square().mean().sqrt()))[0]
    along, added = vectors * weight, normed - bias
    square = along.square().sum(-1)
    scale = torch.where(square > 0, (added * along).sum(-1) / square.clamp_min(1e-300), 0.0)
    if ((added - scale[:, None] * along).norm(dim=-1) > _tolerance(x.dtype) * added.norm(dim=-1)).any():
        msg = (
            "the norm is neither a LayerNorm nor an RMSNorm: it is no linear map once its scale is held, so what comes "
            "out of it cannot be attributed to parts"
        )
        raise InputError(msg)
    return HeldNorm(weight, bias, centred, scale, normed)


def head_outputs(
    model: ModelAccess, layer: int, z: Float[Tensor, "cell head d_head"], factor: float
) -> tuple[Float[Tensor, "cell head d_model"], Float[Tensor, "cell d_model"]]:
    """What every head adds to the residual stream, and what the attention adds that is of no head.

    Where a family norms what its attention puts out, the scale of that norm is held.

    Args:
        model: The model.
        layer: 0-based index of the block.
        z: What the heads hand to the output projection, site `head_out`.
        factor: What the family multiplies attention's output with, of `head_factors`.

    Returns:
        By head, and the bias of the output projection (and of the norm behind it), in float64.

    Raises:
        InputError: If the family's output projection is not known.
    """
    with torch.no_grad(), InDouble() if z.dtype == torch.float64 else nullcontext():
        each, bias = _projected(model, layer, z)
    rest = bias.expand(len(z), -1)
    norm: Any = getattr(model.blocks[layer], "ln1_post", None)
    if norm is not None:
        total = (each.sum(1) + rest).to(z.dtype).to(z.device)
        held = held_norm(getattr(norm, "original_component", None) or norm, total)
        each, rest = held.of(each), held.of(rest[:, None])[:, 0] + held.bias
    return factor * each, factor * rest


def head_factors(model: ModelAccess, *, heads: bool = True) -> tuple[float, ...]:
    """Check on a few tokens that attention and MLPs, and heads, add up to what blocks add to the residual stream.

    Args:
        model: The model.
        heads: Whether heads are wanted as well.

    Returns:
        For every layer, what the family multiplies the attention's output with (1 for most); empty without heads.

    Raises:
        InputError: If the model lacks a site, or parts do not add up; it names the site.

    Example:
        >>> from decision_phases.models import load
        >>> [round(factor, 6) for factor in head_factors(load("tiny-granite", quiet=True))[:2]]
        [0.5, 0.5]
    """
    sites = ("resid_pre", *ADDED, "resid_post", *(("head_out",) if heads else ()))
    seen: dict[tuple[int, str], Tensor] = {}

    def keep(layer: int, site: str) -> Callable[[Tensor], None]:
        def look(x: Tensor) -> None:
            seen[layer, site] = x[0].detach().clone()

        return look

    tokens = torch.arange(1, 1 + _PROBE_TOKENS, device=model.device)[None] % model.d_vocab
    looks = [(layer, site, keep(layer, site)) for layer in range(model.n_layers) for site in sites]
    with torch.no_grad(), model.hooked(looks):
        model.logits(tokens, last_only=True)
    factors = []
    for layer in range(model.n_layers):
        before, *added, after = (
            seen[layer, site].double().cpu() for site in ("resid_pre", *ADDED, "resid_post")
        )
        if not _equal(before + sum(added), after, model.dtype):
            msg = (
                f"{model.name} ({model.architecture}): attn_out and mlp_out of layer {layer} do not add up to what the "
                "block adds to the residual stream, so a decision cannot be attributed to them"
            )
            raise InputError(msg)
        if heads:
            factors.append(_factor(model, layer, seen[layer, "head_out"], added[0]))
    return tuple(factors)


def _factor(model: ModelAccess, layer: int, z: Tensor, attention: Tensor) -> float:
    problem = ""
    if z.ndim == 3 and tuple(z.shape[1:]) == (model.n_heads, model.d_head):
        each, rest = head_outputs(model, layer, z, 1.0)
        total = each.sum(1) + rest
        square = float(total.square().sum())
        factor = float((attention * total).sum()) / square if square > 0 else 1.0
        if _equal(factor * total, attention, model.dtype):
            return factor
        problem = "through the output projection they do not add up to attn_out"
    else:
        problem = f"it has the shape {tuple(z.shape)} for {model.n_heads} heads of {model.d_head}"
    msg = (
        f"{model.name} ({model.architecture}): head_out of layer {layer} is not what heads add ({problem}), so "
        "attention cannot be attributed to heads; use heads=False"
    )
    raise InputError(msg)


def _projected(
    model: ModelAccess, layer: int, z: Tensor
) -> tuple[Float[Tensor, "cell head d_model"], Float[Tensor, " d_model"]]:
    """What the output projection makes of each head, and its bias."""
    attention: Any = getattr(model.blocks[layer], "attn", None)
    project: Any = getattr(getattr(attention, "o", None), "original_component", None)
    if project is not None:
        cells, heads, width = z.shape
        alone = z.new_zeros(cells, heads, heads, width)
        alone[:, range(heads), range(heads)] = z
        bias = project(z.new_zeros(1, heads * width))[0].double()
        each = project(alone.reshape(cells * heads, heads * width)).double() - bias
        return each.reshape(cells, heads, -1).cpu(), bias.cpu()
    if isinstance(getattr(attention, "W_O", None), Tensor):
        each = torch.einsum("chd,hdm->chm", z, attention.W_O).double()
        return each.cpu(), attention.b_O.detach().double().cpu()
    msg = (
        f"{model.name} ({model.architecture}): the output projection of the attention of layer {layer} is not known, "
        "so head_out cannot be followed to the residual stream; use heads=False"
    )
    raise InputError(msg)


def _equal(a: Tensor, b: Tensor, dtype: torch.dtype) -> bool:
    return bool((a - b).norm() <= _tolerance(dtype) * b.norm() + 1e-12)


def _tolerance(dtype: torch.dtype) -> float:
    """Relative rounding that is let pass; norms cast to float32 whatever the model's number format."""
    return float(max(1e-6, min(0.1, 1e4 * torch.finfo(dtype).eps)))
