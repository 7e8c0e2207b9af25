"""Adapters of peft in the blocks of a plain Hugging Face model, and what they are worth as edits of weights."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from decision_phases.errors import InputError, MissingPackageError, unknown_name
from decision_phases.interventions import Array, Edit, Intervention, LowRank, Weights
from decision_phases.models import ModelAccess
from decision_phases.models.block_list import block_prefix
from decision_phases.models.matrices import WeightMatrix, weight_matrices
from decision_phases.models.plain_matrices import Held, plain_matrices

_ADAPTER = "default"
#: What peft's warnings say that are of no use here: how weights lie in memory is looked at module by module.
_KNOWN = r"fan_in_fan_out is set to"


def peft_package() -> Any:
    """Import peft.

    Returns:
        The package.

    Raises:
        MissingPackageError: If it is not installed.
    """
    try:
        import peft
    except ImportError as error:
        msg = "LoRA needs the package peft; install it with: pip install 'decision-phases[lora]'"
        raise MissingPackageError(msg) from error
    return peft


@dataclass(frozen=True, eq=False)
class Adapter:
    """One adapter.

    Attributes:
        layer: Its block.
        path: Its module inside the block, as transformers names it.
        module: The module, which peft has put in the place of the plain one.
        held: Which parameters of the loaded model the module's matrix is, and which of its rows each of them has: one
            with all rows, or queries, keys and values where a family keeps them in one matrix.
    """

    layer: int
    path: str
    module: Any
    held: Held

    @property
    def parameters(self) -> dict[str, Tensor]:
        """What is trained, by names that differ between adapters."""
        name = f"{self.layer}.{self.path}"
        return {f"{name}.down": self._down, f"{name}.up": self.module.lora_B[_ADAPTER].weight}

    @property
    def _down(self) -> Tensor:
        weight: Tensor = self.module.lora_A[_ADAPTER].weight
        return weight

    def changes(self) -> dict[str, LowRank]:
        """What it adds to the parameters of the loaded model.

        Returns:
            Name of the parameter in the block → what is added to it.
        """
        down = self._down.detach()
        up = self.module.lora_B[_ADAPTER].weight.detach() * self.module.scaling[_ADAPTER]
        found = {}
        for matrix, rows in self.held:
            left, right = up[rows.to(up.device)], down
            if matrix.layout == "i o":
                left, right = right.T, left.T
            found[matrix.name] = LowRank(Array.of(left, "left"), Array.of(right, "right"))
        return found


def check_targets(
    model: ModelAccess,
    layers: Sequence[int],
    without: Mapping[int, Collection[str]],
    targets: Collection[str] | None,
) -> None:
    """Refuse names that no matrix has, and blocks of which no matrix is left.

    Args:
        model: The model.
        layers: The blocks that are adapted.
        without: Layer → parts that are removed from it.
        targets: The last part of names of matrices; None for all.

    Raises:
        InputError: Naming those that there are.
    """
    known = {
        _leaf(matrix)
        for layer in layers
        for matrix in weight_matrices(model, layer)
        if matrix.part not in without.get(layer, ())
    }
    if not known:
        msg = (
            f"the cut leaves {model.name} no matrix that could be trained (blocks with something left: "
            f"{', '.join(map(str, layers)) or 'none'}); remove less, or use a repair that puts maps in its place"
        )
        raise InputError(msg)
    if isinstance(targets, str):
        msg = f"targets={targets!r} is one name; give several, such as targets=({targets!r},)"
        raise InputError(msg)
    if targets is not None and not targets:
        msg = f"targets={targets!r} names no matrix; give some of {', '.join(sorted(known))}, or None for all"
        raise InputError(msg)
    for target in known if targets is None else targets:
        if target not in known:
            raise unknown_name("target", target, known)


def put_in(
    model: ModelAccess,
    hf: nn.Module,
    layers: Sequence[int],
    *,
    without: Mapping[int, Collection[str]],
    targets: Collection[str] | None,
    rank: int,
    alpha: float,
    seed: int,
) -> tuple[list[nn.Module], list[Adapter]]:
    """Put adapters into the blocks of a Hugging Face model, which then compute what they did before.

    Args:
        model: The loaded model.
        hf: The same, untouched, in the same number format; it is changed.
        layers: The blocks that get adapters.
        without: Layer → parts that are removed from it, which get none.
        targets: The last part of the names of the matrices that get one; None for all.
        rank: Directions of each.
        alpha: What an adapter adds is multiplied by alpha / rank.
        seed: Of the directions that they begin with.

    Returns:
        All blocks, on the model's device, and the adapters. Nothing but these wants gradients.

    Raises:
        InputError: If there is nothing that can be adapted, or peft refuses it.
    """
    peft, prefix = peft_package(), block_prefix(hf)
    blocks: Any = hf.get_submodule(prefix)
    found = {
        layer: _matched(model, layer, blocks[layer], without.get(layer, ()), targets) for layer in layers
    }
    paths = [f"{prefix}.{layer}.{path}" for layer, matches in found.items() for path in matches]
    if not paths:
        msg = (
            f"{model.name} ({model.architecture}) has no matrix in its blocks {', '.join(map(str, layers))} that is a "
            "plain linear layer in transformers too, so there is nothing to put adapters on; choose other targets= or "
            "neighbours="
        )
        raise InputError(msg)
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=paths, lora_dropout=0.0)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_KNOWN)
        torch.manual_seed(seed)
        try:
            peft.inject_adapter_in_model(config, hf, _ADAPTER)
        except ValueError as error:
            msg = f"peft puts no adapter into {model.name} ({model.architecture}): {error}; choose other targets="
            raise InputError(msg) from error
    blocks.to(model.device)
    adapters = [
        Adapter(layer, path, blocks[layer].get_submodule(path), held)
        for layer, matches in found.items()
        for path, held in matches.items()
    ]
    for adapter in adapters:
        for p in adapter.parameters.values():
            p.data = p.data.to(torch.promote_types(p.dtype, torch.float32))
    return list(blocks), adapters


def merged(adapters: Sequence[Adapter], label: str) -> Intervention:
    """What adapters add to the weights, as an intervention on the loaded model.

    Args:
        adapters: The adapters.
        label: A name for the edits.

    Returns:
        One edit a block.
    """
    by_layer: dict[int, dict[str, LowRank]] = {}
    for adapter in adapters:
        by_layer.setdefault(adapter.layer, {}).update(adapter.changes())
    return Intervention(
        tuple(
            Edit("weights", "block", layer, value=Weights.from_mapping(changes), label=label)
            for layer, changes in sorted(by_layer.items())
        )
    )


def _leaf(matrix: WeightMatrix) -> str:
    return matrix.name.removesuffix(".weight").rpartition(".")[2]


def _matched(
    model: ModelAccess, layer: int, block: nn.Module, gone: Collection[str], targets: Collection[str] | None
) -> dict[str, Held]:
    """Linear modules of a plain block that get an adapter, as `plain_matrices` gives them."""
    return {
        path: held
        for path, held in plain_matrices(model, layer, block, without=gone).items()
        if targets is None or any(_leaf(matrix) in targets for matrix, _ in held)
    }
