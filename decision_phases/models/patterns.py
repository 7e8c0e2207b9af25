"""Where attention looks, and what every token adds to the logits: one sequence at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from decision_phases.errors import InputError
from decision_phases.models.access import ModelAccess
from decision_phases.models.gradients import differentiable, final_residual
from decision_phases.models.hooks import hooking


def attention_from_last(
    model: ModelAccess, tokens: Int[Tensor, " pos"], layers: Sequence[int]
) -> Float[Tensor, "layer head pos"]:
    """How much each head attends to each token from the last one.

    Args:
        model: The model.
        tokens: One sequence.
        layers: Layers to look at.

    Returns:
        Weights that sum to 1 over the tokens (to less in models that attend to a sink of their own).

    Raises:
        InputError: If the model shows no attention weights.

    Example:
        >>> from decision_phases.models import load
        >>> found = attention_from_last(load("tiny-gpt2", quiet=True), torch.tensor([5, 6, 7]), [0, 3])
        >>> found.shape, bool(torch.allclose(found.sum(-1), torch.ones(2, 4)))
        (torch.Size([2, 4, 3]), True)
    """
    kept: dict[int, Tensor] = {}

    def keeping(layer: int, pattern: Tensor) -> None:
        kept[layer] = pattern[0, :, -1].detach()

    points = []
    for layer in layers:
        model.check_layer(layer)
        name = f"blocks.{layer}.attn.hook_pattern"
        if name not in model.tl.hook_dict:
            msg = f"{model.name} ({model.architecture}) has no attention weights to show at layer {layer}"
            raise InputError(msg)
        points.append((model.tl.hook_dict[name], lambda x, layer=layer: keeping(layer, x)))
    with torch.no_grad(), hooking(points):
        model.logits(tokens[None], last_only=True)
    missing = [layer for layer in layers if layer not in kept]
    if missing:
        msg = f"no attention was computed at layer {missing[0]}: it is removed, or its weights are not shown"
        raise InputError(msg)
    return torch.stack([kept[layer] for layer in layers]).float()


def embedding_contributions(
    model: ModelAccess, tokens: Int[Tensor, " pos"], ids: Int[Tensor, " id"]
) -> Float[Tensor, "pos id"]:
    """What the embedding of each token adds to logits at the last token, to first order: gradient times embedding.

    Exact where the model is linear in its embeddings; elsewhere a local account, which does not add up to the logit.

    Args:
        model: The model.
        tokens: One sequence.
        ids: Tokens whose logits are asked about.

    Returns:
        Contributions, in nats.

    Source: gradient × input, Shrikumar et al. (arXiv 1605.01713).

    Example:
        >>> from decision_phases.models import load
        >>> embedding_contributions(load("tiny-gpt2", quiet=True), torch.tensor([5, 6, 7]), torch.tensor([1, 2])).shape
        torch.Size([3, 2])
    """
    leaves: list[Tensor] = []

    def begin(x: Tensor) -> Tensor:
        leaves.append(x.detach().requires_grad_())
        return leaves[-1]

    with differentiable(), model.hooked([(0, "resid_pre", begin)]):
        end = final_residual(model, tokens[None])[0, -1:]
        logits = model.readout(end, ids)[0]
        slopes = [torch.autograd.grad(logit, leaves[-1], retain_graph=True)[0][0] for logit in logits]
    leaf = leaves[-1].detach()[0]
    return torch.stack([(slope * leaf).sum(-1) for slope in slopes], dim=-1).float()
