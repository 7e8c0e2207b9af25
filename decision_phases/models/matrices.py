"""The weight matrices of a block: what they are called, how they lie in memory, and what enters them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, SupportsIndex, TypeVar

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import linear

from decision_phases.errors import InputError, unknown_name
from decision_phases.interventions import Intervention
from decision_phases.interventions.layer_sets import listed_layers
from decision_phases.models.access import ModelAccess
from decision_phases.models.parts import PARTS, part_parameters

#: Called with the place of a matrix in its stack and what enters it, `[token, in]`.
See = Callable[[int, Tensor], None]
_Values = TypeVar("_Values", Tensor, np.ndarray)

# How a parameter lies in memory → the same as a stack of matrices: o out, i in, e expert, h head, d inside a head.
_STACKED = {
    "o i": "1 o i",
    "i o": "1 o i",
    "e o i": "e o i",
    "e i o": "e o i",
    "h i d": "1 (h d) i",
    "h d o": "1 o (h d)",
}
# HookedTransformer keeps weights by head, and the input of each is not that of a module of its own.
_BY_HEAD = {"W_Q": 0, "W_K": 1, "_W_K": 1, "W_V": 2, "_W_V": 2}

# Mamba multiplies with it outside of its module, so its input cannot be seen; it is small.
_UNSEEN = "dt_proj.weight"


@dataclass(frozen=True, eq=False)
class WeightMatrix:
    """One weight matrix of a block, or a stack of them: the same matrix of every expert.

    Attributes:
        name: Its name in `ModelAccess.parameters` and in `weights` edits.
        part: "attention" or "mlp", or "" where the family does not say.
        parameter: Its parameter.
        layout: How that lies in memory, as an einops pattern.
        place: Where its input can be seen: a function that puts a hook there, given what to show it to.
    """

    name: str
    part: str
    parameter: nn.Parameter
    layout: str
    place: Callable[[See], Any] = field(repr=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of matrices, rows (what they put out), columns (what enters them)."""
        axes = dict(zip(self.layout.split(), self.parameter.shape, strict=True))
        inner = axes.get("d", 1) * axes.get("h", 1)
        return axes.get("e", 1), axes.get("o", inner), axes.get("i", inner)

    @property
    def is_stack(self) -> bool:
        """Whether it is the matrix of every expert, each with an input of its own."""
        return "e" in self.layout.split()

    def stacked(self, values: _Values) -> _Values:
        """Give what has the parameter's shape as a stack of matrices, `[matrix, out, in]`.

        Args:
            values: The parameter, or a mask of it.

        Returns:
            The stack.
        """
        found: _Values = rearrange(values, f"{self.layout} -> {_STACKED[self.layout]}")
        return found

    def unstacked(self, stack: _Values) -> _Values:
        """Give a stack of matrices the parameter's shape; undoes `stacked`.

        Args:
            stack: `[matrix, out, in]`.

        Returns:
            What has the parameter's shape.
        """
        heads = {"h": self.parameter.shape[0]} if "h" in self.layout.split() else {}
        found: _Values = rearrange(stack, f"{_STACKED[self.layout]} -> {self.layout}", **heads)
        return found

    @contextmanager
    def watched(self, see: See) -> Iterator[None]:
        """Show what enters the matrices, whenever the block runs with its hooks, for the length of a `with` block.

        Args:
            see: What to show it to.

        Yields:
            Nothing.
        """
        handle = self.place(lambda index, x: see(index, x.reshape(-1, x.shape[-1])))
        try:
            yield
        finally:
            handle.remove()


@contextmanager
def watching(matrices: dict[WeightMatrix, See]) -> Iterator[None]:
    """Show what enters several matrices; see `WeightMatrix.watched`.

    Args:
        matrices: Matrix → what to show its input to.

    Yields:
        Nothing.
    """
    with ExitStack() as stack:
        for matrix, see in matrices.items():
            stack.enter_context(matrix.watched(see))
        yield


def weight_matrices(
    model: ModelAccess, layer: int, parts: Sequence[str] | None = None
) -> tuple[WeightMatrix, ...]:
    """The matrices that a block multiplies its stream with: no norm, no bias, no convolution, and no router.

    Args:
        model: The model.
        layer: 0-based index of the block.
        parts: "attention", "mlp" or both; None for all, also those of neither.

    Returns:
        The matrices, in the order of `ModelAccess.parameters`; none if the block has no such part.

    Raises:
        InputError: If the layer is out of range, or the block keeps experts in a layout that is not known.

    Example:
        >>> from decision_phases.models import load
        >>> [matrix.name for matrix in weight_matrices(load("tiny-gpt2", quiet=True), 0)][3:]
        ['attn.o.weight', 'mlp.c_fc.weight', 'mlp.c_proj.weight']
        >>> [(m.name, m.shape) for m in weight_matrices(load("tiny-mixtral", quiet=True), 0, ["mlp"])]
        [('mlp.experts.gate_up_proj', (4, 96, 32)), ('mlp.experts.down_proj', (4, 32, 48))]
    """
    every = model.parameters(layer)
    block: Any = model.engine_blocks[layer]
    owners = {
        id(parameter): (module, leaf)
        for module in block.modules()
        for leaf, parameter in module.named_parameters(recurse=False)
    }
    of_part = {id(p): part for part in PARTS for p in _of_part(model, layer, part)}
    found = []
    for name, parameter in every.items():
        module, leaf = owners[id(parameter)]
        part = of_part.get(id(parameter), "")
        if (parts is not None and part not in parts) or _is_router(name, every) or name.endswith(_UNSEEN):
            continue
        how = _seen(block, module, leaf, parameter)
        if how is not None:
            found.append(WeightMatrix(name, part, parameter, *how))
        elif parameter.ndim == 3 and min(parameter.shape) > 1:
            msg = (
                f"{model.name} ({model.architecture}) keeps {name} of {type(module).__name__} in a layout that is not "
                "known, so which weights multiply the same input cannot be told; choose other matrices with parts="
            )
            raise InputError(msg)
    return tuple(found)


def chosen_parts(given: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Read which parts of blocks are meant.

    Args:
        given: "attention", "mlp" or both; None for all that a block has.

    Returns:
        The parts, or None.

    Raises:
        InputError: If a part is unknown, or none is named.

    Example:
        >>> chosen_parts("mlp")
        ('mlp',)
    """
    if given is None:
        return None
    parts = (
        (given,) if isinstance(given, str) or not isinstance(given, Iterable) else tuple(dict.fromkeys(given))
    )
    for part in parts:
        if part not in PARTS:
            raise unknown_name("part", part, PARTS)
    if not parts:
        msg = f"parts={given!r} names no part; give {' or '.join(PARTS)}, or leave it out for all"
        raise InputError(msg)
    return parts


def chosen_matrices(
    model: ModelAccess,
    under: Intervention,
    *,
    layers: Iterable[SupportsIndex] | None,
    parts: tuple[str, ...] | None,
    made: str,
) -> dict[int, tuple[WeightMatrix, ...]]:
    """The weight matrices of some layers and parts, but for those that an intervention removes.

    Args:
        model: The model.
        under: The intervention.
        layers: The layers; None for all that are not removed.
        parts: "attention", "mlp" or both; None for all.
        made: What is to be done with them, as in "made sparse".

    Returns:
        Layer → its matrices; without layers that have none.

    Raises:
        InputError: If layers are no collection, one is out of range or removed, there is no such matrix, or one cannot
            be replaced.

    Example:
        >>> from decision_phases.interventions import skip
        >>> from decision_phases.models import load
        >>> model = load("tiny-gpt2", quiet=True)
        >>> list(chosen_matrices(model, skip(2, 3), layers=None, parts=("mlp",), made="rounded"))
        [0, 1, 4, 5]
    """
    gone = set(under.removed_blocks)
    if layers is None:
        chosen = [layer for layer in range(model.n_layers) if layer not in gone]
    else:
        chosen = sorted(set(listed_layers(layers)))
        for layer in chosen:
            model.check_layer(layer)
        if gone & set(chosen):
            msg = f"layer {min(gone & set(chosen))} is to be {made}, but {under} removes it; leave it out"
            raise InputError(msg)
    found = {}
    for layer in chosen:
        without = {part for part in PARTS if layer in under.removed(part)}
        matrices = tuple(m for m in weight_matrices(model, layer, parts) if m.part not in without)
        if matrices:
            found[layer] = matrices
    if not found:
        what = (
            "weight matrices"
            if parts is None
            else f"weight matrices of its {' or '.join(parts)} that it names"
        )
        msg = f"{model.name} ({model.architecture}) has no {what} in the layers {chosen}, so nothing can be {made}"
        raise InputError(msg)
    for layer, matrices in found.items():
        for matrix in matrices:
            if matrix.parameter.is_meta:
                msg = (
                    f"device_map leaves {matrix.name} of layer {layer} elsewhere and fetches it whenever the block "
                    f"runs, so it cannot be {made}; keep that block on a device that computes, or leave it out with "
                    "layers="
                )
                raise InputError(msg)
    return found


def _of_part(model: ModelAccess, layer: int, part: str) -> list[nn.Parameter]:
    try:
        return list(part_parameters(model, layer, part).values())
    except InputError:  # a family without such a part
        return []


def _is_router(name: str, every: Collection[str]) -> bool:
    """Whether a parameter chooses among experts."""
    *path, own = name.removesuffix(".weight").split(".")
    stands_by = ".".join([*path, "experts", ""])
    gate = "gate" in own and any(other.startswith(stands_by) for other in every)
    return gate or any("router" in step for step in (*path, own))


def _seen(
    block: Any, module: nn.Module, leaf: str, parameter: nn.Parameter
) -> tuple[str, Callable[[See], Any]] | None:
    """Layout of a weight matrix and where its input can be seen; None for what is none."""
    if leaf == "weight" and parameter.ndim == 2 and isinstance(module, nn.Linear):
        return "o i", _entering(module)
    if leaf == "weight" and parameter.ndim == 2 and type(module).__name__ == "Conv1D":
        return "i o", _entering(module)
    if module is getattr(block, "attn", None) and parameter.ndim == 3:
        own: Any = module
        if leaf in _BY_HEAD:
            return "h i d", _entering(module, _BY_HEAD[leaf])
        return ("h d o", _leaving(own.hook_z, heads=True)) if leaf == "W_O" else None
    if module is getattr(block, "mlp", None) and parameter.ndim == 2 and leaf in ("W_in", "W_gate", "W_out"):
        own = module
        return "i o", _leaving(own.hook_post) if leaf == "W_out" else _entering(module)
    if parameter.ndim == 3 and hasattr(module, "has_gate") and hasattr(module, "is_transposed"):
        first = "gate_up_proj" if module.has_gate else "up_proj"
        if leaf in (first, "down_proj"):
            layout = "e i o" if module.is_transposed else "e o i"
            return layout, _entering_experts(module, first, down=leaf == "down_proj")
    return None


def _entering(module: nn.Module, argument: int = 0) -> Callable[[See], Any]:
    def place(see: See) -> Any:
        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            see(0, [*args, *kwargs.values()][argument])

        return module.register_forward_pre_hook(hook, with_kwargs=True)

    return place


def _leaving(point: nn.Module, *, heads: bool = False) -> Callable[[See], Any]:
    def place(see: See) -> Any:
        def hook(_module: nn.Module, _args: tuple[Any, ...], out: Tensor) -> None:
            see(0, out.flatten(-2) if heads else out)

        return point.register_forward_hook(hook)

    return place


def _entering_experts(module: Any, first: str, *, down: bool) -> Callable[[See], Any]:
    """What enters the experts that transformers keeps in one parameter: the tokens that are routed to each."""

    def enters(expert: int, x: Tensor) -> Tensor:
        if not down:
            return x
        weight = getattr(module, first)[expert]
        bias = getattr(module, f"{first}_bias")[expert] if module.has_bias else None
        inner = linear(x, weight.T if module.is_transposed else weight, bias)
        gated: Tensor = module._apply_gate(inner) if module.has_gate else module.act_fn(inner)  # noqa: SLF001
        return gated

    def place(see: See) -> Any:
        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            x, chosen, *_ = (*args, *kwargs.values())
            for expert in torch.unique(chosen).tolist():
                if expert < module.num_experts:  # beyond are experts on other devices
                    see(expert, enters(expert, x[(chosen == expert).any(-1)]))

        return module.register_forward_pre_hook(hook, with_kwargs=True)

    return place
