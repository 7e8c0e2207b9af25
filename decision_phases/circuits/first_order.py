"""Gradients of a pair's margin with respect to the activations at the places of a sweep."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from decision_phases.circuits.cells import Cell
from decision_phases.engine import Batch, applied, make_batches
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.models.gradients import differentiable, final_residual, quantised
from decision_phases.tasks import EncodedQuestions

MAX_TOKENS = 1024
"""In a batch: every layer's activations are held for the backward pass."""
#: The stream between attention and MLP is the stream before plus what attention adds, so its gradient is that of the
#: latter; a bridge's own hook there sits where the stream has branched already.
_SAME_GRADIENT = {"resid_mid": "attn_out"}
_Place = tuple[int, str]


def margin_gradients(
    model: ModelAccess,
    encoded: EncodedQuestions,
    tokens: Sequence[tuple[int, ...]],
    under: Intervention,
    cells: Sequence[Cell],
    *,
    progress: bool = False,
) -> dict[Cell, list[np.ndarray]]:
    """Take the gradient of every question's margin at every place.

    Args:
        model: The model.
        encoded: The prompts.
        tokens: For every question, the token whose logit counts for, and the one that counts against.
        under: The intervention that the model runs under.
        cells: The places.
        progress: Show a bar.

    Returns:
        Place → for every question `[d]` at the answer, else `[position, d]`.
    """
    found: dict[Cell, list[np.ndarray]] = {cell: [np.empty(0)] * len(encoded) for cell in cells}
    batches = make_batches(encoded.sequences, device=model.device, max_tokens=MAX_TOKENS)
    for batch in tqdm(batches, disable=not progress, desc="gradients"):
        slopes = _of_batch(model, batch, tokens, under, {_place(cell) for cell in cells})
        for cell in cells:
            whole = slopes[_place(cell)]
            own = whole if cell.head < 0 else whole[:, :, cell.head]
            at = batch.cells(cell.position)
            for row, sequence in enumerate(batch.sequences):
                values = own[row, at.columns[at.rows == row].to(own.device)].double().cpu().numpy()
                found[cell][sequence.owner] = values[0] if cell.position == "answer" else values
    return found


def check_gradients(model: ModelAccess) -> None:
    """Refuse a model that no gradients can be taken of.

    Args:
        model: The model.

    Raises:
        InputError: If the weights are quantised.
    """
    why = quantised(model)
    if why:
        msg = f"{model.name} has no gradients, because {why}; use patch_sweep, which needs none"
        raise InputError(msg)


def _of_batch(
    model: ModelAccess,
    batch: Batch,
    tokens: Sequence[tuple[int, ...]],
    under: Intervention,
    places: set[_Place],
) -> dict[_Place, Tensor]:
    kept: dict[_Place, Tensor] = {}

    def keep(at: _Place) -> Callable[[Tensor], Tensor]:
        def hook(x: Tensor) -> Tensor:
            kept[at] = x.clone()  # returned, so that what is kept is what the model goes on with
            return kept[at]

        return hook

    ordered = sorted(places)
    hooks = [(0, "resid_pre", lambda x: x.detach().requires_grad_()), *((*at, keep(at)) for at in ordered)]
    with differentiable(), applied(model, under, batch.sequences), model.hooked(hooks):
        end = final_residual(model, batch.tokens)
        read = batch.cells("read")
        rows = end[read.rows.to(end.device), read.columns.to(end.device)]
        wanted = sorted({token for s in batch.sequences for token in tokens[s.owner][:2]})
        logits = model.readout(rows, torch.tensor(wanted, device=rows.device))
        signs = torch.zeros_like(logits)
        for row, sequence in enumerate(batch.sequences):
            signs[row, wanted.index(tokens[sequence.owner][0])] = 1.0
            signs[row, wanted.index(tokens[sequence.owner][1])] = -1.0
        slopes = torch.autograd.grad(
            (logits * signs).sum(), [kept[at] for at in ordered], allow_unused=True, materialize_grads=True
        )
    return dict(zip(ordered, slopes, strict=True))


def _place(cell: Cell) -> _Place:
    return cell.layer, _SAME_GRADIENT.get(cell.site, cell.site)
