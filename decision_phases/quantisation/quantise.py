"""`quantise`: round the weights of blocks to a few bits, as an intervention like any other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import SupportsIndex

import numpy as np
import torch

from decision_phases.engine.lower import check_variant, replaced_weights
from decision_phases.errors import InputError
from decision_phases.interventions import Edit, Intervention, Weights, check_intervention
from decision_phases.models import ModelAccess, as_model
from decision_phases.models.gradients import quantised
from decision_phases.models.matrices import WeightMatrix, chosen_matrices, chosen_parts
from decision_phases.models.parts import part_parameters
from decision_phases.quantisation.result import Quantisation, Quantised
from decision_phases.quantisation.rounding import rounded
from decision_phases.quantisation.scheme import Scheme


def quantise(
    model: object,
    scheme: str | Scheme = "int8",
    *,
    under: Intervention | None = None,
    layers: Iterable[SupportsIndex] | None = None,
    parts: str | Sequence[str] | None = None,
) -> Quantised:
    """Round the weights of the blocks to the nearest number of a few bits, without any data (round-to-nearest).

    All matrices of the blocks are rounded, those of experts each by itself; embedding, unembedding, norms, biases,
    convolutions and routers are left alone. The rounded weights are computed with in the model's own number format, so
    this says what quantisation costs, and how large the model would be, not how fast it would be; `Scheme.torchao` is
    what makes layers that really keep these weights so.

    Args:
        model: What `load` gives or takes.
        scheme: "int8" for a scale a row, "int4:64" for one for every 64 weights of a row, "int4:32:asymmetric" for
            grids that need not pass through 0 (as in the GGUF format Q4_1), or a `Scheme`.
        under: What else is done to the model, such as a cut: what it removes is not quantised, and weights that it
            changes are rounded as it leaves them. The result is to be added to it. Maps that it inserts stay as they
            are.
        layers: Layers to quantise; all by default.
        parts: "attention", "mlp" or both; by default all that a block has.

    Returns:
        The intervention, `under` not included; `.report` says what it costs, how many bytes it saves, and whether the
        weights lay on the grid already.

    Raises:
        InputError: If model, scheme and intervention do not fit, a group does not divide the rows of a matrix, or
            weights are too large for its scales.

    Example:
        >>> from decision_phases.interventions import skip
        >>> found = quantise("tiny-llama", "int4:16", under=skip(2))
        >>> skip(2) + found, f"{found.report.bits:.1f} bits"
        (<Intervention: skip {2} + int4:16 {0, 1, 3..5}>, '5.0 bits')
    """
    check_intervention("under", under or Intervention())
    how, wanted = Scheme.of(scheme), chosen_parts(parts)
    access, base = as_model(model), under or Intervention()
    targets = quantisable(access, how, base, layers=layers, parts=wanted)
    label = str(how) + ("" if wanted is None else f" {' '.join(wanted)}")
    edits, rows = [], []
    for layer, matrices in targets.items():
        with replaced_weights(access, base.at(layer)), torch.no_grad():
            made = [_rounded(matrix, how, layer) for matrix in matrices]
        values = {row.matrix.name: values for row, values in made}
        edits.append(Edit("weights", "block", layer, value=Weights.from_mapping(values), label=label))
        rows += [row for row, _ in made]
    return Quantised(tuple(edits), _report(access, how, base, rows))


def quantisable(
    model: ModelAccess,
    how: Scheme,
    under: Intervention,
    *,
    layers: Iterable[SupportsIndex] | None = None,
    parts: tuple[str, ...] | None = None,
) -> dict[int, tuple[WeightMatrix, ...]]:
    """Find what is to be rounded, and refuse what cannot be, before anything is.

    Args:
        model: The model.
        how: The scheme.
        under: What else is done to the model.
        layers: Layers to quantise; all by default.
        parts: "attention", "mlp" or both; None for all.

    Returns:
        Layer → its matrices.

    Raises:
        InputError: If model, scheme and intervention do not fit, or a group does not divide the rows of a matrix.
    """
    check_variant(model, under)
    _check_model(model, how, under)
    targets = chosen_matrices(model, under, layers=layers, parts=parts, made="quantised")
    for matrices in targets.values():
        for matrix in matrices:
            how.check(matrix.shape[2], matrix.name)
    return targets


@dataclass(frozen=True, eq=False)
class _Row:
    """What happened to one matrix."""

    layer: int
    matrix: WeightMatrix
    nonzero: int
    on_grid: int
    lost_zeros: int
    squared_error: float
    squared: float
    n_bytes: int


def _rounded(matrix: WeightMatrix, how: Scheme, layer: int) -> tuple[_Row, torch.Tensor]:
    own = matrix.parameter.detach()
    stack = matrix.stacked(own)
    found = [rounded(weight, how) for weight in stack]
    if not all(one.values.isfinite().all() for one in found):
        msg = (
            f"{matrix.name} of layer {layer} has weights from {float(own.min()):.3g} to {float(own.max()):.3g}, for "
            f"which {how.scales} holds no scale; give a Scheme with scales='float32', or leave it out with layers="
        )
        raise InputError(msg)
    new = matrix.unstacked(torch.stack([one.values for one in found])).to(own.dtype)
    row = _Row(
        layer,
        matrix,
        int((own != 0).sum()),
        sum(one.on_grid for one in found),
        int(((own == 0) & (new != 0)).sum()),
        float((new.double() - own.double()).square().sum()),
        float(own.double().square().sum()),
        how.n_bytes(own.numel(), matrix.shape[2]),
    )
    return row, new


def _check_model(model: ModelAccess, how: Scheme, under: Intervention) -> None:
    why = quantised(model)
    if why:
        msg = f"{model.name} is quantised already ({why}), so there is nothing to round; load it unquantised"
        raise InputError(msg)
    if model.processed:
        msg = (
            f"{how} rounds weights as published, but those of {model.name} are processed: norms were folded into them "
            "and they were centred, so that they would be rounded to other grids than the model's own; load it without "
            "processing (dp.load does)"
        )
        raise InputError(msg)
    if under.needs_positions or under.per_question:
        msg = (
            f"{under} depends on questions or on positions in them, which weights do not know; quantise under what is "
            "the same everywhere"
        )
        raise InputError(msg)


def _report(model: ModelAccess, how: Scheme, under: Intervention, rows: Sequence[_Row]) -> Quantisation:
    intact = sum(_bytes(parameter) for parameter in model.unique_parameters())
    before = intact - _removed_bytes(model, under) + added_bytes(model, under)
    saved = sum(_bytes(row.matrix.parameter) - row.n_bytes for row in rows)

    def column(name: str) -> np.ndarray:
        return np.array([getattr(row, name) for row in rows])

    return Quantisation(
        scheme=how,
        layers=tuple(row.layer for row in rows),
        names=tuple(row.matrix.name for row in rows),
        parts=tuple(row.matrix.part for row in rows),
        sizes=np.array([row.matrix.parameter.numel() for row in rows]),
        nonzero=column("nonzero"),
        on_grid=column("on_grid"),
        lost_zeros=column("lost_zeros"),
        squared_error=column("squared_error"),
        squared=column("squared"),
        n_bytes=column("n_bytes"),
        whole=before - saved,
        before=before,
        intact=intact,
        n_layers=model.n_layers,
        under=under,
        model=model.name,
        weights=model.weights,
        dtype=str(model.dtype).removeprefix("torch."),
    )


def _bytes(parameter: torch.Tensor) -> int:
    return parameter.numel() * parameter.element_size()


def _removed_bytes(model: ModelAccess, under: Intervention) -> int:
    return sum(
        _bytes(parameter)
        for edit in under
        if edit.op == "skip"
        for parameter in part_parameters(model, edit.layer, edit.site).values()
    )


def added_bytes(model: ModelAccess, under: Intervention) -> int:
    """Bytes of what an intervention adds to a model: maps and vectors, in the model's own number format.

    Args:
        model: The model.
        under: The intervention; new values of weights add nothing.

    Returns:
        The bytes.
    """
    other = Intervention(tuple(edit for edit in under if edit.op != "weights"))
    each = torch.empty((), dtype=model.dtype).element_size()
    return each * sum(array.size for array in other.arrays().values())
