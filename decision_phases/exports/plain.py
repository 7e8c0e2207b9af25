"""Changes of weights under the names of a plain Hugging Face model, which the loaded one may have divided."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from decision_phases.engine.lower import replaced_weights
from decision_phases.interventions import Intervention, Weights
from decision_phases.models import ModelAccess
from decision_phases.models.block_list import block_prefix
from decision_phases.models.matrices import WeightMatrix
from decision_phases.models.plain_matrices import plain_matrices


@dataclass(frozen=True, eq=False)
class PlainPlace:
    """Where a plain model keeps a parameter of a block.

    Attributes:
        name: The parameter of the plain model.
        rows: Which of its rows (`[out, in]`; of a bias, which of its entries) are meant; None for all as they are.
        matrix: The matrix of the loaded model that these rows are; None for a bias.
        turned: Whether the plain model keeps its matrix the other way round, `[in, out]`.
        factor: What the plain model multiplies with that the loaded one has in its weights already.
    """

    name: str
    rows: Tensor | None = None
    matrix: WeightMatrix | None = None
    turned: bool = False
    factor: float = 1.0

    def write(self, own: dict[str, Tensor], value: Tensor) -> None:
        """Put a parameter of the loaded model there.

        Args:
            own: The parameters of the plain model; the one that is meant is changed in place, or replaced as a whole.
            value: The parameter, as the loaded model has it.
        """
        whole = own[self.name]
        if self.rows is None:
            own[self.name] = self.factor * value.to(whole)
            return
        rows = value if self.matrix is None else self.matrix.stacked(value)[0]
        (whole.T if self.turned else whole)[self.rows] = rows.to(whole)


def plain_places(
    model: ModelAccess, hf: nn.Module, layer: int, names: Collection[str]
) -> dict[str, PlainPlace]:
    """Find where a plain model keeps parameters of a block.

    Args:
        model: The loaded model, without any change of weights.
        hf: The same, untouched, in the same number format.
        layer: 0-based index of the block.
        names: Parameters, by their names in `ModelAccess.parameters`.

    Returns:
        Name → place, of those that it keeps.
    """
    prefix, own, every = f"{block_prefix(hf)}.{layer}", hf.state_dict(), model.parameters(layer)
    found, divided = {}, []
    for name in names:
        plain = f"{prefix}.{name}"
        if plain in own and own[plain].shape == every[name].shape:
            factor = _factor(own[plain], every[name].detach())
            if factor is not None:
                found[name] = PlainPlace(plain, factor=factor)
        else:
            divided.append(name)
    if not divided:
        return found
    block = hf.get_submodule(prefix)
    at = {
        matrix.name.removesuffix(".weight"): (path, rows, matrix)
        for path, held in plain_matrices(model, layer, block).items()
        for matrix, rows in held
    }
    for name in divided:
        module, _, leaf = name.rpartition(".")
        if module not in at:
            continue
        path, rows, matrix = at[module]
        whole = own.get(f"{prefix}.{path}.{leaf}")
        if leaf == "weight":
            turned = type(block.get_submodule(path)).__name__ == "Conv1D"
            found[name] = PlainPlace(f"{prefix}.{path}.weight", rows, matrix, turned)
        elif whole is not None and _factor(whole[rows], every[name].detach()) == 1:
            found[name] = PlainPlace(f"{prefix}.{path}.{leaf}", rows)
    return found


def replaced(model: ModelAccess, hf: nn.Module, under: Intervention) -> dict[str, Tensor] | None:
    """Find what parameters of a plain model become under an intervention.

    Args:
        model: The loaded model.
        hf: The same, untouched, in the same number format.
        under: What is done to it.

    Returns:
        Name of a parameter in the plain model → its new value, bit for bit that which the loaded model computes with;
        None if the architecture cannot hold all that is done.

    Example:
        >>> import numpy as np
        >>> from decision_phases.interventions import skip, weights
        >>> from decision_phases.models import load
        >>> model = load("tiny-gpt2", quiet=True)
        >>> found = replaced(model, model.fresh_hf(), skip(2) + weights(1, {"attn.q.weight": np.zeros((32, 32))}))
        >>> {name: tuple(value.shape) for name, value in found.items()}
        {'transformer.h.1.attn.c_attn.weight': (32, 96)}
    """
    names: dict[int, set[str]] = {}
    for edit in under:
        if isinstance(edit.value, Weights):
            names.setdefault(edit.layer, set()).update(edit.value.names)
        elif not (edit.op == "skip" and edit.site == "block"):
            return None
    own, values = hf.state_dict(), dict[str, Tensor]()
    for layer, changed in names.items():
        places = plain_places(model, hf, layer, changed)
        if len(places) < len(changed):
            return None
        values |= {place.name: own[place.name].detach().clone() for place in places.values()}
        with replaced_weights(model, under.at(layer)), torch.no_grad():
            for name, place in places.items():
                place.write(values, model.parameters(layer)[name].detach())
    return values


def _factor(plain: Tensor, loaded: Tensor) -> float | None:
    """What a parameter has to be multiplied with to be the plain one; None where no one number does.

    RWKV halves weights when it runs first, so that the loaded model holds other ones than a fresh one.
    """
    mine, theirs = loaded.to(plain).flatten(), plain.detach().flatten()
    if torch.equal(mine, theirs):
        return 1.0
    largest = mine.abs().argmax()
    factor = float(theirs[largest] / mine[largest])
    return factor if torch.equal(factor * mine, theirs) else None
